"""An inverted index as plain arrays, and the arithmetic of BM25 as Lucene does it."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# A document's length in one byte: exact below 40, then three bits after the leading one.
_FREE = 24


def _length_of(code: int) -> int:
    if code < _FREE:
        return code
    mantissa, shift = (code - _FREE) & 7, ((code - _FREE) >> 3) - 1
    return _FREE + (mantissa if shift < 0 else (mantissa | 8) << shift)


LENGTHS = np.array([_length_of(code) for code in range(256)], np.int64)
# Keeps every part of a score above zero; reached by documents a million times the mean length.
_SMALLEST_NORM = 2.0**-20


def length_codes(lengths: Array) -> NDArray[np.uint8]:
    """Terms per document [N] -> one byte each [N], rounded down to what a byte can say."""
    return (np.searchsorted(LENGTHS, lengths, side="right") - 1).astype(np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Postings:
    """N documents, V terms, P postings. Terms are in order of (crc32, UTF-8 bytes).

    `starts` [V + 1]: where each term's postings begin. `documents` [P] int32, ascending within a
    term. `counts` [P]: how often the term occurs there, in the smallest unsigned type that fits.
    `lengths` [N] uint8: coded lengths. `best` [V] float32: the largest count x norm of a term.
    `hashes` [V] uint32, `spelling` [bytes] uint8 and `spelling_starts` [V + 1]: the terms; empty
    for an index of bare term numbers. `totals` [2] int64: documents with any term, terms in all.
    `constants` [2] float64: k1 and b.

    Raises ValueError when the arrays cannot belong together.
    """

    starts: NDArray[np.int64]
    documents: NDArray[np.int32]
    counts: NDArray[np.unsignedinteger]
    lengths: NDArray[np.uint8]
    best: NDArray[np.float32]
    hashes: NDArray[np.uint32]
    spelling: NDArray[np.uint8]
    spelling_starts: NDArray[np.int64]
    totals: NDArray[np.int64]
    constants: NDArray[np.float64]

    def __post_init__(self) -> None:
        terms = len(self.starts) - 1
        agree = (
            terms >= 0
            and len(self.best) == terms
            and len(self.documents) == len(self.counts) == self.starts[-1]
            and len(self.hashes) == len(self.spelling_starts) - 1
            and len(self.hashes) in (0, terms)
            and len(self.spelling) == self.spelling_starts[-1]
            and len(self.totals) == len(self.constants) == 2
        )
        if not agree:
            sizes = {name: len(array) for name, array in self.arrays().items()}
            raise ValueError(f"these arrays are not one index; build it anew. Sizes: {sizes}")

    def arrays(self) -> dict[str, Array]:
        """Every array by name; `Postings(**arrays)` makes the same index."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> "Postings":
        """The index of such arrays, memory-mapped or not. Raises ValueError when some are amiss."""
        wanted = {field.name for field in fields(cls)}
        if set(arrays) != wanted:
            raise ValueError(
                f"an index has the arrays {sorted(wanted)}, not {sorted(arrays)}; build it anew"
            )
        # Plain views: slicing a memory map as such takes several times longer.
        return cls(**{name: np.asarray(array) for name, array in arrays.items()})

    def norms(self) -> NDArray[np.float32]:
        """1 / (k1 (1 - b + b length / mean)) for every length code [256]."""
        return norms(self.totals, *self.constants)

    def weight(self, term: int, count: int = 1) -> np.float32:
        """The idf of a term times its count in a query."""
        held = int(self.starts[term + 1] - self.starts[term])
        rarity = (int(self.totals[0]) - held + 0.5) / (held + 0.5)
        return np.float32(math.log(1.0 + rarity)) * np.float32(count)


def norms(totals: Array, k1: float, b: float) -> NDArray[np.float32]:
    """What a count is multiplied by, per length code [256]. All in single precision, as Lucene."""
    documents, terms = (int(total) for total in totals)
    mean = np.float32(terms / documents) if documents else np.float32(1)
    scale, share, one = np.float32(k1), np.float32(b), np.float32(1)
    with np.errstate(divide="ignore"):
        norm = one / (scale * ((one - share) + share * LENGTHS.astype(np.float32) / mean))
    return np.maximum(norm, np.float32(_SMALLEST_NORM))


class Vocabulary:
    """Finds a term's number. Looks it up in the arrays, so that opening an index reads nothing."""

    def __init__(self, postings: Postings) -> None:
        # Memory views index several times faster than arrays, one element at a time.
        self._hashes = postings.hashes.data
        self._spelling = postings.spelling.data
        self._starts = postings.spelling_starts.data

    def spelling(self, number: int) -> str:
        """The term of that number."""
        spelt = bytes(self._spelling[self._starts[number] : self._starts[number + 1]])
        return spelt.decode("utf-8", "surrogatepass")

    def find(self, term: str) -> int:
        """The number of a term, -1 where no document has it."""
        spelt = term.encode("utf-8", "surrogatepass")
        code = crc32(spelt)
        at = bisect_left(self._hashes, code)
        while at < len(self._hashes) and self._hashes[at] == code:
            if self._spelling[self._starts[at] : self._starts[at + 1]] == spelt:
                return at
            at += 1
        return -1


def spell(terms: Sequence[str]) -> tuple[list[int], dict[str, Array]]:
    """Terms -> their order by (crc32, bytes), and the three arrays that spell them."""
    spelt = [term.encode("utf-8", "surrogatepass") for term in terms]
    codes = [crc32(word) for word in spelt]
    order = sorted(range(len(terms)), key=lambda number: (codes[number], spelt[number]))
    ends = np.cumsum([0, *(len(spelt[number]) for number in order)], dtype=np.int64)
    return order, {
        "hashes": np.array([codes[number] for number in order], np.uint32),
        "spelling": np.frombuffer(b"".join(spelt[number] for number in order), np.uint8),
        "spelling_starts": ends,
    }
