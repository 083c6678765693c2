import json
import sys

import numpy as np
import pytest

from agentgym_envs.retrieval.corpus import Corpus
from agentgym_envs.retrieval.open import open_retriever
from agentgym_envs.retrieval.types import Passage

CORPUS = Corpus.of(
    [
        Passage(str(i), f'"{name}"\nAbout the {name}.')
        for i, name in enumerate(["bee", "ant", "owl"])
    ]
)


def first(retriever, query: str) -> str:
    return retriever.search([query], 1)[0][0].passage.title


@pytest.mark.parametrize("settings", ["bm25", {"kind": "bm25", "k1": 1.2, "b": 0.75}])
def test_bm25_needs_nothing(settings):
    assert first(open_retriever(settings, CORPUS), "ants") == "ant"


def test_bm25_keeps_its_index(tmp_path):
    settings = {"kind": "bm25", "folder": str(tmp_path / "index")}
    made, opened = open_retriever(settings, CORPUS), open_retriever(settings, CORPUS)
    assert first(made, "owls") == first(opened, "owls") == "owl"
    assert made.fingerprint == opened.fingerprint
    with pytest.raises(ValueError, match="k1"):
        open_retriever(settings | {"k1": 1.5}, CORPUS)
    with pytest.raises(ValueError, match="corpus"):
        open_retriever(settings, Corpus.of([Passage("0", '"x"\ny')]))


def test_paths_may_be_paths(tmp_path):
    retriever = open_retriever({"kind": "bm25", "folder": tmp_path / "index"}, CORPUS)
    assert first(retriever, "owls") == "owl" and (tmp_path / "index" / "manifest.json").is_file()


LAB = """
class Echo:
    fingerprint = "echo"

    def __init__(self, corpus, times):
        self.corpus, self.times = corpus, times

    def search(self, queries, k):
        return [[query] * self.times for query in queries]


def make(passages, times: int = 1):
    return Echo(passages, times)


def loose(passages, **rest):
    return Echo(passages, rest["times"])
"""


def test_a_kind_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "my_retrievers.py").write_text(LAB)
    monkeypatch.syspath_prepend(str(tmp_path))
    made = open_retriever("my_retrievers:make", CORPUS)
    assert (made.corpus, made.search(["a"], 3)) == (CORPUS, [["a"]])
    assert open_retriever("my_retrievers:make").corpus is None
    for kind in ("my_retrievers:make", "my_retrievers:loose"):
        assert open_retriever({"kind": kind, "times": 2}).search(["a"], 3) == [["a", "a"]]
    with pytest.raises(ValueError, match="no setting 'time': did you mean 'times'"):
        open_retriever({"kind": "my_retrievers:make", "time": 2})
    with pytest.raises(ValueError, match="times is a whole number, got 'two'"):
        open_retriever({"kind": "my_retrievers:make", "times": "two"})
    with pytest.raises(ValueError, match="'my_retrievers:mkae': my_retrievers has no 'mkae'"):
        open_retriever("my_retrievers:mkae")


def test_hybrid_opens_its_parts():
    settings = {"kind": "hybrid", "depth": 5, "retrievers": ["bm25", {"kind": "bm25", "b": 0.1}]}
    assert first(open_retriever(settings, CORPUS), "owl") == "owl"
    with pytest.raises(ValueError, match="list of settings"):
        open_retriever({"kind": "hybrid", "retrievers": "bm25"}, CORPUS)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("bm52", "'bm52': did you mean 'bm25'"),
        ("zebra", "there are bm25, e5, faiss, lucene, hybrid, http"),
        ({}, "need `kind`"),
        ({"kind": ["bm25"]}, "`kind` is a text, got ['bm25']"),
        (3, "a kind, an address or a table of settings, got 3"),
        ({"kind": "bm25", "k1": "0.9"}, "k1 is a number, got '0.9'"),
        ({"kind": "bm25", "processes": 2.0}, "processes is a whole number, got 2.0"),
        ({"kind": "bm25", "processes": True}, "processes is a whole number, got True"),
        ({"kind": "bm25", "folder": 3}, "folder is a text or a path or null, got 3"),
        ({"kind": "http", "url": "http://x", "attempts": "3"}, "attempts is a whole number"),
        ({"kind": "bm25", "floder": "x"}, "'floder': did you mean 'folder'"),
        ({"kind": "bm25", "corpus": "x"}, "no setting 'corpus'"),
        ("e5", "needs `model`, `vectors`"),
        ({"kind": "e5", "model": "m", "vectors": "v", "encodings": {}}, "did you mean 'encoding'"),
        (
            {"kind": "e5", "model": "m", "vectors": "v", "encoding": {"query_prefx": ""}},
            "'query_prefx': did you mean 'query_prefix'",
        ),
        ({"kind": "hybrid", "retrievers": ["bm25", "bm2"]}, "did you mean 'bm25'"),
        ({"kind": "lucene", "index": "x", "K1": 1}, "did you mean 'k1'"),
    ],
)
def test_a_wrong_setting_is_named_with_its_nearest(settings, said):
    pytest.importorskip("torch", reason="the encoder's settings are checked where it is made")
    with pytest.raises(ValueError, match="retriever|encoding") as error:
        open_retriever(settings, CORPUS)
    assert said in str(error.value)


def test_a_corpus_is_needed_by_what_has_no_texts_of_its_own():
    with pytest.raises(ValueError, match="'bm25' needs a corpus"):
        open_retriever("bm25")


def test_dense_kinds_open_what_was_built(tmp_path):
    """A model of random weights: the nearest text to a text is that text itself."""
    pytest.importorskip("torch", reason="dense search needs torch")
    transformers = pytest.importorskip("transformers", reason="the encoder")
    pytest.importorskip("faiss", reason="one of the kinds")
    from agentgym_envs.retrieval.dense.build import build_vectors
    from agentgym_envs.retrieval.dense.encoder import Encoder
    from agentgym_envs.retrieval.dense.faiss_index import build_faiss
    from agentgym_envs.retrieval.dense.flat import FlatIndex
    from agentgym_envs.retrieval.dense.retriever import DenseRetriever
    from agentgym_envs.retrieval.dense.vectors import Vectors

    model = tmp_path / "model"
    model.mkdir()
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", '"', *letters]
    words += [f"##{one}" for one in letters]
    (model / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(vocab=str(model / "vocab.txt")).save_pretrained(model)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    transformers.BertModel(config).save_pretrained(model)

    vectors = build_vectors(CORPUS, Encoder(model), tmp_path / "v", forms=["float32", "int8"])
    build_faiss(vectors, tmp_path / "flat", "Flat")
    common = {"model": str(model), "vectors": str(tmp_path / "v")}
    exact = open_retriever({"kind": "e5", **common, "first": "int8"}, CORPUS)
    faiss = open_retriever({"kind": "faiss", **common, "index": str(tmp_path / "flat")}, CORPUS)
    queries = [passage.contents for passage in CORPUS]
    for retriever in (exact, faiss):
        found = retriever.search(queries, 3)
        assert [hits[0].passage for hits in found] == list(CORPUS)
        assert np.allclose([hits[0].score for hits in found], 1, atol=1e-5)
    assert exact.fingerprint != faiss.fingerprint
    assert exact.search([], 3) == []
    with pytest.raises(ValueError, match="another encoder"):
        open_retriever({"kind": "e5", **common, "encoding": {"pooling": "cls"}}, CORPUS)
    with pytest.raises(ValueError, match="another corpus"):
        open_retriever({"kind": "e5", **common}, Corpus.of([Passage("0", '"x"\ny')]))
    wide = Vectors.of(np.ones((3, 17), np.float32), corpus=CORPUS.fingerprint)
    with pytest.raises(ValueError, match="17 numbers a vector, and the encoder 16"):
        DenseRetriever(CORPUS, Encoder(model), FlatIndex(wide))
    few = Vectors.of(np.ones((2, 16), np.float32), corpus=CORPUS.fingerprint)
    with pytest.raises(ValueError, match="2 vectors, and the corpus 3 passages"):
        DenseRetriever(CORPUS, Encoder(model), FlatIndex(few))
    assert json.loads((tmp_path / "v" / "manifest.json").read_text())["count"] == 3


@pytest.mark.parametrize(
    ("module", "package", "settings"),
    [
        ("torch", "torch", {"kind": "e5", "model": "m", "vectors": "v"}),
        ("transformers", "transformers", {"kind": "faiss", "model": "m", "index": "i"}),
    ],
)
def test_a_package_that_is_missing_is_named(monkeypatch, module, package, settings):
    if module != "torch":
        pytest.importorskip("torch", reason="asked for first")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=f"pip install {package}"):
        open_retriever(settings, CORPUS)


def test_faiss_that_is_missing_is_named(monkeypatch, tmp_path):
    from agentgym_envs.retrieval.dense.faiss_index import FaissIndex

    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ModuleNotFoundError, match="pip install faiss-cpu"):
        FaissIndex(tmp_path / "i", count=1, dimension=1)
