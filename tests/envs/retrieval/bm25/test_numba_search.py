"""The compiled search finds what the NumPy one finds: numbers, order and scores, exactly."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs.retrieval.bm25.chunks import inverted
from agentgym_envs.retrieval.bm25.index import BM25
from agentgym_envs.retrieval.bm25.merge import merged
from agentgym_envs.retrieval.bm25.postings import Postings

pytest.importorskip("numba")

WORDS = ["pear", "fig", "plum", "kiwi", "lime", "date", "nut", "rye", "oat"]
some_words = st.lists(st.sampled_from(WORDS)).map(" ".join)


def both(postings: Postings) -> tuple[BM25, BM25]:
    return BM25(postings, engine="numpy"), BM25(postings, engine="numba")


def same(one, other) -> bool:
    return np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])


def synthetic(documents: int, seed: int) -> Postings:
    """Long lists of few terms and short ones of many."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 60, documents)
    terms = (rng.pareto(0.7, int(lengths.sum())) * 3).astype(np.int64) % 2000
    return merged([inverted(terms, lengths, 2000)], 0.9, 0.4)


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch):
    """Many ranges, so that what carries over from one to the next is tried."""
    from agentgym_envs.retrieval.bm25 import numba_search

    monkeypatch.setattr(numba_search, "RANGE", 700)


@given(st.lists(some_words, max_size=40), some_words, st.integers(1, 50))
def test_small_texts(texts, query, k):
    numpy, numba = both(BM25.build(texts).postings)
    assert (numpy.engine, numba.engine) == ("numpy", "numba")
    assert same(numpy.search_one(query, k), numba.search_one(query, k))


@pytest.mark.parametrize("k", [1, 3, 10, 200])
@pytest.mark.parametrize("documents", [300, 5000])
def test_long_lists(documents, k):
    numpy, numba = both(synthetic(documents, seed=k))
    rng = np.random.default_rng(k)
    for _ in range(100):
        frequent = rng.integers(0, 8, rng.integers(4))
        rare = rng.integers(8, 2000, rng.integers(5))
        terms = [*frequent.tolist(), *rare.tolist(), *rare[:1].tolist()]
        assert same(numpy.search_terms(terms, k), numba.search_terms(terms, k))


def test_more_asked_for_than_there_are_documents():
    numpy, numba = both(synthetic(50, seed=1))
    assert same(numpy.search_terms([0, 1], 1000), numba.search_terms([0, 1], 1000))


def test_counts_beyond_a_byte():
    numpy, numba = both(BM25.build(["fig " * 70_000 + "nut", "fig", "nut " * 300]).postings)
    assert same(numpy.search_one("fig nut", 3), numba.search_one("fig nut", 3))


def test_an_opened_index(tmp_path):
    postings = synthetic(2000, seed=2)
    BM25(postings).save(tmp_path)
    numpy, numba = BM25(postings, engine="numpy"), BM25.open(tmp_path, engine="numba")
    assert same(numpy.search_terms([0, 9, 99], 5), numba.search_terms([0, 9, 99], 5))


def test_auto_takes_numba_for_large_indexes_only():
    assert BM25(synthetic(4999, seed=3)).engine == "numpy"
    assert BM25(synthetic(5000, seed=3)).engine == "numba"


def test_threads_share_an_index():
    _, index = both(synthetic(5000, seed=4))
    rng = np.random.default_rng(4)
    queries = [rng.integers(0, 2000, 5).tolist() for _ in range(100)]
    alone = [index.search_terms(query, 10) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda query: index.search_terms(query, 10), queries))
    assert all(map(same, alone, together))
