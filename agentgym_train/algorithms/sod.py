"""SOD: learn from the reward and a teacher, the latter less where the student has drifted away.

A_t = A_grpo + c w_k(t) (log pi_T - log pi_old)         w_k = min((d_1 + e)/(d_k + e), 1 + delta)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from agentgym_train.algorithms.base import Algorithm, Credit, Teacher
from agentgym_train.batch import Batch
from agentgym_train.parts import Drift, GroupReward


@dataclass(frozen=True, kw_only=True)
class SOD(Algorithm):
    teacher: ClassVar[Teacher] = "model"

    strength: float = 1.0
    turn_weight: Drift = Drift(delta=0.2)
    with_reward: bool = True
    earned: GroupReward = GroupReward()

    def weigh(self, batch: Batch) -> Tensor:
        return self.turn_weight(batch)

    def credit(self, batch: Batch, step: int) -> Credit:
        guided = self.strength * self.turn_weight(batch) * batch.gap
        watch = self.turn_weight.watch(batch)
        if not self.with_reward:
            return Credit({"teacher": guided}, watch)
        earned = self.earned(batch)
        watch["sod/opd_grpo_ratio"] = float(guided.abs().sum() / earned.abs().sum().clamp(min=1e-8))
        return Credit({"teacher": guided, "reward": earned}, watch)
