"""Skill-SD: GRPO, held near oneself with skills in the prompt.

    L = L_grpo + lambda mean(r (exp(-l) - 1 + l))     l = log pi - log pi_skills,  r = pi / pi_old

The gradient runs through r and through l.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from agentgym_train.algorithms.base import Live, Loss, Teacher
from agentgym_train.algorithms.grpo import GRPO
from agentgym_train.parts import Linear
from agentgym_train.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class SkillSD(GRPO):
    teacher: ClassVar[Teacher] = "self"
    skills: ClassVar[bool] = True

    strength: Linear = Linear(0.001, 0.0, steps=0)  # steps > 0: warmed down to 0 by then

    def loss(self, live: Live, part: Tokens, advantage: Tensor, step: int) -> Loss:
        loss = super().loss(live, part, advantage, step)
        ahead = live.logprob - part.teacher_logprob
        ratio = (live.logprob - part.old_logprob).clamp(max=10).exp()
        far = ratio * ((-ahead).clamp(max=20).exp() - 1 + ahead)
        return loss.plus("skill_sd/loss", self.strength(step), far)
