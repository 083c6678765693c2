"""Indexes of faiss (IVF, HNSW, flat), as files that it wrote or that are built here.

`<file>.json` beside a file that was built here says which vectors it was built from, and what it is
to the last byte. A file from elsewhere has none; of it only the sizes can be checked.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from agentgym_envs.retrieval.corpus import Progress
from agentgym_envs.retrieval.dense.vectors import Vectors, to_float32
from agentgym_envs.retrieval.disk import Seal, locked, put, sample, write_whole
from agentgym_envs.retrieval.needs import needed

_ROWS = 65_536  # added at a time
_TRAINED = 64  # rows a list of an IVF index that its centres are learnt from


class FaissIndex:
    """An index of faiss. Safe to share between threads."""

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        count: int,
        dimension: int,
        vectors: str | None = None,
        search: Mapping[str, int] | None = None,
        mapped: bool = False,
    ) -> None:
        """count, dimension: what corpus and encoder say it should have.

        vectors: fingerprint of the vectors that it should be built from, checked where the file's
        manifest knows. search: settings of faiss by its own names, such as {"nprobe": 64} of an
        IVF index or {"efSearch": 128} of HNSW; those not given stay as the file has them.
        mapped: memory-map instead of loading (IVF and flat files).
        Raises FileNotFoundError; ValueError where it belongs to something else or does not know a
        setting; ModuleNotFoundError naming what to install.
        """
        faiss = needed("faiss")
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"no faiss index at {self.path}")
        said = _manifest(self.path)
        if vectors is not None and said and said["vectors"] != vectors:
            raise ValueError(f"{self.path} was built from other vectors: build it again")
        flags = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY if mapped else 0
        self._index = faiss.read_index(str(self.path), flags)
        for what, found, wanted in (
            ("vectors", self._index.ntotal, count),
            ("numbers a vector", self._index.d, dimension),
        ):
            if found != wanted:
                raise ValueError(
                    f"{self.path} has {found:,} {what}, and {wanted:,} are called for: it "
                    "belongs to another corpus or encoder"
                )
        if self._index.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise ValueError(f"{self.path} measures distances; inner products are needed")
        self.settings = dict(search or {})
        for name, value in self.settings.items():
            try:
                faiss.ParameterSpace().set_index_parameter(self._index, name, value)
            except RuntimeError as error:
                kind = type(self._index).__name__
                raise ValueError(f"{self.path} is an {kind} and has no setting {name!r}") from error
        known = json.dumps(said, sort_keys=True) if said else sample(self.path)
        named = repr((sorted(self.settings.items()), known))
        self._fingerprint = hashlib.sha256(named.encode()).hexdigest()

    @property
    def count(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        return int(self._index.d)

    @property
    def fingerprint(self) -> str:
        """sha256 (hexadecimal) of settings, and of the manifest or else a sample of the file."""
        return self._fingerprint

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k rows that the index holds best, -1 where it found fewer.

        queries [B, dimension] -> rows [B, k] int64, scores [B, k] float32
        """
        if queries.ndim != 2 or queries.shape[1] != self._index.d:
            raise ValueError(f"queries should be [B, {self._index.d}], got {queries.shape}")
        scores, rows = self._index.search(np.ascontiguousarray(queries, np.float32), k)
        return rows, scores


def build_faiss(
    vectors: Vectors,
    path: str | PathLike[str],
    kind: str | None = None,
    *,
    progress: Progress | None = None,
) -> None:
    """Build an index file of all vectors, and its manifest beside it.

    A file that is there already is compared with what was written, to the last byte, and left as
    it is; a build that was stopped begins again. kind: as faiss's index_factory reads it: "Flat",
    "HNSW32", "IVF4096,SQ8"; None: IVF with SQ8 and 4 sqrt(count) lists. progress: told the vectors
    added and all.
    Raises ValueError for a kind that faiss does not know, and a file that is damaged or of other
    vectors or another kind; FileExistsError for one that was not built here.
    """
    path = Path(path)
    kind = kind or f"IVF{max(1, round(4 * math.sqrt(vectors.count)))},SQ8"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with locked(path.with_name(f"{path.name}.lock")):
            if not path.exists():  # still, after waiting
                _make(vectors, path, kind, progress)
                return
    _check_whole(path, vectors, kind)


def _make(vectors: Vectors, path: Path, kind: str, progress: Progress | None) -> None:
    part = path.with_name(f"{path.name}.part")
    _write(vectors, part, kind, progress)
    said = {"vectors": vectors.fingerprint, "kind": kind, "file": asdict(Seal.of(part))}
    # First: a file under its own name without a manifest would be taken for somebody else's.
    write_whole(_manifest_path(path), json.dumps(said, indent=1))
    put(part, path)


def _write(vectors: Vectors, part: Path, kind: str, progress: Progress | None) -> None:
    faiss = needed("faiss")
    try:
        index = faiss.index_factory(vectors.dimension, kind, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise ValueError(f"faiss does not know the kind {kind!r}: {error}") from error
    if not index.is_trained:
        index.train(_training_rows(vectors, index))
    for first, rows in vectors.slices(vectors.best_form, _ROWS):
        scales = None if vectors.scales is None else vectors.scales[first : first + len(rows)]
        index.add(to_float32(rows, vectors.best_form, scales))
        if progress is not None:
            progress(first + len(rows), vectors.count)
    faiss.write_index(index, str(part))


def _check_whole(path: Path, vectors: Vectors, kind: str) -> None:
    """Raises where a file that is there is not the index that these settings would make."""
    said = _manifest(path)
    if not said:
        raise FileExistsError(f"{path} is there and was not built here: choose another file")
    if said["vectors"] != vectors.fingerprint or said["kind"] != kind:
        what = "of other vectors" if said["kind"] == kind else f"a {said['kind']}, not a {kind}"
        raise ValueError(f"{path} is an index {what}: choose another file")
    Seal(**said["file"]).check(path, whole=True)


class Searchable(Protocol):
    """What recall is measured of and against."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]: ...


def recall(index: Searchable, exact: Searchable, queries: np.ndarray, k: int = 10) -> float:
    """The share of the exact k rows that the index finds among its k, over all queries."""
    found, wanted = index.search(queries, k)[0], exact.search(queries, k)[0]
    same = [np.isin(want, have).mean() for want, have in zip(wanted, found, strict=True)]
    return float(np.mean(same))


def _training_rows(vectors: Vectors, index: Any) -> np.ndarray:
    """Evenly spaced rows, enough for the lists of the index."""
    wanted = max(10_000, _TRAINED * getattr(index, "nlist", 0))
    rows = np.linspace(0, vectors.count - 1, min(wanted, vectors.count)).astype(np.int64)
    return vectors.rows(np.unique(rows))


def _manifest_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _manifest(path: Path) -> dict[str, Any]:
    """What is known of a file that was built here. Raises ValueError where it has changed."""
    beside = _manifest_path(path)
    if not beside.is_file():
        return {}
    said = json.loads(beside.read_text(encoding="utf-8"))
    if not isinstance(said, dict) or "file" not in said:
        raise ValueError(f"{beside} does not say what {path.name} is: remove both and build again")
    Seal(**said["file"]).check(path)
    return said
