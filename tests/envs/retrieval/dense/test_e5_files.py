import struct

import numpy as np
import pytest

from agentgym_envs.retrieval.corpus import Corpus
from agentgym_envs.retrieval.dense.e5_files import convert_e5_index, read_header
from agentgym_envs.retrieval.dense.flat import FlatIndex
from agentgym_envs.retrieval.dense.vectors import Vectors
from agentgym_envs.retrieval.types import Passage

faiss = pytest.importorskip("faiss", reason="the files are faiss's own")

MATRIX = np.random.default_rng(0).normal(size=(300, 24)).astype(np.float32)
CORPUS = Corpus.of([Passage(str(i), f'"{i}"\n') for i in range(300)])


@pytest.fixture
def path(tmp_path):
    index = faiss.IndexFlatIP(24)
    index.add(MATRIX)
    faiss.write_index(index, str(tmp_path / "e5_Flat.index"))
    return tmp_path / "e5_Flat.index"


def test_the_header_is_faiss_own(path):
    assert read_header(path) == (300, 24)
    assert path.stat().st_size == 45 + MATRIX.nbytes


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("first", ["float32", "bfloat16", "int8"])
def test_a_converted_index_answers_as_faiss_does(path, tmp_path, copy, first):
    pytest.importorskip("torch", reason="dense search needs torch")
    forms = ["float32", *({first} - {"float32"})]
    convert_e5_index(path, tmp_path / "v", CORPUS, forms=forms, copy=copy)
    assert (tmp_path / "v" / "float32.bin").exists() == copy
    vectors = Vectors.open(tmp_path / "v", corpus=CORPUS.fingerprint)
    vectors.check()
    assert np.array_equal(vectors.rows(np.arange(300)), MATRIX)
    queries = np.random.default_rng(1).normal(size=(20, 24)).astype(np.float32)
    rows, scores = FlatIndex(vectors, first=first).search(queries, 10)
    wanted_scores, wanted = faiss.read_index(str(path)).search(queries, 10)
    assert rows.tolist() == wanted.tolist()
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-5)


def test_int8_alone_is_a_quarter_of_the_size(path, tmp_path):
    vectors = convert_e5_index(path, tmp_path / "v", CORPUS, forms=["int8"])
    assert vectors.best_form == "int8"
    assert (tmp_path / "v" / "int8.bin").stat().st_size == MATRIX.nbytes // 4


def test_an_index_that_moved_is_missed(path, tmp_path):
    convert_e5_index(path, tmp_path / "v", CORPUS)
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"e5_Flat\.index"):
        Vectors.open(tmp_path / "v")


def test_an_index_of_another_corpus_is_refused(path, tmp_path):
    few = Corpus.of([Passage("0", '"0"\n')])
    with pytest.raises(ValueError, match="300 vectors and the corpus 1 passages"):
        convert_e5_index(path, tmp_path / "v", few)


@pytest.mark.parametrize(
    ("at", "format", "value", "said"),
    [
        (0, "4s", b"IxF2", "begins with b'IxF2'"),
        (4, "i", 25, "not 300 x 25"),
        (8, "q", 299, "not 299 x 24"),
        (32, "B", 0, "not trained"),
        (33, "i", 1, "metric is 1"),
        (37, "Q", 7199, "7199 numbers follow"),
    ],
)
def test_every_field_is_checked(path, at, format, value, said):
    held = bytearray(path.read_bytes())
    struct.pack_into(f"<{format}", held, at, value)
    path.write_bytes(held)
    with pytest.raises(ValueError, match="e5_Flat") as error:
        read_header(path)
    assert said in str(error.value)


def test_a_download_cut_short_is_noticed(path):
    held = path.read_bytes()
    path.write_bytes(held[:-1])
    with pytest.raises(ValueError, match="cut short"):
        read_header(path)
    path.write_bytes(held[:20])
    with pytest.raises(ValueError, match="less than the header"):
        read_header(path)


def test_a_flat_index_of_distances_is_refused(tmp_path):
    faiss.write_index(faiss.IndexFlatL2(4), str(tmp_path / "far"))
    with pytest.raises(ValueError, match="inner-product"):
        read_header(tmp_path / "far")
