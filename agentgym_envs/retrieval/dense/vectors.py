"""Passage vectors on disk: plain matrices, one a number format, and a manifest.

A folder holds `manifest.json` and one file a form: `float32.bin`, `bfloat16.bin` (the upper half
of a float32, rounded to even) or `int8.bin` with `int8.scales.bin` (float32, one a row; a row is
its integers times its scale). The float32 form may instead lie inside another file, such as a
faiss index, at an offset.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np

from agentgym_envs.retrieval.corpus import Progress
from agentgym_envs.retrieval.disk import sample, write_whole

VERSION = 2
FORMS = {"float32": np.float32, "bfloat16": np.uint16, "int8": np.int8}
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a folder of vectors holds and what it belongs to."""

    version: int = VERSION
    count: int
    dimension: int
    forms: tuple[str, ...]
    encoder: str  # fingerprint; "" where it is not known (a converted file)
    corpus: str  # fingerprint
    chunk: int  # rows a checksum
    checksums: dict[str, list[str]] = field(default_factory=dict)  # form -> sha256 of each chunk
    samples: dict[str, str] = field(default_factory=dict)  # file -> sha256 of a sample of it
    # form -> the largest distance of a row as it is stored from the row itself
    residuals: dict[str, float] = field(default_factory=dict)
    norm: float = 0.0  # of the longest row
    outside: tuple[str, int] | None = None  # file of the float32 form, bytes before its first row

    @property
    def fingerprint(self) -> str:
        """sha256 (hexadecimal) of all that the manifest says, wherever its files lie."""
        said = {k: v for k, v in asdict(self).items() if k not in ("samples", "outside")}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def files(self, folder: Path) -> dict[str, tuple[Path, int]]:
        """Form, or "scales" of int8 -> the file that it lies in, and the bytes before it there."""
        files = {form: (folder / f"{form}.bin", 0) for form in self.forms}
        if self.outside is not None and "float32" in files:
            files["float32"] = Path(self.outside[0]), self.outside[1]
        if "int8" in files:
            files["scales"] = folder / "int8.scales.bin", 0
        return files


class Vectors:
    """Passage vectors, one a row in the corpus's order, in one or several number formats."""

    def __init__(
        self,
        manifest: Manifest,
        matrices: dict[str, np.ndarray],
        scales: np.ndarray | None = None,
    ) -> None:
        """matrices: form -> [count, dimension] in the dtype of FORMS; scales: [count] of int8."""
        self.manifest = manifest
        self.matrices = matrices
        self.scales = scales

    @staticmethod
    def of(
        matrix: np.ndarray, forms: Sequence[str] = ("float32",), *, encoder: str = "", corpus: str
    ) -> "Vectors":
        """Vectors in memory from a float32 matrix [N, dimension]."""
        matrix = np.ascontiguousarray(matrix, np.float32)
        count, dimension = matrix.shape
        matrices, scales, residuals = {}, None, {}
        for form in checked_forms(forms):
            matrices[form], found = to_form(matrix, form)
            scales = found if form == "int8" else scales
            residuals[form] = residual(matrix, matrices[form], form, found)
        manifest = Manifest(
            count=count,
            dimension=dimension,
            forms=tuple(matrices),
            encoder=encoder,
            corpus=corpus,
            chunk=max(count, 1),
            checksums={"float32": [hashlib.sha256(matrix.data).hexdigest()]},
            residuals=residuals,
            norm=longest(matrix),
        )
        return Vectors(manifest, matrices, scales)

    @staticmethod
    def open(
        folder: str | PathLike[str], *, corpus: str | None = None, encoder: str | None = None
    ) -> "Vectors":
        """The vectors of a folder, memory-mapped; of its files sizes and a sample are checked.

        corpus, encoder: fingerprints that they should belong to.
        Raises FileNotFoundError; ValueError where they belong to something else, are not finished,
        or a file is not as it was written.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        belongs_to(folder, manifest, corpus=corpus, encoder=encoder)
        files = manifest.files(folder)
        shape = (manifest.count, manifest.dimension)
        matrices = {form: _mapped(*files[form], FORMS[form], shape) for form in manifest.forms}
        scales = None
        if "int8" in matrices:
            scales = _mapped(*files["scales"], np.float32, shape[:1])
        for name, (path, first) in files.items():
            if sample(path, first) != manifest.samples.get(name):
                raise ValueError(f"{path} is not what was written: make this folder again")
        return Vectors(manifest, matrices, scales)

    @property
    def count(self) -> int:
        return self.manifest.count

    @property
    def dimension(self) -> int:
        return self.manifest.dimension

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @property
    def best_form(self) -> str:
        """The most precise form there is."""
        return next(form for form in FORMS if form in self.matrices)

    def check(self, progress: Progress | None = None) -> None:
        """Read everything and compare it with the checksums. Raises ValueError naming the rows."""
        chunk = self.manifest.chunk
        for number, first in enumerate(range(0, self.count, chunk)):
            rows = slice(first, min(first + chunk, self.count))
            for form, sums in self.manifest.checksums.items():
                if form in self.matrices and sums[number] != self._checksum(form, rows):
                    raise ValueError(
                        f"the {form} vectors of rows {first} to {rows.stop} are not what was "
                        "written: make this folder again"
                    )
            if progress is not None:
                progress(rows.stop, self.count)

    def rows(self, numbers: np.ndarray, form: str | None = None) -> np.ndarray:
        """These rows as float32, from the most precise form or the one named.

        numbers [n] -> [n, dimension]
        """
        form = form or self.best_form
        scales = self.scales[numbers] if form == "int8" and self.scales is not None else None
        return to_float32(self.matrices[form][numbers], form, scales)

    def slices(self, form: str, rows: int) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, at most `rows` rows as stored), in order."""
        for first in range(0, self.count, rows):
            yield first, self.matrices[form][first : first + rows]

    def _checksum(self, form: str, rows: slice) -> str:
        scales = self.scales[rows] if form == "int8" and self.scales is not None else None
        return checksum(self.matrices[form][rows], scales)


def checksum(rows: np.ndarray, scales: np.ndarray | None) -> str:
    """sha256 (hexadecimal) of rows as stored, and their scales."""
    sha = hashlib.sha256(np.ascontiguousarray(rows).data)
    if scales is not None:
        sha.update(np.ascontiguousarray(scales).data)
    return sha.hexdigest()


def checked_forms(forms: Sequence[str]) -> tuple[str, ...]:
    """The forms, most precise first. Raises ValueError for an unknown one or none."""
    unknown = [form for form in forms if form not in FORMS]
    if unknown or not forms or isinstance(forms, str):
        raise ValueError(f"forms is a list of some of {', '.join(FORMS)}, got {forms!r}")
    return tuple(form for form in FORMS if form in forms)


def to_form(rows: np.ndarray, form: str) -> tuple[np.ndarray, np.ndarray | None]:
    """float32 rows as they are stored, and their scales where the form has them.

    rows [n, dimension] -> [n, dimension], [n] or None. Raises ValueError where one is not finite.
    """
    if not np.isfinite(rows).all():
        raise ValueError("a vector holds an infinity or NaN")
    if form == "int8":
        scales = np.maximum(np.abs(rows).max(1, initial=0.0), 1e-30).astype(np.float32) / 127
        return np.rint(rows / scales[:, None]).astype(np.int8), scales
    if form == "bfloat16":
        bits = np.ascontiguousarray(rows, np.float32).view(np.uint32)
        half = 0x7FFF + ((bits >> 16) & 1)  # round to nearest, ties to even
        return ((bits + half) >> 16).astype(np.uint16), None
    return rows, None


def to_float32(rows: np.ndarray, form: str, scales: np.ndarray | None) -> np.ndarray:
    """Rows as they are stored as float32.  [n, dimension] -> [n, dimension]"""
    if form == "bfloat16":
        return (rows.astype(np.uint32) << 16).view(np.float32)
    if form == "int8":
        assert scales is not None
        return rows.astype(np.float32) * scales[:, None]
    return np.ascontiguousarray(rows)


def residual(rows: np.ndarray, stored: np.ndarray, form: str, scales: np.ndarray | None) -> float:
    """The largest distance between a float32 row and what is stored of it.  [n, dimension], ..."""
    return 0.0 if form == "float32" else longest(rows - to_float32(stored, form, scales))


def longest(rows: np.ndarray) -> float:
    """The largest norm of a row.  [n, dimension]"""
    return float(np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64).max(initial=0.0)))


def belongs_to(
    folder: Path, manifest: Manifest, *, corpus: str | None, encoder: str | None
) -> None:
    """Raises ValueError where these are the vectors of another corpus or encoder."""
    for what, found, wanted in (
        ("corpus", manifest.corpus, corpus),
        ("encoder", manifest.encoder, encoder),
    ):
        if wanted is not None and found and found != wanted:
            raise ValueError(
                f"the vectors in {folder} belong to another {what} ({found[:12]}, not "
                f"{wanted[:12]}): make them again, or open them with the {what} they were made of"
            )


def read_manifest(folder: Path) -> Manifest:
    """Raises FileNotFoundError, ValueError for one of another version."""
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"no finished vectors in {folder} (it has no {MANIFEST}): make them with build_vectors"
        )
    said = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(said, dict) or "forms" not in said:
        raise ValueError(f"{path} does not describe vectors: is this another folder?")
    if said.get("version") != VERSION:
        raise ValueError(f"{path} has version {said.get('version')}, this reads {VERSION}")
    said["forms"] = tuple(said["forms"])
    said["outside"] = tuple(said["outside"]) if said["outside"] else None
    return Manifest(**said)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Seal a folder whose files are written."""
    write_whole(folder / MANIFEST, json.dumps(asdict(manifest), indent=1, sort_keys=True))


def _mapped(path: Path, offset: int, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"no vectors at {path}, where the manifest says they are")
    wanted = int(np.prod(shape)) * np.dtype(dtype).itemsize + offset
    if path.stat().st_size != wanted:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes and should have {wanted:,}")
    return np.memmap(path, dtype, "r", offset, shape)
