"""BM25 as Lucene scores it, without Java: the same terms, arithmetic, order and scores."""

import math
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agentgym_envs.retrieval.bm25.analysis import analyze
from agentgym_envs.retrieval.bm25.build import (
    LOCK,
    Progress,
    discard_chunks,
    is_finished,
    write_postings,
)
from agentgym_envs.retrieval.bm25.chunks import chunk_of, in_chunks
from agentgym_envs.retrieval.bm25.files import Check, read_index, write_arrays, write_manifest
from agentgym_envs.retrieval.bm25.merge import merged
from agentgym_envs.retrieval.bm25.numpy_search import Found, NumpySearch
from agentgym_envs.retrieval.bm25.postings import Array, Postings, Vocabulary
from agentgym_envs.retrieval.disk import locked, put

Engine = Literal["auto", "numpy", "numba"]
# Below this many documents NumPy is fast enough, and starting numba takes a second.
_SMALL = 5_000


class BM25:
    """An index over numbered documents. Never changes once made; threads share it.

    A document's score is the sum over the query's terms of w - w / (1 + f n), where w is the
    term's idf ln(1 + (N - d + 0.5) / (d + 0.5)) times its count in the query, f its count in the
    document and n = 1 / (k1 (1 - b + b length / mean length)), the length rounded to one byte;
    in single precision, as Lucene's BM25Similarity has it.

    engine: "numpy", "numba" (several times faster, needs numba), or "auto": numba where it is
    installed and the index has 5,000 documents or more. Both find the same. `engine`, the
    attribute, says which it is. Pickles as its folder where it was opened from one.
    """

    def __init__(
        self, postings: Postings, *, engine: Engine = "auto", corpus: str = "", folder: str = ""
    ) -> None:
        self.postings = postings
        self._vocabulary = Vocabulary(postings)
        self._folder = folder
        self.corpus = corpus
        self.engine = _engine(engine, len(postings.lengths))

    @classmethod
    def build(
        cls,
        texts: Iterable[str],
        *,
        k1: float = 0.9,
        b: float = 0.4,
        corpus: str = "",
        engine: Engine = "auto",
    ) -> "BM25":
        """Index texts in memory; the n-th is document n. corpus: its fingerprint, if it has one."""
        _check_constants(k1, b)
        postings = merged([chunk_of(run) for run in in_chunks(texts)], k1, b)
        return cls(postings, engine=engine, corpus=corpus)

    @classmethod
    def build_in(
        cls,
        folder: str | PathLike[str],
        texts: Iterable[str],
        *,
        k1: float = 0.9,
        b: float = 0.4,
        corpus: str = "",
        processes: int = 1,
        progress: Progress | None = None,
        engine: Engine = "auto",
    ) -> "BM25":
        """The index of texts in a folder: opened if it is finished, else made in bounded memory.

        A build that was interrupted goes on where it stopped, given the same texts again. One
        process builds; others that want the same wait for it. corpus: the texts' fingerprint.
        processes: how many analyse texts at once. progress: told the documents done.

        Raises ValueError where an index of something else is in that folder, finished or not, and
        FileExistsError where other things are, or an index and the texts have no fingerprint.
        """
        _check_constants(k1, b)
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        if not is_finished(place):
            with locked(place / LOCK):
                if not is_finished(place):  # still, after waiting
                    made = write_postings(
                        texts,
                        place,
                        corpus=corpus,
                        k1=k1,
                        b=b,
                        processes=processes,
                        progress=progress,
                    )
                    write_manifest(place, made, corpus, cls(made, engine="numpy")._check())
        elif not corpus:
            raise FileExistsError(f"{place} holds an index already: choose another folder")
        discard_chunks(place)
        index = cls.open(place, corpus=corpus, engine=engine)
        for name, found, wanted in zip(("k1", "b"), index.constants, (k1, b), strict=True):
            if not math.isclose(found, wanted, rel_tol=1e-6):
                raise ValueError(
                    f"the index in {place} has {name} = {found:g}, not {wanted:g}: set {name} to "
                    "that, or build into another folder"
                )
        return index

    @classmethod
    def open(
        cls,
        folder: str | PathLike[str],
        *,
        corpus: str | None = None,
        engine: Engine = "auto",
        verify: bool = False,
    ) -> "BM25":
        """The index saved in a folder, memory-mapped: it takes the memory of what is searched.

        corpus: the fingerprint it must have. verify: read all of it and compare its checksums; a
        sample of every file is compared in any case.

        Raises FileNotFoundError where there is none, ValueError for one of another version,
        analyser or corpus, a damaged one, or one that does not find what it found when made.
        """
        postings, corpus, check = read_index(Path(folder), corpus, verify=verify)
        if not check.agrees(*cls(postings, engine="numpy").search_one(check.query, 3)):
            raise ValueError(f"the index in {folder} does not find what it once found: rebuild it")
        return cls(postings, engine=engine, corpus=corpus, folder=str(folder))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], *, engine: Engine = "auto") -> "BM25":
        """The index that `arrays` came from; they may be memory-mapped. Raises ValueError."""
        return cls(Postings.from_arrays(arrays), engine=engine)

    def arrays(self) -> dict[str, Array]:
        """All there is to keep, by name."""
        return self.postings.arrays()

    def save(self, folder: str | PathLike[str]) -> None:
        """Write the index into a new or empty folder. Raises FileExistsError for any other."""
        place = Path(folder)
        if place.exists() and any(place.iterdir()):
            raise FileExistsError(f"{place} is not empty: an index needs a folder of its own")
        draft = place.with_name(f"{place.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        write_arrays(self.arrays(), draft)
        write_manifest(draft, self.postings, self.corpus, self._check())
        put(draft, place)

    def __len__(self) -> int:
        return len(self.postings.lengths)

    @property
    def constants(self) -> tuple[float, float]:
        """k1 and b."""
        k1, b = self.postings.constants.tolist()
        return k1, b

    def search_one(self, query: str, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The best `k` documents, best first: numbers and scores; equal scores by number.

        Fewer than `k` where fewer have any of the query's terms. Raises ValueError for k < 1.
        """
        find = self._vocabulary.find
        wanted = Counter(find(term) for term in analyze(query))
        wanted.pop(-1, None)
        return self._top(wanted, k)

    def search(self, queries: Sequence[str], k: int) -> list[Found]:
        """`search_one` for each query."""
        return [self.search_one(query, k) for query in queries]

    def search_terms(self, terms: Sequence[int], k: int) -> Found:
        """The same for term numbers in place of a text; a repeated number counts again.

        Raises ValueError for k < 1 and IndexError for a number that is no term's.
        """
        size = len(self.postings.starts) - 1
        if not all(0 <= term < size for term in terms):
            raise IndexError(f"terms are numbered 0 to {size - 1}, not all of {list(terms)} are")
        starts = self.postings.starts
        held = [term for term in terms if starts[term] < starts[term + 1]]
        return self._top(Counter(held), k)

    def _top(self, wanted: Mapping[int, int], k: int) -> Found:
        if k < 1:
            raise ValueError(f"k is how many documents are wanted, at least 1, not {k}")
        if not wanted:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        return self._searcher.top(list(wanted), list(wanted.values()), k)

    @cached_property
    def _searcher(self):
        # On first use: importing numba takes longer than opening an index.
        if self.engine == "numpy":
            return NumpySearch(self.postings)
        from agentgym_envs.retrieval.bm25.numba_search import NumbaSearch

        return NumbaSearch(self.postings)

    def _check(self) -> Check:
        """A query of three terms, none of them in very many documents."""
        size = len(self.postings.hashes)
        some = range(0, size, max(size // 1000, 1))
        held = {term: int(np.diff(self.postings.starts[term : term + 2])[0]) for term in some}
        common = sorted((term for term in some if held[term] <= 1000), key=lambda t: -held[t])
        query = " ".join(self._vocabulary.spelling(term) for term in common[:3])
        numbers, scores = self.search_one(query, 3)
        return Check(query=query, numbers=numbers.tolist(), scores=scores.tolist())

    def __reduce__(self):
        return _unpickled, (self._folder, self.corpus, self.engine, self._folder or self.arrays())


def _unpickled(folder: str, corpus: str, engine: Engine, arrays: Mapping[str, Array]) -> BM25:
    if folder:
        return BM25.open(folder, corpus=corpus, engine=engine)
    return BM25(Postings.from_arrays(arrays), engine=engine, corpus=corpus)


def _engine(wanted: Engine, documents: int) -> Literal["numpy", "numba"]:
    if wanted == "numpy":
        return "numpy"
    installed = find_spec("numba") is not None
    if wanted == "auto":
        return "numba" if installed and documents >= _SMALL else "numpy"
    if wanted != "numba":
        raise ValueError(f'engine is "auto", "numpy" or "numba", not {wanted!r}')
    if not installed:
        raise ImportError('engine "numba" needs numba: pip install numba, or take "numpy"')
    return "numba"


def _check_constants(k1: float, b: float) -> None:
    if not (0 <= k1 < float("inf") and 0 <= b <= 1):
        raise ValueError(f"k1 is at least 0 and b from 0 to 1, not k1 = {k1}, b = {b}")
