"""BM25 as a retriever: passages for queries, and indexes of other corpora refused."""

import pickle

import pytest

from agentgym_envs.retrieval.bm25.index import BM25
from agentgym_envs.retrieval.bm25.retriever import BM25Retriever
from agentgym_envs.retrieval.corpus import Corpus
from agentgym_envs.retrieval.types import Passage, Retriever


def corpus(*texts: str) -> Corpus:
    return Corpus.of(Passage(f"p{at}", f'"{text}"\n{text}') for at, text in enumerate(texts))


@pytest.fixture
def larder():
    return corpus("honey from the hive", "jam of plums", "honey and jam")


def test_hits_come_best_first_and_fewer_where_fewer_match(larder):
    retriever: Retriever = BM25Retriever.build(larder)
    honey, jam, nothing = retriever.search(["honey", "plum jam", "the zebra"], 5)
    assert [hit.passage.id for hit in honey] == ["p2", "p0"]
    assert [hit.passage.title for hit in jam] == ["jam of plums", "honey and jam"]
    assert jam[0].score > jam[1].score > 0
    assert nothing == []


def test_a_folder_keeps_the_index(larder, tmp_path):
    told = []
    built = BM25Retriever.build(larder, tmp_path, progress=lambda *done: told.append(done))
    again = BM25Retriever.build(larder, tmp_path, progress=lambda *done: told.append(done))
    assert told == [(3, 3)]
    assert again.search(["honey jam"], 3) == built.search(["honey jam"], 3)
    assert pickle.loads(pickle.dumps(again)).search(["jam"], 3) == built.search(["jam"], 3)


def test_an_index_of_another_corpus_is_refused(larder, tmp_path):
    BM25Retriever.build(larder, tmp_path)
    with pytest.raises(ValueError, match="made with corpus"):
        BM25Retriever.build(corpus("mustard"), tmp_path)
    with pytest.raises(ValueError, match="build one of this corpus"):
        BM25Retriever(larder, BM25.build(["mustard"]))


def test_fingerprints_tell_corpus_and_constants_but_not_engines_apart(larder):
    plain = BM25Retriever.build(larder, engine="numpy").fingerprint
    assert BM25Retriever.build(larder).fingerprint == plain
    assert BM25Retriever.build(larder, k1=1.2).fingerprint != plain
    assert BM25Retriever.build(corpus("mustard")).fingerprint != plain
