"""Goals against the official code's tables, and the laws of the lazy index."""

import itertools
import math
import pickle
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs.webshop.catalogue import Catalogue
from agentgym_envs.webshop.goals import NO_LIMIT, GoalSet, combination, draw_limit


@pytest.fixture(scope="module")
def tables(recorded, read_lines):
    """(header, rows) of every recorded goal table."""
    found = [list(read_lines(path)) for path in recorded("goals-*").values()]
    return [(header, rows) for header, *rows in found]


def goal_set(header, catalogue_of, **changes) -> GoalSet:
    kind = "human" if header["human_goals"] else "synthetic"
    settings = {"price_seed": header["seed"]} | changes
    return GoalSet(catalogue_of(header["dataset"]), kind, **settings)


def test_every_official_goal_is_equal(tables, catalogue_of):
    for header, rows in tables:
        goals = goal_set(header, catalogue_of)
        assert len(goals) == header["n"] == len(rows)
        for goal in goals:
            asin, instruction, attributes, limit, options, weight = rows[goal.row]
            assert (goal.asin, goal.instruction) == (asin, instruction)
            assert list(goal.attributes) == attributes
            assert goal.price_limit == limit
            expected = options if goal.kind == "human" else options.items()
            assert goal.options == tuple(expected)
            assert goal.weight == pytest.approx(weight, abs=1e-12)


def test_both_official_orders_are_equal(tables, catalogue_of):
    for header, _ in tables:
        official = goal_set(header, catalogue_of)
        assert [goal.row for goal in official] == header["order_shuffle_233"]
        fork = goal_set(header, catalogue_of, shuffle_seed=header["seed"])
        assert [goal.row for goal in fork] == header["order_shuffle_caller_seed"]


def test_every_drawn_price_is_equal(tables, catalogue_of):
    for header, _ in tables:
        goals = goal_set(header, catalogue_of)
        recorded = header["product_prices"]
        assert {asin: goals.price(asin) for asin in recorded} == recorded
        for asin in set(goals.catalogue.asins) - set(recorded):
            assert (goals.price(asin),) == goals.catalogue.product(asin).prices


def test_every_recorded_session_has_its_goal(sessions, catalogue_of):
    sets: dict[tuple, GoalSet] = {}
    compared = 0
    for session in sessions():
        config = session["config"]
        dataset = session["dataset"].partition("-")[0]
        kind = "human" if config.get("human_goals") else "synthetic"
        key = (dataset, kind, config["seed"], config["shuffle_seed"])
        if key not in sets:
            sets[key] = GoalSet(catalogue_of(dataset), kind, price_seed=key[2], shuffle_seed=key[3])
        goal, expected = sets[key].goal(session["goal_index"]), session["goal"]
        assert (goal.asin, goal.instruction) == (expected["asin"], expected["instruction_text"])
        compared += 1
    assert compared > 100


def test_the_global_generator_is_left_alone(tables, catalogue_of):
    random.seed(1)
    before = random.getstate()
    goal_set(tables[0][0], catalogue_of).goal(0)
    assert random.getstate() == before


def test_seeds_move_what_they_name(tables, catalogue_of):
    for header, _ in tables:
        first, other = (goal_set(header, catalogue_of, price_seed=seed) for seed in (0, 1))
        assert [goal.row for goal in first] == [goal.row for goal in other]
        assert [g.price_limit for g in first] != [g.price_limit for g in other]
        moved = goal_set(header, catalogue_of, price_seed=0, shuffle_seed=1)
        assert sorted(moved, key=lambda g: g.row) == sorted(first, key=lambda g: g.row)


def test_cheap_answers_agree_with_the_goal(tables, catalogue_of):
    for header, _ in tables:
        goals = goal_set(header, catalogue_of)
        asins = [goal.asin for goal in goals]
        assert [goals.asin_of(i) for i in range(len(goals))] == asins
        assert [goals.catalogue.asins[int(row)] for row in goals.product_rows] == asins
        assert goals.goal(np.int64(1)) == goals.goal(1)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("i", [-1, 10**9])
def test_a_goal_beyond_the_last_is_an_error(i, tables, catalogue_of):
    with pytest.raises(IndexError, match="no goal"):
        goal_set(tables[0][0], catalogue_of).goal(i)


def test_pickles_as_its_settings(tables, catalogue_of):
    goals = goal_set(tables[0][0], catalogue_of, cap=3)
    pickled = pickle.dumps(goals)
    assert len(pickled) < 1000
    copy = pickle.loads(pickled)
    assert repr(copy) == repr(goals) and list(copy) == list(goals)


@pytest.mark.parametrize("cap", [1, 2, 7, 100, 10**6])
def test_a_cap_keeps_a_part_of_each_product(cap, tables, catalogue_of):
    """Prices, limits and texts of what is kept are those of the full set."""
    for header, _ in tables:
        everything = goal_set(header, catalogue_of)
        kept = goal_set(header, catalogue_of, cap=cap)

        # A duplicate option value makes the same wish twice, so these are counts, not sets.
        def wishes(goals):
            return Counter((g.asin, g.instruction, g.options, g.price_limit) for g in goals)

        assert wishes(kept) <= wishes(everything)
        there = Counter(goal.asin for goal in everything)
        assert Counter(goal.asin for goal in kept) == {a: min(n, cap) for a, n in there.items()}


def build(make_row, rows: dict[str, dict], instructions=("soft",)) -> Catalogue:
    attributes = {
        asin: {
            "attributes": ["soft"],
            "instruction": "Find me a mug",
            "instruction_attributes": list(instructions),
        }
        for asin in rows
    }
    return Catalogue.build([make_row(a, **c) for a, c in rows.items()], attributes, {})


def test_an_explosion_of_options_needs_a_cap(make_row, make_options):
    names = {f"option {n:02}": [f"{n} {value}" for value in range(12)] for n in range(20)}
    catalogue = build(make_row, {"B1": {"customization_options": make_options(**names)}})
    with pytest.raises(ValueError, match=r"B1 alone has 3,833,759,992,447,475,122,176.*give cap"):
        GoalSet(catalogue)
    goals = list(GoalSet(catalogue, cap=144))
    assert len({goal.options for goal in goals}) == 144
    # Neither end of the options stands still: the first and the last take all their values.
    for place in (0, -1):
        assert len({goal.options[place][1] for goal in goals}) == 12
    assert goals == list(GoalSet(catalogue, cap=144))


def test_weights_and_texts_by_hand(make_row, make_options):
    options = make_options(Size=["S", "L"], Color=["red", "blue"])
    rows = [make_row("B1", customization_options=options, pricing="$979.99"), make_row("B2")]
    asked = {"attributes": [], "instruction": "Find it", "instruction_attributes": ["soft"]}
    also = asked | {"instruction_attributes": ["soft", "warm"]}
    goals = sorted(
        GoalSet(Catalogue.build(rows, {"B1": asked, "B2": also}, {})), key=lambda goal: goal.row
    )
    assert [goal.options for goal in goals[:2]] == [
        (("color", "red"), ("size", "s")),
        (("color", "red"), ("size", "l")),
    ]
    # Two steps lie above 979.99, so both are drawn and the larger is told.
    expected = "Find it with color: red, and size: s, and price lower than 990.00 dollars"
    assert goals[0].instruction == expected
    assert [goal.weight for goal in goals] == [1 / 5] * 4 + [(1 / 5 + 1) / 2]


def test_an_empty_option_list_leaves_no_goal(make_row, make_options):
    catalogue = build(
        make_row, {"B1": {"customization_options": make_options(Color=[], Size=["s"])}, "B2": {}}
    )
    assert [goal.asin for goal in GoalSet(catalogue)] == ["B2"]


def test_human_goals_by_hand(make_row):
    said = {"instruction": "..a mug...", "instruction_attributes": ["soft"]}
    said |= {"instruction_options": ["red"]}
    silent = said | {"instruction_attributes": []}
    catalogue = Catalogue.build([make_row("B1", pricing="$1,000")], {}, {"B1": [silent, said]})
    (goal,) = GoalSet(catalogue, "human")
    assert (goal.instruction, goal.options, goal.weight) == ("a mug", ("red",), 1)
    assert goal.price_limit == NO_LIMIT


def test_no_goals_is_an_error(make_row):
    with pytest.raises(ValueError, match="no human goals"):
        GoalSet(build(make_row, {"B1": {}}), "human")


@pytest.mark.parametrize("cap", [0, -1])
def test_a_cap_below_one_is_an_error(cap, make_row):
    with pytest.raises(ValueError, match="cap should be at least 1"):
        GoalSet(build(make_row, {"B1": {}}), cap=cap)


@given(
    options=st.dictionaries(
        st.text(max_size=3), st.lists(st.text(max_size=2), min_size=1, max_size=4), max_size=4
    )
)
def test_a_combination_is_that_of_the_nested_loops(options):
    names = sorted(options)
    product = list(itertools.product(*(options[name] for name in names)))
    ours = [combination(options, number) for number in range(len(product))]
    assert ours == [tuple(zip(names, values, strict=True)) for values in product]
    with pytest.raises(IndexError):
        combination(options, len(product))


@given(price=st.floats(0.01, 2000), seed=st.integers(0, 99))
def test_a_limit_is_a_step_near_the_price(price, seed):
    limit = draw_limit(price, random.Random(seed))
    if price >= 980:
        assert limit == NO_LIMIT
    else:
        steps = (limit - math.floor(price / 10) * 10) / 10
        assert limit > price and limit <= 990 and steps in (2, 3, 4)
