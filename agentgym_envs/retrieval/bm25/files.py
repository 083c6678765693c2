"""A BM25 index as a folder: one `.npy` file an array, and a manifest that says what it is.

The manifest comes last: a folder without one is not a finished index.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from agentgym_envs.retrieval.bm25.analysis import ANALYSER
from agentgym_envs.retrieval.bm25.postings import Array, Postings
from agentgym_envs.retrieval.disk import Seal, sync, write_whole

MANIFEST = "manifest.json"
VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A query and what it found when the index was made."""

    query: str
    numbers: list[int]
    scores: list[float]

    def agrees(self, numbers: Array, scores: Array) -> bool:
        """Whether the same is found now, scores to a rounding error."""
        return self.numbers == numbers.tolist() and bool(
            np.allclose(self.scores, scores, rtol=1e-5, atol=0)
        )


def write_arrays(arrays: Mapping[str, Array], folder: Path) -> None:
    """Each array as a file of its name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def read_arrays(folder: Path) -> dict[str, Array]:
    """The arrays of a folder, memory-mapped read-only. Raises ValueError for a broken file."""
    return {path.stem: _read(path) for path in sorted(folder.glob("*.npy"))}


def _read(path: Path) -> Array:
    try:
        # An empty array cannot be mapped.
        small = path.stat().st_size < 4096
        return np.load(path, mmap_mode=None if small else "r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is cut short or no array: build the index anew") from error


def write_manifest(folder: Path, postings: Postings, corpus: str, check: Check) -> None:
    """Seal an index whose arrays are in the folder. `corpus`: fingerprint, "" where unknown."""
    k1, b = postings.constants.tolist()
    files = {name: folder / f"{name}.npy" for name in postings.arrays()}
    for place in (*files.values(), folder):
        sync(place)
    manifest = {
        "format": "bm25",
        "version": VERSION,
        "analyser": ANALYSER,
        "corpus": corpus,
        "k1": k1,
        "b": b,
        "documents": len(postings.lengths),
        "terms": len(postings.starts) - 1,
        "postings": len(postings.documents),
        "files": {name: asdict(Seal.of(path)) for name, path in files.items()},
        "check": asdict(check),
    }
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=1))


def read_index(
    folder: Path, corpus: str | None = None, *, verify: bool = False
) -> tuple[Postings, str, Check]:
    """An index, the fingerprint of its corpus, and its check.

    corpus: the fingerprint it must have. verify: compare every byte with its checksum, not only
    a sample of them.
    Raises FileNotFoundError where there is no finished index, ValueError for one of another
    version, analyser or corpus, or a damaged one.
    """
    manifest = _manifest(folder)
    for what, is_, wanted in (
        ("index format", manifest.get("version"), VERSION),
        ("analyser", manifest.get("analyser"), ANALYSER),
        ("corpus", manifest["corpus"], manifest["corpus"] if corpus is None else corpus),
    ):
        if is_ != wanted:
            raise ValueError(
                f"the index in {folder} was made with {what} {is_!r}, not {wanted!r}: "
                "build it anew in another folder"
            )
    for name, seal in manifest["files"].items():
        Seal(**seal).check(folder / f"{name}.npy", whole=verify)
    postings = Postings.from_arrays(read_arrays(folder))
    sizes = len(postings.lengths), len(postings.starts) - 1, len(postings.documents)
    if sizes != (manifest["documents"], manifest["terms"], manifest["postings"]):
        raise ValueError(f"the arrays in {folder} are not those of its manifest: build it anew")
    return postings, manifest["corpus"], Check(**manifest["check"])


def _manifest(folder: Path) -> dict:
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"no finished BM25 index in {folder}: build one there; "
            "a build that was interrupted goes on where it stopped"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: build the index anew") from error
    if not isinstance(manifest, dict) or manifest.get("format") != "bm25":
        raise ValueError(f"{path} does not describe a BM25 index: is this another folder?")
    return manifest
