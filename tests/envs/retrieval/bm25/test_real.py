"""Real questions over a real corpus: the figures that Lucene reaches."""

import json

import pytest

from agentgym_envs.retrieval.bm25.retriever import BM25Retriever
from agentgym_envs.retrieval.corpus import Corpus

# (any gold in the top 3, in the top 10, all gold in the top 3, in the top 10), from the data's
# README: Lucene through pyserini, k1 = 0.9, b = 0.4.
REFERENCE = {
    "nq": (0.540, 0.867, 0.540, 0.867),
    "triviaqa": (0.920, 0.980, 0.607, 0.920),
    "popqa": (0.893, 0.973, 0.833, 0.960),
    "hotpotqa": (0.925, 0.992, 0.400, 0.758),
    "2wikimultihopqa": (0.990, 1.000, 0.320, 0.430),
    "musique": (0.771, 0.932, 0.085, 0.195),
    "bamboogle": (0.237, 0.553, 0.105, 0.316),
    "hotpotqa_train": (0.930, 1.000, 0.400, 0.670),
    "nq_train": (0.645, 0.895, 0.645, 0.895),
}


@pytest.fixture(scope="module")
def retriever(real_data, tmp_path_factory):
    found = sorted(real_data.glob("*/corpus.jsonl"))
    if not found:
        pytest.skip(f"no corpus.jsonl in {real_data}")
    corpus = Corpus.open(found[0], cache=tmp_path_factory.mktemp("corpus"))
    return BM25Retriever.build(corpus, engine="numpy")


@pytest.mark.parametrize("name", REFERENCE)
def test_recall_is_lucenes_to_within_one_question(retriever, real_data, name):
    files = sorted(real_data.glob(f"*/{name}.jsonl"))
    if not files:
        pytest.skip(f"no {name}.jsonl in {real_data}")
    rows = [json.loads(line) for line in files[0].read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["metadata"]["gold_doc_ids"]]
    hits = retriever.search([row["question"] for row in rows], 10)
    gold = [set(row["metadata"]["gold_doc_ids"]) for row in rows]
    for wanted, (need_all, k) in zip(
        REFERENCE[name], [(False, 3), (False, 10), (True, 3), (True, 10)], strict=True
    ):
        tops = [{hit.passage.id for hit in found[:k]} for found in hits]
        reached = sum(
            want <= top if need_all else bool(want & top)
            for want, top in zip(gold, tops, strict=True)
        )
        assert abs(reached - wanted * len(rows)) <= 1.1
