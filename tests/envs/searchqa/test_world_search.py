"""What BM25 finds in generated worlds: searching pays, and an expert's searches find everything."""

from collections import defaultdict
from functools import lru_cache

import pytest

from agentgym_envs.retrieval.bm25.index import BM25
from agentgym_envs.searchqa.answers import contains_answer
from agentgym_envs.searchqa.world import SPLITS, generated_world

TOP = 3
WORLDS = [("nano", 0), ("nano", 1), ("small", 0)]
ONE_SEARCH = ("single", "comparison", "shared", "intersection")
FOUR_PAGES = ("bridge_comparison", "shared_bridge", "bridge_4")


@lru_cache
def table(preset, seed):
    """kind -> shares of questions whose gold is found by (one search for the question, the
    expert's searches, one search per title for at most three titles), and whose answer one search
    shows."""
    world = generated_world(preset, seed)
    index = BM25.build(page.contents for page in world.passages)

    def found(query):
        return {str(number) for number in index.search_one(query, TOP)[0]}

    rows = defaultdict(list)
    for split in SPLITS:
        for question in world.questions(split):
            gold, once = set(question.gold), found(question.question)
            titles = [world.passages[int(id)].title for id in question.gold]
            rows[question.kind].append(
                (
                    gold <= once,
                    gold <= set().union(*map(found, question.queries)),
                    gold <= set().union(*map(found, titles[:3])),
                    any(
                        contains_answer(world.passages[int(id)].contents, question.answers)
                        for id in once
                    ),
                )
            )
    return {
        kind: tuple(sum(column) / len(found) for column in zip(*found, strict=True))
        for kind, found in rows.items()
    }


@pytest.mark.parametrize(("preset", "seed"), WORLDS)
def test_the_experts_searches_find_all_evidence(preset, seed):
    for kind, (_, expert, _, _) in table(preset, seed).items():
        assert expert >= 0.99, kind


@pytest.mark.parametrize(("preset", "seed"), WORLDS)
def test_one_search_is_enough_only_for_the_simple_kinds(preset, seed):
    for kind, (once, _, _, answer) in table(preset, seed).items():
        if kind in ONE_SEARCH:
            assert once >= 0.95, kind
        else:
            assert once <= 0.01, kind
            if kind.startswith("bridge_") and kind != "bridge_comparison":
                assert answer <= 0.06, kind


def test_four_pages_need_searches_for_two_entities():
    for kind, (_, _, singly, _) in table("small", 0).items():
        assert singly == (0.0 if kind in FOUR_PAGES else pytest.approx(1.0, abs=0.01)), kind
