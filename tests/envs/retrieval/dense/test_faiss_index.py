import numpy as np
import pytest

from agentgym_envs.retrieval.corpus import Corpus
from agentgym_envs.retrieval.dense.faiss_index import FaissIndex, build_faiss, recall
from agentgym_envs.retrieval.dense.flat import FlatIndex
from agentgym_envs.retrieval.dense.retriever import DenseRetriever
from agentgym_envs.retrieval.dense.vectors import Vectors
from agentgym_envs.retrieval.types import Passage

faiss = pytest.importorskip("faiss", reason="faiss is not installed")
pytest.importorskip("torch", reason="exact search needs torch")

COUNT, DIMENSION = 5_000, 64
SIZES = {"count": COUNT, "dimension": DIMENSION}


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors():
    """Clustered, as the vectors of texts are."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(100, DIMENSION))
    rows = centres[rng.integers(100, size=COUNT)] + 0.5 * rng.normal(size=(COUNT, DIMENSION))
    return Vectors.of(unit(rows), corpus="c", encoder="e")


@pytest.fixture(scope="module")
def queries(vectors):
    rng = np.random.default_rng(1)
    rows = vectors.matrices["float32"][rng.integers(COUNT, size=100)]
    return unit(rows + 0.03 * rng.normal(size=rows.shape))


@pytest.mark.parametrize(
    ("kind", "settings", "least"),
    [
        ("Flat", {}, 1.0),
        ("HNSW16", {"efSearch": 128}, 0.98),
        ("IVF64,SQ8", {"nprobe": 16}, 0.95),
        ("IVF64,Flat", {"nprobe": 64}, 1.0),
        (None, {"nprobe": 283}, 0.95),
    ],
)
def test_each_kind_finds_what_exact_search_finds(tmp_path, vectors, queries, kind, settings, least):
    build_faiss(vectors, tmp_path / "i", kind)
    index = FaissIndex(tmp_path / "i", **SIZES, vectors=vectors.fingerprint, search=settings)
    assert recall(index, FlatIndex(vectors, first="float32"), queries, 10) >= least


def test_recall_is_the_share_found():
    class Fixed:
        def __init__(self, rows):
            self.rows = np.array(rows)

        def search(self, queries, k):
            return self.rows[:, :k], np.zeros((len(self.rows), k))

    exact, found = Fixed([[1, 2, 3, 4], [5, 6, 7, 8]]), Fixed([[4, 9, 1, -1], [5, 6, 7, 8]])
    assert recall(found, exact, np.zeros((2, 1)), 4) == 0.75


def test_a_mapped_index_answers_the_same(tmp_path, vectors, queries):
    build_faiss(vectors, tmp_path / "i", "IVF64,SQ8")
    loaded, mapped = (FaissIndex(tmp_path / "i", **SIZES, mapped=way) for way in (False, True))
    assert loaded.search(queries, 5)[0].tolist() == mapped.search(queries, 5)[0].tolist()
    assert loaded.fingerprint == mapped.fingerprint


def test_settings_are_part_of_the_fingerprint(tmp_path, vectors):
    build_faiss(vectors, tmp_path / "i", "IVF64,SQ8")
    first = FaissIndex(tmp_path / "i", **SIZES, search={"nprobe": 1})
    second = FaissIndex(tmp_path / "i", **SIZES, search={"nprobe": 2})
    assert first.fingerprint != second.fingerprint
    with pytest.raises(ValueError, match="no setting 'efSearch'"):
        FaissIndex(tmp_path / "i", **SIZES, search={"efSearch": 2})


def test_an_index_of_something_else_is_refused(tmp_path, vectors):
    build_faiss(vectors, tmp_path / "i", "Flat")
    with pytest.raises(ValueError, match="5,000 vectors, and 4,999 are called for"):
        FaissIndex(tmp_path / "i", count=4_999, dimension=DIMENSION)
    with pytest.raises(ValueError, match="64 numbers a vector, and 768"):
        FaissIndex(tmp_path / "i", count=COUNT, dimension=768)
    with pytest.raises(ValueError, match="built from other vectors"):
        FaissIndex(tmp_path / "i", **SIZES, vectors="other")
    faiss.write_index(faiss.IndexFlatL2(DIMENSION), str(tmp_path / "far"))
    with pytest.raises(ValueError, match="measures distances"):
        FaissIndex(tmp_path / "far", count=0, dimension=DIMENSION)
    with pytest.raises(FileNotFoundError, match="no faiss index"):
        FaissIndex(tmp_path / "none", **SIZES)
    (tmp_path / "i").write_bytes((tmp_path / "i").read_bytes()[:-4])
    with pytest.raises(ValueError, match="that were written: remove"):
        FaissIndex(tmp_path / "i", **SIZES)


def test_a_file_that_is_there_is_checked_and_never_written_over(tmp_path, vectors):
    path = tmp_path / "i"
    build_faiss(vectors, path, "Flat")
    held, made = path.read_bytes(), path.stat().st_mtime_ns
    build_faiss(vectors, path, "Flat", progress=lambda *done: pytest.fail("built again"))
    assert path.stat().st_mtime_ns == made
    with pytest.raises(ValueError, match="a Flat, not a HNSW16"):
        build_faiss(vectors, path, "HNSW16")
    others = Vectors.of(vectors.matrices["float32"][::-1], corpus="c")
    with pytest.raises(ValueError, match="of other vectors"):
        build_faiss(others, path, "Flat")
    flipped = bytearray(held)
    flipped[len(held) // 2] ^= 1  # between two blocks of the sample
    path.write_bytes(flipped)
    FaissIndex(path, **SIZES)
    with pytest.raises(ValueError, match="is not what was written"):
        build_faiss(vectors, path, "Flat")
    third = len(held) // 3
    path.write_bytes(held[:third] + bytes(third) + held[2 * third :])
    with pytest.raises(ValueError, match="is not what was written"):
        FaissIndex(path, **SIZES)
    (tmp_path / "i.json").unlink()
    with pytest.raises(FileExistsError, match="was not built here"):
        build_faiss(vectors, path, "Flat")


@pytest.mark.parametrize("at", ["write_whole", "put"])
def test_a_build_that_stops_at_its_end_begins_again(tmp_path, vectors, monkeypatch, at):
    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as stopping:
        stopping.setattr(f"agentgym_envs.retrieval.dense.faiss_index.{at}", stop)
        with pytest.raises(KeyboardInterrupt):
            build_faiss(vectors, tmp_path / "i", "Flat")
    assert not (tmp_path / "i").exists()
    build_faiss(vectors, tmp_path / "i", "Flat")
    assert FaissIndex(tmp_path / "i", **SIZES, vectors=vectors.fingerprint).count == COUNT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i", "i.json"]


def test_an_unknown_kind_is_refused(tmp_path, vectors):
    with pytest.raises(ValueError, match="does not know the kind 'Flatt'"):
        build_faiss(vectors, tmp_path / "i", "Flatt")


def test_what_an_index_does_not_find_is_left_out(tmp_path):
    """Two lists and one looked into: fewer hits than passages, no passage number -1."""
    rows = unit(np.array([[1, 0], [1, 0.1], [-1, 0], [-1, 0.1]] * 20))
    vectors = Vectors.of(rows, corpus="c")
    build_faiss(vectors, tmp_path / "i", "IVF2,Flat")
    index = FaissIndex(tmp_path / "i", count=80, dimension=2, search={"nprobe": 1})

    class East:
        fingerprint, dimension = "east", 2

        def encode_queries(self, texts):
            return np.tile(np.array([[1, 0]], np.float32), (len(texts), 1))

    corpus = Corpus.of([Passage(str(i), f'"{i}"\n') for i in range(80)])
    [hits] = DenseRetriever(corpus, East(), index).search(["q"], 60)
    assert len(hits) == 40
    assert {int(hit.passage.id) % 4 for hit in hits} == {0, 1}
