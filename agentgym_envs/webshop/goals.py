"""What customers want, in the official order and at the official prices, made one by one.

Prices and limits follow the official code with `random.seed(price_seed)` before it loads: first a
price for each product with a price range, in load order, then a limit for each instruction. The
order follows its own `random.seed(shuffle_seed)`. Both use private generators here.

    human       one goal an instruction; weight 1
    synthetic   one goal for each combination of a product's options, names sorted, the last name
                changing fastest; weight = mean over its attributes of 1 / goals with that attribute
"""

import math
import operator
import random
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from agentgym_envs.webshop.catalogue import Catalogue, GoalKind

NO_LIMIT = 1_000_000.0  # dollars
MOST_GOALS = 10_000_000
_STEPS = range(10, 1000, 10)  # dollars: what a limit can be
_NEAREST = 4  # a limit is one of so many steps above the price
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One thing to buy. `instruction`: all the shopper is told, with the price limit in words.

    `options`: values for a human goal, (name, value) pairs for a synthetic one. `price_limit` in
    dollars, `NO_LIMIT` where none is told. `row`: its place in load order.
    """

    asin: str
    instruction: str
    attributes: tuple[str, ...]
    options: tuple[str, ...] | tuple[tuple[str, str], ...]
    price_limit: float
    weight: float
    kind: GoalKind
    row: int


class GoalSet:
    """The goals of a catalogue, in shuffled order. Holds a few numbers a goal; no text.

    shuffle_seed: 233 is the official order; the verl-agent line puts its own seed there.
    cap: at most so many goals a product, None for all. Human: the first instructions. Synthetic:
    combinations spread evenly over all of them, the same in every run. No price changes by it.
    Raises ValueError where there are no goals of that kind, or more than `MOST_GOALS`.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        kind: GoalKind = "synthetic",
        *,
        price_seed: int = 0,
        shuffle_seed: int = 233,
        cap: int | None = None,
    ) -> None:
        if cap is not None and cap < 1:
            raise ValueError(f"cap should be at least 1 goal a product, or None, got {cap}")
        self.catalogue = catalogue
        self.kind: GoalKind = kind
        self.price_seed, self.shuffle_seed, self.cap = price_seed, shuffle_seed, cap
        dice = random.Random(price_seed)
        self._prices = _draw_prices(catalogue.prices, dice)
        self._instructions = catalogue.instructions(kind)
        self._rows, self._limits, kept = self._draw_limits(dice)
        self._ends = np.cumsum(np.array(kept, np.int64))  # of each instruction's goals
        self._order = _shuffled(int(self._ends[-1]) if kept else 0, kind, shuffle_seed)

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Goal]:
        return map(self.goal, range(len(self)))

    def __reduce__(self):
        settings = {
            "price_seed": self.price_seed,
            "shuffle_seed": self.shuffle_seed,
            "cap": self.cap,
        }
        return partial(GoalSet, **settings), (self.catalogue, self.kind)

    def __repr__(self) -> str:
        return (
            f"GoalSet({len(self)} {self.kind} goals, price_seed={self.price_seed}, "
            f"shuffle_seed={self.shuffle_seed}, cap={self.cap})"
        )

    def goal(self, i: int) -> Goal:
        """The goal at place i of the shuffled order. Raises IndexError."""
        row, spoken, within = self._find(i)
        product_row, instruction, attributes, asked = self._instructions[spoken]
        asin = self.catalogue.asins[int(product_row)]
        if self.kind == "human":
            options, wish, weight = tuple(asked), "", 1.0
        else:
            values = self.catalogue.product(asin).options
            options = combination(values, _spread(within, asked, self._kept_of(spoken)))
            wish = ", and ".join(f"{name}: {value}" for name, value in options)
            wish = f" with {wish}" if wish else ""
            weight = sum(1 / self._counts[each] for each in attributes) / len(attributes)
        limit = self._limits[spoken]
        price = f", and price lower than {limit:.2f} dollars" if limit < NO_LIMIT else ""
        return Goal(
            asin=asin,
            instruction=f"{instruction}{wish}{price}",
            attributes=tuple(attributes),
            options=options,
            price_limit=limit,
            weight=weight,
            kind=self.kind,
            row=row,
        )

    def asin_of(self, i: int) -> str:
        """The product of the goal at place i. Raises IndexError."""
        return self.catalogue.asins[int(self._rows[self._find(i)[1]])]

    def price(self, asin: str) -> float:
        """What the product costs in dollars, with this price seed. Raises KeyError."""
        return float(self._prices[self.catalogue.row(asin)])

    @property
    def product_rows(self) -> np.ndarray:
        """The product of every goal as a place in `catalogue.asins`.  [n] int32"""
        spoken = np.searchsorted(self._ends, self._order, side="right")
        return np.array(self._rows, np.int32)[spoken]

    @cached_property
    def _counts(self) -> Counter[str]:
        """Goals with an attribute."""
        counts: Counter[str] = Counter()
        for spoken, (_, _, attributes, _) in enumerate(self._instructions):
            for each in attributes:
                counts[each] += self._kept_of(spoken)
        return counts

    def _kept_of(self, spoken: int) -> int:
        before = self._ends[spoken - 1] if spoken else 0
        return int(self._ends[spoken] - before)

    def _find(self, i: int) -> tuple[int, int, int]:
        """Row in load order, number of its instruction, number among that one's goals."""
        if not 0 <= operator.index(i) < len(self):
            raise IndexError(f"no goal {i}: there are {len(self)}, numbered from 0")
        row = int(self._order[i])
        spoken = int(np.searchsorted(self._ends, row, side="right"))
        return row, spoken, row - int(self._ends[spoken]) + self._kept_of(spoken)

    def _draw_limits(self, dice: random.Random) -> tuple[array, array, list[int]]:
        """Product row, price limit and number of goals of each instruction."""
        rows, limits, kept = array("i"), array("d"), []
        taken: Counter[int] = Counter()
        for row, _, _, asked in self._instructions:
            limits.append(draw_limit(float(self._prices[row]), dice))
            rows.append(row)
            count = 1 if self.kind == "human" else asked
            if self.cap is not None:
                count = min(count, self.cap - taken[row])
            taken[row] += count
            kept.append(count)
        if sum(kept) > MOST_GOALS:
            row, largest = taken.most_common(1)[0]
            raise ValueError(
                f"{sum(kept):,} {self.kind} goals are more than {MOST_GOALS:,} (product "
                f"{self.catalogue.asins[row]} alone has {largest:,}): give cap, the most goals a "
                "product may have"
            )
        return rows, limits, kept


def draw_limit(price: float, dice: random.Random) -> float:
    """A price limit in dollars for something that costs price; `NO_LIMIT` from 980 on.

    Official: the larger of two different steps out of the four nearest above the price.
    """
    above = [step for step in _STEPS if step > price][:_NEAREST]
    return float(max(dice.sample(above, 2))) if len(above) >= 2 else NO_LIMIT


def combination(options: Mapping[str, Sequence[str]], number: int) -> tuple[tuple[str, str], ...]:
    """Combination `number` (from 0) of the options: (name, value) pairs, names sorted.

    The last name changes fastest, as in `itertools.product`. Raises IndexError beyond the last.
    """
    left, chosen = number, []
    for name in sorted(options, reverse=True):
        left, digit = divmod(left, len(options[name]))
        chosen.append((name, options[name][digit]))
    if left:
        raise IndexError(f"no combination {number} of these options")
    return tuple(reversed(chosen))


def _spread(within: int, count: int, kept: int) -> int:
    """Which of count combinations the goal `within` is, where kept of them are goals.

    All: in order. Fewer: steps of a golden share of count, coprime to it, so that no combination
    comes twice and neither the first option nor the last stands still.
    """
    if kept == count:
        return within
    stride = round(count * _GOLDEN)
    while math.gcd(stride, count) != 1:
        stride += 1
    return within * stride % count


def _draw_prices(ranges: np.ndarray, dice: random.Random) -> np.ndarray:
    """One price a product: the only one, or a uniform draw between both ends.  [P, 2] -> [P]"""
    prices = ranges[:, 0].copy()
    for row in np.flatnonzero(~np.isnan(ranges[:, 1])).tolist():
        low, high = ranges[row].tolist()
        prices[row] = dice.uniform(low, high)
    return prices


def _shuffled(count: int, kind: GoalKind, seed: int) -> np.ndarray:
    """Rows in load order, shuffled as the official code does it.  [n] int32"""
    if not count:
        raise ValueError(f"this catalogue has no {kind} goals")
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return np.array(order, np.int32)
