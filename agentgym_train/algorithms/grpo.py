"""GRPO (arXiv 2402.03300): better than the other attempts at the same task?

A_k = (score_k - mean of the group) / (std of the group + 1e-6)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agentgym_train.algorithms.base import Algorithm, Credit
from agentgym_train.batch import Batch
from agentgym_train.parts import GroupReward


@dataclass(frozen=True, kw_only=True)
class GRPO(Algorithm):
    anchored: ClassVar[bool] = True

    earned: GroupReward = GroupReward()

    def credit(self, batch: Batch, step: int) -> Credit:
        return Credit({"reward": self.earned(batch)})
