"""RLSD: the reward says which way, oneself with skills in the prompt says how far.

A_t = A_grpo ((1 - l) + l clip(exp(sign(A_grpo) gap), 1 - e, 1 + e))          l = l(s) -> 0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agentgym_train.algorithms.base import Credit, Teacher
from agentgym_train.algorithms.grpo import GRPO
from agentgym_train.batch import Batch
from agentgym_train.parts import Linear


@dataclass(frozen=True, kw_only=True)
class RLSD(GRPO):
    teacher: ClassVar[Teacher] = "self"
    skills: ClassVar[bool] = True

    mix: Linear = Linear(0.5, 0.0, steps=100)
    limit: float = 0.2

    def reads_teacher(self, step: int) -> bool:
        return self.mix(step) != 0

    def credit(self, batch: Batch, step: int) -> Credit:
        mix, earned = self.mix(step), self.earned(batch)
        if not self.reads_teacher(step):
            return Credit({"reward": earned}, {"rlsd/lambda": mix})
        weight = (earned.sign() * batch.gap).exp().clamp(1 - self.limit, 1 + self.limit)
        return Credit({"reward": earned * ((1 - mix) + mix * weight)}, {"rlsd/lambda": mix})
