"""Laws that hold for every algorithm, whatever was played (section 15 of the specification)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym_train.algorithms import BUILT_IN
from agentgym_train.algorithms.atod import ATOD
from agentgym_train.algorithms.grpo import GRPO
from agentgym_train.algorithms.opd import OPD
from agentgym_train.algorithms.rlsd import RLSD
from agentgym_train.algorithms.sdar import SDAR
from agentgym_train.algorithms.sod import SOD
from agentgym_train.algorithms.stepopsd import StepOPSD
from agentgym_train.algorithms.tcod import TCOD
from agentgym_train.groups import same_state, training_seeds, validation_seeds
from agentgym_train.hints import Arms
from agentgym_train.parts import (
    TDUR,
    Depth,
    Divergence,
    Drift,
    Gate,
    Linear,
    RewardGate,
    turn_divergence,
    turn_surprise,
)
from agentgym_train.tokens import MissingScoreError
from agentgym_train.update import Learning, update

law = settings(max_examples=10)
every_algorithm = pytest.mark.parametrize("algorithm", [cls() for cls in BUILT_IN.values()])
OFF = Linear(0.0, 0.0)
ON = Linear(1.0, 1.0)


def advantage(algorithm, batch, step=1):
    return algorithm.credit(batch, step).advantage(batch)


class Keeping(torch.optim.Optimizer):
    """Keeps the gradient and leaves the weights."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.0})
        self.gradient = None

    def step(self, closure=None):
        self.gradient = self.param_groups[0]["params"][0].grad.clone()


def gradient(toy, algorithm, batch, **learning):
    """Gradient of one update in one mini-batch; None where no token counts."""
    policy = toy.Bigram()
    keeping = Keeping(policy.parameters())
    update(
        policy,
        keeping,
        algorithm,
        batch,
        1,
        Learning(**{"mini_rows": 1000, "max_grad_norm": 1e9} | learning),
        steps=10,
        generator=torch.Generator().manual_seed(0),
    )
    return keeping.gradient


def same(one, other, atol=1e-12):
    assert (one is None) == (other is None)
    if one is not None:
        torch.testing.assert_close(one, other, atol=atol, rtol=1e-9)


def reordered(batch, order):
    """Positions in `batch` of the tokens of its trajectories in another order."""
    owner = batch.token_trajs.owner
    return torch.cat([(owner == m).nonzero().squeeze(1) for m in order])


# --- layout, order, names -----------------------------------------------------------------------


@every_algorithm
@law
@given(data=st.data())
def test_both_layouts_give_equal_credit_and_gradient(toy, stories, algorithm, data):
    drawn = data.draw(stories)
    fresh, grown = toy.told(drawn, toy.by_turn), toy.told(drawn, toy.conversation)
    assert torch.equal(advantage(algorithm, fresh), advantage(algorithm, grown))
    same(gradient(toy, algorithm, fresh), gradient(toy, algorithm, grown))


@every_algorithm
@law
@given(data=st.data())
def test_order_and_names_change_nothing_else(toy, stories, algorithm, data):
    drawn = data.draw(stories)
    order = data.draw(st.permutations(range(len(drawn))))
    plain = toy.told(drawn)
    moved = toy.told([replace(drawn[m], group=f"task {drawn[m].group}") for m in order])
    at = reordered(plain, order)
    tokens = replace(plain.tokens.at(at), action=moved.tokens.action)
    moved = replace(moved, tokens=tokens)
    same(advantage(algorithm, moved), advantage(algorithm, plain)[at], atol=1e-9)
    same(gradient(toy, algorithm, moved), gradient(toy, algorithm, plain), atol=1e-9)


@law
@given(data=st.data(), seed=st.integers(0, 99))
def test_the_order_of_rows_is_nobodys_business(toy, stories, data, seed):
    drawn = data.draw(stories)

    def shuffled(story):
        rows = toy.by_turn(story)
        random.Random(seed).shuffle(rows)
        return rows

    plain, mixed = toy.told(drawn), toy.told(drawn, shuffled)
    assert torch.equal(plain.turns.owner, mixed.turns.owner)
    same(gradient(toy, GRPO(), plain), gradient(toy, GRPO(), mixed))


# --- micro-batches, gradients ---------------------------------------------------------------------


@every_algorithm
@pytest.mark.parametrize("aggregate", ["token-mean", "seq-mean-token-sum"])
@law
@given(data=st.data(), budget=st.integers(1, 60))
def test_micro_batches_do_not_change_the_gradient(toy, stories, algorithm, aggregate, data, budget):
    batch = toy.told(data.draw(stories))
    whole = gradient(toy, algorithm, batch, aggregate=aggregate)
    parts = gradient(toy, algorithm, batch, aggregate=aggregate, micro_tokens=budget)
    same(parts, whole)


ALL_SETTINGS = [
    *(cls() for cls in BUILT_IN.values()),
    OPD(reward="gated", divergence=Divergence("jsd")),
    OPD(divergence=Divergence("fkl", over="vocabulary", top=3)),
    SDAR(gate=Gate("soft_or"), divergence=Divergence("jsd", over="vocabulary")),
    ATOD(turn_weight=TDUR(granularity="token")),
]


@pytest.mark.parametrize("algorithm", ALL_SETTINGS, ids=lambda a: type(a).__name__)
def test_no_gradient_reaches_what_is_held_constant(toy, algorithm):
    turns = (toy.Turn((1, 2), (3, 4)), toy.Turn((1, 5), (6, 7), valid=False), toy.Turn((2,), (3,)))
    batch = toy.told([toy.Story(0, 1.0, turns), toy.Story(0, 0.0, turns[1:])])
    names = "old", "teacher", "reference", "teacher_logits"
    held = {name: getattr(batch.tokens, name).clone().requires_grad_() for name in names}
    assert gradient(toy, algorithm, batch.scored(**held)) is not None
    assert all(column.grad is None for column in held.values())
    assert not advantage(algorithm, batch.scored(**held)).requires_grad


@given(beta=st.floats(0, 10), kind=st.sampled_from(["gap", "entropy", "soft_or", "none"]))
def test_a_gate_carries_no_gradient(beta, kind):
    gap = torch.tensor([-1.0, 2.0], requires_grad=True)
    entropy = torch.tensor([0.5, 1.5], requires_grad=True)
    assert not Gate(kind, beta)(gap, entropy).requires_grad


# --- weights of turns -----------------------------------------------------------------------------


@law
@given(data=st.data(), factor=st.floats(0.1, 10))
def test_sod_trusts_by_the_ratio_to_the_first_turn(toy, stories, data, factor):
    batch = toy.told(data.draw(stories))
    trust = Drift(epsilon=1e-12)
    weight, far = trust.per_turn(batch), turn_divergence(batch)
    for m in range(batch.trajs.count):
        mine = (batch.trajs.owner == m) & (batch.turns.size > 0)
        for k, d in enumerate(far[mine].tolist()):
            ratio = (far[mine][0].item() + 1e-12) / (d + 1e-12)
            assert weight[mine][k].item() == pytest.approx(min(ratio, 1.2))
    assert (weight[batch.turns.size == 0] == 0).all()
    scaled = batch.scored(teacher=batch.old_logprob + factor * batch.gap)
    torch.testing.assert_close(trust.per_turn(scaled), weight)


@law
@given(data=st.data(), factor=st.floats(0.2, 5), shift=st.floats(-2, 2))
def test_tdur_weights_are_relative_to_their_trajectory(toy, stories, data, factor, shift):
    batch = toy.told(data.draw(stories))
    tdur = TDUR(min_divergence=0.0)
    weight = tdur.per_turn(batch)
    assert ((weight >= 0) & (weight <= 1)).all()
    further = batch.scored(teacher=batch.old_logprob + factor * batch.gap)
    torch.testing.assert_close(tdur.per_turn(further), weight)
    unsurer = batch.scored(old=batch.old_logprob - shift, teacher=batch.teacher_logprob - shift)
    torch.testing.assert_close(
        turn_surprise(unsurer)[batch.turns.size > 0] - shift,
        turn_surprise(batch)[batch.turns.size > 0],
    )
    torch.testing.assert_close(tdur.per_turn(unsurer), weight)


def test_a_short_trajectory_that_agrees_is_skipped_for_being_short(toy):
    short = toy.Story(0, 0.0, (toy.Turn((1,), (2,)),))
    long = toy.Story(0, 0.0, (toy.Turn((1,), (2,)),) * 3)
    batch = toy.told([short, long])
    told = TDUR().watch(batch.scored(teacher=batch.old_logprob))
    skipped = {k: v for k, v in told.items() if "skipped" in k}
    assert skipped == {"tdur/n_skipped_few_turns": 1, "tdur/n_skipped_low_divergence": 1}
    assert (told["tdur/n_active"], told["tdur/mean_weight"]) == (0, 1)


def test_empty_turns_stretch_the_range_only_where_they_count(toy):
    turns = [toy.Turn((1,), reply) for reply in ((2,), (3,), (4,), ())]
    batch = toy.told([toy.Story(0, 0.0, tuple(turns))])
    far = torch.tensor([1.0, 2.0, 3.0])
    batch = batch.scored(old=-far, teacher=-2 * far)
    text = {"min_divergence": 0.0, "signal": "divergence_only"}
    assert TDUR(**text).per_turn(batch).tolist() == pytest.approx([0, 0.5, 1, 1])
    counted = TDUR(count_empty=True, **text).per_turn(batch)
    assert counted.tolist() == pytest.approx([1 / 3, 2 / 3, 1, 0])


def test_a_well_rewarded_token_is_guided_less():
    earned = torch.tensor([-100.0, 0.0, 100.0])
    gate = RewardGate(low=0.1, high=0.3)
    assert gate(earned).tolist() == pytest.approx([0.3, 0.2, 0.1])


def test_gated_opd_by_hand(toy):
    turns = (toy.Turn((1,), (2,)),)
    batch = toy.told([toy.Story(0, 1.0, turns), toy.Story(0, 0.0, turns)])
    earned, gate = GRPO().earned(batch), RewardGate(low=0.1, high=0.3)
    found = OPD(reward="gated", reward_gate=gate).credit(batch, 1).terms
    torch.testing.assert_close(found["reward"], earned)
    torch.testing.assert_close(found["teacher"], gate(earned) * batch.gap)


# --- one algorithm is another -----------------------------------------------------------------


LIMITS = {
    "ATOD, teacher off = GRPO": (ATOD(kappa=OFF, rho=ON), GRPO()),
    "ATOD, reward off, equal weights = OPD": (
        ATOD(kappa=ON, rho=OFF, turn_weight=TDUR(granularity="none")),
        OPD(),
    ),
    "SOD, no reward, equal weights = OPD": (
        SOD(with_reward=False, turn_weight=Drift(epsilon=1e12)),  # drowns every difference
        OPD(),
    ),
    "RLSD, not mixed = GRPO": (RLSD(mix=OFF), GRPO()),
    "StepOPSD, not mixed, not levelled = GRPO": (StepOPSD(mix=OFF, level=False), GRPO()),
    "TCOD, as deep as it goes = OPD": (TCOD(depth=Depth(start=50)), OPD()),
    "SDAR without its pull = GRPO": (SDAR(strength=0.0), GRPO()),
}


@pytest.mark.parametrize("name", LIMITS)
@law
@given(data=st.data())
def test_limits(toy, stories, name, data):
    one, other = LIMITS[name]
    drawn = data.draw(stories)
    spoken = [replace(s, turns=tuple(t for t in s.turns if t.reply)) for s in drawn]
    batch = toy.told([s for s in spoken if s.turns])
    torch.testing.assert_close(advantage(one, batch), advantage(other, batch))
    unanchored = {"reference_kl": 0.0}
    same(gradient(toy, one, batch, **unanchored), gradient(toy, other, batch, **unanchored), 1e-9)


def test_as_deep_as_it_goes_is_as_deep_as_the_environment_allows():
    assert TCOD(depth=Depth(start=50)).plan(1).depth(50) == OPD().plan(1).depth(50) == 50


@law
@given(data=st.data())
def test_a_teacher_who_agrees_teaches_nothing(toy, stories, data):
    batch = toy.told(data.draw(stories))
    agreed = batch.scored(teacher=batch.old_logprob)
    for algorithm in (OPD(), TCOD(), SOD(with_reward=False)):
        assert (advantage(algorithm, agreed) == 0).all()
    assert (ATOD().credit(agreed, 1).terms["teacher"] == 0).all()


def test_sdar_pulls_even_where_the_teacher_agrees(toy):
    turns = (toy.Turn((1, 2), (3, 4)),)
    batch, policy = toy.told([toy.Story(0, 0.0, turns)] * 2), toy.Bigram()
    batch = toy.of_policy(batch, policy)
    batch = batch.scored(teacher=batch.old_logprob)
    live = policy.live(batch.padded(torch.arange(2)))
    loss = SDAR().loss(live, batch.tokens, advantage(SDAR(), batch), 1)
    assert loss.watch["sdar/gate_mean"].tolist() == [0.5] * 4
    assert gradient(toy, SDAR(), batch, entropy=0.0, reference_kl=0.0).abs().sum() > 0


# --- needs, seeds, demonstrations -----------------------------------------------------------------


@every_algorithm
def test_a_missing_teacher_is_an_error(toy, algorithm):
    batch = toy.told([toy.Story(0, 1.0, (toy.Turn((1, 2), (3, 4), valid=False),))])
    alone = replace(batch, tokens=replace(batch.tokens, teacher=None))
    if algorithm.teacher == "none":
        assert gradient(toy, algorithm, alone) is not None
    else:
        with pytest.raises(MissingScoreError, match="teacher"):
            gradient(toy, algorithm, alone)


@pytest.mark.parametrize(
    ("name", "column"), [("gigpo", "anchors"), ("gigpo", "step_reward"), ("hint_sd", "chosen")]
)
def test_a_missing_fact_about_turns_is_an_error(toy, name, column):
    batch = toy.told([toy.Story(0, 1.0, (toy.Turn((1, 2), (3, 4)),))])
    with pytest.raises(MissingScoreError, match=column):
        BUILT_IN[name]().credit(replace(batch, **{column: None}), 1)


def test_unknown_forms_are_refused():
    with pytest.raises(ValueError, match="mean_norm"):
        BUILT_IN["gigpo"](mode="mean")
    with pytest.raises(ValueError, match="sampled form"):
        SDAR(divergence=Divergence("jsd"))


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 100))
def test_attempts_of_a_group_start_alike_and_never_as_in_validation(groups, size, base):
    seeds = training_seeds(groups, size, base)
    assert [seeds[g * size : (g + 1) * size] for g in range(groups)] == [
        [base + g] * size for g in range(groups)
    ]
    assert not set(seeds) & set(validation_seeds(6, base))


@given(st.integers(1, 60), st.integers(1, 300), st.integers(1, 6))
def test_replayed_and_remaining_turns_make_the_demonstration(length, step, every):
    plan = TCOD(order="backward", depth=Depth(1, every)).plan(step)
    assert plan.replayed(length) + min(Depth(1, every)(step), length) == length
    assert plan.replayed(0) == 0


@given(st.lists(st.integers(0, 1), max_size=30))
def test_a_bandit_is_its_history(outcomes):
    one, other = (Arms.fresh(["a", "b", "c"]) for _ in range(2))
    for outcome in outcomes:
        assert one.pick() == other.pick()
        one, other = one.after(one.pick(), outcome), other.after(other.pick(), outcome)
    assert sum(one.pulls) == len(outcomes)
    assert max(one.pulls) > 0 or not outcomes


def test_states_that_look_alike():
    seen = ["a red door", "a red dooR", "a lamp", "a red door"]
    assert same_state(seen) == [0, 1, 2, 0]
    assert same_state(seen, 0.9) == [0, 0, 1, 0]
    assert same_state(["a red door", "a lamp", "a red dooR"], 0.9) == [0, 1, 0]
    with pytest.raises(ValueError, match="similarity"):
        same_state(seen, 0.0)
