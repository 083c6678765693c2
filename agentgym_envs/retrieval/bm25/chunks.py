"""From texts to an inverted index: a chunk of documents at a time, then all chunks merged."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from agentgym_envs.retrieval.bm25.analysis import term, words
from agentgym_envs.retrieval.bm25.postings import Array, spell

# A chunk's documents are counted in one sort; this many characters keep that below 1 GB.
CHUNK_CHARACTERS = 50_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chunk:
    """The postings of some consecutive documents, numbered from 0 within the chunk.

    Arrays as in `Postings`; `lengths` [N] int64 are exact.
    """

    starts: NDArray[np.int64]
    documents: NDArray[np.int32]
    counts: NDArray[np.unsignedinteger]
    lengths: NDArray[np.int64]
    hashes: NDArray[np.uint32]
    spelling: NDArray[np.uint8]
    spelling_starts: NDArray[np.int64]

    def arrays(self) -> dict[str, Array]:
        """Every array by name; `Chunk(**arrays)` makes the same chunk."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def terms(self) -> list[bytes]:
        """The terms in UTF-8, in order."""
        spelling, ends = self.spelling.tobytes(), self.spelling_starts.tolist()
        return [spelling[a:b] for a, b in pairwise(ends)]


class _Numbers(dict[str, int]):
    """Word -> the number of its term in this chunk, -1 for stop words; made on first use."""

    def __init__(self) -> None:
        self.terms: dict[str, int] = {}

    def __missing__(self, word: str) -> int:
        found = term(word)
        number = self.terms.setdefault(found, len(self.terms)) if found else -1
        self[word] = number
        return number


def chunk_of(texts: Iterable[str]) -> Chunk:
    """Analyse texts and invert them."""
    numbers = _Numbers()
    number_of = numbers.__getitem__
    stream, lengths = array("i"), array("q")
    for text in texts:
        known = [number for number in map(number_of, words(text)) if number >= 0]
        stream.extend(known)
        lengths.append(len(known))
    order, spelling = spell(list(numbers.terms))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    terms = rank[np.frombuffer(stream, np.int32)] if stream else np.empty(0, np.int64)
    return inverted(terms, np.frombuffer(lengths, np.int64), len(order), spelling)


def inverted(
    terms: NDArray[np.int64],
    lengths: NDArray[np.int64],
    size: int,
    spelling: Mapping[str, Array] | None = None,
) -> Chunk:
    """Term numbers below `size` of documents one after another, and each's length -> a chunk."""
    width = max(len(lengths), 1)
    keys = terms * width + np.repeat(np.arange(len(lengths)), lengths)
    keys.sort()
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    counts = np.diff(first, append=len(keys))
    keys = keys[first]
    held, documents = np.divmod(keys, width)
    starts = np.concatenate([[0], np.cumsum(np.bincount(held, minlength=size))])
    nothing: dict[str, Array] = {
        "hashes": np.empty(0, np.uint32),
        "spelling": np.empty(0, np.uint8),
        "spelling_starts": np.zeros(1, np.int64),
    }
    return Chunk(
        starts=starts.astype(np.int64),
        documents=documents.astype(np.int32),
        counts=counts.astype(np.min_scalar_type(int(counts.max(initial=0)))),
        lengths=lengths,
        **(spelling or nothing),
    )


def in_chunks(texts: Iterable[str], characters: int = CHUNK_CHARACTERS) -> Iterable[Sequence[str]]:
    """Texts in runs of about so many characters: the same runs for the same texts, always."""
    run: list[str] = []
    size = 0
    for text in texts:
        run.append(text)
        size += len(text)
        if size >= characters:
            yield run
            run, size = [], 0
    if run:
        yield run
