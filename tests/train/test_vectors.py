"""Every case of the specification's vectors, through the code that training runs.

A check turns a case's inputs into what the case expects, under the same names; the comparison
then walks the expected values, so nothing expected goes unchecked. AGENTGYM_VECTORS may name
another file of the same format.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from agentgym_train.algorithms.atod import ATOD
from agentgym_train.algorithms.base import Algorithm, Credit, Live
from agentgym_train.algorithms.gigpo import GiGPO
from agentgym_train.algorithms.grpo import GRPO
from agentgym_train.algorithms.grpo_opsd import GRPOPlusOPSD
from agentgym_train.algorithms.hint_sd import HintSD
from agentgym_train.algorithms.opd import OPD
from agentgym_train.algorithms.opsd import OPSD
from agentgym_train.algorithms.rlsd import RLSD
from agentgym_train.algorithms.sdar import SDAR
from agentgym_train.algorithms.skill_sd import SkillSD
from agentgym_train.algorithms.sod import SOD
from agentgym_train.algorithms.stepopsd import StepOPSD
from agentgym_train.algorithms.tcod import TCOD
from agentgym_train.batch import Batch, Row, TokenSpan, TrajectoryRows, collate
from agentgym_train.diagnostics import gap_summary
from agentgym_train.groups import group_of, training_seeds, validation_seeds
from agentgym_train.hints import Arms, matching
from agentgym_train.parts import (
    TDUR,
    Depth,
    Divergence,
    Drift,
    Gate,
    GroupReward,
    Linear,
    ReturnToGo,
    turn_divergence,
    turn_surprise,
)
from agentgym_train.segments import Segments
from agentgym_train.signals import drift_weight, kl_estimate, share, unit_range
from agentgym_train.update import Learning, token_loss, update

PATH = Path(os.environ.get("AGENTGYM_VECTORS", Path(__file__).parent))
PATH = PATH / "vectors.json" if PATH.is_dir() else PATH
FILE = json.loads(PATH.read_text())
CASES = {case["id"]: case for case in FILE["cases"]}
EXACT = FILE["tolerance"]["float64_abs"]


# --- [R, T] and a mask -> Batch, and back ----------------------------------------------------


@dataclass(frozen=True)
class Flat:
    """A batch of the vectors: `batch` in our order, `turn` [K] and `token` [N] say where it was."""

    raw: dict
    batch: Batch
    turn: Tensor
    token: tuple[Tensor, Tensor]

    def column(self, name: str) -> Tensor:
        """[R, T] -> [N]"""
        return grid(self.raw[name])[self.token]

    def rows(self, x: Tensor) -> Tensor:
        """[K] -> [R]"""
        return torch.zeros(len(self.turn), dtype=x.dtype).index_copy(0, self.turn, x)

    def grid(self, x: Tensor) -> Tensor:
        """[N] -> [R, T], 0 at masked positions"""
        return torch.zeros(grid(self.raw["mask"]).shape, dtype=x.dtype).index_put(self.token, x)


def grid(values: list) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def flatten(raw: dict, *, penalty: float = 0.0, teacher: str = "logp_teacher", kept=None) -> Flat:
    """The rows `kept` (all) of a batch of the vectors, one row per turn, in shuffled order."""
    kept = range(len(raw["uid"])) if kept is None else kept
    where: dict[str, list[int]] = {}
    for r in kept:
        where.setdefault(raw["traj_uid"][r], []).append(r)
    turns, played = [], []
    for rows in where.values():
        rows.sort(key=lambda r: raw["turn_step"][r])
        turns += rows
        played.append(
            TrajectoryRows(
                group=raw["uid"][rows[0]],
                rows=[as_row(raw["turn_step"][r], int(sum(raw["mask"][r]))) for r in rows],
                places=[raw["turn_step"][r] for r in rows],
                valid=[bool(raw["is_action_valid"][r]) for r in rows],
                episode_return=raw["episode_reward"][rows[0]],
                success=raw["episode_reward"][rows[0]] > 0,
                step_reward=[raw["step_reward"][r] for r in rows],
                anchors=[raw["anchor_obs"][r] for r in rows],
                chosen=[raw.get("chosen", [False] * len(raw["uid"]))[r] for r in rows],
            )
        )
    batch = collate(played, invalid_penalty=penalty)
    in_order = grid(raw["mask"])[torch.tensor(turns)].nonzero()
    token = torch.tensor(turns)[in_order[:, 0]], in_order[:, 1]
    flat = Flat(raw, batch, torch.tensor(turns), token)
    scores = {
        "old": flat.column("logp_old"),
        "teacher": flat.column(teacher),
        "reference": flat.column("logp_ref"),
    }
    return replace(flat, batch=batch.scored(**scores))


def as_row(turn: int, replies: int) -> Row:
    return Row([1] * (1 + replies), [TokenSpan(turn, 1, 1 + replies)], [0.0] * replies)


# --- the training step, watched ----------------------------------------------------------------


class Given:
    """A policy whose log-probs are its parameters."""

    def __init__(self, flat: Flat):
        self.logprob = flat.column("logp_new").requires_grad_()
        self.entropy = flat.column("entropy")

    def live(self, padded, *, entropy=False, logits=False) -> Live:
        return Live(self.logprob[padded.at], self.entropy[padded.at] if entropy else None)


class Recorder(Optimizer):
    """Keeps the gradient and leaves the weights."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.0})

    def step(self, closure=None):
        (group,) = self.param_groups
        self.gradient = group["params"][0].grad.clone()


def train(flat: Flat, algorithm: Algorithm, step: int = 1, **learning) -> tuple[dict, Tensor]:
    """Metrics of one update in one mini-batch of several micro-batches, and d loss / d logp_new."""
    settings = {"reference_kl": 0.0, "entropy": 0.0, "max_grad_norm": float("inf")} | learning
    policy = Given(flat)
    recorder = Recorder([policy.logprob])
    told = update(
        policy,
        recorder,
        algorithm,
        flat.batch,
        step,
        Learning(mini_rows=10_000, micro_tokens=20, **settings),
        steps=100,
        generator=torch.Generator().manual_seed(0),
    )
    return told, flat.grid(recorder.gradient)


def advantage(flat: Flat, algorithm: Algorithm, step: int = 1) -> Tensor:
    return flat.grid(algorithm.credit(flat.batch, step).advantage(flat.batch))


def batch_of(case: dict, **settings) -> Flat:
    source = CASES[case["advantages_from"]]["inputs"] if "advantages_from" in case else case
    penalty = source.get("invalid_action_penalty_coef", 0.0)
    return flatten(FILE["batches"][case["batch"]], penalty=penalty, **settings)


def earned(case: dict) -> GroupReward:
    """The group advantage that `advantages_from` names."""
    source = CASES[case["advantages_from"]]["inputs"]
    return GroupReward(stats_over=source["stats_over"], divide_by_std=source["divide_by_std"])


def clips(case: dict) -> dict[str, float]:
    names = {"clip_low": "clip_low", "clip_high": "clip_high", "clip_c": "dual_clip"}
    return {ours: case[theirs] for theirs, ours in names.items() if theirs in case}


# --- checks: inputs -> what is expected ----------------------------------------------------------


def aggregates(case: dict) -> dict:
    flat = batch_of(case)
    values = grid(case["values"])[flat.token]
    modes = "token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "trajectory-mean"
    shares = {m: share(m, flat.batch.rows, flat.batch.token_trajs) for m in modes}
    return {mode: (weight * values).sum() for mode, weight in shares.items()}


def layout(case: dict) -> dict:
    size = case["n_tasks"], case["group_size"]
    return {
        "group_of_env": group_of(*size),
        "train_seed_of_env": training_seeds(*size, case["base_seed"]),
        "val_seed_of_env": validation_seeds(case["n_val"], case["base_seed"]),
    }


def group_advantages(case: dict) -> dict:
    flat = batch_of(case)
    reward = GroupReward(stats_over=case["stats_over"], divide_by_std=case["divide_by_std"])
    pools = reward.pools(flat.batch)
    names = dict.fromkeys(flat.raw["uid"][r] for r in flat.turn)
    return {
        "row_score": flat.rows(flat.batch.score),
        "row_advantage": flat.rows(reward.per_turn(flat.batch)),
        "group": {
            name: {"n": pools.size[g], "mean": pools.mean[g], "std": pools.std[g]}
            for g, name in enumerate(names)
        },
    }


def surrogate(case: dict) -> dict:
    algorithm = GRPO(earned=earned(case), **clips(case))
    told, gradient = train(batch_of(case), algorithm, aggregate=case["aggregation"])
    return {"loss": told["actor/loss"], "grad_logp_new": gradient, "metrics": clip_metrics(told)}


def clip_metrics(told: dict) -> dict:
    return {name: told[f"actor/{name}"] for name in ("pg_clipfrac", "pg_clipfrac_lower", "ppo_kl")}


class OnlyAnchored(GRPO):
    """Nothing to learn but to stay near the reference."""

    def credit(self, batch, step):
        return Credit({})


def kl_estimators(case: dict) -> dict:
    flat = batch_of(case)
    new, reference = flat.column("logp_new"), flat.batch.reference_logprob
    weight = share("token-mean", flat.batch.rows, flat.batch.token_trajs)
    told = {}
    for kind in ("k1", "abs", "k2", "k3"):
        value = kl_estimate(new, reference, kind)
        told[kind] = {"per_token": flat.grid(value), "token_mean": (weight * value).sum()}
    return told | {"k3_grad_logp_new": train(flat, OnlyAnchored(), reference_kl=1.0)[1]}


def grpo_total(case: dict) -> dict:
    told, gradient = train(
        batch_of(case),
        GRPO(earned=earned(case), **clips(case)),
        reference_kl=case["kl_coef"],
        reference_kl_kind=case["kl_type"],
        entropy=case["entropy_coef"],
    )
    return {
        "pg_loss": told["actor/pg_loss"],
        "kl_loss": told["actor/kl_loss"],
        "entropy": told["actor/entropy_loss"],
        "loss": told["actor/loss"],
        "grad_logp_new": gradient,
    }


def distilled(case: dict) -> dict:
    flat = batch_of(case)
    algorithm = OPD(strength=case["opd_coef"], **clips(case))
    told, gradient = train(flat, algorithm)
    kl = {name: told[f"kl/{name}"] for name in ("token_mean", "row_mean", "row_std")}
    kl |= {name: told[f"kl/{name}"] for name in ("trajectory_mean", "trajectory_std")}
    kl["abs_token_mean"] = told["teacher/gap_abs_mean"]
    turns = [k.split("/")[1] for k in told if k.startswith("turn/") and k.endswith("/kl")]
    kl["by_turn_token_mean"] = {turn: told[f"turn/{turn}/kl"] for turn in turns}
    return {
        "advantages": advantage(flat, algorithm),
        "loss": told["actor/loss"],
        "grad_logp_new": gradient,
        "metrics": clip_metrics(told),
        "kl": kl,
        "gap": {"mean": told["teacher/gap_mean"], "rms": told["teacher/gap_rms"]},
    }


def distilled_with_reward(case: dict) -> dict:
    algorithm = OPD(strength=case["opd_coef"], reward="added", earned=earned(case))
    return {"advantages": advantage(batch_of(case), algorithm)}


def return_to_go(case: dict) -> dict:
    def with_settings(per_length):
        within = ReturnToGo(on=True, gamma=case["gamma"], per_length=per_length)
        return advantage(batch_of(case), OPD(strength=case["opd_coef"], within_turn=within))

    return {
        "advantages": with_settings(per_length=False),
        "advantages_length_normalised": with_settings(per_length=True),
    }


def sampled_divergences(case: dict) -> dict:
    gap = grid(case["gap"])
    told = {f"jsd_{b}": Divergence("jsd", b)(gap) for b in case["jsd_beta"]}
    return told | {kind: Divergence(kind)(gap) for kind in ("rkl", "fkl")}


def over_vocabulary(name: str) -> Divergence:
    """The divergence of a name like "rkl" or "jsd_0.5_top3_of_teacher"."""
    kind, *rest = name.removesuffix("_of_teacher").split("_")
    weight = next((float(x) for x in rest if not x.startswith("top")), 0.5)
    top = next((int(x.removeprefix("top")) for x in rest if x.startswith("top")), 0)
    return Divergence(kind, weight, over="vocabulary", top=top)


class Distributions:
    """A policy whose logits are its parameters: one row, every token of it sampled."""

    def __init__(self, logits: list):
        self.logits = grid(logits).requires_grad_()

    def live(self, padded, *, entropy=False, logits=False) -> Live:
        logprob = self.logits.log_softmax(-1)[:, 0]
        return Live(logprob[padded.at], logits=self.logits[padded.at] if logits else None)


def vocabulary_loss(case: dict, algorithm: Algorithm) -> tuple[Tensor, Tensor]:
    """Each token's loss but the surrogate, and d sum / d student logits, through `token_loss`."""
    policy = Distributions(case["student_logits"])
    n = len(policy.logits)
    row = TrajectoryRows(
        group=0,
        rows=[as_row(0, n)],
        places=[0],
        valid=[True],
        episode_return=0.0,
        success=False,
    )
    teacher = grid(case["teacher_logits"])
    live = policy.live(collate([row]).padded(torch.tensor([0])), logits=True)
    batch = collate([row]).scored(
        old=live.logprob, teacher=teacher.log_softmax(-1)[:, 0], teacher_logits=teacher
    )
    credit = algorithm.credit(batch, 1).advantage(batch)
    learning = Learning(reference_kl=0.0, entropy=0.0)
    loss = token_loss(algorithm, learning, live, batch.tokens, credit, 1)
    loss.total.sum().backward()
    return loss.total.detach(), policy.logits.grad


def vocabulary_divergences(case: dict, expected: dict) -> dict:
    told = {}
    for name in expected:
        value, gradient = vocabulary_loss(case, OPD(divergence=over_vocabulary(name)))
        told[name] = {"per_token": value, "grad_student_logits": gradient}
    return told


def gated_vocabulary(case: dict, expected: dict) -> dict:
    gate = grid(case["gate"])
    told = {}
    for name in expected:
        always = SDAR(strength=1.0, gate=Gate("none"), divergence=over_vocabulary(name))
        told[name] = (gate * vocabulary_loss(case, always)[0]).mean()
    return told


def gated(case: dict) -> dict:
    flat = batch_of(case, teacher=case["teacher"])
    gate = Gate(case["gate"], beta=case["beta"])
    learning = {"entropy": 0.0, "aggregate": case["aggregation"]}
    told, gradient = train(flat, OPSD(form="reference", pull=1.0, gate=gate), **learning)
    gap = flat.batch.teacher_logprob - flat.column("logp_new")
    names = "gate_mean", "gate_active_ratio", "gap_mean", "negative_gap_fraction"
    return {
        "gate": flat.grid(gate(gap, flat.column("entropy"))),
        "loss": told["sdar/loss"],
        "grad_logp_new": gradient,
        "metrics": {name: told[f"sdar/{name}"] for name in names}
        | {"gap_rms": gap_summary(gap)["gap_rms"]},
    }


def sdar_total(case: dict) -> dict:
    gate = Gate(case["gate"], beta=case["beta"])
    told, gradient = train(
        batch_of(case, teacher="logp_privileged"),
        SDAR(earned=earned(case), strength=case["sdar_coef"], gate=gate),
        reference_kl=case["kl_coef"],
        entropy=case["entropy_coef"],
    )
    return {"loss": told["actor/loss"], "grad_logp_new": gradient}


def drift(case: dict) -> dict:
    flat = batch_of(case)
    weight = Drift(epsilon=case["epsilon"], delta=case["delta"])
    told = {
        "turn_divergence": flat.rows(turn_divergence(flat.batch)),
        "turn_weight": flat.rows(weight.per_turn(flat.batch)),
    }
    if "advantages_from" not in case:
        return told
    settings = {"strength": case["opd_coef"], "turn_weight": weight, "earned": earned(case)}
    metrics, gradient = train(flat, SOD(**settings))
    return told | {
        "advantages": advantage(flat, SOD(**settings)),
        "advantages_opd_only": advantage(flat, SOD(with_reward=False, **settings)),
        "loss": metrics["actor/loss"],
        "grad_logp_new": gradient,
        "metrics": {f"weight_{x}": metrics[f"sod/weight_{x}"] for x in ("mean", "min", "max")},
    }


def runs(mask: list[float]) -> list[list[int]]:
    """Maximal runs of ones, as [start, stop]."""
    edges = [0.0, *mask, 0.0]
    starts = [i for i in range(len(mask)) if edges[i] < edges[i + 1]]
    stops = [i + 1 for i in range(len(mask)) if edges[i + 1] > edges[i + 2]]
    return [list(pair) for pair in zip(starts, stops, strict=True)]


def drift_in_conversation(case: dict) -> dict:
    spans = [runs(mask) for mask in case["mask"]]
    played = [
        TrajectoryRows(
            group=0,
            rows=[
                Row(
                    [1] * (1 + len(mask)),
                    [TokenSpan(k, 1 + a, 1 + b) for k, (a, b) in enumerate(its)],
                )
            ],
            places=range(len(its)),
            valid=[True] * len(its),
            episode_return=0.0,
            success=False,
        )
        for mask, its in zip(case["mask"], spans, strict=True)
    ]
    batch = collate(played)
    where = batch.rows.owner, batch.column - 1
    scores = {"old": case["logp_old"], "teacher": case["logp_teacher"]}
    batch = batch.scored(**{name: grid(values)[where] for name, values in scores.items()})
    weight = Drift(epsilon=case["epsilon"], delta=case["delta"])
    per_turn, far = weight.per_turn(batch), turn_divergence(batch)
    mine = [batch.trajs.owner == m for m in range(len(played))]
    return {
        "token_weight": torch.zeros_like(grid(case["mask"])).index_put(where, weight(batch)),
        "rows": [
            {"spans": its, "d": far[own], "w": per_turn[own]}
            for its, own in zip(spans, mine, strict=True)
        ],
    }


def drift_alone(case: dict) -> dict:
    far = grid(case["divergences"])
    one = Segments(torch.zeros(len(far), dtype=torch.int64), 1)
    every = torch.ones(len(far), dtype=torch.bool)
    return {"weights": drift_weight(far, one, every, case["epsilon"], case["delta"])}


def forward_depth(case: dict) -> dict:
    def depth(eta):
        algorithm = TCOD(depth=Depth(case["k_start"], eta))
        return [algorithm.plan(n).depth(case["t_max"]) for n in case["steps"]]

    return {"depth": {str(eta): depth(eta) for eta in case["etas"]}}


def backward_prefix(case: dict) -> dict:
    def prefix(eta, length):
        algorithm = TCOD(order="backward", depth=Depth(case["k_start"], eta))
        return [algorithm.plan(n).replayed(length) for n in case["steps"]]

    lengths = case["demo_lengths"]
    return {"prefix": {str(e): {str(n): prefix(e, n) for n in lengths} for e in case["etas"]}}


def cut_at_depth(case: dict) -> dict:
    steps = FILE["batches"][case["batch"]]["turn_step"]
    flat = batch_of(case, kept=[r for r, k in enumerate(steps) if k < case["depth"]])
    told, gradient = train(flat, TCOD(strength=case["opd_coef"]))
    return {"n_tokens": len(flat.batch), "loss": told["actor/loss"], "grad_logp_new": gradient}


def schedule(case: dict, expected: dict) -> dict:
    def values(params):
        algorithm = ATOD(**annealing(params))
        told = ({"kappa": algorithm.kappa(s), "rho": algorithm.rho(s)} for s in case["steps"])
        done = (algorithm.kappa.progress(s) for s in case["steps"])
        return [one | {"progress": p} for one, p in zip(told, done, strict=True)]

    return {
        name: {"params": one["params"], "values": values(one["params"])}
        for name, one in expected.items()
    }


def annealing(params: dict) -> dict:
    steps = params["anneal_steps"]
    return {
        "kappa": Linear(params["kappa_init"], params["kappa_min"], steps),
        "rho": Linear(params["rho_init"], params["rho_max"], steps),
    }


def tdur(case: dict) -> dict:
    flat = batch_of(case)
    names = "min_turns", "min_divergence", "signal"
    weight = TDUR(**{name: case[name] for name in names})
    return {
        "turn_disagreement": flat.rows(turn_divergence(flat.batch)),
        "turn_uncertainty": flat.rows(turn_surprise(flat.batch)),
        "turn_weight": flat.rows(weight.per_turn(flat.batch)),
        "metrics": weight.watch(flat.batch),
    }


def tdur_per_token(case: dict) -> dict:
    flat = batch_of(case)
    weight = TDUR(
        granularity="token",
        min_divergence=case["min_divergence"],
        cap_quantile=case["entropy_clip_quantile"],
    )
    return {"token_weight": flat.grid(weight(flat.batch))}


def hybrid(case: dict) -> dict:
    flat = batch_of(case)
    weight = TDUR(min_turns=case["min_turns"], min_divergence=case["min_divergence"])
    algorithm = ATOD(turn_weight=weight, earned=earned(case), **annealing(case))
    told, gradient = train(flat, algorithm, case["step"])
    return {
        "advantages": advantage(flat, algorithm, case["step"]),
        "loss": told["actor/loss"],
        "grad_logp_new": gradient,
        "metrics": told,
    }


def published_trace(case: dict, expected: dict) -> dict:
    far, unsure = grid(case["disagreement"]), grid(case["uncertainty"])
    one = Segments(torch.zeros(len(far), dtype=torch.int64), 1)
    weight = TDUR().combine(unit_range(far, one), unit_range(unsure, one))
    assert weight.tolist() == pytest.approx(expected["printed"], abs=0.01)
    return {"weight": weight, "printed": expected["printed"]}


def self_distilled(case: dict) -> dict:
    flat = batch_of(case, teacher="logp_privileged")
    return {"advantages": advantage(flat, OPSD(strength=case["coef"]))}


def rewarded_and_self_distilled(case: dict) -> dict:
    flat = batch_of(case, teacher="logp_privileged")
    algorithm = GRPOPlusOPSD(strength=case["coef"], earned=earned(case))
    return {"advantages": advantage(flat, algorithm)}


def ungated_gradient(case: dict) -> dict:
    """What the reference form adds to GRPO's gradient."""
    flat = batch_of(case, teacher="logp_privileged")
    extra = GRPOPlusOPSD(form="reference", strength=case["coef"])
    assert case["beta"] == 0, "the reference form has a constant gate"
    return {"grad_logp_new": train(flat, extra)[1] - train(flat, GRPO())[1]}


def rlsd_schedule(case: dict) -> dict:
    mix = RLSD(mix=Linear(case["lambda_init"], 0.0, case["warmdown_steps"])).mix
    return {"lambda": [mix(s) for s in case["steps"]]}


def rlsd_advantage(case: dict) -> dict:
    flat = batch_of(case, teacher="logp_privileged")
    mix = Linear(case["lambda"], case["lambda"])
    algorithm = RLSD(mix=mix, limit=case["clip_eps"], earned=earned(case))
    return {"advantages": advantage(flat, algorithm)}


def skill_sd(case: dict) -> dict:
    """Skill-SD's own term, with a batch in which no group can learn from the reward."""
    raw = FILE["batches"][case["batch"]]
    same = raw | {"episode_reward": [0.0] * len(raw["uid"])}
    flat = flatten(same, teacher="logp_privileged")
    algorithm = SkillSD(strength=Linear(1.0, 1.0))
    told, gradient = train(flat, algorithm)
    live = Live(flat.column("logp_new"))
    nothing = torch.zeros(len(flat.batch), dtype=torch.float64)
    loss = algorithm.loss(live, flat.batch.tokens, nothing, 1)
    return {
        "per_token": flat.grid(loss.values["skill_sd/loss"]),
        "loss": told["skill_sd/loss"],
        "grad_logp_new": gradient,
    }


def stepopsd(case: dict) -> dict:
    flat = batch_of(case, teacher="logp_privileged")
    span = grid(case["span"])[flat.token] > 0
    flat = replace(flat, batch=flat.batch.scored(action=span))
    algorithm = StepOPSD(
        mix=Linear(case["lambda_mix"], case["lambda_mix"]),
        limit=case["alpha_clip"],
        level=case["equal_step_mean_abs"],
        level_limit=case["coef_clip"],
        earned=earned(case),
    )
    reward = algorithm.earned(flat.batch)
    weight = algorithm.token_weight(flat.batch, reward)
    mixed = (1 - case["lambda_mix"]) * reward + case["lambda_mix"] * weight * reward
    return {
        "token_weight": flat.grid(weight),
        "step_coef": flat.rows(algorithm.turn_factor(flat.batch, mixed)),
        "advantages": advantage(flat, algorithm),
    }


def hint_sd(case: dict) -> dict:
    raw = FILE["batches"][case["batch"]] | {"chosen": [x > 0 for x in case["selected_row"]]}
    flat = flatten(raw, teacher="logp_privileged")
    credit = HintSD().credit(flat.batch, 1)
    return {
        "advantages": flat.grid(credit.advantage(flat.batch)),
        "n_tokens": int(credit.keep.sum()),
    }


def gigpo(case: dict) -> dict:
    flat = batch_of(case)
    algorithm = GiGPO(gamma=case["gamma"], step_weight=case["step_advantage_w"], mode=case["mode"])
    terms = algorithm.credit(flat.batch, 1).terms
    episode, step = terms["reward"], terms["turn"] / algorithm.step_weight
    return {
        "discounted_return": flat.rows(algorithm.returns(flat.batch)),
        "episode_advantage": flat.rows(flat.batch.turns.mean(episode)),
        "step_advantage": flat.rows(flat.batch.turns.mean(step)),
        "row_advantage": flat.rows(
            flat.batch.turns.mean(algorithm.credit(flat.batch, 1).advantage(flat.batch))
        ),
        "sorted_step_group_sizes": flat.batch.anchors.size.long().sort().values,
    }


def bandit(case: dict) -> dict:
    arms = Arms.fresh(case["arms"], case["c"])
    picks, scores = [], []
    for _ in range(case["rounds"]):
        name = arms.pick()
        picks.append(name)
        scores.append(arms.scores())
        outcome = case["reward_stream"][name][arms.pulls[arms.names.index(name)]]
        arms = arms.after(name, outcome)
    return {"picks": picks, "scores": scores, "counts": list(arms.pulls), "means": arms.means}


def keywords(case: dict) -> dict:
    rules = {name: case["rules"][name] for name in case["order"]}
    found = [matching(text, rules) for text in case["texts"]]
    return {"all": found, "first": [kinds[:1] for kinds in found]}


CHECKS: dict[str, Callable[..., dict]] = {
    "common/aggregate": aggregates,
    "common/group_layout": layout,
    "common/ppo_loss": surrogate,
    "common/kl_estimators": kl_estimators,
    "grpo/advantage": group_advantages,
    "grpo/total_loss": grpo_total,
    "opd/advantage_and_loss": distilled,
    "opd/reward_plus_uniform": distilled_with_reward,
    "opd/within_turn_return_to_go": return_to_go,
    "opd/sampled_divergence_advantages": sampled_divergences,
    "opd/full_vocabulary_divergences": vocabulary_divergences,
    "sdar/gate": gated,
    "sdar/total_loss": sdar_total,
    "sdar/full_vocabulary_variants": gated_vocabulary,
    "sod/weights": drift,
    "sod/weights_concatenated_layout": drift_in_conversation,
    "sod/weights_from_divergences": drift_alone,
    "tcod/forward_depth": forward_depth,
    "tcod/backward_prefix": backward_prefix,
    "tcod/loss_at_depth": cut_at_depth,
    "atod/schedule": schedule,
    "atod/tdur": tdur,
    "atod/token_level_ablation": tdur_per_token,
    "atod/hybrid": hybrid,
    "atod/published_case_study": published_trace,
    "opsd/advantage_form": self_distilled,
    "grpo_opsd/advantage_form": rewarded_and_self_distilled,
    "grpo_opsd/reference_form_gradient": ungated_gradient,
    "rlsd/schedule": rlsd_schedule,
    "rlsd/advantage": rlsd_advantage,
    "skill_sd/loss": skill_sd,
    "stepopsd/advantage": stepopsd,
    "hint_sd/advantage": hint_sd,
    "gigpo/advantage": gigpo,
    "skills/ucb": bandit,
    "skills/keyword_match": keywords,
}
# the names under which these expect their results are part of what they are asked
ASKED_BY_EXPECTATION = {schedule, published_trace, vocabulary_divergences, gated_vocabulary}


def assert_same(expected, found, where: str) -> None:
    """Everything expected is found, to 1e-9."""
    if isinstance(expected, dict):
        for name, value in expected.items():
            assert name in found, f"{where}/{name} is not checked"
            assert_same(value, found[name], f"{where}/{name}")
    elif isinstance(expected, list):
        found = found.tolist() if isinstance(found, Tensor) else found
        assert len(expected) == len(found), f"{where}: {len(found)} for {len(expected)} values"
        for i, (one, other) in enumerate(zip(expected, found, strict=True)):
            assert_same(one, other, f"{where}[{i}]")
    elif isinstance(expected, float):
        assert float(found) == pytest.approx(expected, abs=EXACT, rel=0), where
    else:
        assert found == expected, where


@pytest.mark.parametrize("name", CASES)
def test_vector(name):
    known = [prefix for prefix in CHECKS if name.startswith(prefix)]
    assert known, f"no check for {name}"
    case, check = CASES[name], CHECKS[max(known, key=len)]
    asked = (case["expected"],) if check in ASKED_BY_EXPECTATION else ()
    assert_same(case["expected"], check(case["inputs"], *asked), name)


@pytest.mark.parametrize("algorithm", [GRPO(), OPD(), SDAR(), SOD(), ATOD(), GiGPO()])
@pytest.mark.parametrize("name", FILE["batches"])
def test_masked_positions_are_not_read(name, algorithm):
    raw = FILE["batches"][name]
    mask = grid(raw["mask"])
    columns = [column for column in raw if column.startswith("logp_")] + ["entropy"]
    nothing = {column: grid(raw[column]).masked_fill(mask == 0, float("nan")) for column in columns}
    cleared = raw | {column: values.tolist() for column, values in nothing.items()}
    told, gradient = train(flatten(raw), algorithm, reference_kl=0.01, entropy=0.001)
    again, same = train(flatten(cleared), algorithm, reference_kl=0.01, entropy=0.001)
    assert again == told
    assert torch.equal(same, gradient)
