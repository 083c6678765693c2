"""The reward against the official code's recordings, by hand, and its laws."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs.webshop.goals import Goal
from agentgym_envs.webshop.product import Product
from agentgym_envs.webshop.reward import (
    SHADES,
    goal_record,
    judge,
    parts,
    printed,
    purchase_record,
    shade,
)

MUG = Product(
    asin="B000000001",
    title="Blue Mug",
    description="Keeps tea warm.",
    bullets=("Dishwasher safe.", "Holds a pint."),
    prices=(8.0,),
    price_tag="$8.0",
    options={"color": ("navy blue", "red"), "size": ("small", "large")},
    category_path="Home › Kitchen › Mugs",
    category="garden",
    query="mugs",
    attributes=("hand made", "heat resistant"),
    image="",
)


@dataclass(frozen=True)
class Bought:
    asin: str
    options: dict[str, str]
    price: float


def wanting(**changes: Any) -> dict[str, Any]:
    """The record of a goal: a small navy mug, made by hand, for at most ten dollars."""
    goal = Goal(
        asin=MUG.asin,
        instruction="",
        attributes=("hand made",),
        options=(("color", "navy blue"), ("size", "small")),
        price_limit=10.0,
        weight=1.0,
        kind="synthetic",
        row=0,
    )
    return goal_record(goal, MUG, ["blue", "mug"]) | changes


def buying(options: dict[str, str], product: Product = MUG, **changes: Any) -> dict[str, Any]:
    record = purchase_record(Bought(product.asin, options, 8.0), product, ["blue", "mug"])
    return record | changes


RIGHT = {"color": "navy blue", "size": "small"}


def test_every_recorded_reward_is_equal(recorded, read_lines, catalogue_of):
    for dataset, path in recorded("rewards-*").items():
        catalogue = catalogue_of(dataset)
        for row in read_lines(path):
            goal, bought = recorded_pair(row, row["goal_asin"], row["price_upper"], catalogue)
            expected = {**row["info"], "reward": row["reward"]}
            found = parts(goal, bought)
            assert found == expected, row
            assert [type(value) for value in found.values()] == [
                type(value) for value in expected.values()
            ]


def test_every_recorded_purchase_is_equal(sessions, catalogue_of):
    purchases = 0
    for session in sessions():
        for step in session["steps"]:
            if "reward_info" not in step:
                continue
            purchases += 1
            asked, chosen = session["goal"], step["purchase"]
            row = {**asked, **step, **chosen}
            goal, bought = recorded_pair(
                row, asked["asin"], asked["price_upper"], catalogue_of(session["dataset"])
            )
            expected = {**step["reward_info"], "reward": step["reward"]}
            assert parts(goal, bought) == expected, session["id"]
    assert purchases


def recorded_pair(row, goal_asin, limit, catalogue):
    """The records of a recorded goal and purchase, with the noun lists that were used."""
    options = row["goal_options"]
    goal = Goal(
        asin=goal_asin,
        instruction="",
        attributes=tuple(row["attributes"]),
        options=tuple(options if isinstance(options, list) else options.items()),
        price_limit=limit,
        weight=1.0,
        kind="human" if isinstance(options, list) else "synthetic",
        row=0,
    )
    bought = Bought(row["asin"], row["options"], row["price"])
    return (
        goal_record(goal, catalogue.product(goal_asin), row["nouns_goal"]),
        purchase_record(bought, catalogue.product(row["asin"]), row["nouns_purchased"]),
    )


def test_a_right_purchase_by_hand():
    assert parts(wanting(), buying(RIGHT)) == {
        "r_type": 1.0,
        "r_att": 1.0,
        "w_att": 0.25,  # of one attribute, two options, one price
        "query_match": True,
        "category_match": True,
        "title_score": 1.0,
        "r_option": 1.0,
        "w_option": 0.5,
        "r_price": True,
        "w_price": 0.25,
        "reward": 1.0,
    }


def test_what_is_missing_by_hand():
    goal = wanting(attributes=["hand made", "lead free"], price_limit=5.0)
    judgement = judge(goal, buying({"color": "navy blue"}))
    assert judgement.attributes == ("lead free",)
    assert judgement.options == (["size", "small"],)
    assert judgement.parts["reward"] == 2 / 5  # one attribute and one option of 2 + 2 + 1


def test_a_goal_without_options_has_no_option_parts():
    found = parts(wanting(options=[]), buying({}))
    assert "r_option" not in found and "w_option" not in found
    assert found["reward"] == 1.0


@pytest.mark.parametrize("attribute", ["blue mug", "safe. holds", "keeps tea"])
def test_an_attribute_may_stand_in_a_text(attribute):
    assert parts(wanting(attributes=[attribute]), buying(RIGHT))["r_att"] == 1.0


@pytest.mark.parametrize(
    ("nouns", "query", "path", "likeness"),
    [
        (["mug", "blue"], "plates", "Other", 1.0),
        (["plate"], "mugs", "Home › Kitchen › Mugs", 0.0),  # no noun shared: nothing helps
        (["mug"], "plates", "Other", 1.0),  # half of the nouns
        ([], "mugs", "Other", 0.0),
    ],
)
def test_likeness_by_hand(nouns, query, path, likeness):
    bought = buying(RIGHT, nouns=nouns, query=query, category_path=path)
    assert parts(wanting(), bought)["r_type"] == likeness


def test_few_shared_nouns():
    other = buying(RIGHT, nouns=["mug"], query="plates", category_path="Home")
    assert parts(wanting(nouns=["mug", *"abcd"]), other)["r_type"] == 0.5  # a fifth is not above
    assert parts(wanting(nouns=["mug", *"abcdefghij"]), other)["r_type"] == 0.1
    alike = other | {"query": "mugs"}
    assert parts(wanting(nouns=["mug", *"abcd"]), alike)["r_type"] == 1.0
    assert parts(wanting(nouns=["mug", *"abcdefghij"]), alike)["r_type"] == 0.1


def test_a_title_without_nouns_scores_a_fifth():
    found = parts(wanting(nouns=[]), buying(RIGHT, query="x", category_path="y"))
    assert (found["title_score"], found["r_type"]) == (0.2, 0.5)


def test_colours_are_substrings_and_alphabetical():
    assert len(SHADES) == 102 and list(SHADES) == sorted(SHADES)
    assert shade("rectangular") == "tan"
    assert shade("navy blue") == "blue"
    assert shade("large") == "large"


def test_a_printed_pair_is_a_colour_only_as_a_whole():
    assert printed("color", "blue") == "blue"
    assert printed("color", "navy blue") == "('color', 'navy blue')"


@pytest.mark.parametrize("value", ["rectangular", "fashion black woman", "r.brown2070"])
def test_officially_some_right_choices_do_not_count(value):
    goal, bought = wanting(options=[["style", value]]), buying({"style": value})
    assert parts(goal, bought)["r_option"] == 0.0
    assert parts(goal, bought, fixed_options=True)["reward"] == 1.0


def test_names_of_options_do_not_matter_officially():
    assert parts(wanting(), buying({"a": "blue", "b": "small"}))["r_option"] == 1.0


def test_values_of_human_goals_are_compared_as_colours():
    goal = wanting(options=["navy blue", "small"])
    assert parts(goal, buying({"color": "sky blue", "size": "small"}))["r_option"] == 1.0


def test_a_goal_needs_an_attribute():
    with pytest.raises(ValueError, match="at least one attribute"):
        parts(wanting(attributes=[]), buying(RIGHT))


# Laws.

values = st.sampled_from(
    ["red", "navy blue", "blue", "small", "x-large", "rectangular", "10 ounce", "★"]
)
names = st.sampled_from(["color", "size", "style"])
choices = st.dictionaries(names, values)
pairs = choices.map(lambda chosen: [list(item) for item in chosen.items()])
attributes = st.lists(
    st.sampled_from(["hand made", "heat resistant", "lead free", "keeps tea", "small"]), min_size=1
)
nouns = st.lists(st.sampled_from(["mug", "blue", "tea", "cup"]))
wishes = st.builds(
    lambda attributes, options, nouns, limit: wanting(
        attributes=attributes, options=options, nouns=nouns, price_limit=limit
    ),
    attributes,
    pairs | st.lists(values),
    nouns,
    st.sampled_from([5.0, 8.0, 1e6]),
)
purchases = st.builds(
    lambda options, nouns, query: buying(options, nouns=nouns, query=query),
    choices,
    nouns,
    st.sampled_from(["mugs", "plates"]),
)


@given(wishes, purchases, st.booleans())
def test_a_reward_is_a_share_and_the_sum_of_its_parts(goal, bought, fixed):
    found = parts(goal, bought, fixed_options=fixed)
    assert 0 <= found["reward"] <= 1
    weights = found["w_att"] + found.get("w_option", 0) + found["w_price"]
    assert weights == pytest.approx(1)
    whole = (
        found["r_att"] * found["w_att"]
        + found.get("r_option", 0) * found.get("w_option", 0)
        + found["r_price"] * found["w_price"]
    )
    assert found["reward"] == pytest.approx(found["r_type"] * whole)


@given(wishes, purchases, st.randoms(use_true_random=False))
def test_order_does_not_matter(goal, bought, dice):
    turned = {key: list(value) if isinstance(value, list) else value for key, value in goal.items()}
    for key in ("attributes", "options", "nouns"):
        dice.shuffle(turned[key])
    listed = list(bought["attributes"])
    dice.shuffle(listed)
    assert parts(turned, {**bought, "attributes": listed}) == parts(goal, bought)


@given(wishes, purchases, names, values, st.booleans())
def test_choosing_one_more_option_never_lowers(goal, bought, name, value, fixed):
    if name not in bought["options"]:
        more = {**bought, "options": {**bought["options"], name: value}}
        before = parts(goal, bought, fixed_options=fixed)["reward"]
        assert parts(goal, more, fixed_options=fixed)["reward"] >= before


@given(wishes, purchases)
def test_a_higher_price_never_helps(goal, bought):
    dearer = {**bought, "price": bought["price"] + 1}
    assert parts(goal, dearer)["reward"] <= parts(goal, bought)["reward"]


@given(choices, st.lists(st.sampled_from(MUG.attributes), min_size=1))
def test_with_fixed_options_the_right_purchase_is_worth_one(chosen, attributes):
    for options in ([list(item) for item in chosen.items()], list(chosen.values())):
        goal = wanting(options=options, attributes=attributes)
        assert parts(goal, buying(chosen), fixed_options=True)["reward"] == 1


def test_another_product_is_judged_by_its_own_texts():
    plate = dataclasses.replace(MUG, title="Plate", attributes=(), description="", bullets=())
    assert parts(wanting(), buying(RIGHT, plate))["r_att"] == 0.0
