"""Several retrievers as one, by the ranks they give."""

import hashlib
from collections.abc import Sequence

from agentgym_envs.retrieval.types import Hit, Retriever

RANK_CONSTANT = 60  # as Cormack, Clarke and Buettcher (SIGIR 2009) set it


class HybridRetriever:
    """Reciprocal rank fusion: a passage's score is the sum of 1 / (60 + rank) over retrievers.

    Ranks count from 1; a retriever that does not find a passage among its first `depth` adds
    nothing. Ties go to the passage that the earlier retriever ranks higher.
    """

    def __init__(self, retrievers: Sequence[Retriever], *, depth: int = 100) -> None:
        """Raises ValueError for fewer than two retrievers or a depth below 1."""
        if len(retrievers) < 2:
            raise ValueError(f"rank fusion takes two retrievers or more, got {len(retrievers)}")
        if depth < 1:
            raise ValueError(f"depth should be at least 1, got {depth}")
        self.retrievers, self.depth = tuple(retrievers), depth
        parts = ("rank fusion", RANK_CONSTANT, depth, *(one.fingerprint for one in retrievers))
        self._fingerprint = hashlib.sha256(repr(parts).encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best `k` passages of each query. Raises RetrievalError where any retriever does."""
        depth = max(self.depth, k)
        answers = [retriever.search(queries, depth) for retriever in self.retrievers]
        return [fuse(lists)[:k] for lists in zip(*answers, strict=True)]


def fuse(lists: Sequence[Sequence[Hit]]) -> list[Hit]:
    """All passages of these rankings, best first; a passage is known by its id."""
    scores: dict[str, float] = {}
    passages = {}
    for ranking in lists:
        for rank, hit in enumerate(ranking, start=1):
            id = hit.passage.id
            passages.setdefault(id, hit.passage)
            scores[id] = scores.get(id, 0.0) + 1 / (RANK_CONSTANT + rank)
    # A dict keeps its order and so does sorting: ties stay as the earlier lists have them.
    return [Hit(passages[id], scores[id]) for id in sorted(scores, key=lambda id: -scores[id])]
