"""StepOPSD: the reward, weighted on each turn's action by a stale self that knows how it went.

w_t = clip(2 sigma(sign(A) gap), 1 - a, 1 + a) on action tokens, 1 elsewhere
A_t = ((1 - l) + l w_t) A_grpo,  then times f_k on the action of turn k
f_k = clip(mean_j m_j / (m_k + 1e-6), 1/c, c),  m_k = mean |A_t| over the action of turn k
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from agentgym_train.algorithms.base import ActionSpan, Credit, Teacher
from agentgym_train.algorithms.grpo import GRPO
from agentgym_train.batch import Batch
from agentgym_train.parts import Linear, OwnWeights


@dataclass(frozen=True, kw_only=True)
class StepOPSD(GRPO):
    """span: what is a turn's action, "action" the tokens that spell it (ALFWorld, WebShop) or
    "reply" the whole of it (Search-QA). level: use f_k at all."""

    teacher: ClassVar[Teacher] = "self"
    hindsight: ClassVar[Literal["none", "peer", "notes"]] = "peer"

    weights: OwnWeights = OwnWeights("stale", refresh=10)
    span: Literal["action", "reply"] = "action"
    mix: Linear = Linear(0.2, 0.0, steps=50)
    limit: float = 0.2
    level: bool = True
    level_limit: float = 2.0

    @property
    def action_span(self) -> ActionSpan:
        return self.span

    @property
    def own_weights(self) -> OwnWeights:
        return self.weights

    def reads_teacher(self, step: int) -> bool:
        return self.mix(step) != 0

    def credit(self, batch: Batch, step: int) -> Credit:
        mix, earned = self.mix(step), self.earned(batch)
        reads = self.reads_teacher(step)
        weight = self.token_weight(batch, earned) if reads else torch.ones_like(earned)
        shaped = ((1 - mix) + mix * weight) * earned
        factor = self.turn_factor(batch, shaped)
        shaped = torch.where(batch.tokens.in_action, batch.turns.spread(factor) * shaped, shaped)
        watch = {
            "stepopsd/weight_mean": float(weight.mean()),
            "stepopsd/step_coef_mean": float(factor.mean()),
        }
        return Credit({"reward": shaped}, watch)

    def token_weight(self, batch: Batch, earned: Tensor) -> Tensor:
        """w_t.  [N]"""
        gap = torch.where(batch.tokens.in_action, batch.gap, 0.0)
        opened = 2 * (earned.sign() * gap).sigmoid()
        return opened.clamp(1 - self.limit, 1 + self.limit)

    def turn_factor(self, batch: Batch, shaped: Tensor) -> Tensor:
        """f_k; 1 in a trajectory with fewer than two actions, and for a turn without.  [K]"""
        actions = batch.turns.at(batch.tokens.in_action)
        acted = actions.size > 0
        trajs = batch.trajs.at(acted)
        size = actions.mean(shaped[batch.tokens.in_action].abs())
        common = batch.trajs.spread(trajs.mean(size[acted]))
        factor = (common / (size + 1e-6)).clamp(1 / self.level_limit, self.level_limit)
        levelled = acted & (batch.trajs.spread(trajs.size) >= 2) & self.level
        return torch.where(levelled, factor, 1.0)
