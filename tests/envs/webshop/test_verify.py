"""Verdicts from episodes alone, also from stored ones, and what is said of broken records."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs.episodes import from_record, to_record
from agentgym_envs.types import Episode, Task, Turn, Verdict
from agentgym_envs.webshop.verify import verify

ANSWER = {
    "asin": "B000000001",
    "attributes": ["hand made"],
    "options": [["color", "blue"], ["size", "small"]],
    "price_limit": 10.0,
    "title": "Blue Mug",
    "query": "mugs",
    "category_path": "Home › Mugs",
    "nouns": ["mug"],
    "nouns_by": "rule",
    "fixed_options": False,
    "success_only": False,
}
PURCHASE = {
    "asin": "B000000001",
    "options": {"color": "blue", "size": "small"},
    "price": 8.0,
    "title": "Blue Mug",
    "description": "",
    "bullets": [],
    "attributes": ["hand made"],
    "query": "mugs",
    "category_path": "Home › Mugs",
    "nouns": ["mug"],
}


def episode(*purchases, answer=ANSWER) -> Episode:
    """An episode whose turns report these purchases."""
    turns = tuple(
        Turn(observation="", response="", action="", valid=True, facts={"purchase": purchase})
        for purchase in purchases
    )
    return Episode(task=Task(id="1", goal="", answer=answer), turns=turns)


def test_the_right_purchase_succeeds():
    assert verify(episode(None, PURCHASE)) == Verdict(True, 1.0, "bought as asked")


def test_nothing_bought_is_worth_nothing():
    assert verify(episode(None, None)) == Verdict(False, 0.0, "nothing bought")
    assert verify(episode()) == Verdict(False, 0.0, "nothing bought")


@pytest.mark.parametrize(
    ("changes", "score", "reason"),
    [
        ({"options": {"color": "blue"}}, 3 / 4, "bought, option missing: size"),
        ({"options": {}}, 2 / 4, "bought, option missing: color, size"),
        ({"price": 12}, 3 / 4, "bought, price above the limit"),
        ({"attributes": []}, 3 / 4, "bought, attribute missing: hand made"),
        ({"nouns": ["plate"]}, 0.0, "bought, quite another thing"),
        (
            {"options": {"size": "small"}, "price": 11.0},
            2 / 4,
            "bought, option missing: color; price above the limit",
        ),
    ],
)
def test_what_was_wrong_is_said(changes, score, reason):
    assert verify(episode(PURCHASE | changes)) == Verdict(False, score, reason)


def test_values_of_human_goals_are_named_themselves():
    answer = ANSWER | {"options": ["dark green"]}
    verdict = verify(episode(PURCHASE | {"options": {}}, answer=answer))
    assert verdict.reason == "bought, option missing: dark green"


def test_another_kind_of_thing():
    answer = ANSWER | {"nouns": ["mug", "a", "b", "c", "d"]}
    other = PURCHASE | {"query": "plates", "category_path": ""}
    assert verify(episode(other, answer=answer)) == Verdict(
        False, 0.5, "bought, another kind of thing"
    )


def test_the_first_purchase_counts():
    wrong = PURCHASE | {"options": {}}
    assert verify(episode(wrong, PURCHASE)).score == 0.5


def test_success_only_counts_nothing_below_one():
    answer = ANSWER | {"success_only": True}
    assert verify(episode(PURCHASE, answer=answer)).score == 1.0
    assert verify(episode(PURCHASE | {"options": {}}, answer=answer)) == Verdict(
        False, 0.0, "bought, option missing: color, size"
    )


def test_fixed_options_are_read_from_the_answer():
    options = {"options": [["shape", "rectangular"]]}
    bought = PURCHASE | {"options": {"shape": "rectangular"}}
    assert not verify(episode(bought, answer=ANSWER | options)).success
    assert verify(episode(bought, answer=ANSWER | options | {"fixed_options": True})).success


@given(st.sampled_from([{}, {"options": {}}, {"price": 12.5}, {"nouns": []}]))
def test_a_stored_episode_gets_the_same_verdict(changes):
    played = episode(None, PURCHASE | changes)
    stored = from_record(json.loads(json.dumps(to_record(played))))
    assert verify(stored) == verify(played)


def test_a_missing_field_is_named():
    broken = {key: value for key, value in PURCHASE.items() if key != "nouns"}
    with pytest.raises(ValueError, match="the purchase of turn 2 lacks 'nouns'"):
        verify(episode(None, broken))
    with pytest.raises(ValueError, match="the task's answer lacks 'price_limit'"):
        verify(episode(PURCHASE, answer={k: v for k, v in ANSWER.items() if k != "price_limit"}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("price", "8"),
        ("price", True),
        ("options", ["blue"]),
        ("options", {"color": 1}),
        ("bullets", "one"),
        ("title", None),
        ("nouns", [1]),
    ],
)
def test_a_wrong_value_is_named(field, value):
    with pytest.raises(ValueError, match=f"turn 1: '{field}' should be"):
        verify(episode(PURCHASE | {field: value}))


@pytest.mark.parametrize("options", ["blue", [["color"]], [1], {"color": "blue"}])
def test_wrong_goal_options_are_named(options):
    with pytest.raises(ValueError, match="answer: 'options' should be a list of values, or of"):
        verify(episode(PURCHASE, answer=ANSWER | {"options": options}))


@pytest.mark.parametrize("garbage", ["bought", 3, ["B000000001"], True])
def test_garbage_is_refused(garbage):
    with pytest.raises(ValueError, match="is a mapping of facts"):
        verify(episode(garbage))


def test_a_goal_without_attributes_is_refused():
    with pytest.raises(ValueError, match="at least one attribute"):
        verify(episode(PURCHASE, answer=ANSWER | {"attributes": []}))
