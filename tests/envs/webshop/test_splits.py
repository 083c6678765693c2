"""Splits: named, disjoint, and complete."""

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym_envs.webshop.catalogue import Catalogue
from agentgym_envs.webshop.goals import GoalSet
from agentgym_envs.webshop.splits import (
    RULES,
    SPLITS,
    Rule,
    Split,
    split_indices,
    split_of,
)

# The splits of a rule that have no goal in common. The fork evaluates on its test goals.
DISJOINT: Mapping[Rule, tuple[Split, ...]] = {
    "official": ("train", "eval", "test"),
    "fork": ("train", "test"),
    "product_disjoint": ("train", "eval", "test"),
    "all": ("train",),
}


def goals_of(counts: list[int], make_row, make_options, seed: int = 233) -> GoalSet:
    """Products with so many goals each."""
    asked = {"attributes": [], "instruction": "Find it", "instruction_attributes": ["soft"]}
    rows = [
        make_row(
            f"B{number:05}",
            customization_options=make_options(Size=[str(size) for size in range(count)]),
        )
        for number, count in enumerate(counts)
    ]
    catalogue = Catalogue.build(rows, {row["asin"]: asked for row in rows}, {})
    return GoalSet(catalogue, shuffle_seed=seed)


def test_every_rule_is_tested():
    assert set(DISJOINT) == set(RULES)


@settings(max_examples=20)
@given(
    counts=st.lists(st.integers(1, 60), min_size=60, max_size=80),
    seed=st.integers(0, 9),
)
def test_every_goal_is_in_exactly_one_split_of_a_rule(counts, seed, make_row, make_options):
    goals = goals_of([*counts, 1500], make_row, make_options, seed)
    for rule, splits in DISJOINT.items():
        parts = [split_indices(goals, rule, split) for split in splits]
        assert Counter(i for part in parts for i in part) == Counter(range(len(goals)))
        for part in parts:
            assert list(part) == sorted(part) and all(type(i) is int for i in part[:3])


@settings(max_examples=20)
@given(counts=st.lists(st.integers(1, 5), min_size=60, max_size=80))
def test_no_product_is_on_both_sides(counts, make_row, make_options):
    goals = goals_of(counts, make_row, make_options)
    sides = [
        {goals.asin_of(i) for i in split_indices(goals, "product_disjoint", split)}
        for split in SPLITS
    ]
    assert sum(map(len, sides)) == len(set.union(*sides)) == len(counts)


def test_a_product_keeps_its_split_for_ever():
    """Pinned: a changed hash would move products between training and test."""
    assert [split_of(f"B{number:05}") for number in range(12)] == [
        "train",
        "eval",
        "train",
        "train",
        "test",
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
    ]


def test_a_tenth_each_is_held_out():
    shares = Counter(split_of(f"B{number:09}") for number in range(20_000))
    for split, share in {"train": 0.8, "eval": 0.1, "test": 0.1}.items():
        assert shares[split] / 20_000 == pytest.approx(share, abs=0.01)


def test_places_of_the_named_rules(make_row, make_options):
    goals = goals_of([1, 1600], make_row, make_options)
    assert split_indices(goals, "official", "test") == range(500)
    assert split_indices(goals, "official", "eval") == range(500, 1500)
    assert split_indices(goals, "official", "train") == range(1500, 1601)
    assert split_indices(goals, "fork", "test") == split_indices(goals, "fork", "eval")
    assert split_indices(goals, "fork", "train") == range(500, 1601)
    assert {split_indices(goals, "all", split) for split in SPLITS} == {range(1601)}


@pytest.mark.parametrize(("rule", "goals_there"), [("official", 1500), ("fork", 500)])
@pytest.mark.parametrize("split", SPLITS)
def test_too_few_goals_are_an_error(rule, goals_there, split, make_row, make_options):
    goals = goals_of([goals_there], make_row, make_options)
    with pytest.raises(ValueError, match=f"needs more than {goals_there:,} goals"):
        split_indices(goals, rule, split)


def test_an_empty_split_is_an_error(make_row, make_options):
    goals = goals_of([5], make_row, make_options)
    for split in set(SPLITS) - {split_of("B00000")}:
        with pytest.raises(ValueError, match="no goals in split"):
            split_indices(goals, "product_disjoint", split)


def test_unknown_names_are_errors(make_row, make_options):
    goals = goals_of([5], make_row, make_options)
    with pytest.raises(ValueError, match="rules: official, fork, all, product_disjoint"):
        split_indices(goals, "random", "train")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="splits: train, eval, test"):
        split_indices(goals, "all", "valid")  # pyright: ignore[reportArgumentType]


def test_real_catalogues_divide_without_a_shared_product(shop_folders, catalogue_of):
    for name in shop_folders:
        goals = GoalSet(catalogue_of(name))
        held_out = {goals.asin_of(i) for i in split_indices(goals, "product_disjoint", "test")}
        trained = {goals.asin_of(i) for i in split_indices(goals, "product_disjoint", "train")}
        assert held_out and trained and not held_out & trained
