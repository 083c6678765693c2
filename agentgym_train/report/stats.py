"""How sure a comparison is: intervals over tasks and seeds, paired tests, stability of the ranking.

Outcomes are arrays [S seeds, T tasks] of 0 and 1. All algorithms of an environment play the same
tasks; a seed belongs to one algorithm (equal numbers share little more than the order of training
tasks, and what they do share only makes what is said here too careful). There are three questions:

- these runs on other tasks: of one run Wilson's interval, of the mean of several Student's t over
  tasks. Two algorithms: an exact test that swaps their runs, task by task; McNemar's for one run
  each.
- new seeds on these tasks: Student's t. Two or three seeds cannot tell their own scatter, and where
  they happen to agree they would claim far too much. So the variance of a run's rate is pooled over
  the K algorithms, with as many degrees of freedom as there are seeds beyond the first of each. An
  algorithm that scatters more than that is given its own variance, and the degrees of freedom are
  a harmonic mean of both, by their shares. One seed, or no scatter at all: no answer.
- new seeds and tasks: both margins, squared and added, which holds the truth at least as often as
  it says whichever of the two varies more (Banerjee 1961), and is never narrower than either.

What stays: beside five others, an algorithm whose seeds scatter three times as much has an
interval that holds the truth in 87 of 100 cases with two seeds, 91 with three, 93 with five.
Resampling a few seeds is no help: three of them never leave their range.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agentgym_envs.statistics import wilson

Array = NDArray[np.float64]
LEVEL = 0.05  # 1 less what intervals hold
_NOTHING = 1e-15  # a variance that is rounding


@dataclass(frozen=True, slots=True)
class Interval:
    """From `low` to `high`; 95 %."""

    low: float
    high: float

    def within(self, low: float, high: float) -> "Interval":
        """Clipped to what is possible."""
        return Interval(max(self.low, low), min(self.high, high))

    def hull(self, other: "Interval") -> "Interval":
        """The smallest interval that holds both."""
        return Interval(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a mean's variance, and the degrees of freedom that it is known with."""

    variance: float
    df: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Mean of A minus mean of B.

    over_tasks: its interval for these runs on other tasks; None without scatter over tasks.
    interval, p: for new seeds and tasks; None where that cannot be told.
    """

    mean: float
    over_tasks: Interval | None
    interval: Interval | None
    p: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Swaps:
    """Tasks at which A, or B, did better, and the exact two-sided p-value of the swap test."""

    first_better: int
    second_better: int
    p: float


# -- Student's t, since shipped code does not need scipy


def t_cdf(t: float, df: float) -> float:
    """P(T <= t) of Student's t with `df` > 0 degrees of freedom."""
    whole = df + t * t
    tail = 0.5 * _incomplete_beta(df / 2, 0.5, df / whole, t * t / whole)
    return 1 - tail if t > 0 else tail


def t_critical(tail: float, df: float) -> float:
    """The t that is passed with probability `tail`, for 0 < tail <= 0.5."""
    scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    low, high, t = 0.0, math.inf, 1.0
    for _ in range(400):
        beyond = t_cdf(-t, df)
        low, high = (t, high) if beyond > tail else (low, t)
        density = math.exp(scale - 0.5 * (df + 1) * math.log1p(t * t / df))
        step = beyond / density * math.log(beyond / tail)  # Newton, on the tail's logarithm
        if abs(step) <= 1e-13 * t:
            break
        t += step
        if not low < t < high:
            t = 2 * low + 1 if high == math.inf else (low + high) / 2
    return t


def _incomplete_beta(a: float, b: float, x: float, y: float) -> float:
    """The regularised I_x(a, b), by its continued fraction (DLMF 8.17.22); y is 1 - x, exactly."""
    if x == 0 or y == 0:
        return float(y == 0)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1 - _incomplete_beta(b, a, y, x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(log_front + a * math.log(x) + b * math.log(y)) / a
    d = 1 / (1 - (a + b) * x / (a + 1))
    c, fraction = 1.0, d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / (1 + term * d)
            c = 1 + term / c
            fraction *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front * fraction


# -- parts of a variance


def pooled(rates: Collection[Sequence[float]]) -> Part | None:
    """The variance of a run's rate, over the runs of all algorithms.  rates: of each, [S]

    None where none has a second seed, and where no two seeds differ.
    """
    many = [one for one in rates if len(one) > 1]
    df = sum(len(one) - 1 for one in many)
    squares = sum((len(one) - 1) * float(np.var(one, ddof=1)) for one in many)
    return Part(squares / df, df) if squares > _NOTHING else None


def seeds_part(rates: Sequence[Sequence[float]], shared: Part | None) -> Part | None:
    """What seeds add to the variance of a sum or difference of means.  rates: of each, [S]

    shared: the pooled variance. None where it is not known or one of the means is of one seed.
    """
    if shared is None or any(len(one) < 2 for one in rates):
        return None
    parts = [Part(shared.variance * sum(1 / len(one) for one in rates), shared.df)]
    for one in rates:
        excess = float(np.var(one, ddof=1)) - shared.variance
        parts.append(Part(max(excess, 0.0) / len(one), len(one) - 1))
    total = sum(part.variance for part in parts)
    return Part(total, total / sum(part.variance / part.df for part in parts))


def tasks_part(outcomes: Sequence[Array], signs: Sequence[int]) -> tuple[Part, Part]:
    """What tasks add to the variance of a sum of means, each [S, T] with its sign.

    As it is in these runs, and without the luck of single episodes, which is in the scatter of
    seeds already. A component estimated below zero is zero.
    """
    count = outcomes[0].shape[1]
    by_task = sum(sign * one.mean(axis=0) for one, sign in zip(outcomes, signs, strict=True))
    plain = float(np.var(by_task, ddof=1)) / count if count > 1 else 0.0
    if plain < _NOTHING:
        return Part(0.0, 1.0), Part(0.0, 1.0)
    luck = sum(_rest(one) / one.size for one in outcomes)
    return Part(plain, count - 1), Part(max(plain - luck, 0.0), count - 1)


def _rest(outcomes: Array) -> float:
    """Mean square of what neither seed nor task explains; 0 for one seed."""
    seeds, tasks = outcomes.shape
    if seeds < 2:
        return 0.0
    rest = outcomes - outcomes.mean(axis=1, keepdims=True) - outcomes.mean(axis=0) + outcomes.mean()
    return float((rest**2).sum()) / ((seeds - 1) * (tasks - 1))


def margin(parts: Sequence[Part], level: float = LEVEL) -> float:
    """Half of the interval of a mean whose variance has these parts."""
    return math.sqrt(sum(one.variance * t_critical(level / 2, one.df) ** 2 for one in parts))


def p_of(distance: float, parts: Sequence[Part]) -> float:
    """The level at which the margin reaches as far as the mean is from zero; at least 1e-12."""
    low, high = math.log(1e-12), 0.0
    while high - low > 1e-7:
        middle = (low + high) / 2
        low, high = (low, middle) if margin(parts, math.exp(middle)) < distance else (middle, high)
    return math.exp(high)


# -- intervals of an algorithm


def over_tasks(outcomes: Array) -> Interval:
    """Of the rate of these runs on other tasks, within [0, 1].  outcomes [S, T]

    One seed, or no scatter over tasks: Wilson's over the T tasks.
    """
    seeds, tasks = outcomes.shape
    mean = float(outcomes.mean())
    part, _ = tasks_part([outcomes], [1])
    if seeds == 1 or part.variance == 0:
        return Interval(*wilson(round(mean * tasks), tasks))
    return _around(mean, margin([part])).within(0, 1)


def over_seeds(rates: Sequence[float], shared: Part | None) -> Interval | None:
    """Of the mean of many seeds' rates on these tasks, within [0, 1].

    shared: the pooled variance. None where there is no word on new seeds.
    """
    part = seeds_part([rates], shared)
    return None if part is None else _around(float(np.mean(rates)), margin([part])).within(0, 1)


def over_seeds_and_tasks(outcomes: Array, shared: Part | None) -> Interval | None:
    """Of the rate over many seeds and tasks, within [0, 1].  outcomes [S, T]

    It holds the intervals over seeds and over tasks. None where there is no word on new seeds.
    """
    part = seeds_part([outcomes.mean(axis=1).tolist()], shared)
    if part is None:
        return None
    _, tasks = tasks_part([outcomes], [1])
    wide = _around(float(outcomes.mean()), margin([part, tasks])).within(0, 1)
    return wide.hull(over_tasks(outcomes))


def _around(middle: float, half: float) -> Interval:
    return Interval(middle - half, middle + half)


# -- two algorithms


def paired_difference(first: Array, second: Array, shared: Part | None) -> Difference:
    """A minus B on the same tasks, [S, T] each with seeds of its own. shared: the pooled variance.

    Raises ValueError where the numbers of tasks differ.
    """
    _check_paired(first, second)
    mean = float(first.mean() - second.mean())
    these, tasks = tasks_part([first, second], [1, -1])
    if these.variance == 0:
        return Difference(mean=mean, over_tasks=None, interval=None, p=None)
    alone = _around(mean, margin([these])).within(-1, 1)
    seeds = seeds_part([one.mean(axis=1).tolist() for one in (first, second)], shared)
    if seeds is None:
        return Difference(mean=mean, over_tasks=alone, interval=None, p=None)
    parts = [seeds, tasks]
    interval = _around(mean, margin(parts)).within(-1, 1).hull(alone)
    alike = 2 * t_cdf(-abs(mean) / math.sqrt(these.variance), these.df)
    p = max(p_of(abs(mean), parts), alike)
    return Difference(mean=mean, over_tasks=alone, interval=interval, p=p)


def swap_test(first: Array, second: Array) -> Swaps:
    """Do these runs differ? [S, T] each with seeds of its own, on the same tasks.

    If they did not, a task's outcomes could be swapped between the two: their difference would be
    as likely the other way round. Exact for as many runs of both, and for one each McNemar's exact
    test. What new seeds would do it does not say. Raises ValueError where the numbers of tasks
    differ.
    """
    _check_paired(first, second)
    gaps = second.shape[0] * first.sum(axis=0) - first.shape[0] * second.sum(axis=0)
    sizes = np.rint(gaps).astype(int)
    return Swaps(
        first_better=int((sizes > 0).sum()),
        second_better=int((sizes < 0).sum()),
        p=signs_two_sided(sizes.tolist()),
    )


def signs_two_sided(gaps: Sequence[int]) -> float:
    """P(a sum with random signs is as far from zero as this one).  gaps [T]"""
    sizes = [abs(gap) for gap in gaps if gap]
    chance = np.ones(1)  # of each sum of the gaps that count as positive, in steps of `unit`
    unit = math.gcd(*sizes)
    for size in sorted(set(sizes)):
        count, step = sizes.count(size), size // unit
        coins = np.zeros(count * step + 1)
        coins[::step] = _fair_coins(count)
        chance = np.convolve(chance, coins)
    whole = len(chance) - 1
    if not whole:
        return 1.0
    upper = sum(gap for gap in gaps if gap > 0) // unit
    smaller = min(upper, whole - upper)
    return min(1.0, 2 * float(chance[: smaller + 1].sum()))


def _fair_coins(count: int) -> Array:
    """P(k heads) of `count` fair coins.  [count + 1]"""
    whole = math.lgamma(count + 1) - count * math.log(2)
    logs = [whole - math.lgamma(k + 1) - math.lgamma(count - k + 1) for k in range(count + 1)]
    return np.exp(np.array(logs))


def _check_paired(first: Array, second: Array) -> None:
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"{first.shape[1]} and {second.shape[1]} tasks cannot be paired")


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: compare with 0.05 whatever their number; keeps the order."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[i]))
        adjusted[i] = highest
    return adjusted


# -- ranking


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """`first`: share of the draws in which it leads (ties are shared); `low`, `high`: the ranks
    that hold the middle 95 % of them."""

    first: float
    low: int
    high: int


def rank_stability(
    outcomes: Mapping[str, Array], *, draws: int = 4000, seed: int = 0
) -> dict[str, Rank]:
    """How the ranking by mean success holds with other tasks, and other seeds.

    outcomes: name -> [S, T] on the same tasks, which are drawn again, together for all. Means move
    as far as seeds scatter, by Student's t; not at all where one of them gives no word on new
    seeds: then it is of these runs. Raises ValueError where the numbers of tasks differ.
    """
    if not outcomes:
        return {}
    counts = {one.shape[1] for one in outcomes.values()}
    if len(counts) != 1:
        raise ValueError(f"the same tasks for all, please: got {sorted(counts)} of them")
    (count,) = counts
    dice = np.random.default_rng(seed)
    drawn = dice.multinomial(count, np.full(count, 1 / count), size=draws).T  # [T, B]
    by_task = np.stack([one.mean(axis=0) for one in outcomes.values()])  # [names, T]
    means = by_task @ drawn / count  # [names, B]
    rates = [one.mean(axis=1).tolist() for one in outcomes.values()]
    shared = pooled(rates)
    parts = [part for one in rates if (part := seeds_part([one], shared)) is not None]
    if len(parts) == len(rates):
        moved = [math.sqrt(p.variance) * dice.standard_t(p.df, size=draws) for p in parts]
        means = means + np.stack(moved)
    best = np.isclose(means, means.max(axis=0), rtol=0, atol=1e-12)
    first = (best / best.sum(axis=0)).mean(axis=1)
    above = (means[None, :, :] > means[:, None, :] + 1e-12).sum(axis=1)  # [names, B]
    ranks = above + 1
    low = np.quantile(ranks, 0.025, axis=1, method="lower")
    high = np.quantile(ranks, 0.975, axis=1, method="higher")
    return {
        name: Rank(first=float(first[i]), low=int(low[i]), high=int(high[i]))
        for i, name in enumerate(outcomes)
    }
