"""Our algorithms in verl: its own functions call them, and get what our trainer would."""

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integrations.verl_batches import Held, held
from integrations.verl_settings import composed
from torch.testing import assert_close
from train.conftest import _stories, by_turn, told
from train.test_vectors import CASES, annealing, batch_of, earned
from verl import DataProto
from verl.trainer.distillation import distillation_ppo_loss
from verl.trainer.distillation.losses import DISTILLATION_LOSS_REGISTRY
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY
from verl.trainer.ppo.ray_trainer import compute_advantage
from verl.utils.config import omega_conf_to_dataclass

from agentgym_train.algorithms import BUILT_IN, Live
from agentgym_train.algorithms.atod import ATOD
from agentgym_train.algorithms.grpo import GRPO
from agentgym_train.algorithms.opd import OPD
from agentgym_train.algorithms.sdar import SDAR
from agentgym_train.algorithms.sod import SOD
from agentgym_train.algorithms.tcod import TCOD
from agentgym_train.integrations.verl import register_estimator, register_loss
from agentgym_train.integrations.verl.estimators import ESTIMATED, Estimator
from agentgym_train.integrations.verl.losses import LOSSES
from agentgym_train.integrations.verl.responses import Extras, extras, responses
from agentgym_train.parts import TDUR, Divergence, Drift, GroupReward
from agentgym_train.signals import share
from agentgym_train.update import Learning, token_loss

EXACT = {"rtol": 0, "atol": 1e-9}
quick = settings(max_examples=25, suppress_health_check=list(HealthCheck))


def estimated(name: str, one: Held, extra: Extras, dtype=torch.float64) -> torch.Tensor:
    """What verl's own `compute_advantage` makes of a batch.  [N]"""
    data = DataProto.from_dict(
        tensors={"token_level_rewards": one.rewards.to(dtype), "response_mask": one.mask},
        non_tensors={"uid": np.array(one.uid, dtype=object)},
    )
    with extras(extra):
        found = compute_advantage(data, adv_estimator=name)
    advantages = found.batch["advantages"]
    assert advantages.dtype == dtype
    assert not advantages[one.mask == 0].any()
    assert found.batch["returns"].equal(advantages)
    return one.flat(advantages)


@pytest.mark.parametrize("name", ESTIMATED)
@given(stories=_stories, seed=st.integers(0, 9), step=st.integers(1, 90))
@quick
def test_an_estimator_gives_the_algorithms_own_credit(name, stories, seed, step):
    one = held(told(stories, by_turn, penalty=0.0, seed=seed))
    algorithm = BUILT_IN[name]()
    expected = algorithm.credit(one.batch, step).advantage(one.batch)
    found = estimated(f"agentgym_{name}", one, one.extras(step))
    assert_close(found, expected, **EXACT)
    single = estimated(f"agentgym_{name}", one, one.extras(step), torch.float32)
    assert_close(single, expected.float(), rtol=1e-6, atol=1e-6)


@given(stories=_stories)
@quick
def test_grpo_needs_nothing_that_verl_does_not_hand_over(stories):
    """Turns are the runs of the mask then, so that a reply of no token at all is no turn."""
    full = [s for s in stories if all(turn.reply for turn in s.turns)]
    if not full:
        return
    one = held(told(full, by_turn, penalty=0.0))
    expected = GRPO().credit(one.batch, 1).advantage(one.batch)
    assert_close(estimated("agentgym_grpo", one, Extras()), expected, **EXACT)


@given(stories=_stories)
@quick
def test_an_unreadable_reply_costs_its_own_turn(stories):
    one = held(told(stories, by_turn, penalty=0.3))
    estimator = Estimator("agentgym_grpo", GRPO(), invalid_penalty=0.3)
    with extras(one.extras()):
        found, _ = estimator(one.rewards, one.mask, one.uid)
    expected = GRPO().credit(one.batch, 1).advantage(one.batch)
    assert_close(one.flat(found), expected, **EXACT)


def test_padding_of_verl_changes_nothing():
    """Rows without a sampled token, with the extra fields of another row."""
    one = held(story_batch())
    extra = one.extras(step=3)
    padded = replace(
        extra,
        **{
            name: [*getattr(extra, name), getattr(extra, name)[0]]
            for name in ("spans", "rewards", "valid", "observations")
        },
        **{
            name: torch.cat([getattr(extra, name), torch.zeros(1, one.mask.shape[1])])
            for name in ("old", "teacher", "privileged")
        },
    )
    zeros = torch.zeros(1, one.mask.shape[1])
    with extras(padded):
        found, _ = Estimator("agentgym_atod", ATOD())(
            torch.cat([one.rewards, zeros]), torch.cat([one.mask, zeros.long()]), [*one.uid, "pad"]
        )
    expected = ATOD().credit(one.batch, 3).advantage(one.batch)
    assert_close(one.flat(found[:-1]), expected, **EXACT)
    assert not found[-1].any()


VECTORS = {
    "opd/advantage_and_loss": lambda case: OPD(strength=case["opd_coef"]),
    "opd/reward_plus_uniform": lambda case: OPD(
        strength=case["opd_coef"], reward="added", earned=earned(case)
    ),
    "sod/weights_main": lambda case: SOD(
        strength=case["opd_coef"],
        turn_weight=Drift(epsilon=case["epsilon"], delta=case["delta"]),
        earned=earned(case),
    ),
    **dict.fromkeys(
        ("atod/hybrid_step1", "atod/hybrid_step40", "atod/hybrid_step200"),
        lambda case: ATOD(
            turn_weight=TDUR(min_turns=case["min_turns"], min_divergence=case["min_divergence"]),
            earned=earned(case),
            **annealing(case),
        ),
    ),
}


@pytest.mark.parametrize("case_id", VECTORS)
def test_an_estimator_gives_what_the_specification_says(case_id):
    case, expected = CASES[case_id]["inputs"], CASES[case_id]["expected"]
    flat = batch_of(case)
    one = held(flat.batch)
    source = CASES[case["advantages_from"]]["inputs"] if "advantages_from" in case else {}
    penalty = source.get("invalid_action_penalty_coef", 0.0)
    estimator = Estimator("agentgym_case", VECTORS[case_id](case), invalid_penalty=penalty)
    with extras(one.extras(case.get("step", 1))):
        found, _ = estimator(one.rewards, one.mask, one.uid)
    told_ = torch.tensor(expected["advantages"], dtype=torch.float64)[flat.token]
    assert_close(one.flat(found), told_, **EXACT)


@pytest.mark.parametrize(
    ("case_id", "divide"),
    [("grpo/advantage_rows", True), ("grpo/advantage_rows_no_std", False)],
)
def test_grpo_gives_what_the_specification_says(case_id, divide):
    case, expected = CASES[case_id]["inputs"], CASES[case_id]["expected"]
    flat = batch_of(case)
    one = held(flat.batch)
    algorithm = GRPO(earned=GroupReward(divide_by_std=divide))
    with extras(one.extras()):
        found, _ = Estimator("agentgym_case", algorithm, case["invalid_action_penalty_coef"])(
            one.rewards, one.mask, one.uid
        )
    told_ = torch.tensor(expected["row_advantage"], dtype=torch.float64)[flat.token[0]]
    assert_close(one.flat(found), told_, **EXACT)


# --- distillation losses -------------------------------------------------------------------------


def story_batch(seed=0):
    draw = np.random.default_rng(seed)

    def turn():
        reply = tuple(draw.integers(0, 11, draw.integers(1, 6)).tolist())
        prompt = tuple(draw.integers(0, 3, 2).tolist())
        return SimpleNamespace(prompt=prompt, reply=reply, valid=bool(draw.random() < 0.7))

    stories = [
        SimpleNamespace(
            group=m // 3,
            episode_return=float(draw.integers(0, 2)),
            turns=[turn() for _ in range(draw.integers(1, 6))],
        )
        for m in range(9)
    ]
    return told(stories, by_turn, penalty=0.0, seed=seed)


@cache
def verl_settings(name: str):
    """verl's own actor and distillation settings under the algorithm's overlay."""
    config = composed(f"+agentgym={name}", "actor_rollout_ref.model.path=nowhere")
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    return actor, omega_conf_to_dataclass(config.distillation)


def live_of(batch, seed: int) -> Live:
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(batch), generator=draw, dtype=torch.float64)
    logprob = (batch.old_logprob + 0.4 * noise).clamp(max=0).requires_grad_()
    entropy = torch.rand(len(batch), generator=draw, dtype=torch.float64).requires_grad_()
    return Live(logprob, entropy)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("seed", range(5))
def test_verls_whole_loss_is_ours_and_so_is_its_gradient(name, seed):
    """With the clips at work, the reference KL and the entropy bonus of the overlay."""
    algorithm, step = BUILT_IN[name](), 7
    one = held(story_batch(seed))
    batch, live = one.batch, live_of(one.batch, seed)
    actor, distillation = verl_settings(name)
    ours = token_loss(
        algorithm,
        Learning(reference_kl=0.01, entropy=actor.entropy_coeff),
        live,
        batch.tokens,
        algorithm.credit(batch, step).advantage(batch),
        step,
    ).total
    weight = share("token-mean", batch.rows, batch.token_trajs)
    expected = (weight * ours).sum()
    wanted = torch.autograd.grad(expected, [live.logprob, live.entropy], allow_unused=True)

    reward_part = GRPO().credit(batch, step).advantage(batch)
    data = one.data(reward_part, step, depth=algorithm.plan(step).max_turns)
    said = {"log_probs": one.output(live.logprob), "entropy": one.output(live.entropy)}
    loss, metrics = distillation_ppo_loss(actor, distillation, said, data)
    found = torch.autograd.grad(loss, [live.logprob, live.entropy], allow_unused=True)

    assert_close(loss, expected, rtol=0, atol=1e-8)
    assert_close(found[0], wanted[0], rtol=0, atol=1e-9)
    if actor.entropy_coeff:
        assert_close(found[1], wanted[1], rtol=0, atol=1e-9)
    assert "distillation/loss" in metrics


@pytest.mark.parametrize("name", LOSSES)
def test_micro_batches_may_cut_anywhere(name):
    """Nothing in a response's loss depends on the responses beside it."""
    one, step = held(story_batch(3)), 7
    live = live_of(one.batch, 3)
    actor, distillation = verl_settings(name)
    algorithm = BUILT_IN[name]()
    loss = DISTILLATION_LOSS_REGISTRY[f"agentgym_{name}"]
    depth = algorithm.plan(step).max_turns
    earned_ = GRPO().credit(one.batch, step).advantage(one.batch)
    data = one.data(earned_, step, depth)
    full, _ = loss(actor, distillation, {"log_probs": one.output(live.logprob)}, data)
    for b, length in enumerate(one.length):
        part = {"log_probs": one.output(live.logprob, only=[b])}
        alone, _ = loss(actor, distillation, part, one.data(earned_, step, depth, only=[b]))
        assert_close(alone[0], full[b, :length], **EXACT)


def test_sdar_gives_what_the_specification_says():
    """Its whole loss and gradient, with the reference KL and the entropy bonus."""
    case, expected = CASES["sdar/total_loss"]["inputs"], CASES["sdar/total_loss"]["expected"]
    flat = batch_of(case, teacher="logp_privileged")
    one = held(flat.batch)
    logprob = flat.column("logp_new").requires_grad_()
    actor, distillation = verl_settings("sdar")
    data = one.data(earned(case)(flat.batch), 1)
    said = {"log_probs": one.output(logprob), "entropy": one.output(flat.column("entropy"))}
    loss, _ = distillation_ppo_loss(actor, distillation, said, data)
    loss.backward()
    assert float(loss) == pytest.approx(expected["loss"], abs=1e-8)
    told_ = torch.tensor(expected["grad_logp_new"], dtype=torch.float64)[flat.token]
    assert_close(logprob.grad, told_, rtol=0, atol=1e-9)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", set(ESTIMATED) - {"grpo"})
def test_an_estimator_that_needs_more_says_so(name):
    one = held(story_batch())
    with pytest.raises(ValueError, match="trainer_mode=agentgym_sync"):
        estimated(f"agentgym_{name}", one, Extras())


@pytest.mark.parametrize(
    ("algorithm", "why"),
    [
        (BUILT_IN["skill_grpo"](), "skills"),
        (BUILT_IN["stepopsd"](), "looks back"),
        (BUILT_IN["hint_sd"](), "looks back"),
        (TCOD(order="backward"), "demonstrations"),
        (OPD(divergence=Divergence(over="vocabulary")), "whole distribution"),
    ],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_what_verl_cannot_run_is_refused(algorithm, why):
    with pytest.raises(ValueError, match=why):
        register_estimator("agentgym_no", algorithm)
    with pytest.raises(ValueError, match=why):
        register_loss("agentgym_no", algorithm)
    assert "agentgym_no" not in ADV_ESTIMATOR_REGISTRY
    assert "agentgym_no" not in DISTILLATION_LOSS_REGISTRY


def test_a_loss_is_no_estimator_and_the_other_way_round():
    with pytest.raises(ValueError, match="register_loss"):
        register_estimator("agentgym_no", SDAR())
    with pytest.raises(ValueError, match="register_estimator"):
        register_loss("agentgym_no", GRPO())
    with pytest.raises(ValueError, match="reference KL"):
        register_loss("agentgym_no", BUILT_IN["rlsd"]())
    with pytest.raises(ValueError, match="whole batch"):
        register_loss("agentgym_no", ATOD(turn_weight=TDUR(granularity="token")))
    with pytest.raises(ValueError, match="dual clip"):
        register_loss("agentgym_no", OPD(dual_clip=2.0))


def test_registering_twice_is_once():
    register_estimator("agentgym_grpo", GRPO())
    register_loss("agentgym_sod", SOD())


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("use_policy_gradient", False),
        ("use_task_rewards", True),
        ("loss_max_clamp", 10.0),
        ("clip_ratio_high", 0.28),
    ],
)
def test_settings_that_make_another_algorithm_of_it_are_refused(setting, value):
    one = held(story_batch())
    actor, distillation = verl_settings("sod")
    loss = replace(distillation.distillation_loss, **{setting: value})
    told_ = SimpleNamespace(distillation_loss=loss)
    data = one.data(torch.zeros(len(one.batch)), 1)
    said = {"log_probs": one.output(one.batch.old_logprob)}
    with pytest.raises(ValueError, match=setting):
        DISTILLATION_LOSS_REGISTRY["agentgym_sod"](actor, told_, said, data)


def called(name: str, one: Held, data) -> None:
    actor, distillation = verl_settings(name)
    said = {"log_probs": one.output(one.batch.old_logprob)}
    DISTILLATION_LOSS_REGISTRY[f"agentgym_{name}"](actor, distillation, said, data)


def test_missing_knowledge_is_an_error_that_says_what_to_do():
    one = held(story_batch())
    data = one.data(torch.zeros(len(one.batch)), 5)
    with pytest.raises(ValueError, match="agent='agentgym_tcod'"):
        called("tcod", one, data)
    with pytest.raises(ValueError, match="hints"):
        called("sdar", one, data.exclude("extra_fields"))
    with pytest.raises(ValueError, match="training step"):
        called("atod", one, data.exclude("global_steps"))
    with pytest.raises(ValueError, match="teacher_models"):
        called("opd", one, data.exclude("teacher_logprobs"))


def test_spans_must_hold_every_sampled_token():
    with pytest.raises(ValueError, match="leave out"):
        responses(torch.ones(1, 3), [0], torch.zeros(1), Extras(spans=[[[0, 2]]]))
    with pytest.raises(ValueError, match="turn_rewards of response 0 has 1 entries for 2 turns"):
        responses(torch.tensor([[1, 0, 1]]), [0], torch.zeros(1), Extras(rewards=[[1.0]]))


def test_a_token_that_was_rejected_since_breaks_no_turn():
    """Rollout correction masks tokens out; the spans still say whose they were."""
    mask = torch.tensor([[1, 0, 1, 0, 1]])
    batch = responses(mask, [0], torch.zeros(1), Extras(spans=[[[0, 3], [4, 5]]])).batch
    assert batch.turns.owner.tolist() == [0, 0, 1]
    assert responses(mask, [0], torch.zeros(1), Extras()).batch.turns.owner.tolist() == [0, 1, 2]


def test_a_teacher_that_is_not_finite_counts_as_very_unlikely():
    odd = torch.tensor([[float("-inf"), float("nan"), -1.0]])
    extra = Extras(old=torch.zeros(1, 3), teacher=odd)
    batch = responses(torch.ones(1, 3), [0], torch.zeros(1), extra).batch
    assert batch.teacher_logprob.tolist() == [-100.0, -100.0, -1.0]
