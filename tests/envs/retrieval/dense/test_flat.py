import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym_envs.retrieval.dense.flat import FlatIndex, check_room
from agentgym_envs.retrieval.dense.memory import Room
from agentgym_envs.retrieval.dense.vectors import FORMS, Vectors

pytest.importorskip("torch", reason="dense search needs torch")


def clustered(count: int, dimension: int, seed: int) -> np.ndarray:
    """Unit vectors around count / 50 centres that all lean one way, as encoders' vectors do."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(count // 50, 1), dimension)) + rng.normal(size=dimension)
    rows = centres[rng.integers(len(centres), size=count)]
    rows = rows + 0.5 * rng.normal(size=(count, dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def queries_of(matrix: np.ndarray, count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    near = matrix[rng.integers(len(matrix), size=count)]
    near = near + 0.03 * rng.normal(size=near.shape)
    return (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)


def brute(matrix: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    scores = (queries.astype(np.float64) @ matrix.T.astype(np.float64)).astype(np.float32)
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


@pytest.fixture(scope="module")
def matrix():
    return clustered(5_000, 64, seed=0)


@pytest.mark.parametrize("first", FORMS)
@pytest.mark.parametrize("chunk", [777, 100_000])
def test_every_first_pass_gives_the_exact_answer(matrix, first, chunk):
    queries = queries_of(matrix, 40, seed=1)
    index = FlatIndex(Vectors.of(matrix, corpus="c"), first=first, chunk=chunk)
    rows, scores = index.search(queries, 10)
    assert index.exact
    assert rows.tolist() == brute(matrix, queries, 10).tolist()
    wanted = np.einsum("bd,bkd->bk", queries, matrix[rows])
    np.testing.assert_allclose(scores, wanted, atol=1e-6)


@pytest.mark.parametrize("first", FORMS)
def test_a_query_alone_is_answered_as_in_company(matrix, first):
    queries = queries_of(matrix, 7, seed=2)
    index = FlatIndex(Vectors.of(matrix, corpus="c"), first=first)
    rows, scores = index.search(queries, 5)
    for i, query in enumerate(queries):
        alone = index.search(query[None], 5)
        assert alone[0][0].tolist() == rows[i].tolist()
        assert alone[1][0].tolist() == scores[i].tolist()


def test_many_queries_are_answered_in_parts(matrix):
    queries = queries_of(matrix, 600, seed=7)
    rows, _ = FlatIndex(Vectors.of(matrix, corpus="c"), first="int8").search(queries, 3)
    assert rows.tolist() == brute(matrix, queries, 3).tolist()


@pytest.mark.parametrize("first", FORMS)
def test_ties_go_to_the_smaller_row(matrix, first):
    """300 copies of one vector, far more than are rescored at first."""
    copies = matrix[:1000].copy()
    copies[200:500] = copies[200]
    index = FlatIndex(Vectors.of(copies, corpus="c"), first=first, rescore=8)
    rows, scores = index.search(copies[200:201], 12)
    assert rows.tolist() == [list(range(200, 212))]
    assert len(set(scores[0].tolist())) == 1


def test_near_ties_that_bfloat16_cannot_tell_apart_are_ordered_exactly():
    """All scores lie within 1e-4 of 0.8, where neighbouring bfloat16 numbers are 4e-3 apart."""
    rng = np.random.default_rng(3)
    across = rng.normal(size=(4000, 63)).astype(np.float32)
    across *= 0.6 / np.linalg.norm(across, axis=1, keepdims=True)
    along = (0.8 + 1e-4 * rng.random((4000, 1))).astype(np.float32)
    matrix = np.concatenate([along, across], 1)
    query = np.zeros((1, 64), np.float32)
    query[0, 0] = 1
    rows, _ = FlatIndex(Vectors.of(matrix, corpus="c"), first="bfloat16", rescore=8).search(
        query, 5
    )
    assert rows.tolist() == brute(matrix, query, 5).tolist()


@pytest.mark.parametrize("first", FORMS)
def test_a_row_that_the_first_pass_rounds_away_is_found(first):
    """Half a step of int8 in 63 places: stored as 0, and together the best there is."""
    query = np.full((1, 64), 63**-0.5, np.float32)
    query[0, 0] = 0
    others = np.zeros((2000, 64), np.float32)
    places = np.arange(2000)
    others[places, 1 + places % 63] = 0.2 * np.exp(-places / 400)
    best = np.full((1, 64), 0.0039, np.float32)
    best[0, 0] = 1
    matrix = np.concatenate([others, best])
    rows, _ = FlatIndex(Vectors.of(matrix, corpus="c"), first=first).search(query, 3)
    assert rows.tolist() == [[2000, 0, 1]]


@pytest.mark.parametrize("first", FORMS)
@pytest.mark.parametrize("share", [0.001, 0.5, 1.0])
def test_rows_with_one_number_far_above_the_others(first, share):
    """As some encoders' vectors have, which makes the steps of int8 large."""
    rng = np.random.default_rng(8)
    matrix = rng.normal(size=(20_000, 64)).astype(np.float32)
    matrix[rng.random(20_000) < share, 0] += 60
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    queries = rng.normal(size=(64, 64)).astype(np.float32)
    queries[:, 0] = 0
    index = FlatIndex(Vectors.of(matrix, corpus="c"), first=first, chunk=3000)
    assert index.search(queries, 10)[0].tolist() == brute(matrix, queries, 10).tolist()


def test_a_coarse_product_changes_nothing(matrix):
    """Where torch is allowed to multiply float32 in bfloat16."""
    import torch

    queries = queries_of(matrix, 40, seed=9)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        index = FlatIndex(Vectors.of(matrix, corpus="c"), first="float32", rescore=1)
        rows, _ = index.search(queries, 3)
    finally:
        torch.set_float32_matmul_precision(before)
    assert rows.tolist() == brute(matrix, queries, 3).tolist()


@settings(max_examples=50)
@given(
    numbers=st.lists(st.lists(st.floats(-100, 100, width=32), min_size=6, max_size=6), min_size=1),
    query=st.lists(st.floats(-1, 1, width=32), min_size=6, max_size=6),
    first=st.sampled_from(list(FORMS)),
    stored=st.booleans(),
)
def test_any_rows_are_searched_exactly(numbers, query, first, stored):
    matrix = np.repeat(np.array(numbers, np.float32), 7, 0)
    vectors = Vectors.of(matrix, list(FORMS) if stored else ["float32"], corpus="c")
    asked = np.array([query], np.float32)
    rows, _ = FlatIndex(vectors, first=first, rescore=2).search(asked, 2)
    exact = (matrix.astype(np.float64) @ asked[0].astype(np.float64)).astype(np.float32)
    assert rows[0].tolist() == np.argsort(-exact, kind="stable")[:2].tolist()


@pytest.mark.parametrize("first", FORMS)
@pytest.mark.parametrize("count", [1, 3, 65])
def test_small_corpora_are_answered_whole(first, count):
    matrix = clustered(count, 16, seed=4)
    rows, scores = FlatIndex(Vectors.of(matrix, corpus="c"), first=first).search(matrix[:1], 100)
    assert rows.tolist() == brute(matrix, matrix[:1], 100).tolist()
    assert (np.diff(scores) <= 0).all()


def test_without_float32_the_best_stored_form_decides(matrix):
    vectors = Vectors.of(matrix, ["int8"], corpus="c")
    index = FlatIndex(vectors, first="int8")
    assert not index.exact
    queries = queries_of(matrix, 20, seed=5)
    rows, _ = index.search(queries, 10)
    assert rows.tolist() == brute(vectors.rows(np.arange(5000)), queries, 10).tolist()


def test_no_queries_give_no_answers(matrix):
    rows, scores = FlatIndex(Vectors.of(matrix, corpus="c")).search(np.empty((0, 64)), 3)
    assert rows.shape == scores.shape == (0, 3)


@pytest.mark.parametrize(
    ("queries", "k", "said"),
    [
        (np.ones((1, 63)), 3, r"\[B, 64\]"),
        (np.ones(64), 3, r"\[B, 64\]"),
        (np.ones((1, 64)), 0, "k should be at least 1"),
        (np.full((1, 64), np.nan), 3, "infinity or NaN"),
    ],
)
def test_what_cannot_be_searched_is_refused(matrix, queries, k, said):
    with pytest.raises(ValueError, match=said):
        FlatIndex(Vectors.of(matrix, corpus="c")).search(queries, k)


def test_wrong_settings_are_refused(matrix):
    vectors = Vectors.of(matrix, corpus="c")
    with pytest.raises(ValueError, match="'float16'.*bfloat16"):
        FlatIndex(vectors, first="float16")
    with pytest.raises(ValueError, match="from 1"):
        FlatIndex(vectors, rescore=0)


def test_what_does_not_fit_says_what_would():
    vectors = Vectors.of(np.ones((1000, 64), np.float32), corpus="c")
    check_room(vectors, "float32", Room("cuda:0", 256_000))
    with pytest.raises(MemoryError) as error:
        check_room(vectors, "float32", Room("cuda:0", 130_000))
    said = str(error.value)
    assert "1,000 vectors of 64 numbers in float32 take 0.3 MB" in said
    assert "cuda:0 has 0.1 MB free" in said
    assert 'first="bfloat16" (0.1 MB)' in said and 'first="int8" (0.1 MB)' in said
    with pytest.raises(MemoryError, match="in int8 take"):
        FlatIndex(vectors, first="int8", room=Room("cpu", 1000))


def test_an_accelerator_answers_as_the_processor_does(matrix):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    queries = queries_of(matrix, 40, seed=6)
    for first in FORMS:
        index = FlatIndex(Vectors.of(matrix, corpus="c"), first=first, device="cuda")
        assert index.search(queries, 10)[0].tolist() == brute(matrix, queries, 10).tolist()
        assert index.search(queries[:1], 10)[0].tolist() == brute(matrix, queries[:1], 10).tolist()
