"""BM25 over a corpus, as a retriever."""

import hashlib
from collections.abc import Sequence
from os import PathLike

from agentgym_envs.retrieval.bm25.analysis import ANALYSER
from agentgym_envs.retrieval.bm25.index import BM25, Engine
from agentgym_envs.retrieval.corpus import Corpus, Progress
from agentgym_envs.retrieval.types import Hit


class BM25Retriever:
    """Passages by BM25 over their contents. Threads share it; it pickles.

    Raises ValueError when the index is not one of this corpus.
    """

    def __init__(self, corpus: Corpus, index: BM25) -> None:
        if index.corpus != corpus.fingerprint or len(index) != len(corpus):
            raise ValueError(
                f"the index is of corpus {index.corpus or 'unknown'} with {len(index)} passages, "
                f"not of {corpus.fingerprint} with {len(corpus)}: build one of this corpus"
            )
        self._corpus = corpus
        self._index = index

    @classmethod
    def build(
        cls,
        corpus: Corpus,
        folder: str | PathLike[str] | None = None,
        *,
        k1: float = 0.9,
        b: float = 0.4,
        processes: int = 1,
        progress: Progress | None = None,
        engine: Engine = "auto",
    ) -> "BM25Retriever":
        """Index a corpus in memory; or open its index in a folder, made there if it is missing.

        progress: passages done, and in all. processes: how many analyse, for a folder. There one
        process builds while others wait, and an interrupted build goes on where it stopped.
        Raises as `BM25.build_in`: also where the folder holds an index of something else.
        """
        named = corpus.fingerprint
        texts = (passage.contents for passage in corpus)
        if folder is None:
            index = BM25.build(texts, k1=k1, b=b, corpus=named, engine=engine)
            return cls(corpus, index)

        def tell(done: int) -> None:
            if progress:
                progress(done, len(corpus))

        index = BM25.build_in(
            folder, texts, k1=k1, b=b, corpus=named, processes=processes, progress=tell,
            engine=engine,
        )  # fmt: skip
        return cls(corpus, index)

    @property
    def fingerprint(self) -> str:
        """Names corpus, analysis and constants; the engines answer alike, so none is in it."""
        k1, b = self._index.constants
        settings = f"bm25 {ANALYSER} {k1} {b} {self._corpus.fingerprint}"
        return hashlib.sha256(settings.encode()).hexdigest()

    @property
    def engine(self) -> str:
        """Which search it uses: `numpy` or `numba`."""
        return self._index.engine

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best `k` passages of each query, best first; fewer where fewer share a term.

        Raises ValueError for k < 1.
        """
        return [
            [
                Hit(self._corpus.passage(number), score)
                for number, score in zip(numbers.tolist(), scores.tolist(), strict=True)
            ]
            for numbers, scores in self._index.search(queries, k)
        ]
