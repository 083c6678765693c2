"""Exact dense search: a matrix product over all vectors, and the best rescored exactly.

The first pass runs in a format of few bytes and finds candidates; these are scored again from the
float32 vectors (in float64, rounded once), which gives the order that is returned. Whether the
candidates were enough is checked on every query: as long as the last of them could, given the
errors seen, still hide a better one outside, the query is repeated with four times as many.

bfloat16 scores would be rounded to 1/256, far more than neighbouring passages differ by. A
threshold near the best score is therefore subtracted inside the product (as its bias), before
rounding: what is left near zero keeps its digits.
"""

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from agentgym_envs.retrieval.corpus import Progress
from agentgym_envs.retrieval.dense.memory import Room, gigabytes, room_of
from agentgym_envs.retrieval.dense.vectors import FORMS, Vectors, to_float32, to_form
from agentgym_envs.retrieval.needs import needed

_BLOCK = 64  # rows whose best score stands for them while candidates are looked for
_TOGETHER = 256  # queries a pass
_RESCORED = 1 << 24  # numbers that are rescored at once
_SAMPLE = 1024  # rows that a query's threshold is read from
_BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}


class FlatIndex:
    """Every vector is looked at, in `first` format; safe to share between threads.

    On a CPU whose bfloat16 is slow (no AVX512-BF16, no AMX) set first="int8" (VNNI) or "float32".
    """

    def __init__(
        self,
        vectors: Vectors,
        *,
        first: str = "bfloat16",
        rescore: int = 32,
        device: str = "cpu",
        chunk: int | None = None,
        room: Room | None = None,
        progress: Progress | None = None,
    ) -> None:
        """first: format of the first pass; one that is not stored is made in memory.

        rescore: candidates a query at least (twice k where that is more). chunk: rows a product;
        None: 16,384 on a CPU, 524,288 on a GPU. room: free bytes, measured when None. On a CPU
        stored forms stay memory-mapped, so that processes share them.
        Raises ValueError for settings, MemoryError with the figures where it does not fit.
        """
        if first not in FORMS:
            raise ValueError(f"no format {first!r} of the first pass: there are {', '.join(FORMS)}")
        if rescore < 1 or (chunk is not None and chunk < 1):
            raise ValueError("rescore and chunk are numbers of rows from 1")
        torch = needed("torch")
        self.vectors = vectors
        self.first, self.rescore, self.device = first, rescore, torch.device(device)
        self.chunk = chunk or (16_384 if self.device.type == "cpu" else 1 << 19)
        check_room(vectors, first, room or room_of(device))
        self._matrix, self._scales = self._loaded(progress)

    @property
    def count(self) -> int:
        return self.vectors.count

    @property
    def dimension(self) -> int:
        return self.vectors.dimension

    @property
    def fingerprint(self) -> str:
        """Of the vectors and whether the answer is exact; the way to it changes nothing."""
        return f"flat {self.vectors.best_form} {self.vectors.fingerprint}"

    @property
    def exact(self) -> bool:
        """Whether there are float32 vectors to rescore with."""
        return self.vectors.best_form == "float32"

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k rows of largest inner product with each query, ties by smaller row.

        queries [B, dimension] -> rows [B, k'] int64, scores [B, k'] float32; k' = min(k, rows)
        Raises ValueError for a wrong shape, k below 1 or a query that is not finite.
        """
        queries = self._checked(queries, k)
        k = min(k, self.vectors.count)
        rows = np.empty((len(queries), k), np.int64)
        scores = np.empty((len(queries), k), np.float32)
        for first in range(0, len(queries), _TOGETHER):
            some = slice(first, first + _TOGETHER)
            rows[some], scores[some] = self._search(queries[some], k)
        return rows, scores

    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `search`, for queries few enough to be scored together."""
        count = self.vectors.count
        rows = np.empty((len(queries), k), np.int64)
        scores = np.empty((len(queries), k), np.float32)
        left, candidates = np.arange(len(queries)), min(max(self.rescore, 2 * k), count)
        while len(left):
            found = self._candidates(queries[left], candidates)
            rescored = self._rescored(queries[left], found.rows)
            # best score first, then the smaller row
            order = np.lexsort((found.rows, -rescored))[:, :k]
            rows[left] = np.take_along_axis(found.rows, order, 1)
            scores[left] = np.take_along_axis(rescored, order, 1)
            if candidates == count:
                break
            # What was left out scored at most `lowest` in the first pass, give or take its errors.
            error = np.abs(found.scores - rescored).max(1)
            lowest = found.scores.min(1)
            left = left[lowest + 2 * error >= scores[left, -1]]
            candidates = min(candidates * 4, count)
        return rows, scores

    def _checked(self, queries: np.ndarray, k: int) -> np.ndarray:
        queries = np.ascontiguousarray(queries, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.vectors.dimension:
            raise ValueError(
                f"queries should have the shape [B, {self.vectors.dimension}], got {queries.shape}"
            )
        if k < 1:
            raise ValueError(f"k should be at least 1, got {k}")
        if not np.isfinite(queries).all():
            raise ValueError("a query's vector holds an infinity or NaN")
        return queries

    def _rescored(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Scores from the most precise vectors.  [B, dimension], rows [B, c] -> [B, c] float32"""
        scores = np.empty(rows.shape, np.float32)
        vectors = queries.astype(np.float64)[:, :, None]
        width = max(1, _RESCORED // vectors.size)
        for first in range(0, rows.shape[1], width):
            some = rows[:, first : first + width]
            exact = self.vectors.rows(some.reshape(-1)).astype(np.float64)
            exact = exact.reshape(*some.shape, -1)
            scores[:, first : first + width] = (exact @ vectors)[:, :, 0]
        return scores

    # -- the first pass

    def _candidates(self, queries: np.ndarray, count: int) -> "_Candidates":
        """The `count` best rows of each query by the first pass, in any order."""
        import torch

        with torch.inference_mode():
            asked = self._asked(torch.from_numpy(queries))
            best_rows: Any = None
            best: Any = None
            for first in range(0, self.vectors.count, self.chunk):
                scores = asked.scores(self._matrix[first : first + self.chunk])  # [rows, B]
                if self._scales is not None:
                    scores = scores * self._scales[first : first + self.chunk, None]
                values, rows = _top(scores, count)  # [B, count]
                rows = rows + first
                if best is not None:
                    values = torch.cat([best, values], 1)
                    rows = torch.cat([best_rows, rows], 1)
                    values, kept = values.topk(min(count, values.shape[1]), dim=1, sorted=False)
                    rows = rows.gather(1, kept)
                best, best_rows = values, rows
            shown = asked.as_scores(best)
            return _Candidates(best_rows.cpu().numpy(), shown.cpu().numpy())

    def _asked(self, queries: Any) -> "_Asked":
        """Queries [B, dimension] in the first pass's format."""
        import torch

        queries = queries.to(self.device)
        if self.first == "int8":
            scales = queries.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
            return _Asked((queries / scales).round().to(torch.int8), scales, None)
        if self.first == "float32":
            return _Asked(queries, None, None)
        threshold = (queries @ self._sample.T).amax(1).bfloat16()
        return _Asked(queries.bfloat16(), None, threshold)

    @cached_property
    def _sample(self) -> Any:
        """Some rows, evenly apart.  [at most _SAMPLE, dimension] float32"""
        import torch

        count = self.vectors.count
        rows = np.unique(np.linspace(0, count - 1, min(_SAMPLE, count)).astype(np.int64))
        return torch.from_numpy(self.vectors.rows(rows)).to(self.device)

    def _loaded(self, progress: Progress | None) -> tuple[Any, Any]:
        """The matrix of the first pass as a tensor, and its scales where it is int8."""
        import torch

        vectors, form = self.vectors, self.first
        dtype = getattr(torch, form)
        if form in vectors.matrices and self.device.type == "cpu":
            scales = vectors.scales if form == "int8" else None
            return _tensor(vectors.matrices[form], dtype), _tensor(scales, torch.float32)
        matrix = torch.empty((vectors.count, vectors.dimension), dtype=dtype, device=self.device)
        scales = torch.empty(vectors.count, device=self.device) if form == "int8" else None
        source = form if form in vectors.matrices else vectors.best_form
        for first, rows in vectors.slices(source, 65_536):
            here = slice(first, first + len(rows))
            found = None if vectors.scales is None else vectors.scales[here]
            if source != form:
                rows, found = to_form(to_float32(rows, source, found), form)
            matrix[here] = _tensor(rows, dtype).to(self.device)
            if scales is not None:
                scales[here] = _tensor(found, torch.float32).to(self.device)
            if progress is not None:
                progress(here.stop, vectors.count)
        return matrix, scales


@dataclass(frozen=True, slots=True)
class _Candidates:
    rows: np.ndarray  # [B, count]
    scores: np.ndarray  # [B, count], of the first pass


@dataclass(frozen=True, slots=True)
class _Asked:
    """B queries in the format of the first pass, and how its scores become inner products."""

    queries: Any  # [B, dimension]
    scales: Any  # [B, 1] of int8
    threshold: Any  # [B] bfloat16, subtracted

    def scores(self, matrix: Any) -> Any:
        """matrix [rows, dimension] -> [rows, B], a row's scale not yet in it"""
        import torch

        if self.scales is not None:
            return _integer_product(matrix, self.queries)
        if self.threshold is not None:
            return torch.nn.functional.linear(matrix, self.queries, -self.threshold)
        return matrix @ self.queries.T

    def as_scores(self, found: Any) -> Any:
        """[B, c] of `scores` -> inner products, about."""
        if self.scales is not None:
            return found * self.scales
        if self.threshold is not None:
            return found + self.threshold.float()[:, None]
        return found


def _integer_product(matrix: Any, queries: Any) -> Any:
    """int8 [rows, d], [B, d] -> float32 [rows, B], exact as long as d <= 1040"""
    import torch

    rows, width = matrix.shape
    count = len(queries)
    if matrix.device.type != "cpu":
        # cuBLAS wants more than 16 rows, and the other two sizes in eights.
        if rows <= 16 or width % 8:
            return matrix.float() @ queries.float().T
        queries = torch.nn.functional.pad(queries, (0, 0, 0, -count % 8))
    return torch.ops.aten._int_mm(matrix, queries.T)[:, :count].float()


def _top(scores: Any, count: int) -> tuple[Any, Any]:
    """The best of each column.  [rows, B] -> values, rows, both [B, min(count, rows)]

    The best `count` rows lie in the `count` blocks whose best row is best, which leaves little to
    sort.
    """
    import torch

    rows, queries = scores.shape
    blocks = rows // _BLOCK
    if blocks <= 2 * count:
        found = scores.T.float().topk(min(count, rows), dim=1, sorted=False)
        return found.values, found.indices
    heads = scores[: blocks * _BLOCK].view(blocks, _BLOCK, queries).amax(1)
    chosen = heads.T.contiguous().topk(count, dim=1, sorted=False).indices
    inside = torch.arange(_BLOCK, device=scores.device)
    members = (chosen[:, :, None] * _BLOCK + inside).view(queries, -1)
    rest = torch.arange(blocks * _BLOCK, rows, device=scores.device).expand(queries, -1)
    members = torch.cat([members, rest], 1)
    columns = torch.arange(queries, device=scores.device)[:, None]
    found = scores[members, columns].float().topk(count, dim=1, sorted=False)
    return found.values, members.gather(1, found.indices)


def _tensor(array: np.ndarray | None, dtype: Any) -> Any:
    """A tensor over the array's own memory, which nothing here ever writes to."""
    import torch

    if array is None:
        return None
    with warnings.catch_warnings():  # a read-only memory map; torch warns that it could be written
        warnings.simplefilter("ignore", UserWarning)
        bits = array.view(np.int16) if dtype is torch.bfloat16 else array
        return torch.from_numpy(bits).view(dtype)


def check_room(vectors: Vectors, first: str, room: Room) -> None:
    """Raises MemoryError, with the figures and what would do instead, where it does not fit."""

    def size(form: str) -> int:
        return vectors.count * (vectors.dimension * _BYTES[form] + 4 * (form == "int8"))

    if size(first) <= room.free:
        return
    fitting = [form for form in FORMS if size(form) <= room.free]
    ways = [f'first="{form}" ({gigabytes(size(form))})' for form in fitting]
    ways.append("an IVF index of faiss (about 1 byte a number, on the CPU)")
    ways.append(f'kind "bm25" (about {gigabytes(260 * vectors.count)}, no GPU)')
    raise MemoryError(
        f"{vectors.count:,} vectors of {vectors.dimension} numbers in {first} take "
        f"{gigabytes(size(first))}, and {room.device} has {gigabytes(room.free)} free. "
        f"Instead: {'; '.join(ways)}"
    )
