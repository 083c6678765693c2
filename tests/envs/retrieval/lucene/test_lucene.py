import importlib.metadata
import importlib.util
import os
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agentgym_envs.retrieval.corpus import Corpus
from agentgym_envs.retrieval.lucene.java import check_java, placeholder_key
from agentgym_envs.retrieval.lucene.retriever import LuceneRetriever, build_lucene_index
from agentgym_envs.retrieval.types import Passage, RetrievalError

PASSAGES = [
    Passage("a", '"Honey"\nBees make honey from nectar.'),
    Passage("b", '"Wax"\nBees make wax — for combs.'),
    Passage("c", '"Überfluß"\nA river of much water.'),
]
CORPUS = Corpus.of(PASSAGES)


# -- with stand-ins for Java and pyserini


def java(home: Path, version: str, modules: str = "java.base\n") -> Path:
    """A folder with a bin/java that says this version and these modules."""
    path = home / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text(
        f'#!/bin/sh\nif [ "$1" = --list-modules ]; then printf "{modules}"\n'
        f"else echo 'openjdk version \"{version}\"' >&2; fi\n"
    )
    path.chmod(0o755)
    return home


@pytest.fixture
def pyserini(monkeypatch):
    """Says which version of pyserini is installed."""

    def install(version: str) -> None:
        monkeypatch.setattr(importlib.metadata, "version", lambda name: version)

    monkeypatch.delenv("JAVA_HOME", raising=False)
    return install


def test_pyserini_that_is_missing_is_named(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(ModuleNotFoundError, match='pip install pyserini .*"bm25" gives the same'):
        check_java()


def test_java_that_is_missing_is_named(pyserini, monkeypatch, tmp_path):
    pyserini("0.25.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RetrievalError, match=r"0\.25\.0 needs Java 11.*apt install openjdk-17"):
        check_java()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(RetrievalError, match=r"JAVA_HOME is .* no bin/java"):
        check_java()


@pytest.mark.parametrize(
    ("version", "on", "found"),
    [
        ("0.22.1", "11.0.2", 11),
        ("0.25.0", "17.0.15", 17),
        ("0.35.0", "21.0.1", 21),
        ("1.6.0", "25-ea", 25),
    ],
)
def test_a_java_that_is_new_enough_is_taken(pyserini, monkeypatch, tmp_path, version, on, found):
    pyserini(version)
    modules = "java.base@21\njdk.incubator.vector@21\n"
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path / "jdk", on, modules)))
    assert check_java() == found


@pytest.mark.parametrize(
    ("version", "on", "said"),
    [
        ("0.22.1", "1.8.0_382", "needs Java 11, and .* is Java 8: install Java 11 or newer"),
        ("0.35.0", "17.0.15", r'needs Java 21, .* is Java 17.*pip install "pyserini==0\.25\.0"'),
        ("1.6.0", "20", "needs Java 21, .* is Java 20"),
        ("1.6.0", "21.0.8", r"trimmed Java without the module jdk\.incubator\.vector"),
        ("1.6.0", "", "did not say a version"),
    ],
)
def test_a_java_that_will_not_do_is_explained(pyserini, monkeypatch, tmp_path, version, on, said):
    pyserini(version)
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path / "jdk", on)))
    with pytest.raises(RetrievalError, match=said):
        check_java()


def test_a_key_is_there_only_as_long_as_it_is_needed(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with placeholder_key() as environment:
        assert os.environ["OPENAI_API_KEY"] == environment["OPENAI_API_KEY"] != ""
    assert "OPENAI_API_KEY" not in os.environ
    monkeypatch.setenv("OPENAI_API_KEY", "mine")
    with placeholder_key() as environment:
        assert environment["OPENAI_API_KEY"] == "mine"
    assert os.environ["OPENAI_API_KEY"] == "mine"


class Searcher:
    """What of pyserini's LuceneSearcher is used, over three documents."""

    num_docs = 3
    text = True

    def __init__(self, index):
        self.index = index

    @classmethod
    def from_prebuilt_index(cls, name):
        return cls(name) if name == "known" else None

    def set_bm25(self, k1, b):
        self.constants = (k1, b)

    def search(self, query, k):
        if query == "broken":
            raise JavaException("out of heap")
        found = [one for one in PASSAGES if query in one.contents]
        return [types.SimpleNamespace(docid=one.id, score=2 - i) for i, one in enumerate(found)][:k]

    def batch_search(self, queries, ids, k, threads):
        return {id: self.search(query, k) for query, id in zip(queries, ids, strict=True)}

    def doc(self, id):
        line = f'{{"id": "{id}", "contents": "stored"}}' if self.text else None
        return types.SimpleNamespace(raw=lambda: line)


class JavaException(Exception):
    pass


@pytest.fixture
def stub(pyserini, monkeypatch, tmp_path):
    """An index folder, with stand-ins for everything that reads it."""
    pyserini("0.25.0")
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path / "jdk", "17.0.1")))
    searching = types.ModuleType("pyserini.search.lucene")
    searching.LuceneSearcher = type("LuceneSearcher", (Searcher,), {})
    jnius = types.ModuleType("jnius")
    jnius.JavaException = JavaException
    for name, module in (
        ("pyserini", types.ModuleType("pyserini")),
        ("pyserini.search", types.ModuleType("pyserini.search")),
        ("pyserini.search.lucene", searching),
        ("jnius", jnius),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / "segments_1").write_bytes(b"id")
    return types.SimpleNamespace(folder=folder, searcher=searching.LuceneSearcher)


def test_hits_are_passages_of_the_corpus_or_of_the_index(stub):
    [hits, none] = LuceneRetriever(stub.folder, CORPUS).search(["Bees", "nothing"], 5)
    assert [(hit.passage, hit.score) for hit in hits] == [(PASSAGES[0], 2.0), (PASSAGES[1], 1.0)]
    assert none == []
    [hits] = LuceneRetriever(stub.folder).search(["Bees"], 1)
    assert hits[0].passage == Passage("a", "stored")
    stub.searcher.text = False
    with pytest.raises(RetrievalError, match="stores no text of document 'a'"):
        LuceneRetriever(stub.folder).search(["Bees"], 1)


def test_ids_and_scores_need_no_text(stub):
    retriever = LuceneRetriever(stub.folder)
    assert retriever.search_ids(["Bees"], 5) == [(("a", "b"), (2.0, 1.0))]
    assert retriever.search_ids([], 5) == []
    with pytest.raises(ValueError, match="k should be"):
        retriever.search_ids(["Bees"], 0)


def test_an_error_of_java_is_the_retrievers(stub):
    with pytest.raises(RetrievalError, match="out of heap"):
        LuceneRetriever(stub.folder).search(["broken"], 1)


def test_an_index_is_checked_when_it_is_opened(stub, tmp_path):
    with pytest.raises(FileNotFoundError, match="no Lucene index"):
        LuceneRetriever(tmp_path)
    with pytest.raises(ValueError, match="3 documents and the corpus 1 passages"):
        LuceneRetriever(stub.folder, Corpus.of(PASSAGES[:1]))
    with pytest.raises(ValueError, match="knows no prebuilt index 'other'"):
        LuceneRetriever("other", prebuilt=True)
    assert LuceneRetriever("known", prebuilt=True).search_ids(["Wax"], 1)[0][0] == ("b",)


def test_settings_and_files_are_in_the_fingerprint(stub):
    prints = {
        LuceneRetriever(stub.folder).fingerprint,
        LuceneRetriever(stub.folder, k1=1.2).fingerprint,
        LuceneRetriever(stub.folder, b=0.75).fingerprint,
        LuceneRetriever(stub.folder, CORPUS).fingerprint,
    }
    (stub.folder / "segments_1").write_bytes(b"another")
    prints.add(LuceneRetriever(stub.folder).fingerprint)
    assert len(prints) == 5


def test_an_index_is_not_built_over_another(stub):
    with pytest.raises(FileExistsError, match="not empty"):
        build_lucene_index(CORPUS, stub.folder)


def test_a_build_that_fails_says_what_pyserini_said(stub, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\necho no heap left >&2\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(RetrievalError, match="no heap left"):
        build_lucene_index(CORPUS, tmp_path / "new")


COMMAND = """#!/bin/sh
while [ "$1" != --index ]; do shift; done
echo built >> "$2.log"
echo terms > "$2/_0.cfs"
echo segments > "$2/segments_1"
"""


@pytest.fixture
def command(stub, tmp_path, monkeypatch):
    """A stand-in for pyserini's command: it writes two files, and remembers that it ran."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text(COMMAND)
    (tmp_path / "python").chmod(0o755)
    return lambda: (tmp_path / "new.draft.log").read_text().count("built")


def test_an_index_that_is_there_is_checked_and_never_built_over(command, tmp_path):
    build_lucene_index(CORPUS, tmp_path / "new")
    build_lucene_index(CORPUS, tmp_path / "new")
    assert command() == 1
    LuceneRetriever(tmp_path / "new", CORPUS)
    other = Corpus.of([*PASSAGES[:2], Passage("d", "other")])
    for refused in (build_lucene_index, lambda *it: LuceneRetriever(*it[::-1])):
        with pytest.raises(ValueError, match="is of corpus .*, not of"):
            refused(other, tmp_path / "new")
    (tmp_path / "new" / "_0.cfs").write_text("TERMS\n")
    with pytest.raises(ValueError, match=r"_0\.cfs is not what was written"):
        build_lucene_index(CORPUS, tmp_path / "new")
    with pytest.raises(ValueError, match=r"_0\.cfs is not what was written"):
        LuceneRetriever(tmp_path / "new")


def test_a_build_that_stops_begins_again(command, tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as stopping:
        stopping.setattr("agentgym_envs.retrieval.lucene.retriever.put", stop)
        with pytest.raises(KeyboardInterrupt):
            build_lucene_index(CORPUS, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    build_lucene_index(CORPUS, tmp_path / "new")
    assert command() == 2
    LuceneRetriever(tmp_path / "new", CORPUS)


# -- with pyserini itself


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    if importlib.util.find_spec("pyserini") is None:
        pytest.skip("pyserini is not installed")
    folder = tmp_path_factory.mktemp("lucene") / "index"
    build_lucene_index(CORPUS, folder)
    return folder


def test_lucene_finds_and_stores(built):
    retriever = LuceneRetriever(built)
    [bees, river, none] = retriever.search(["bees honey", "rivers", "zebra"], 3)
    assert [hit.passage for hit in bees] == PASSAGES[:2]
    assert [hit.passage for hit in river] == PASSAGES[2:]
    assert none == []
    assert retriever.search(["bees honey"], 3) == [bees]


def test_threads_share_lucene(built):
    retriever = LuceneRetriever(built, CORPUS)
    queries = ["bees honey", "rivers", "wax"] * 10
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: retriever.search([one], 3)[0], queries))
    assert found == retriever.search(queries, 3)


def test_lucene_ranks_as_our_bm25_does(built):
    from agentgym_envs.retrieval.bm25.retriever import BM25Retriever

    ours = BM25Retriever.build(CORPUS, k1=1.2, b=0.75)
    theirs = LuceneRetriever(built, CORPUS, k1=1.2, b=0.75)
    queries = ["bees make", "wax", "much nectar and water"]
    for mine, lucene in zip(ours.search(queries, 3), theirs.search(queries, 3), strict=True):
        assert [hit.passage.id for hit in mine] == [hit.passage.id for hit in lucene]
        assert [hit.score for hit in mine] == pytest.approx([hit.score for hit in lucene], abs=1e-4)
