"""Intervals and tests, against scipy, by hand, and on simulated runs whose truth is known."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agentgym_train.report.stats import (
    Interval,
    binomial_two_sided,
    crossed_mean,
    holm,
    mcnemar,
    over_seeds,
    over_seeds_and_tasks,
    paired_difference,
    rank_stability,
    resampled_means,
    t_cdf,
    t_quantile,
)

scipy_stats = pytest.importorskip("scipy.stats")
scipy_special = pytest.importorskip("scipy.special")

outcomes = arrays(
    np.float64,
    st.tuples(st.integers(1, 5), st.integers(1, 12)),
    elements=st.sampled_from([0.0, 1.0]),
)


# -- against scipy


@given(t=st.floats(-30, 30), df=st.floats(1, 500))
@example(t=1e-8, df=1.0)
@example(t=-1e-8, df=499.0)
def test_students_t_is_scipys(t, df):
    # by scipy's incomplete beta: its own `t.cdf` is off by up to 2e-9 near zero
    middle = scipy_special.betainc(0.5, df / 2, t * t / (df + t * t)) / 2
    assert t_cdf(t, df) == pytest.approx(0.5 + math.copysign(middle, t), abs=1e-12)
    assert t_cdf(t, df) == pytest.approx(scipy_stats.t.cdf(t, df), abs=1e-8)


@given(t=st.floats(-30, 30))
def test_students_t_in_closed_form(t):
    assert t_cdf(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, abs=1e-14)
    assert t_cdf(t, 2) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)), abs=1e-14)


@given(t=st.floats(5, 200), df=st.floats(1, 200))
def test_the_far_tail_of_t_keeps_its_digits(t, df):
    assert t_cdf(-t, df) == pytest.approx(scipy_stats.t.sf(t, df), rel=1e-9)


@settings(max_examples=40)
@given(p=st.floats(0.5, 0.9995), df=st.floats(1, 500))
def test_quantiles_of_t_are_scipys(p, df):
    assert t_quantile(p, df) == pytest.approx(scipy_stats.t.ppf(p, df), rel=1e-8, abs=1e-9)


@settings(max_examples=40)
@given(
    rates=st.lists(st.floats(0.3, 0.7), min_size=2, max_size=8).filter(lambda r: np.ptp(r) > 0.01)
)
def test_the_interval_over_seeds_is_students(rates):
    error = scipy_stats.sem(rates)
    low, high = scipy_stats.t.interval(0.95, len(rates) - 1, np.mean(rates), error)
    found = over_seeds(rates)
    assert found is not None
    assert found.low == pytest.approx(max(low, 0), abs=1e-9)
    assert found.high == pytest.approx(min(high, 1), abs=1e-9)


@given(trials=st.integers(1, 400), data=st.data())
def test_mcnemar_is_the_exact_binomial_test(trials, data):
    wins = data.draw(st.integers(0, trials))
    expected = scipy_stats.binomtest(wins, trials).pvalue
    assert binomial_two_sided(wins, trials) == pytest.approx(expected, rel=1e-9)


def test_one_seed_is_a_paired_t_test():
    dice = np.random.default_rng(0)
    a, b = dice.integers(0, 2, (2, 1, 40)).astype(float)
    expected = scipy_stats.ttest_rel(a[0], b[0])
    found = paired_difference(a, b)
    assert found.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert found.interval.low == pytest.approx(interval.low)
    assert found.interval.high == pytest.approx(interval.high)


# -- by hand


def test_the_crossed_variance_by_hand():
    # Two seeds, two tasks: rows 1 1 and 1 0. Mean 3/4; both mean squares and the rest are 1/4.
    mean, variance, df = crossed_mean(np.array([[1.0, 1.0], [1.0, 0.0]]))
    assert mean == 0.75
    assert variance == pytest.approx((0.25 + 0.25 - 0.25) / 4)
    assert df == pytest.approx(1.0)  # (1/4)^2 over three times (1/4)^2, and at least 1


def test_mcnemar_counts_the_tasks_that_only_one_solved():
    a = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]], float)
    b = np.array([[0, 0, 1, 1, 0], [0, 0, 0, 1, 0]], float)
    found = mcnemar(a, b)
    assert (found.only_first, found.only_second) == (5, 1)
    assert found.p == pytest.approx(2 * (1 + 6) / 2**6)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_never_sharpens(p):
    adjusted = holm(p)
    assert all(0 <= before <= after <= 1 for before, after in zip(p, adjusted, strict=True))
    order = sorted(range(len(p)), key=lambda i: p[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)


def test_one_seed_tells_nothing_about_seeds():
    assert over_seeds([0.5]) is None
    assert over_seeds([]) is None
    assert over_seeds([0.5, 0.5, 0.5]) is None  # no spread to go by


def test_without_any_success_the_truth_may_still_be_above_zero():
    found = over_seeds_and_tasks(np.zeros((3, 20)))
    assert found.low == 0
    assert found.high == pytest.approx(0.1611, abs=1e-4)  # Wilson's for 0 of 20


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="cannot be paired"):
        mcnemar(np.zeros((2, 3)), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="the same tasks"):
        rank_stability({"a": np.zeros((1, 3)), "b": np.zeros((1, 4))})


# -- laws


@given(values=outcomes)
def test_an_interval_holds_the_mean_and_stays_between_0_and_1(values):
    found = over_seeds_and_tasks(values)
    assert 0 <= found.low <= values.mean() + 1e-9
    assert values.mean() - 1e-9 <= found.high <= 1


@given(values=outcomes, data=st.data())
def test_swapping_two_algorithms_flips_the_difference(values, data):
    other = data.draw(
        arrays(np.float64, st.just(values.shape), elements=st.sampled_from([0.0, 1.0]))
    )
    one, two = paired_difference(values, other), paired_difference(other, values)
    assert one.mean == pytest.approx(-two.mean)
    assert one.p == pytest.approx(two.p)
    assert one.interval.low == pytest.approx(-two.interval.high)


@given(values=outcomes)
def test_the_order_of_seeds_and_tasks_does_not_matter(values):
    turned = values[::-1, ::-1]
    assert crossed_mean(values) == pytest.approx(crossed_mean(turned))


@settings(max_examples=20)
@given(values=st.lists(outcomes.filter(lambda v: v.shape[1] >= 2), min_size=1, max_size=4))
def test_first_places_are_shared_out_completely(values):
    tasks = min(one.shape[1] for one in values)
    named = {str(i): one[:, :tasks] for i, one in enumerate(values)}
    found = rank_stability(named, resamples=200)
    assert sum(one.first for one in found.values()) == pytest.approx(1)
    assert all(1 <= one.low <= one.high <= len(named) for one in found.values())


def test_what_is_always_better_always_leads():
    found = rank_stability({"good": np.ones((3, 10)), "bad": np.zeros((3, 10))})
    assert (found["good"].first, found["good"].low, found["good"].high) == (1.0, 1, 1)
    assert (found["bad"].first, found["bad"].low, found["bad"].high) == (0.0, 2, 2)


def test_equals_share_the_first_place():
    same = np.eye(6)
    found = rank_stability({"a": same[:1], "b": same[1:2]})
    assert found["a"].first == pytest.approx(0.5, abs=0.03)


def test_the_hierarchical_bootstrap_has_the_spread_of_seeds_and_tasks():
    # Many of both: its variance is near that of the crossed design it resamples.
    dice = np.random.default_rng(3)
    values = simulated(dice, 40, 60, luck=0.6, hard=1.0)
    (means,) = resampled_means([values], 4000, np.random.default_rng(0))
    _, variance, _ = crossed_mean(values)
    assert means.mean() == pytest.approx(values.mean(), abs=0.005)
    # It counts the rest's variance three times (Owen 2007), here a small part of the whole.
    assert 0.9 * variance < means.var() < 1.5 * variance


# -- simulated runs


def simulated(dice, seeds: int, tasks: int, *, luck: float, hard: float, middle: float = 0.0):
    """Outcomes [S, T]: logit = middle + the seed's luck + the task's ease."""
    ease = dice.normal(0, hard, tasks)
    logit = middle + dice.normal(0, luck, (seeds, 1)) + ease
    return (dice.random((seeds, tasks)) < 1 / (1 + np.exp(-logit))).astype(float)


def truth(luck: float, hard: float, middle: float) -> float:
    """The mean success over all seeds and tasks there could be."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    logit = middle + nodes * math.hypot(luck, hard)
    return float((weights / (1 + np.exp(-logit))).sum() / weights.sum())


WORLDS = [
    pytest.param(3, 32, 0.4, 1.0, 0.0, id="3 seeds"),
    pytest.param(5, 64, 0.3, 1.5, 1.2, id="5 seeds, easy"),
    pytest.param(2, 48, 0.4, 0.5, 0.0, id="2 seeds"),
]


def check_coverage(seeds, tasks, luck, hard, middle, times):
    """Both intervals hold the truth as often as they say, and both tests err as often as they say.

    They may err less (where there is less variance than the method must allow for), and more by at
    most 2.5 points: rates are not normal and few seeds hide their spread.
    """
    dice = np.random.default_rng(17)
    aim = truth(luck, hard, middle)
    held, alarms = 0, 0
    for _ in range(times):
        ease = dice.normal(0, hard, tasks)
        both = [
            (
                dice.random((seeds, tasks))
                < 1 / (1 + np.exp(-(middle + dice.normal(0, luck, (seeds, 1)) + ease)))
            ).astype(float)
            for _ in range(2)
        ]
        found = over_seeds_and_tasks(both[0])
        held += found.low <= aim <= found.high
        alarms += paired_difference(*both).p < 0.05
    noise = 3 * math.sqrt(0.05 * 0.95 / times)
    assert held / times > 0.95 - 0.025 - noise
    assert alarms / times < 0.05 + 0.025 + noise


@pytest.mark.parametrize(("seeds", "tasks", "luck", "hard", "middle"), WORLDS)
def test_intervals_hold_the_truth(seeds, tasks, luck, hard, middle):
    check_coverage(seeds, tasks, luck, hard, middle, times=250)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "tasks", "luck", "hard", "middle"), WORLDS)
def test_intervals_hold_the_truth_many_times(seeds, tasks, luck, hard, middle):
    check_coverage(seeds, tasks, luck, hard, middle, times=4000)


def test_the_interval_over_seeds_holds_the_truth_of_these_tasks():
    dice = np.random.default_rng(5)
    tasks, held, times = 64, 0, 400
    ease = dice.normal(0, 1, tasks)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    rates = 1 / (1 + np.exp(-(0.4 * nodes[:, None] + ease)))  # [nodes, tasks]
    aim = float((weights @ rates).mean() / weights.sum())
    for _ in range(times):
        logit = dice.normal(0, 0.4, (4, 1)) + ease
        rows = dice.random((4, tasks)) < 1 / (1 + np.exp(-logit))
        found = over_seeds(rows.mean(axis=1).tolist()) or Interval(0, 0)
        held += found.low <= aim <= found.high
    assert held / times == pytest.approx(0.95, abs=3 * math.sqrt(0.05 * 0.95 / times))


def test_a_bootstrap_of_three_seeds_misses_too_often():
    # Why intervals are not bootstrapped here.
    dice = np.random.default_rng(5)
    aim, held, times = truth(1.0, 0.3, 0.0), 0, 200
    for _ in range(times):
        values = simulated(dice, 3, 64, luck=1.0, hard=0.3)
        (means,) = resampled_means([values], 200, dice)
        low, high = np.quantile(means, [0.025, 0.975])
        held += low <= aim <= high
    assert held / times < 0.90


def test_a_true_difference_is_found():
    dice = np.random.default_rng(2)
    weak = simulated(dice, 4, 80, luck=0.2, hard=1.0, middle=-1.0)
    strong = simulated(dice, 4, 80, luck=0.2, hard=1.0, middle=1.0)
    found = paired_difference(strong, weak)
    assert found.p < 0.01
    assert found.interval.low > 0
