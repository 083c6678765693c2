import pytest

from agentgym_envs.retrieval.hybrid import HybridRetriever, fuse
from agentgym_envs.retrieval.types import Hit, Passage, RetrievalError


class Fixed:
    """Ranks as it is told: query -> ids."""

    def __init__(self, **rankings: str) -> None:
        self.rankings = rankings
        self.fingerprint = str(rankings)

    def search(self, queries, k):
        return [
            [Hit(Passage(id, id), 100.0 - i) for i, id in enumerate(self.rankings[query])][:k]
            for query in queries
        ]


def ids(hits):
    return "".join(hit.passage.id for hit in hits)


def test_ranks_are_added_as_the_formula_says():
    first = [Hit(Passage(id, ""), 9.0) for id in "ab"]
    second = [Hit(Passage(id, ""), 0.1) for id in "bc"]
    fused = fuse([first, second])
    assert ids(fused) == "bac"
    assert [hit.score for hit in fused] == [1 / 62 + 1 / 61, 1 / 61, 1 / 62]


def test_ties_go_to_the_earlier_retriever():
    both = HybridRetriever([Fixed(q="ab"), Fixed(q="ba")])
    assert ids(both.search(["q"], 2)[0]) == "ab"
    other = HybridRetriever([Fixed(q="cd"), Fixed(q="ab")])
    assert ids(other.search(["q"], 4)[0]) == "cadb"


def test_a_passage_low_in_both_lists_can_win():
    both = HybridRetriever([Fixed(q="abx"), Fixed(q="cdx")])
    assert ids(both.search(["q"], 1)[0]) == "x"
    shallow = HybridRetriever([Fixed(q="abx"), Fixed(q="cdx")], depth=2)
    assert ids(shallow.search(["q"], 1)[0]) == "a"


def test_every_query_is_answered():
    both = HybridRetriever([Fixed(q="ab", r="b", s=""), Fixed(q="ab", r="c", s="")])
    assert [ids(hits) for hits in both.search(["r", "q", "s"], 5)] == ["bc", "ab", ""]
    assert both.search([], 5) == []


def test_a_retriever_that_fails_is_not_left_out():
    class Broken(Fixed):
        def search(self, queries, k):
            raise RetrievalError("down")

    with pytest.raises(RetrievalError, match="down"):
        HybridRetriever([Fixed(q="a"), Broken()]).search(["q"], 1)


def test_settings_are_checked_and_named():
    one, two = Fixed(q="a"), Fixed(q="b")
    with pytest.raises(ValueError, match="two retrievers or more, got 1"):
        HybridRetriever([one])
    with pytest.raises(ValueError, match="depth"):
        HybridRetriever([one, two], depth=0)
    prints = {
        HybridRetriever([one, two]).fingerprint,
        HybridRetriever([two, one]).fingerprint,
        HybridRetriever([one, two], depth=5).fingerprint,
    }
    assert len(prints) == 3
