"""Intervals and tests, against scipy, by hand, and on simulated runs whose truth is known."""

import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agentgym_train.report.stats import (
    Part,
    holm,
    margin,
    over_seeds,
    over_seeds_and_tasks,
    over_tasks,
    p_of,
    paired_difference,
    pooled,
    rank_stability,
    seeds_part,
    signs_two_sided,
    swap_test,
    t_cdf,
    t_critical,
    tasks_part,
)

scipy_stats = pytest.importorskip("scipy.stats")
scipy_special = pytest.importorskip("scipy.special")

outcomes = arrays(
    np.float64,
    st.tuples(st.integers(1, 5), st.integers(1, 12)),
    elements=st.sampled_from([0.0, 1.0]),
)


@st.composite
def studies(draw, most: int = 4):
    """Several algorithms on the same tasks, each with seeds of its own."""
    tasks = draw(st.integers(1, 12))
    shapes = [(draw(st.integers(1, 5)), tasks) for _ in range(draw(st.integers(1, most)))]
    bits = st.sampled_from([0.0, 1.0])
    return [draw(arrays(np.float64, shape, elements=bits)) for shape in shapes]


def rates_of(outcomes) -> list[float]:
    return outcomes.mean(axis=1).tolist()


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


@settings(max_examples=60)
@given(tail=st.floats(1e-9, 0.5), df=st.floats(1, 500))
@example(tail=0.5, df=3.0)
@example(tail=1e-12, df=1.0)
def test_critical_values_of_t_are_scipys(tail, df):
    assert t_critical(tail, df) == pytest.approx(scipy_stats.t.isf(tail, df), rel=1e-8, abs=1e-9)


@settings(max_examples=40)
@given(
    rates=st.lists(st.floats(0.3, 0.7), min_size=2, max_size=8).filter(lambda r: np.ptp(r) > 0.01)
)
def test_an_algorithm_alone_has_students_interval_over_seeds(rates):
    error = scipy_stats.sem(rates)
    low, high = scipy_stats.t.interval(0.95, len(rates) - 1, np.mean(rates), error)
    found = over_seeds(rates, pooled([rates]))
    assert found is not None
    assert found.low == pytest.approx(max(low, 0), abs=1e-9)
    assert found.high == pytest.approx(min(high, 1), abs=1e-9)


@given(trials=st.integers(1, 400), data=st.data())
def test_one_run_each_is_the_exact_binomial_test(trials, data):
    wins = data.draw(st.integers(0, trials))
    expected = scipy_stats.binomtest(wins, trials).pvalue
    found = signs_two_sided([1] * wins + [-1] * (trials - wins))
    assert found == pytest.approx(expected, rel=1e-9)


def test_the_difference_of_one_run_each_has_the_interval_of_a_paired_t_test():
    dice = np.random.default_rng(0)
    a, b = dice.integers(0, 2, (2, 1, 40)).astype(float)
    expected = scipy_stats.ttest_rel(a[0], b[0]).confidence_interval()
    found = paired_difference(a, b, None).over_tasks
    assert found is not None
    assert found.low == pytest.approx(expected.low)
    assert found.high == pytest.approx(expected.high)


# -- by hand


def test_the_scatter_of_seeds_is_pooled_by_hand():
    # Deviations 0.1 and 0.1 about 0.3; 0.2, 0 and 0.2 about 0.5; one seed tells nothing.
    found = pooled([[0.2, 0.4], [0.3, 0.5, 0.7], [0.9]])
    assert found is not None
    assert found.df == 1 + 2
    assert found.variance == pytest.approx((2 * 0.01 + 2 * 0.04) / 3)


def test_who_scatters_more_than_the_others_gets_its_own_variance_and_fewer_degrees_of_freedom():
    shared = pooled([wild := [0.2, 0.8], calm := [0.4, 0.6], [0.5, 0.5], [0.4, 0.6]])
    assert shared == Part(pytest.approx((0.18 + 0.02 + 0.02) / 4), 4)
    # The pooled variance, with its 4 degrees of freedom; it is more than the own 0.02.
    assert seeds_part([calm], shared) == Part(pytest.approx(0.055 / 2), pytest.approx(4))
    # The own 0.18: of it 0.055 with 4 degrees of freedom, the rest with the own 1.
    df = 0.18 / (0.055 / 4 + 0.125 / 1)
    assert seeds_part([wild], shared) == Part(pytest.approx(0.18 / 2), pytest.approx(df))


def test_what_tasks_add_by_hand():
    # Two seeds, two tasks: rows 1 1 and 1 0. By task 1 and 1/2: variance 1/8, over two tasks 1/16.
    # Rows less row and column means are +-1/4: mean square 1/4, over four episodes 1/16.
    these, tasks = tasks_part([np.array([[1.0, 1.0], [1.0, 0.0]])], [1])
    assert these == Part(pytest.approx(1 / 16), 1)
    assert tasks == Part(pytest.approx(0), 1)


def test_margins_are_squared_and_added_by_hand():
    # Student's t at 95 %: 12.706 with one degree of freedom, 4.303 with two.
    found = margin([Part(0.01, 1), Part(0.04, 2)])
    assert found == pytest.approx(math.sqrt(0.01 * 12.7062**2 + 0.04 * 4.3027**2), rel=1e-4)


def test_a_swap_test_by_hand():
    a = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]], float)
    b = np.array([[0, 0, 1, 1, 0], [0, 0, 0, 1, 0]], float)
    found = swap_test(a, b)
    # Gaps of the tasks, in runs: 2, 2, 1, -1, 0. Of 16 ways to sign them |sum| >= 4 for 6.
    assert (found.first_better, found.second_better) == (3, 1)
    assert found.p == pytest.approx(6 / 16)


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
    one, others = np.eye(4)[:1], [[0.2, 0.4], [0.3, 0.6]]
    shared = pooled([[0.25], *others])
    assert shared is not None
    assert over_seeds([0.25], shared) is None
    assert over_seeds_and_tasks(one, shared) is None
    alone = paired_difference(one, np.ones((3, 4)), shared)
    assert alone.over_tasks is not None
    assert (alone.interval, alone.p) == (None, None)


def test_seeds_that_end_alike_tell_no_scatter():
    assert pooled([[0.5, 0.5], [0.7, 0.7]]) is None
    assert pooled([[0.5], [0.7]]) is None
    assert over_seeds([0.5, 0.5], None) is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 3), (3, 1)])
def test_who_solves_everything_is_not_surely_ahead_of_who_solves_nothing(shape):
    """No scatter at all is too few tasks or seeds, not certainty: the exact test alone speaks."""
    first, second = np.ones(shape), np.zeros(shape)
    shared = pooled([rates_of(first), rates_of(second), [0.2, 0.4]])
    found = paired_difference(first, second, shared)
    assert (found.mean, found.over_tasks, found.interval, found.p) == (1.0, None, None, None)
    assert swap_test(first, second).p == pytest.approx(min(1.0, 2 / 2 ** shape[1]))


def test_without_any_success_the_truth_may_still_be_above_zero():
    found = over_tasks(np.zeros((3, 20)))
    assert found.low == 0
    assert found.high == pytest.approx(0.1611, abs=1e-4)  # Wilson's for 0 of 20


def test_other_tasks_are_refused():
    with pytest.raises(ValueError, match="3 and 4 tasks cannot be paired"):
        paired_difference(np.zeros((2, 3)), np.zeros((2, 4)), None)
    with pytest.raises(ValueError, match="3 and 4 tasks cannot be paired"):
        swap_test(np.zeros((2, 3)), np.zeros((1, 4)))
    with pytest.raises(ValueError, match="the same tasks"):
        rank_stability({"a": np.zeros((1, 3)), "b": np.zeros((1, 4))})


# -- laws


@given(study=studies())
def test_intervals_hold_the_mean_and_one_over_both_holds_the_others(study):
    shared = pooled([rates_of(one) for one in study])
    for one in study:
        tasks, seeds = over_tasks(one), over_seeds(rates_of(one), shared)
        both = over_seeds_and_tasks(one, shared)
        assert (seeds is None) == (both is None) == (len(one) == 1 or shared is None)
        for found in (tasks, *((seeds, both) if seeds and both else ())):
            assert 0 <= found.low <= one.mean() + 1e-9
            assert one.mean() - 1e-9 <= found.high <= 1
        if seeds and both:
            assert both.low <= min(seeds.low, tasks.low) + 1e-12
            assert both.high >= max(seeds.high, tasks.high) - 1e-12


@settings(max_examples=40)
@given(study=studies(most=2).filter(lambda study: len(study) == 2))
def test_the_p_value_and_the_interval_of_a_difference_say_the_same(study):
    found = paired_difference(*study, pooled([rates_of(one) for one in study]))
    if found.p is not None:
        assert found.interval is not None and found.over_tasks is not None
        assert found.interval.low <= found.over_tasks.low
        assert found.interval.high >= found.over_tasks.high
        outside = found.interval.low > 0 or found.interval.high < 0
        assert outside == (found.p < 0.05) or found.p == pytest.approx(0.05, abs=1e-6)


@settings(max_examples=40)
@given(study=studies(most=2).filter(lambda study: len(study) == 2))
def test_swapping_two_algorithms_flips_the_difference(study):
    shared = pooled([rates_of(one) for one in study])
    one, two = (paired_difference(*pair, shared) for pair in (study, study[::-1]))
    assert one.mean == pytest.approx(-two.mean)
    assert one.p == (two.p if two.p is None else pytest.approx(two.p))
    assert swap_test(*study).p == pytest.approx(swap_test(*study[::-1]).p)


@given(values=outcomes)
def test_the_order_of_seeds_and_tasks_does_not_matter(values):
    turned = values[::-1, ::-1]
    shared = pooled([rates_of(values)])
    assert (shared is None) == (pooled([rates_of(turned)]) is None)
    for one, other in zip(tasks_part([values], [1]), tasks_part([turned], [1]), strict=True):
        assert one.variance == pytest.approx(other.variance, abs=1e-12)


@given(gaps=st.lists(st.integers(-4, 4), max_size=8))
def test_the_swap_test_counts_all_ways_to_sign_the_gaps(gaps):
    sums = [abs(np.dot(signs, gaps)) for signs in product([1, -1], repeat=len(gaps))]
    expected = np.mean([one >= abs(sum(gaps)) for one in sums])
    assert signs_two_sided(gaps) == pytest.approx(expected, abs=1e-9)


@given(variance=st.floats(1e-6, 1), df=st.floats(1, 40), t=st.floats(0.1, 6))
def test_one_part_alone_has_students_p_value(variance, df, t):
    expected = 2 * scipy_stats.t.sf(t, df)
    assert p_of(t * math.sqrt(variance), [Part(variance, df)]) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=20)
@given(values=st.lists(outcomes.filter(lambda v: v.shape[1] >= 2), min_size=1, max_size=4))
def test_first_places_are_shared_out_completely(values):
    tasks = min(one.shape[1] for one in values)
    named = {str(i): one[:, :tasks] for i, one in enumerate(values)}
    found = rank_stability(named, draws=200)
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


def test_two_seeds_do_not_make_a_leader_sure():
    """Their seeds lie far apart: whoever leads, leads by luck."""
    dice = np.random.default_rng(3)
    alike = {str(i): simulated(dice, 2, 256, luck=0.6, hard=1.0) for i in range(6)}
    assert max(one.first for one in rank_stability(alike).values()) < 0.95


# -- simulated runs


def simulated(dice, seeds: int, tasks: int, *, luck: float, hard: float, middle: float = 0.0):
    """Outcomes [S, T]: logit = middle + the seed's luck + the task's ease."""
    return played(dice, seeds, dice.normal(0, hard, tasks), luck, middle)


def played(dice, seeds: int, ease, luck: float, middle: float = 0.0):
    logit = middle + dice.normal(0, luck, (seeds, 1)) + ease
    return (dice.random((seeds, len(ease))) < 1 / (1 + np.exp(-logit))).astype(float)


def truth(spread: float, middle: float) -> float:
    """The mean success where logits are normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    return float((weights / (1 + np.exp(-(middle + nodes * spread)))).sum() / weights.sum())


MIDDLE, HARD, TASKS = -1.0, 1.0, 256
# Seeds, and the luck of each algorithm's seeds in logits.
ALIKE = [
    pytest.param(s, (luck,) * 6, id=f"{s}-{luck}") for s in (2, 3, 5) for luck in (0, 0.2, 0.4, 0.8)
]
ODD = [pytest.param(s, (0.2,) * 5 + (0.8,), id=f"{s}-odd") for s in (2, 3, 5)]
PAIR = [pytest.param(s, (0.4, 0.4), id=f"{s}-pair") for s in (2, 3, 5)]
UNEQUAL = [pytest.param((2, 3, 5, 2, 3, 5), (0.4,) * 6, id="unequal")]


def check_errors(seeds, lucks, times):
    """Algorithms that are alike but for their luck are seldom told apart, and intervals hold the
    truth: as often as they say, or more carefully; where one has far more luck than the others, and
    few seeds to show it, a little less."""
    dice = np.random.default_rng(17)
    counts = seeds if isinstance(seeds, tuple) else (seeds,) * len(lucks)
    odd = len(set(lucks)) > 1
    pairs = list(combinations(range(len(lucks)), 2))
    alarms, sure, families, held, wide = 0, 0, 0, 0, 0
    for _ in range(times):
        ease = dice.normal(0, HARD, TASKS)
        runs = [played(dice, s, ease, x, MIDDLE) for s, x in zip(counts, lucks, strict=True)]
        shared = pooled([rates_of(one) for one in runs])
        found = [paired_difference(runs[i], runs[j], shared) for i, j in pairs]
        p = [1.0 if one.p is None else one.p for one in found]
        alarms += sum(one < 0.05 for one in p)
        sure += sum(one < 0.01 for one in p)
        families += min(holm(p)) < 0.05
        for one, luck in zip(runs, lucks, strict=True):
            both, alone = over_seeds_and_tasks(one, shared), over_seeds(rates_of(one), shared)
            assert both is not None and alone is not None
            held += both.low <= truth(math.hypot(luck, HARD), MIDDLE) <= both.high
            wide += both.high - both.low >= alone.high - alone.low
    told = len(lucks) * times
    assert wide == told

    def noise(share, count):  # pairs and algorithms of one study go together
        return 3 * math.sqrt(share * (1 - share) / count)

    assert alarms / (len(pairs) * times) <= 0.05 + noise(0.05, 2 * times)
    assert sure / (len(pairs) * times) <= (0.015 if odd else 0.01) + noise(0.01, 2 * times)
    assert families / times <= 0.05 + noise(0.05, times)
    assert held / told >= 0.95 - noise(0.05, 2 * times)


@pytest.mark.parametrize(("seeds", "lucks"), [ALIKE[2], ALIKE[5], ODD[0], PAIR[0], *UNEQUAL])
def test_algorithms_that_are_alike_are_seldom_told_apart(seeds, lucks):
    check_errors(seeds, lucks, times=60)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "lucks"), [*ALIKE, *ODD, *PAIR, *UNEQUAL])
def test_algorithms_that_are_alike_are_seldom_told_apart_many_times(seeds, lucks):
    check_errors(seeds, lucks, times=250)


@pytest.mark.parametrize(("seeds", "least"), [(2, 0.82), (3, 0.86), (5, 0.89)])
def test_an_algorithm_with_far_more_luck_has_an_interval_that_mostly_holds(seeds, least):
    """Three times the scatter of five others: pooling alone would hold in seven of ten cases."""
    dice, held, times = np.random.default_rng(1), 0, 2000
    for rates in dice.normal(0.5, 0.02, (times, 6, seeds)):
        rates[5] = 0.5 + 3 * (rates[5] - 0.5)
        found = over_seeds(rates[5].tolist(), pooled(rates.tolist()))
        held += found is not None and found.low <= 0.5 <= found.high
    assert held / times > least


def test_the_interval_over_seeds_holds_the_truth_of_these_tasks():
    dice = np.random.default_rng(5)
    tasks, held, times = 64, 0, 400
    ease = dice.normal(0, 1, tasks)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    rates = 1 / (1 + np.exp(-(0.4 * nodes[:, None] + ease)))  # [nodes, tasks]
    aim = float((weights @ rates).mean() / weights.sum())
    for _ in range(times):
        found = rates_of(played(dice, 4, ease, 0.4))
        interval = over_seeds(found, pooled([found]))
        held += interval is not None and interval.low <= aim <= interval.high
    assert held / times == pytest.approx(0.95, abs=3 * math.sqrt(0.05 * 0.95 / times))


def test_a_true_difference_is_found():
    dice = np.random.default_rng(2)
    ease = dice.normal(0, 1, TASKS)
    runs = [played(dice, 5, ease, 0.2, middle) for middle in (-1, -1, -1, -1, -1, 1)]
    shared = pooled([rates_of(one) for one in runs])
    found = [paired_difference(runs[5], one, shared) for one in runs[:5]]
    assert all(one.p is not None and one.p < 0.05 / 15 for one in found)
    assert all(one.interval is not None and one.interval.low > 0 for one in found)
