"""How sure a comparison is: intervals over seeds and tasks, paired tests, stability of the ranking.

Outcomes are arrays [S seeds, T tasks] of 0 and 1: every seed of an algorithm plays the same tasks.
Two questions, two intervals:

- over seeds: what would another training run reach *on these tasks*? Student's t over the S rates.
- over seeds and tasks: what would another run reach on *other tasks of the kind*? Seeds and tasks
  are crossed random effects. The variance of the mean is (MS_seed + MS_task - MS_rest) / (S T),
  with the mean squares of a two-way table, and Satterthwaite's degrees of freedom.

Resampling is not used for intervals: the bootstrap of three seeds never leaves their range, which
misses the truth one time in four. It is used where it fits, for how often a ranking would change.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agentgym_envs.statistics import wilson

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """From `low` to `high`; 95 % unless said otherwise."""

    low: float
    high: float

    def within(self, low: float, high: float) -> "Interval":
        """Clipped to what is possible."""
        return Interval(max(self.low, low), min(self.high, high))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Mean of A minus mean of B over seeds and tasks, its interval, and the p-value of no
    difference. `seeds`: how many pairs of runs it rests on."""

    mean: float
    interval: Interval
    p: float
    seeds: int
    tasks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class McNemar:
    """Tasks that only one of the two solved, and the exact two-sided p-value."""

    only_first: int
    only_second: int
    p: float


# -- Student's t, since shipped code does not need scipy


def t_cdf(t: float, df: float) -> float:
    """P(T <= t) of Student's t with `df` > 0 degrees of freedom."""
    whole = df + t * t
    tail = 0.5 * _incomplete_beta(df / 2, 0.5, df / whole, t * t / whole)
    return 1 - tail if t > 0 else tail


def t_quantile(p: float, df: float) -> float:
    """Where `t_cdf` reaches p, for 0.5 <= p < 1."""
    high = 1.0
    while t_cdf(high, df) < p:
        high *= 2
    low = 0.0
    while high - low > 1e-13 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_cdf(middle, df) < p else (low, middle)
    return high


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


# -- intervals


def over_seeds(rates: Sequence[float]) -> Interval | None:
    """Student's t interval of the mean of S rates, within [0, 1].

    None for fewer than two, and where all are the same: they tell no spread.
    """
    count = len(rates)
    if count < 2 or max(rates) == min(rates):
        return None
    spread = float(np.std(rates, ddof=1)) / math.sqrt(count)
    half = t_quantile(0.975, count - 1) * spread
    mean = float(np.mean(rates))
    return Interval(mean - half, mean + half).within(0, 1)


def over_seeds_and_tasks(outcomes: Array) -> Interval:
    """Interval of the success rate over seeds and tasks, within [0, 1].  outcomes [S, T]

    One seed: Wilson's over its tasks. Where all outcomes are the same there is no variance to
    estimate, and it is Wilson's over the T tasks.
    """
    seeds, tasks = outcomes.shape
    same = bool(np.all(outcomes == outcomes.flat[0]))
    if seeds == 1 or same:
        return Interval(*wilson(round(float(outcomes[0].sum())), tasks))
    mean, variance, df = crossed_mean(outcomes)
    half = t_quantile(0.975, df) * math.sqrt(variance)
    return Interval(mean - half, mean + half).within(0, 1)


def crossed_mean(values: Array) -> tuple[float, float, float]:
    """Mean over seeds and tasks, the variance of that mean, its degrees of freedom.  values [S, T]

    A component estimated below zero counts as zero. One seed leaves the variance over its tasks.
    """
    seeds, tasks = values.shape
    mean = float(values.mean())
    if seeds == 1:
        return mean, float(values.var(ddof=1)) / tasks if tasks > 1 else 0.0, max(tasks - 1, 1)
    by_seed, by_task = values.mean(axis=1), values.mean(axis=0)
    seed_square = tasks * float(by_seed.var(ddof=1))
    task_square = seeds * float(by_task.var(ddof=1)) if tasks > 1 else 0.0
    rest = values - by_seed[:, None] - by_task[None, :] + mean
    rest_df = max((seeds - 1) * (tasks - 1), 1)
    rest_square = float((rest**2).sum()) / rest_df
    total = max(seed_square, rest_square) + max(task_square, rest_square) - rest_square
    shaky = seed_square**2 / (seeds - 1) + task_square**2 / max(tasks - 1, 1)
    shaky += rest_square**2 / rest_df
    df = total**2 / shaky if shaky > 0 else float(seeds - 1)
    return mean, total / (seeds * tasks), max(df, 1.0)


# -- paired tests


def paired_difference(first: Array, second: Array) -> Difference:
    """A minus B on the same seeds and tasks, both [S, T]; the p-value is of Student's t.

    It speaks of new seeds and new tasks; with one seed, of new tasks only. Raises ValueError where
    the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"outcomes of {first.shape} and {second.shape} cannot be paired")
    gaps = first - second
    mean, variance, df = crossed_mean(gaps)
    if variance == 0:
        p = 1.0 if mean == 0 else 0.0
        return Difference(mean=mean, interval=Interval(mean, mean), p=p, **_shape(gaps))
    error = math.sqrt(variance)
    half = t_quantile(0.975, df) * error
    p = 2 * t_cdf(-abs(mean) / error, df)  # the tail itself: 1 - cdf would round it to nothing
    interval = Interval(mean - half, mean + half).within(-1, 1)
    return Difference(mean=mean, interval=interval, p=min(p, 1.0), **_shape(gaps))


def _shape(values: Array) -> dict[str, int]:
    return {"seeds": values.shape[0], "tasks": values.shape[1]}


def mcnemar(first: Array, second: Array) -> McNemar:
    """Exact McNemar test over all pairs (seed, task), both [S, T].

    It takes the trained runs as given: whether *these runs* differ, not what new seeds would do.
    Raises ValueError where the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"outcomes of {first.shape} and {second.shape} cannot be paired")
    only_first = int(((first > 0.5) & (second < 0.5)).sum())
    only_second = int(((first < 0.5) & (second > 0.5)).sum())
    p = binomial_two_sided(only_first, only_first + only_second)
    return McNemar(only_first=only_first, only_second=only_second, p=p)


def binomial_two_sided(successes: int, trials: int) -> float:
    """Exact p-value of a fair coin: twice the smaller tail, at most 1."""
    smaller = min(successes, trials - successes)
    tail = sum(math.comb(trials, k) for k in range(smaller + 1))
    return min(1.0, 2 * tail / 2**trials)


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
    """`first`: share of the resamples in which it leads (ties are shared); `low`, `high`: the
    ranks that hold the middle 95 % of them."""

    first: float
    low: int
    high: int


def rank_stability(
    outcomes: Mapping[str, Array], *, resamples: int = 4000, seed: int = 0
) -> dict[str, Rank]:
    """How the ranking by mean success holds when seeds and tasks are drawn again.

    outcomes: name -> [S, T]; tasks are the same for all and are drawn together, seeds for each
    name on its own, as one level below the other (hierarchical bootstrap).
    """
    if not outcomes:
        return {}
    dice = np.random.default_rng(seed)
    means = np.stack(resampled_means(list(outcomes.values()), resamples, dice))  # [names, B]
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


def resampled_means(
    outcomes: Sequence[Array], resamples: int, dice: np.random.Generator
) -> list[Array]:
    """Mean success in each of B resamples: tasks drawn once for all, seeds for each.  [S, T] -> [B]

    Raises ValueError where the numbers of tasks differ.
    """
    tasks = {one.shape[1] for one in outcomes}
    if len(tasks) != 1:
        raise ValueError(f"the same tasks for all, please: got {sorted(tasks)} of them")
    (count,) = tasks
    drawn = dice.multinomial(count, np.full(count, 1 / count), size=resamples).T  # [T, B]
    means = []
    for one in outcomes:
        seeds = one.shape[0]
        weight = dice.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples).T  # [S, B]
        means.append((weight * (one @ drawn)).sum(axis=0) / (seeds * count))
    return means
