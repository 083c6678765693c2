"""BM25: the formula by hand, the search against scoring everything, and what is kept on disk."""

import json
import math
import pickle
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs.retrieval.bm25.analysis import analyze
from agentgym_envs.retrieval.bm25.build import write_postings
from agentgym_envs.retrieval.bm25.chunks import chunk_of, in_chunks, inverted
from agentgym_envs.retrieval.bm25.index import BM25
from agentgym_envs.retrieval.bm25.merge import merged
from agentgym_envs.retrieval.bm25.postings import LENGTHS, Postings, length_codes

TEXTS = ["red shoes", "red red hat", "a blue hat for the sea", "", "the of and", "green sea sea"]
# Few words and many repetitions, so that scores tie and lists are long.
WORDS = ["pear", "fig", "plum", "kiwi", "lime", "date", "nut", "rye", "oat"]
some_words = st.lists(st.sampled_from(WORDS))
texts = st.lists(some_words.map(" ".join), max_size=30)


def exhaustive(texts: list[str], query: str, k: int, k1: float = 0.9, b: float = 0.4):
    """Every document scored by the formula, nothing skipped: [(score, number)], best first."""
    f = np.float32
    held = [Counter(analyze(text)) for text in texts]
    lengths = [terms.total() for terms in held]
    filled = sum(length > 0 for length in lengths)
    mean = f(sum(lengths) / filled) if filled else f(1)
    found = []
    for number, terms in enumerate(held):
        score, matched = 0.0, False
        for term, wanted in Counter(analyze(query)).items():
            if not terms[term]:
                continue
            having = sum(term in other for other in held)
            w = f(math.log(1 + (filled - having + 0.5) / (having + 0.5))) * f(wanted)
            length = f(LENGTHS[length_codes(np.array([lengths[number]]))[0]])
            norm = f(1) / (f(k1) * ((f(1) - f(b)) + f(b) * length / mean))
            score += float(w - w / (f(1) + f(terms[term]) * norm))
            matched = True
        if matched:
            found.append((float(f(score)), number))
    return sorted(found, key=lambda pair: (-pair[0], pair[1]))[:k]


def pairs(found):
    numbers, scores = found
    return list(zip(scores.tolist(), numbers.tolist(), strict=True))


def test_a_score_by_hand():
    index = BM25.build(["honey jar", "jar"])
    numbers, scores = index.search_one("honey", 3)
    idf = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    norm = 1 / (0.9 * (0.6 + 0.4 * 2 / 1.5))
    assert numbers.tolist() == [0]
    assert scores[0] == pytest.approx(idf * (1 - 1 / (1 + norm)), rel=1e-6)


def test_equal_scores_come_by_ascending_number_and_k_may_cut_between_them():
    index = BM25.build(["plum", "fig", "plum", "plum"])
    assert index.search_one("plum", 2)[0].tolist() == [0, 2]
    assert index.search_one("plum", 9)[0].tolist() == [0, 2, 3]


def test_a_word_asked_twice_weighs_twice():
    index = BM25.build(TEXTS)
    once, twice = index.search_one("hat", 9), index.search_one("hat hats", 9)
    assert np.array_equal(once[0], twice[0])
    assert twice[1] == pytest.approx(2 * once[1])


@pytest.mark.parametrize("query", ["", "the of and", "zebra", "...", "_"])
def test_a_query_without_known_words_finds_nothing(query):
    numbers, scores = BM25.build(TEXTS).search_one(query, 3)
    assert (numbers.dtype, scores.dtype) == (np.int32, np.float32)
    assert len(numbers) == len(scores) == 0


def test_an_index_of_nothing_finds_nothing():
    for nothing in ([], [""], ["the"]):
        index = BM25.build(nothing)
        assert len(index) == len(nothing)
        assert len(index.search_one("anything", 3)[0]) == 0


def test_k_must_be_positive_and_constants_possible():
    index = BM25.build(TEXTS)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        index.search_one("red", 0)
    with pytest.raises(ValueError, match="k1 = -1"):
        BM25.build(TEXTS, k1=-1)
    with pytest.raises(ValueError, match="b = 1.5"):
        BM25.build(TEXTS, b=1.5)
    with pytest.raises(ValueError, match='"numpy" or "numba", not \'fast\''):
        BM25.build(TEXTS, engine="fast")  # pyright: ignore[reportArgumentType]


@given(texts, some_words.map(" ".join), st.integers(1, 40), st.sampled_from([0.0, 0.4, 1.0]))
def test_the_search_equals_scoring_everything(texts, query, k, b):
    index = BM25.build(texts, b=b, engine="numpy")
    assert pairs(index.search_one(query, k)) == exhaustive(texts, query, k, b=b)


def long_lists(documents: int, seed: int) -> BM25:
    """An index of bare term numbers whose lists are long enough for the search to skip."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 120, documents)
    terms = (rng.pareto(0.7, int(lengths.sum())) * 3).astype(np.int64) % 500
    return BM25(merged([inverted(terms, lengths, 500)], 0.9, 0.4), engine="numpy")


def all_scores(index: BM25, terms: list[int]) -> list[tuple[float, int]]:
    """Every score, added up from one-term searches."""
    sums = Counter()
    for term in terms:
        numbers, scores = index.search_terms([term], len(index))
        sums.update(dict(zip(numbers.tolist(), scores.astype(np.float64).tolist(), strict=True)))
    rounded = ((float(np.float32(score)), number) for number, score in sums.items())
    return sorted(rounded, key=lambda pair: (-pair[0], pair[1]))


@pytest.mark.parametrize("k", [1, 3, 50])
def test_skipping_changes_nothing_where_lists_are_long(k):
    index = long_lists(4000, seed=k)
    rng = np.random.default_rng(k)
    for _ in range(40):
        terms = [int(term) for term in {*rng.integers(0, 6, 3), *rng.integers(6, 500, 4)}]
        assert pairs(index.search_terms(terms, k)) == all_scores(index, terms)[:k]


@given(texts, some_words.map(" ".join))
def test_arrays_make_the_same_index(texts, query):
    index = BM25.build(texts)
    again = BM25.from_arrays(index.arrays())
    assert pairs(again.search_one(query, 5)) == pairs(index.search_one(query, 5))


@given(texts, st.integers(1, 60))
def test_chunks_make_the_same_index_as_one(texts, characters):
    whole = merged([chunk_of(texts)], 0.9, 0.4).arrays()
    parts = merged([chunk_of(run) for run in in_chunks(texts, characters)], 0.9, 0.4).arrays()
    for name, array in whole.items():
        assert array.dtype == parts[name].dtype
        assert np.array_equal(array, parts[name]), name


@given(texts, some_words.map(" ".join))
def test_a_document_of_other_words_moves_scores_only_through_idf_and_mean_length(texts, query):
    """With b = 0 the length is out, and what is left is the idf of one document more."""
    before, after = BM25.build(texts, b=0.0), BM25.build([*texts, "zebra quagga"], b=0.0)
    numbers, _ = after.search_one(query, 99)
    assert set(numbers.tolist()) == set(before.search_one(query, 99)[0].tolist())
    assert pairs(after.search_one(query, 99)) == exhaustive(
        [*texts, "zebra quagga"], query, 99, b=0
    )
    for name in ("documents", "counts"):
        held = before.arrays()[name].size
        assert after.arrays()[name].size == held + 2


def test_a_length_is_exact_below_40_and_never_rounded_up():
    lengths = np.arange(10_000)
    kept = LENGTHS[length_codes(lengths)]
    assert np.array_equal(kept[:40], lengths[:40])
    assert kept[40:44].tolist() == [40, 40, 42, 42]
    assert (kept <= lengths).all() and (kept >= lengths * 0.87).all()
    assert LENGTHS[255] == 2_013_265_944


def test_a_word_may_occur_more_often_than_a_byte_counts():
    index = BM25.build(["fig " * 70_000 + "nut", "fig", "nut " * 300])
    assert index.arrays()["counts"].dtype == np.uint32
    wanted = exhaustive(["fig " * 70_000 + "nut", "fig", "nut " * 300], "fig nut", 3)
    assert pairs(index.search_one("fig nut", 3)) == wanted


def test_terms_that_hash_alike_are_told_apart():
    # crc32 gives both words the same code.
    index = BM25.build(["plumless", "buckeroo"])
    assert len(set(index.arrays()["hashes"].tolist())) == 1
    assert index.search_one("plumless", 3)[0].tolist() == [0]
    assert index.search_one("buckeroo", 3)[0].tolist() == [1]


def test_a_saved_index_answers_the_same(tmp_path):
    index = BM25.build(TEXTS, k1=1.2, b=0.75, corpus="six texts")
    index.save(tmp_path)
    again = BM25.open(tmp_path, corpus="six texts", verify=True)
    assert again.constants == (1.2, 0.75) and len(again) == len(TEXTS)
    for query in ("red hat", "sea", "zebra"):
        assert pairs(again.search_one(query, 9)) == pairs(index.search_one(query, 9))


@pytest.mark.parametrize("folder", ["", "saved"])
def test_an_index_pickles(tmp_path, folder):
    index = BM25.build(TEXTS)
    if folder:
        index.save(tmp_path / folder)
        index = BM25.open(tmp_path / folder)
    packed = pickle.dumps(index)
    assert pairs(pickle.loads(packed).search_one("red hat", 9)) == pairs(
        index.search_one("red hat", 9)
    )


def test_a_folder_without_an_index_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished BM25 index"):
        BM25.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "recipe"}')
    with pytest.raises(ValueError, match="does not describe a BM25 index"):
        BM25.open(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("version", 99, "index format 99"),
        ("analyser", "latin-7", "analyser 'latin-7'"),
        ("corpus", "other", "corpus 'other', not 'mine'"),
        ("documents", 7, "not those of its manifest"),
        ("check", {"query": "red", "numbers": [5], "scores": [1.0]}, "does not find"),
    ],
)
def test_another_index_is_refused(tmp_path, key, value, said):
    BM25.build(TEXTS, corpus="mine").save(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ValueError, match=said):
        BM25.open(tmp_path, corpus="mine")


def test_damage_is_noticed(tmp_path):
    BM25.build(TEXTS).save(tmp_path)
    path = tmp_path / "lengths.npy"
    array = np.load(path)
    np.save(path, array[::-1])
    with pytest.raises(ValueError, match=r"lengths\.npy is not what was written"):
        BM25.open(tmp_path)
    path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(ValueError, match="has 90 bytes, not the 134 that were written"):
        BM25.open(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"lengths\.npy is missing"):
        BM25.open(tmp_path)


def test_damage_is_found_by_a_sample_at_opening_and_to_the_last_bit_on_demand(tmp_path):
    """A quarter of a file lost shows at once; one flipped bit, wherever it is, when all is read."""
    long_lists(20_000, seed=0).save(tmp_path / "index")
    path = tmp_path / "index" / "documents.npy"
    held = path.read_bytes()
    quarter = len(held) // 4
    path.write_bytes(held[:quarter] + bytes(quarter) + held[2 * quarter :])
    with pytest.raises(ValueError, match=r"documents\.npy is not what was written"):
        BM25.open(tmp_path / "index")
    flipped = bytearray(held)
    flipped[len(held) // 2] ^= 1  # between two blocks of the sample
    path.write_bytes(flipped)
    BM25.open(tmp_path / "index")
    with pytest.raises(ValueError, match=r"documents\.npy is not what was written"):
        BM25.open(tmp_path / "index", verify=True)


def test_nothing_is_written_over(tmp_path):
    index = BM25.build(TEXTS, corpus="mine")
    index.save(tmp_path / "index")
    for again in (index, BM25.open(tmp_path / "index")):
        with pytest.raises(FileExistsError, match="is not empty"):
            again.save(tmp_path / "index")
    with pytest.raises(ValueError, match="corpus 'mine', not 'other'"):
        BM25.build_in(tmp_path / "index", ["red"], corpus="other")
    with pytest.raises(ValueError, match="has k1 = 0.9, not 1.2"):
        BM25.build_in(tmp_path / "index", TEXTS, corpus="mine", k1=1.2)
    with pytest.raises(FileExistsError, match="an index already"):
        BM25.build_in(tmp_path / "index", ["red"])
    opened = BM25.build_in(tmp_path / "index", [], corpus="mine")  # finished: no text is read
    assert pairs(opened.search_one("red hat", 9)) == pairs(index.search_one("red hat", 9))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years")
    with pytest.raises(FileExistsError, match=r"holds thesis\.tex"):
        BM25.build_in(tmp_path / "home", TEXTS, corpus="mine")
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["thesis.tex"]


def test_arrays_that_do_not_belong_together_are_refused():
    arrays = BM25.build(TEXTS).arrays()
    with pytest.raises(ValueError, match="these arrays are not one index"):
        Postings.from_arrays({**arrays, "counts": arrays["counts"][:-1]})


def test_a_built_folder_is_the_saved_index_byte_for_byte(tmp_path):
    told = []
    BM25.build(TEXTS, corpus="c").save(tmp_path / "saved")
    BM25.build_in(tmp_path / "built", TEXTS, corpus="c", progress=told.append)
    assert told == sorted(told) and told[-1] == len(TEXTS)
    built, saved = ({p.name: p.read_bytes() for p in (tmp_path / kind).iterdir()}
                    for kind in ("built", "saved"))  # fmt: skip
    assert built == saved


MANY = [f"{word} number {at}" for at, word in enumerate(["fig", "nut", "rye"] * 20)]
CHUNKS = {"corpus": "c", "k1": 0.9, "b": 0.4, "characters": 100}


def stopped_after(count: int):
    yield from islice(MANY, count)
    raise KeyboardInterrupt


def equal(postings: Postings, other: Postings) -> bool:
    arrays, others = postings.arrays(), other.arrays()
    return all(np.array_equal(arrays[name], others[name]) for name in arrays)


@pytest.fixture
def analysed(monkeypatch):
    """The sizes of the chunks that are made."""
    sizes: list[int] = []

    def counted(run):
        sizes.append(len(run))
        return chunk_of(run)

    monkeypatch.setattr("agentgym_envs.retrieval.bm25.build.chunk_of", counted)
    return sizes


def test_an_interrupted_build_goes_on_where_it_stopped(tmp_path, analysed):
    with pytest.raises(KeyboardInterrupt):
        write_postings(stopped_after(45), tmp_path, **CHUNKS)
    before = sum(analysed)
    with pytest.raises(ValueError, match="unfinished build of something else"):
        write_postings(MANY, tmp_path, **{**CHUNKS, "corpus": "d"})
    postings = write_postings(MANY, tmp_path, **CHUNKS)
    assert before > 40 and sum(analysed) == len(MANY)
    assert equal(postings, merged([chunk_of(MANY)], 0.9, 0.4))


@pytest.mark.parametrize("damage", ["emptied", "flipped", "gone"])
def test_a_damaged_chunk_is_made_again_and_no_other(tmp_path, analysed, damage):
    with pytest.raises(KeyboardInterrupt):
        write_postings(stopped_after(45), tmp_path, **CHUNKS)
    second = sorted(path for path in (tmp_path / "building").iterdir() if path.is_dir())[1]
    file = second / "documents.npy"
    if damage == "emptied":
        file.write_bytes(b"")
    elif damage == "flipped":
        file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    else:
        file.unlink()
    remade = len(np.load(second / "lengths.npy"))
    postings = write_postings(MANY, tmp_path, **CHUNKS)
    assert sum(analysed) == len(MANY) + remade
    assert equal(postings, merged([chunk_of(MANY)], 0.9, 0.4))


@pytest.mark.parametrize("at", ["write_manifest", "discard_chunks"])
def test_a_build_that_stops_at_its_end_loses_nothing(tmp_path, analysed, monkeypatch, at):
    """Before the manifest all chunks are there; after it the index is, whatever lies beside it."""

    def stop(folder, *rest):
        if at == "discard_chunks":
            (folder / "building" / "settings.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as stopping:
        stopping.setattr(f"agentgym_envs.retrieval.bm25.index.{at}", stop)
        with pytest.raises(KeyboardInterrupt):
            BM25.build_in(tmp_path / "index", MANY, corpus="c")
    index = BM25.build_in(tmp_path / "index", MANY, corpus="c")
    assert sum(analysed) == len(MANY)
    assert equal(index.postings, merged([chunk_of(MANY)], 0.9, 0.4))
    assert not (tmp_path / "index" / "building").exists()


def test_of_several_processes_one_builds_and_the_others_wait(tmp_path):
    """As two seeds of a comparison do, which begin at one moment over one folder."""
    program = (
        "import sys, time\n"
        "from agentgym_envs.retrieval.bm25 import build, index\n"
        "made = build.chunk_of\n"
        "build.chunk_of = lambda run: (print('analysed'), time.sleep(0.3), made(run))[2]\n"
        "texts = [f'fig number {i}' for i in range(1000)]\n"
        "found = index.BM25.build_in(sys.argv[1], texts, corpus='c').search_one('fig 77', 1)[0]\n"
        "print(found.tolist())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "index")]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = [process.communicate(timeout=120) for process in started]
    assert [said for said, _ in told if not said.endswith("[77]\n")] == [], told
    assert sum(said.count("analysed") for said, _ in told) == 1
    assert not (tmp_path / "index" / ".lock").exists()


def test_several_processes_build_the_same(tmp_path):
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
    alone = write_postings(MANY, tmp_path / "1", **CHUNKS)
    both = write_postings(MANY, tmp_path / "2", **CHUNKS, processes=2)
    assert equal(alone, both)


def test_threads_share_an_index():
    index = long_lists(3000, seed=9)
    rng = np.random.default_rng(9)
    queries = [rng.integers(0, 500, 5).tolist() for _ in range(60)]
    alone = [pairs(index.search_terms(query, 10)) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda query: pairs(index.search_terms(query, 10)), queries))
    assert together == alone


def test_a_term_that_no_document_has_finds_nothing():
    index = BM25(merged([inverted(np.array([0, 2]), np.array([1, 1]), 4)], 0.9, 0.4))
    assert index.search_terms([1, 3], 5)[0].tolist() == []
    assert index.search_terms([1, 2], 5)[0].tolist() == [1]


def test_term_numbers_outside_the_index_are_refused():
    with pytest.raises(IndexError, match="numbered 0 to"):
        BM25.build(TEXTS).search_terms([-1], 3)


def test_numba_missing_is_said_and_auto_does_without(monkeypatch):
    monkeypatch.setattr("agentgym_envs.retrieval.bm25.index.find_spec", lambda name: None)
    monkeypatch.setattr("agentgym_envs.retrieval.bm25.index._SMALL", 0)
    assert BM25.build(TEXTS).engine == "numpy"
    with pytest.raises(ImportError, match=re.escape("pip install numba")):
        BM25.build(TEXTS, engine="numba")


def test_importing_bm25_imports_no_numba():
    code = "import sys, agentgym_envs.retrieval.bm25.index; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
