"""Which goals are for training and which are held out, by named rules.

official           places 0-499 test, 500-1499 eval, the rest train (the baseline models' code)
fork               places 0-499 test, the rest train (the verl-agent line); "eval" is its test.
                   One order for everyone, while there every worker shuffles for itself and so
                   trains on what others are tested on
product_disjoint   by product, through a hash of its asin: about 80 % train, 10 % eval, 10 %
                   test. No held-out product is ever a goal in training
all                every goal, whatever the split is called
"""

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np

from agentgym_envs.webshop.goals import GoalSet

Rule = Literal["official", "fork", "product_disjoint", "all"]
Split = Literal["train", "eval", "test"]
SPLITS: tuple[Split, ...] = ("train", "eval", "test")

# Rule -> split -> first place and end; None: to the last goal.
_PLACES: Mapping[str, Mapping[str, tuple[int, int | None]]] = MappingProxyType(
    {
        "official": {"test": (0, 500), "eval": (500, 1500), "train": (1500, None)},
        "fork": {"test": (0, 500), "eval": (0, 500), "train": (500, None)},
        "all": {"test": (0, None), "eval": (0, None), "train": (0, None)},
    }
)
RULES: tuple[str, ...] = (*_PLACES, "product_disjoint")


def split_indices(goals: GoalSet, rule: Rule, split: Split) -> Sequence[int]:
    """Places in the goal set that belong to a split, ascending.

    Raises ValueError naming the known rules and splits, or where the split would be empty.
    """
    if rule not in RULES or split not in SPLITS:
        raise ValueError(
            f"no split {split!r} by rule {rule!r}; rules: {', '.join(RULES)}; splits: "
            f"{', '.join(SPLITS)}"
        )
    if rule == "product_disjoint":
        return _by_product(goals, split)
    needed = max(first for first, _ in _PLACES[rule].values())
    if len(goals) <= needed:
        raise ValueError(
            f"rule {rule!r} needs more than {needed:,} goals, there are {len(goals):,}; use "
            "'product_disjoint', which works for any number, or 'all'"
        )
    first, end = _PLACES[rule][split]
    return range(first, len(goals) if end is None else end)


def split_of(asin: str) -> Split:
    """The split of a product by rule `product_disjoint`: the same in every catalogue."""
    digest = hashlib.blake2b(asin.encode(), digest_size=8).digest()
    match int.from_bytes(digest, "big") % 10:
        case 0:
            return "test"
        case 1:
            return "eval"
    return "train"


def _by_product(goals: GoalSet, split: Split) -> Sequence[int]:
    rows = goals.product_rows
    products, places = np.unique(rows, return_inverse=True)
    wanted = [split_of(goals.catalogue.asins[int(row)]) == split for row in products.tolist()]
    found = array("q", np.flatnonzero(np.array(wanted)[places]).astype(np.int64).tobytes())
    if not found:
        raise ValueError(
            f"no goals in split {split!r} by rule 'product_disjoint': none of the {len(products)} "
            "products falls into it; use more products, or rule 'all'"
        )
    return found
