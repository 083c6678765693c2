"""A corpus, an encoder and an index of its vectors, together a retriever."""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from agentgym_envs.retrieval.corpus import Corpus
from agentgym_envs.retrieval.types import Hit, RetrievalError


class QueryEncoder(Protocol):
    """What makes vectors of queries: `encoder.Encoder`, or anything with these three."""

    @property
    def dimension(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray: ...


class Index(Protocol):
    """Vectors that can be searched: `flat.FlatIndex`, `faiss_index.FaissIndex`."""

    @property
    def count(self) -> int: ...

    @property
    def dimension(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """[B, dimension] -> rows [B, k'] (-1: none), scores [B, k'], best first."""
        ...


class DenseRetriever:
    """Finds passages by the nearness of vectors."""

    def __init__(self, corpus: Corpus, encoder: QueryEncoder, index: Index) -> None:
        """Raises ValueError where the three do not fit together."""
        for what, found, wanted in (
            ("vectors, and the corpus {:,} passages", index.count, len(corpus)),
            ("numbers a vector, and the encoder {:,}", index.dimension, encoder.dimension),
        ):
            if found != wanted:
                raise ValueError(f"the index has {found:,} {what.format(wanted)}")
        self.corpus, self.encoder, self.index = corpus, encoder, index
        parts = (corpus.fingerprint, encoder.fingerprint, index.fingerprint)
        dtype = getattr(encoder, "dtype", "")
        self._fingerprint = hashlib.sha256(repr(("dense", *parts, dtype)).encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best `k` passages of each query by inner product. Raises RetrievalError."""
        if not queries:
            return []
        try:
            rows, scores = self.index.search(self.encoder.encode_queries(queries), k)
        except RuntimeError as error:  # torch's and faiss's own: a device lost, memory gone
            raise RetrievalError(
                f"dense search of {len(queries)} queries failed: {error}"
            ) from error
        return [
            [
                Hit(self.corpus.passage(int(row)), float(score))
                for row, score in zip(found, worth, strict=True)
                if row >= 0
            ]
            for found, worth in zip(rows, scores, strict=True)
        ]
