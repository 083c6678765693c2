import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentgym_train.segments import Segments
from agentgym_train.signals import (
    clipped_surrogate,
    divergence_advantage,
    group_advantage,
    kl_estimate,
    share,
    suffix_sum,
)

logprobs = st.floats(-200, 0)


def test_a_group_of_equals_teaches_nothing():
    groups = Segments(torch.tensor([0, 0, 1, 1]), count=2)
    score, counted = torch.tensor([1.0, 1.0, 0.0, 1.0]), torch.ones(4, dtype=torch.bool)
    advantage = group_advantage(score, groups, counted, by_spread=False)
    assert advantage.tolist() == [0.0, 0.0, -0.5, 0.5]


@given(st.floats(-20, 20), st.integers(2, 9))
def test_equal_scores_are_worth_nothing_even_over_a_tiny_spread(score, n):
    groups = Segments(torch.zeros(n, dtype=torch.int64), 1)
    counted = torch.ones(n, dtype=torch.bool)
    advantage = group_advantage(torch.full((n,), score), groups, counted)
    assert advantage.abs().max() < 1e-6


def test_a_single_score_stands_for_itself():
    one = Segments(torch.tensor([0]), 1)
    advantage = group_advantage(torch.tensor([10.0]), one, torch.tensor([True]))
    assert advantage.item() == pytest.approx(10 / (1 + 1e-6), abs=1e-12)


def test_uncounted_scores_are_judged_but_do_not_judge():
    groups = Segments(torch.tensor([0, 0, 0]), 1)
    counted = torch.tensor([True, True, False])
    advantage = group_advantage(torch.tensor([0.0, 2.0, 7.0]), groups, counted, by_spread=False)
    assert advantage.tolist() == [-1.0, 1.0, 6.0]


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),  # inside the range: plain
        (1.5, 2.0, -2.4, 0.0),  # already much likelier: held at 1.2
        (0.5, 2.0, -1.0, -1.0),  # fell, but deserves more: plain
        (0.5, -2.0, 1.6, 0.0),  # already much rarer: held at 0.8
        (2.0, -2.0, 4.0, 4.0),  # grew, but deserves less: plain
        (9.0, -2.0, 6.0, 0.0),  # grew far too much: held at 3 |A|
    ],
)
def test_surrogate_by_hand(ratio, advantage, loss, slope):
    new = torch.tensor(ratio, dtype=torch.float64).log().requires_grad_()
    found = clipped_surrogate(new, torch.tensor(0.0), torch.tensor(advantage), 0.2, 0.2, 3.0)
    found.loss.backward()
    assert found.loss.item() == pytest.approx(loss)
    assert new.grad is not None
    assert new.grad.item() == pytest.approx(slope)


@given(logprobs, logprobs)
def test_k3_is_never_negative_and_its_gradient_is_finite(new, reference):
    new = torch.tensor(new, dtype=torch.float64, requires_grad=True)
    value = kl_estimate(new, torch.tensor(reference, dtype=torch.float64), "k3")
    value.backward()
    assert -1e-15 <= value.item() <= 10
    assert new.grad is not None
    assert new.grad.isfinite()


def test_kl_estimates_by_hand():
    new, reference = torch.tensor(-1.0), torch.tensor(-3.0)
    found = {kind: kl_estimate(new, reference, kind).item() for kind in ("k1", "k2", "abs", "k3")}
    assert found == pytest.approx({"k1": 2.0, "k2": 2.0, "abs": 2.0, "k3": 1.135335}, abs=1e-6)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.data())
def test_shares_sum_to_one(row_of, data):
    rows = Segments(torch.tensor(row_of), 4)
    traj_of_row = data.draw(st.lists(st.integers(0, 2), min_size=4, max_size=4))
    trajs = rows.then(Segments(torch.tensor(traj_of_row), 3))
    for how in ("token-mean", "seq-mean-token-mean", "trajectory-mean"):
        assert share(how, rows, trajs).sum().item() == pytest.approx(1, abs=1e-7)
    per_row = len(row_of) / len(set(row_of))
    assert share("seq-mean-token-sum", rows, trajs).sum().item() == pytest.approx(per_row)


def test_an_unknown_name_is_refused():
    none = Segments(torch.tensor([0]), 1)
    with pytest.raises(ValueError, match="token-mean"):
        share("mean", none, none)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="k1, k2, k3, abs"):
        kl_estimate(torch.zeros(1), torch.zeros(1), "k4")  # pyright: ignore[reportArgumentType]


def test_what_follows_counts_less_the_later_it_comes():
    owners = Segments(torch.tensor([0, 0, 0, 1, 1]), 2)
    ahead = suffix_sum(torch.tensor([1.0, 2.0, 4.0, 1.0, 1.0]), owners, 0.5)
    assert ahead.tolist() == [3.0, 4.0, 4.0, 1.5, 1.0]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.floats(0, 1))
def test_suffix_sums_are_the_recursion(owner, gamma):
    owners = Segments(torch.tensor(sorted(owner)), 5)
    x = torch.arange(len(owner), dtype=torch.float64).sin()
    expected, later = [], 0.0
    for i in reversed(range(len(owner))):
        last = i + 1 == len(owner) or owners.owner[i] != owners.owner[i + 1]
        later = x[i].item() + (0.0 if last else gamma * later)
        expected.insert(0, later)
    assert suffix_sum(x, owners, gamma).tolist() == pytest.approx(expected, abs=1e-12)


def test_a_teacher_far_ahead_cannot_blow_up_the_forward_divergence():
    gap = torch.tensor([0.0, 80.0], dtype=torch.float64)
    ones = divergence_advantage(gap, "fkl").log()
    assert ones.tolist() == pytest.approx([0.0, 10.0])
    assert divergence_advantage(gap, "jsd", 0.5)[1].item() == pytest.approx(40 - 0.34657359)
