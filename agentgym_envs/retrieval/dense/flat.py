"""Exact dense search: a matrix product over all vectors, and the best rescored exactly.

The first pass runs in a format of few bytes and finds candidates; these are scored again from the
most precise vectors (in float64, rounded once), which gives the order that is returned. Whether a
better row was left out is not guessed: with x' what is stored of a row x, and q' of a query q,

    |q.x - q'.x'|  <=  |q| |x - x'| + |q - q'| |x'| + rounding of the product

and the largest |x - x'| of all rows is known from when they were stored. Where the last candidate's
score comes within that of the k-th best, a second pass collects every row that does.

bfloat16 scores would be rounded to 1/256, far more than neighbouring passages differ by. A
threshold near the best score is therefore subtracted inside the product (as its bias), before
rounding: what is left near zero keeps its digits.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from agentgym_envs.retrieval.corpus import Progress
from agentgym_envs.retrieval.dense.memory import Room, gigabytes, room_of
from agentgym_envs.retrieval.dense.vectors import FORMS, Vectors, residual, to_float32, to_form
from agentgym_envs.retrieval.needs import needed

_BLOCK = 64  # rows whose best score stands for them while candidates are looked for
_TOGETHER = 256  # queries a pass
_RESCORED = 1 << 24  # numbers that are rescored at once
_SAMPLE = 1024  # rows that a query's threshold is read from
_BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}
_SLACK = 2.0**-20  # of a score: for what is itself rounded to float32
_ROUNDED = 2.0**-7  # of what a product in bfloat16 is above its threshold
_COARSE = 2.0**-7  # of a product whose parts torch may sum in TF32 or bfloat16


class FlatIndex:
    """Every vector is looked at, in `first` format; safe to share between threads.

    On a CPU whose bfloat16 is slow (no AVX512-BF16, no AMX) set first="int8" (VNNI) or "float32".
    """

    def __init__(
        self,
        vectors: Vectors,
        *,
        first: str = "bfloat16",
        rescore: int | None = None,
        device: str = "cpu",
        chunk: int | None = None,
        room: Room | None = None,
        progress: Progress | None = None,
    ) -> None:
        """first: format of the first pass; one that is not stored is made in memory.

        rescore: candidates a query at least (twice k where that is more), None: 32, or 64 for
        int8; of more, fewer queries need a second pass. chunk: rows a product; None: 16,384 on a
        CPU, 524,288 on a GPU. room: free bytes, measured when None. On a CPU stored forms stay
        memory-mapped, so that processes share them.
        Raises ValueError for settings, MemoryError with the figures where it does not fit.
        """
        if first not in FORMS:
            raise ValueError(f"no format {first!r} of the first pass: there are {', '.join(FORMS)}")
        rescore = rescore if rescore is not None else 64 if first == "int8" else 32
        if rescore < 1 or (chunk is not None and chunk < 1):
            raise ValueError("rescore and chunk are numbers of rows from 1")
        torch = needed("torch")
        self.vectors = vectors
        self.first, self.rescore, self.device = first, rescore, torch.device(device)
        self.chunk = chunk or (16_384 if self.device.type == "cpu" else 1 << 19)
        check_room(vectors, first, room or room_of(device))
        self._matrix, self._scales, self._residual = self._loaded(progress)
        known = vectors.manifest
        # no row that is searched is longer
        self._reach = known.norm + known.residuals[vectors.best_form] + self._residual

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
        candidates = min(max(self.rescore, 2 * k), count)
        asked = self._asked(queries)
        found, lowest = self._candidates(asked, candidates)
        places = np.repeat(np.arange(len(queries)), candidates)
        scores = self._exact(queries, places, found.reshape(-1))
        rows, scores = _best(places, found.reshape(-1), scores, k)
        if candidates < count:
            floor = asked.floor(scores[:, -1])
            left = np.flatnonzero(lowest >= floor)
            if len(left):
                rows[left], scores[left] = self._collected(queries[left], scores[left, -1], k)
        return rows, scores

    def _collected(
        self, queries: np.ndarray, reached: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `search`, looking at every row that may have the score that k rows have reached."""
        import torch

        asked = self._asked(queries)
        floor = torch.from_numpy(asked.floor(reached)).to(self.device)
        kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        with torch.inference_mode():
            for first, scores in self._passed(asked):
                pairs = torch.nonzero(scores >= floor).cpu().numpy()
                places, rows = pairs[:, 1], pairs[:, 0] + first
                exact = self._exact(queries, places, rows)
                good = exact >= reached[places]
                kept.append((places[good], rows[good], exact[good]))
        places, rows, exact = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        return _best(places, rows, exact, k)

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

    def _exact(self, queries: np.ndarray, places: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Scores from the most precise vectors, of queries[places] and rows.  [n], [n] -> [n]"""
        scores = np.empty(len(rows), np.float32)
        vectors = queries.astype(np.float64)
        step = max(1, _RESCORED // self.vectors.dimension)
        for first in range(0, len(rows), step):
            some = slice(first, first + step)
            exact = self.vectors.rows(rows[some]).astype(np.float64)
            scores[some] = np.einsum("nd,nd->n", exact, vectors[places[some]])
        return scores

    # -- the first pass

    def _passed(self, asked: "_Asked") -> Iterator[tuple[int, Any]]:
        """(first row, scores [rows, B]) of every chunk, as the first pass has them."""
        for first in range(0, self.vectors.count, self.chunk):
            scores = asked.scores(self._matrix[first : first + self.chunk])
            if self._scales is not None:
                scores = scores * self._scales[first : first + self.chunk, None]
            yield first, scores

    def _candidates(self, asked: "_Asked", count: int) -> tuple[np.ndarray, np.ndarray]:
        """The `count` best rows of each query by the first pass, in any order [B, count], and the
        lowest of their scores there [B]."""
        import torch

        with torch.inference_mode():
            best_rows: Any = None
            best: Any = None
            for first, scores in self._passed(asked):
                values, rows = _top(scores, count)  # [B, count]
                rows = rows + first
                if best is not None:
                    values = torch.cat([best, values], 1)
                    rows = torch.cat([best_rows, rows], 1)
                    values, kept = values.topk(min(count, values.shape[1]), dim=1, sorted=False)
                    rows = rows.gather(1, kept)
                best, best_rows = values, rows
            return best_rows.cpu().numpy(), best.amin(1).cpu().numpy()

    def _asked(self, vectors: np.ndarray) -> "_Asked":
        """Queries [B, dimension] in the first pass's format."""
        import torch

        queries = torch.from_numpy(vectors).to(self.device)
        scales = threshold = None
        if self.first == "int8":
            scales = queries.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
            said = (queries / scales).round().to(torch.int8)
            kept = (said * scales).cpu().numpy()
        elif self.first == "bfloat16":
            threshold = (queries @ self._sample.T).amax(1).bfloat16()
            said = queries.bfloat16()
            kept = said.float().cpu().numpy()
        else:
            said, kept = queries, vectors
        summing = _COARSE if self._sums_coarsely() else self.dimension * 2.0**-24
        exact = vectors.astype(np.float64)
        size = np.linalg.norm(exact, axis=1)
        lost = np.linalg.norm(exact - kept, axis=1)
        error = size * self._residual + (lost + (size + lost) * (summing + _SLACK)) * self._reach
        return _Asked(said, scales, threshold, error)

    def _sums_coarsely(self) -> bool:
        """Whether torch is allowed to sum products in less than float32."""
        import torch

        if self.first == "float32":
            return torch.get_float32_matmul_precision() != "highest"
        allowed = torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
        return self.first == "bfloat16" and self.device.type == "cuda" and bool(allowed)

    @cached_property
    def _sample(self) -> Any:
        """Some rows, evenly apart.  [at most _SAMPLE, dimension] float32"""
        import torch

        count = self.vectors.count
        rows = np.unique(np.linspace(0, count - 1, min(_SAMPLE, count)).astype(np.int64))
        return torch.from_numpy(self.vectors.rows(rows)).to(self.device)

    def _loaded(self, progress: Progress | None) -> tuple[Any, Any, float]:
        """The matrix of the first pass as a tensor, its scales where it is int8, and the largest
        distance of a row there from the row that it is rescored by."""
        import torch

        vectors, form = self.vectors, self.first
        dtype, stored = getattr(torch, form), form in vectors.matrices
        known = vectors.manifest.residuals
        lost = known[form] + known[vectors.best_form] if stored else 0.0
        if form == vectors.best_form:
            lost = 0.0
        if stored and self.device.type == "cpu":
            scales = vectors.scales if form == "int8" else None
            return _tensor(vectors.matrices[form], dtype), _tensor(scales, torch.float32), lost
        matrix = torch.empty((vectors.count, vectors.dimension), dtype=dtype, device=self.device)
        scales = torch.empty(vectors.count, device=self.device) if form == "int8" else None
        source = form if stored else vectors.best_form
        for first, rows in vectors.slices(source, 65_536):
            here = slice(first, first + len(rows))
            found = None if vectors.scales is None else vectors.scales[here]
            if not stored:
                precise = to_float32(rows, source, found)
                rows, found = to_form(precise, form)
                lost = max(lost, residual(precise, rows, form, found))
            matrix[here] = _tensor(rows, dtype).to(self.device)
            if scales is not None:
                scales[here] = _tensor(found, torch.float32).to(self.device)
            if progress is not None:
                progress(here.stop, vectors.count)
        return matrix, scales, lost


@dataclass(frozen=True, slots=True)
class _Asked:
    """B queries in the format of the first pass.

    error [B]: how far a row's inner product with a query may be from what the first pass makes of
    it, before that is rounded.
    """

    queries: Any  # [B, dimension]
    scales: Any  # [B, 1] of int8
    threshold: Any  # [B] bfloat16, subtracted
    error: np.ndarray

    def scores(self, matrix: Any) -> Any:
        """matrix [rows, dimension] -> [rows, B]: of int8 without the scales of rows and queries, of
        bfloat16 less the threshold"""
        import torch

        if self.scales is not None:
            return _integer_product(matrix, self.queries)
        if self.threshold is not None:
            return torch.nn.functional.linear(matrix, self.queries, -self.threshold)
        return matrix @ self.queries.T

    def floor(self, reached: np.ndarray) -> np.ndarray:
        """What a row has in the first pass at least, if its inner product is `reached`.  [B]"""
        low = reached - self.error
        if self.scales is not None:
            low = low / self.scales[:, 0].cpu().numpy()
        if self.threshold is not None:
            low = low - self.threshold.float().cpu().numpy()
            low = low - _ROUNDED * np.abs(low)
        return low.astype(np.float32)


def _best(
    places: np.ndarray, rows: np.ndarray, scores: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k best rows of each of B queries, equal scores by smaller row.

    places [n]: whose a row is, at least k of each query -> rows [B, k], scores [B, k]
    """
    order = np.lexsort((rows, -scores, places))
    begins = np.flatnonzero(np.diff(places[order], prepend=-1))
    chosen = order[begins[:, None] + np.arange(k)]
    return rows[chosen], scores[chosen]


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
