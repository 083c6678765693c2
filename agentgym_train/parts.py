"""Arithmetic with its settings: frozen dataclasses that are called with a batch or a step.

The ablations of the papers are values of these fields; the defaults are the specification's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentgym_train.batch import Batch
from agentgym_train.segments import Segments
from agentgym_train.signals import (
    Divergences,
    Pools,
    capped_at_quantile,
    divergence_advantage,
    drift_weight,
    group_advantage,
    group_pools,
    soft_or,
    suffix_sum,
    unit_range,
    vocabulary_divergence,
)
from agentgym_train.tokens import Tokens


@dataclass(frozen=True)
class Linear:
    """From start to stop on a straight line over so many steps, then constant.

    Steps are counted from 1, so the first step is already one part of the way. steps <= 0: start.
    """

    start: float
    stop: float
    steps: int = 0

    def progress(self, step: int) -> float:
        """How much of the way is done, in [0, 1]; 0 where there is none."""
        return min(step / self.steps, 1.0) if self.steps > 0 else 0.0

    def __call__(self, step: int) -> float:
        return self.start + (self.stop - self.start) * self.progress(step)


@dataclass(frozen=True)
class OwnWeights:
    """Which of the student's weights teach it.

    kind: "current" those at the start of the step; "initial" those it began with; "stale" a copy,
        made anew after every `refresh`-th step; "ema" a moving average: after each step, decay
        times itself plus (1 - decay) times the student.
    """

    kind: Literal["current", "initial", "stale", "ema"] = "current"
    refresh: int = 10
    decay: float = 0.99

    def __post_init__(self) -> None:
        if self.refresh < 1:
            raise ValueError(f"refresh: a copy is made every 1 or more steps, got {self.refresh}")
        if not 0 <= self.decay <= 1:
            raise ValueError(f"decay: a share from 0 to 1, got {self.decay}")


@dataclass(frozen=True)
class Depth:
    """How many turns a student may play at a step: one more every `every` steps (TCOD 8.1)."""

    start: int = 1
    every: int = 3

    def __post_init__(self) -> None:
        if self.start < 1 or self.every < 1:
            raise ValueError(f"depth: start and every must be at least 1, got {self}")

    def __call__(self, step: int) -> int:
        return self.start + step // self.every


@dataclass(frozen=True)
class GroupReward:
    """How much better a turn's score is than its group's: GRPO's advantage.

    stats_over: which scores form a group's mean and spread. "rows": of all its turns (reference;
        long trajectories weigh more). "trajectories": one per trajectory, of its earliest turn.
    divide_by_std: in units of the group's spread, or plain differences.
    """

    stats_over: Literal["rows", "trajectories"] = "rows"
    divide_by_std: bool = True

    def pools(self, batch: Batch) -> Pools:
        """What the scores are compared with.  [G] each"""
        return group_pools(batch.score, batch.turn_groups, self._counted(batch))

    def per_turn(self, batch: Batch) -> Tensor:
        """[K]"""
        return group_advantage(
            batch.score, batch.turn_groups, self._counted(batch), by_spread=self.divide_by_std
        )

    def __call__(self, batch: Batch) -> Tensor:
        """[N]"""
        return batch.turns.spread(self.per_turn(batch))

    def _counted(self, batch: Batch) -> Tensor:
        match self.stats_over:
            case "rows":
                return torch.ones_like(batch.valid)
            case "trajectories":
                return batch.place == batch.trajs.spread(batch.trajs.low(batch.place))
        raise ValueError(f"stats_over is {self.stats_over!r}; one of rows, trajectories")


@dataclass(frozen=True)
class RewardGate:
    """How far to follow the teacher where the reward has its own opinion A.

    low + (high - low) sigma(-sharpness A)            (a leftover in SOD's code)
    """

    low: float = 0.0
    high: float = 0.3
    sharpness: float = 1.0

    def __call__(self, earned: Tensor) -> Tensor:
        """[N] -> [N]"""
        return self.low + (self.high - self.low) * (-self.sharpness * earned).sigmoid()


@dataclass(frozen=True)
class Divergence:
    """Which distance to the teacher is to shrink, and how it is estimated.

    kind: "rkl" KL(S||T), "fkl" KL(T||S), "jsd" between both with this weight on the teacher.
    over: "sampled": from the sampled token, as an advantage. "vocabulary": summed over the
        vocabulary, as a loss; needs the teacher's logits.
    top: over the vocabulary, keep only the teacher's so many best tokens; 0: all.
    """

    kind: Divergences = "rkl"
    weight: float = 0.5
    over: Literal["sampled", "vocabulary"] = "sampled"
    top: int = 0

    def __call__(self, gap: Tensor) -> Tensor:
        """Advantage of the sampled tokens; 0 where the vocabulary is the loss.  [N] -> [N]"""
        if self.over == "vocabulary":
            return torch.zeros_like(gap)
        return divergence_advantage(gap, self.kind, self.weight)

    def whole(self, logits: Tensor | None, part: Tokens) -> Tensor:
        """Divergence over the vocabulary, of the student's logits [n, V].  -> [n]"""
        if logits is None:
            raise ValueError("a divergence over the vocabulary needs the student's logits")
        teacher, ids = part.teacher_distribution
        if self.top and ids is None:
            teacher, ids = teacher.topk(self.top, dim=-1)
        return vocabulary_divergence(logits, teacher, self.kind, self.weight, ids)


@dataclass(frozen=True)
class ReturnToGo:
    """Credit a token with what follows in its turn, too.

    on: off leaves every value as it is. gamma: discount per token. per_length: divide the sum by
    the discounted number of tokens it ran over.
    """

    on: bool = False
    gamma: float = 0.99
    per_length: bool = True

    def __call__(self, x: Tensor, turns: Segments) -> Tensor:
        """[N] -> [N]"""
        if not self.on:
            return x
        ahead = suffix_sum(x, turns, self.gamma)
        if not self.per_length:
            return ahead
        return ahead / suffix_sum(torch.ones_like(x), turns, self.gamma).clamp(min=1)


@dataclass(frozen=True)
class Gate:
    """How far to open, token by token: sigma(beta z). Never carries gradient.

    z by kind: "gap"; "entropy" h of the student; "soft_or" 1 - (1 - h)(1 - gap), raw values;
    "none": always 1.
    """

    kind: Literal["gap", "entropy", "soft_or", "none"] = "gap"
    beta: float = 5.0

    @property
    def needs_entropy(self) -> bool:
        return self.kind in ("entropy", "soft_or")

    def __call__(self, gap: Tensor, entropy: Tensor | None) -> Tensor:
        """[n] -> [n]"""
        if self.kind == "none":
            return torch.ones_like(gap.detach())
        return (self.beta * self._signal(gap.detach(), entropy)).sigmoid()

    def _signal(self, gap: Tensor, entropy: Tensor | None) -> Tensor:
        if self.kind == "gap":
            return gap
        if entropy is None:
            raise ValueError(f"gate {self.kind!r} needs the student's entropy")
        return entropy.detach() if self.kind == "entropy" else soft_or(entropy.detach(), gap)


@dataclass(frozen=True)
class Drift:
    """SOD's weight of a turn: trust the teacher less the further the student has drifted (7.1).

    delta: weights end at 1 + delta. epsilon: keeps the division finite.
    """

    epsilon: float = 1e-6
    delta: float = 0.2

    def per_turn(self, batch: Batch) -> Tensor:
        """[K]; 0 for a turn without tokens"""
        counted = batch.turns.size > 0
        far = turn_divergence(batch)
        return drift_weight(far, batch.trajs, counted, self.epsilon, self.delta)

    def __call__(self, batch: Batch) -> Tensor:
        """[N]"""
        return batch.turns.spread(self.per_turn(batch))

    def watch(self, batch: Batch) -> dict[str, float]:
        """Range of the weights, their mean turn by turn, and how far first turns are from the
        teacher."""
        counted = batch.turns.size > 0
        weight = self.per_turn(batch)[counted]
        earliest = batch.trajs.at(counted).low(batch.place[counted])
        opening = batch.place == batch.trajs.spread(earliest)
        places = batch.place[counted]
        return {
            f"sod/turn_{k}_mean_weight": float(weight[places == k].mean())
            for k in places.unique().tolist()
        } | {
            "sod/weight_mean": float(weight.mean()),
            "sod/weight_min": float(weight.min()),
            "sod/weight_max": float(weight.max()),
            "sod/first_turn_divergence": float(turn_divergence(batch)[opening & counted].mean()),
        }


@dataclass(frozen=True)
class TDUR:
    """ATOD's weight of a turn: high where the student disagrees or is unsure (9.3).

        d_k = mean |gap|,  h_k = mean -log pi_old;   w_k = 1 - (1 - norm d_k)(1 - norm h_k)

    norm stretches a trajectory's values onto [0, 1].

    granularity: "turn"; "token": each token's own |gap| and surprise, normalised over the batch;
        "none": all weights 1. signal: both ("softor") or one of the two.
    min_turns, min_divergence: shorter trajectories, and those where no d_k reaches the minimum,
        keep weight 1 (reference; the paper's text is 1 and 0).
    count_empty: turns without tokens enter a trajectory's range as d = h = 0 (reference).
    cap_quantile: at "token", surprise is capped there first.
    """

    granularity: Literal["turn", "token", "none"] = "turn"
    signal: Literal["softor", "entropy_only", "divergence_only"] = "softor"
    min_turns: int = 3
    min_divergence: float = 0.01
    count_empty: bool = False
    cap_quantile: float = 0.98

    def __call__(self, batch: Batch) -> Tensor:
        """[N]"""
        match self.granularity:
            case "turn":
                return batch.turns.spread(self.per_turn(batch))
            case "token":
                return self._per_token(batch)
            case "none":
                return torch.ones_like(batch.gap)
        raise ValueError(f"granularity is {self.granularity!r}; one of turn, token, none")

    def per_turn(self, batch: Batch) -> Tensor:
        """[K]; 1 for a turn that is not counted, or of a trajectory that is left alone"""
        counted = self._counted(batch)
        trajs = batch.trajs.at(counted)
        far, unsure = turn_divergence(batch)[counted], turn_surprise(batch)[counted]
        weight = torch.ones(len(counted), dtype=torch.float64, device=far.device)
        weight[counted] = self.combine(unit_range(far, trajs), unit_range(unsure, trajs))
        few, agreeing = self._left_alone(batch)
        return weight.masked_fill(batch.trajs.spread(few | agreeing), 1.0)

    def combine(self, far: Tensor, unsure: Tensor) -> Tensor:
        """Two signals in [0, 1] -> one weight.  [n], [n] -> [n]"""
        match self.signal:
            case "softor":
                return soft_or(far, unsure)
            case "divergence_only":
                return far
            case "entropy_only":
                return unsure
        raise ValueError(f"signal is {self.signal!r}; one of softor, entropy_only, divergence_only")

    def watch(self, batch: Batch) -> dict[str, float]:
        """Weights of the trajectories that were reweighted, and why others were not."""
        if self.granularity != "turn":
            return {}
        few, agreeing = self._left_alone(batch)
        active = batch.trajs.spread(~(few | agreeing)) & self._counted(batch)
        per_turn = self.per_turn(batch)
        weight = per_turn[active] if bool(active.any()) else torch.ones(1)
        told = {
            "tdur/n_trajectories": float(len(few)),
            "tdur/n_active": float((~(few | agreeing)).sum()),
            "tdur/n_skipped_few_turns": float(few.sum()),
            "tdur/n_skipped_low_divergence": float(agreeing.sum()),
            "tdur/active_ratio": float((~(few | agreeing)).double().mean()),
            "tdur/mean_weight": float(weight.mean()),
            "tdur/min_weight": float(weight.min()),
            "tdur/max_weight": float(weight.max()),
        }
        for k in batch.place[active].unique().tolist():
            here = active & (batch.place == k)
            told[f"tdur/turn_{k}_mean_weight"] = float(per_turn[here].mean())
        return told

    def _counted(self, batch: Batch) -> Tensor:
        return torch.ones_like(batch.valid) if self.count_empty else batch.turns.size > 0

    def _left_alone(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Trajectories with too few turns, and others whose turns all agree.  [M], [M] bool"""
        counted = self._counted(batch)
        few = batch.trajs.at(counted).size < self.min_turns
        far = batch.trajs.at(counted).high(turn_divergence(batch)[counted])
        return few, ~few & (far < self.min_divergence)

    def _per_token(self, batch: Batch) -> Tensor:
        far, unsure = batch.gap.abs(), -batch.old_logprob
        if far.max() < self.min_divergence:
            return torch.ones_like(far)
        everyone = Segments(torch.zeros_like(batch.turns.owner), 1)
        unsure = capped_at_quantile(unsure, self.cap_quantile)
        return self.combine(unit_range(far, everyone), unit_range(unsure, everyone))


def turn_divergence(batch: Batch) -> Tensor:
    """d_k: mean |gap| over each turn's tokens, 0 for a turn without tokens.  [K]"""
    return batch.turns.mean(batch.gap.abs())


def turn_surprise(batch: Batch) -> Tensor:
    """h_k: mean -log pi_old over each turn's tokens, 0 for a turn without tokens.  [K]"""
    return batch.turns.mean(-batch.old_logprob)
