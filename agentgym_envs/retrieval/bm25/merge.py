"""Chunks of an inverted index merged into one."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray

from agentgym_envs.retrieval.bm25.chunks import Chunk
from agentgym_envs.retrieval.bm25.postings import Array, Postings, length_codes, norms, spell

# Postings moved at a time; bounds the memory of a merge.
_AT_A_TIME = 4_000_000
Room = Callable[[str, int, DTypeLike], Array]


def in_memory(name: str, size: int, kind: DTypeLike) -> Array:
    """Room for one array."""
    return np.zeros(size, kind)


def merged(chunks: Sequence[Chunk], k1: float, b: float, room: Room = in_memory) -> Postings:
    """One index of all chunks, in their order. `room` makes the two large arrays, zeroed."""
    numbers, spelling = _one_vocabulary(chunks)
    terms = max([len(spelling["hashes"]), *(len(chunk.starts) - 1 for chunk in chunks)])
    held = np.zeros(terms, np.int64)
    for chunk, number in zip(chunks, numbers, strict=True):
        held[number] += np.diff(chunk.starts)
    starts = np.concatenate([[0], np.cumsum(held)]).astype(np.int64)
    kind = np.result_type(np.uint8, *(chunk.counts.dtype for chunk in chunks))
    lengths = np.concatenate([np.empty(0, np.int64), *(chunk.lengths for chunk in chunks)])
    codes = length_codes(lengths)
    totals = np.array([np.count_nonzero(lengths), lengths.sum()], np.int64)
    documents = room("documents", int(starts[-1]), np.int32)
    counts = room("counts", int(starts[-1]), kind)
    best = np.zeros(terms, np.float32)
    norm, free, first = norms(totals, k1, b), starts[:-1].copy(), 0
    for chunk, number in zip(chunks, numbers, strict=True):
        for a, z in _slices(chunk.starts):
            begin, end = chunk.starts[a], chunk.starts[z]
            sizes = np.diff(chunk.starts[a : z + 1])
            shift = free[number[a:z]] - chunk.starts[a:z]
            to = np.repeat(shift, sizes) + np.arange(begin, end)
            here = chunk.documents[begin:end] + np.int32(first)
            documents[to] = here
            counts[to] = chunk.counts[begin:end]
            filled = np.flatnonzero(sizes)
            scaled = np.multiply(chunk.counts[begin:end], norm[codes[here]], dtype=np.float32)
            highest = np.maximum.reduceat(scaled, (chunk.starts[a:z] - begin)[filled])
            mine = number[a:z][filled]
            best[mine] = np.maximum(best[mine], highest)
        free[number] += np.diff(chunk.starts)
        first += len(chunk.lengths)
    return Postings(
        starts=starts,
        documents=documents,
        counts=counts,
        lengths=codes,
        best=best,
        totals=totals,
        constants=np.array([k1, b], np.float64),
        **spelling,
    )


def _one_vocabulary(chunks: Sequence[Chunk]) -> tuple[list[NDArray[np.int64]], dict[str, Array]]:
    """Each chunk's terms as numbers in the whole, and the whole's spelling."""
    known: dict[bytes, int] = {}
    first_seen: list[NDArray[np.int64]] = []
    for chunk in chunks:
        terms = chunk.terms()
        if not terms:
            first_seen.append(np.arange(len(chunk.starts) - 1))
            continue
        seen = (known.setdefault(term, len(known)) for term in terms)
        first_seen.append(np.fromiter(seen, np.int64, len(terms)))
    order, spelling = spell([term.decode("utf-8", "surrogatepass") for term in known])
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return [rank[seen] if len(known) else seen for seen in first_seen], spelling


def _slices(starts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Ranges of terms that together have some millions of postings, or one term alone."""
    ranges, a = [], 0
    while a < len(starts) - 1:
        z = int(np.searchsorted(starts, starts[a] + _AT_A_TIME, side="right")) - 1
        z = min(max(z, a + 1), len(starts) - 1)
        ranges.append((a, z))
        a = z
    return ranges
