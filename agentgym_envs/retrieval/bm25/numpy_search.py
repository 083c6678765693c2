"""The BM25 search in NumPy: exact, skipping what cannot reach the best k.

Rare terms first, since they are worth most: their postings are added up while a document that has
only the terms still to come could reach the k-th best. From then on no document is admitted, and
the long lists of the frequent terms are only looked up for the few documents that remain.
"""

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agentgym_envs.retrieval.bm25.postings import Postings

Numbers = NDArray[np.int32]
Floats = NDArray[np.float64]
Counts = NDArray[np.unsignedinteger]
Parts = NDArray[np.float32]
Wanted = tuple[int, np.float32]
Found = tuple[NDArray[np.int32], NDArray[np.float32]]

# A list this short is added rather than thought about.
_SHORT = 512
# So many of the best so far are looked up to learn what score can be reached.
_LEADERS = 16
# Sums of bounds are rounded too; nothing is dropped for that.
_SLACK = 1 + 1e-12


class NumpySearch:
    """Searches one index. Threads share it; each has its own scratch memory, 8 bytes a document."""

    def __init__(self, postings: Postings) -> None:
        self._postings = postings
        self._norms = postings.norms()
        self._scratch = threading.local()

    def top(self, terms: list[int], counts: list[int], k: int) -> Found:
        """The best `k` documents for distinct term numbers and how often each is asked for.

        Numbers int32 best first, scores float32; equal scores by ascending number; only documents
        that have one of the terms.
        """
        weights = [self._postings.weight(*pair) for pair in zip(terms, counts, strict=True)]
        bounds = [
            _part(weight, self._postings.best[term])
            for weight, term in zip(weights, terms, strict=True)
        ]
        order = sorted(range(len(terms)), key=lambda at: -bounds[at])
        rest = np.cumsum([0.0] + [float(bounds[at]) for at in reversed(order)])[::-1] * _SLACK
        plan = [(terms[at], weights[at]) for at in order]
        taken, documents, scores, floor = self._admit(plan, rest, k)
        for (term, weight), bound in zip(plan[taken:], rest[taken:], strict=False):
            reach = (scores + bound).astype(np.float32) >= floor
            documents, scores = documents[reach], scores[reach]
            scores += self._looked_up(term, weight, documents)
        return _best(documents, scores.astype(np.float32), k)

    def _admit(
        self, plan: Sequence[Wanted], rest: Floats, k: int
    ) -> tuple[int, Numbers, Floats, np.float32]:
        """Add whole lists until no new document can matter.

        How many lists were added, the documents met, their sums, and a score that k of them reach.
        """
        sums = self._sums()
        admitted: list[Numbers] = []
        size = taken = 0
        floor = np.float32(-1)
        for (term, weight), bound in zip(plan, rest[:-1], strict=True):
            documents, counts = self._list(term)
            if len(documents) > max(_SHORT, size) and size >= k:
                admitted = [np.concatenate(admitted)]
                floor = self._floor(admitted[0], sums[admitted[0]], plan[taken:], k)
                if np.float32(bound) < floor:
                    break
            new = documents[sums[documents] == 0] if admitted else documents
            sums[documents] += self._parts(weight, documents, counts)
            admitted.append(new)
            size += len(new)
            taken += 1
        everyone = np.concatenate(admitted) if admitted else np.empty(0, np.int32)
        scores = sums[everyone]
        sums[everyone] = 0
        return taken, everyone, scores, floor

    def _floor(
        self, documents: Numbers, scores: Floats, plan: Sequence[Wanted], k: int
    ) -> np.float32:
        """A score that k documents are known to reach: the best so far, looked up in all lists."""
        few = max(k, _LEADERS)
        if len(scores) > few:
            leaders = np.argpartition(scores, len(scores) - few)[len(scores) - few :]
            documents, scores = documents[leaders], scores[leaders]
        for term, weight in plan:
            scores = scores + self._looked_up(term, weight, documents)
        return np.float32(np.partition(scores, len(scores) - k)[len(scores) - k])

    def _looked_up(self, term: int, weight: np.float32, documents: Numbers) -> Parts:
        """What a term adds to each of `documents`: 0 where it does not occur."""
        held, counts = self._list(term)
        at = np.minimum(held.searchsorted(documents), len(held) - 1)
        return self._parts(weight, documents, counts[at]) * (held[at] == documents)

    def _parts(self, weight: np.float32, documents: Numbers, counts: Counts) -> Parts:
        """What a term adds to the scores of documents that have it so many times each."""
        norms = self._norms[self._postings.lengths[documents]]
        return _part(weight, np.multiply(counts, norms, dtype=np.float32))

    def _list(self, term: int) -> tuple[Numbers, Counts]:
        begin, end = self._postings.starts[term], self._postings.starts[term + 1]
        return self._postings.documents[begin:end], self._postings.counts[begin:end]

    def _sums(self) -> Floats:
        """This thread's sums, one a document, all zero between searches."""
        sums = getattr(self._scratch, "sums", None)
        if sums is None:
            sums = self._scratch.sums = np.zeros(len(self._postings.lengths))
        return sums


def _part(weight, scaled):
    """What a term adds to a score, in single precision. `scaled`: count x norm, any shape."""
    return weight - weight / (np.float32(1) + scaled)


def _best(documents: Numbers, scores: NDArray[np.float32], k: int) -> Found:
    """The best k in order; equal scores by ascending number."""
    if len(scores) > 4 * k:
        enough = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        documents, scores = documents[enough], scores[enough]
    order = np.lexsort((documents, -scores))[:k]
    return documents[order], scores[order]
