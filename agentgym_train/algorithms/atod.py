"""ATOD (arXiv 2606.27814): imitate first, then let the reward lead.

A_t = kappa(s) w_k(t) (log pi_T - log pi_old) + rho(s) A_grpo
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from agentgym_train.algorithms.base import Algorithm, Credit, Teacher
from agentgym_train.batch import Batch
from agentgym_train.parts import TDUR, GroupReward, Linear


@dataclass(frozen=True, kw_only=True)
class ATOD(Algorithm):
    teacher: ClassVar[Teacher] = "model"

    kappa: Linear = Linear(1.0, 0.1, steps=80)
    rho: Linear = Linear(1.0, 2.0, steps=80)
    turn_weight: TDUR = TDUR()
    earned: GroupReward = GroupReward()

    def weigh(self, batch: Batch) -> Tensor:
        return self.turn_weight(batch)

    def credit(self, batch: Batch, step: int) -> Credit:
        kappa, rho = self.kappa(step), self.rho(step)
        guided = kappa * self.turn_weight(batch) * batch.gap
        earned = rho * self.earned(batch)
        watch = {
            "hybrid/kl_coef": kappa,
            "hybrid/rl_coef": rho,
            "hybrid/anneal_progress": self.kappa.progress(step),
            "hybrid/opd_abs_mean": float(guided.abs().mean()),
            "hybrid/rl_abs_mean": float(earned.abs().mean()),
            "hybrid/raw_gap_abs_mean": float(batch.gap.abs().mean()),
            "hybrid/opd_rl_ratio": float(guided.abs().sum() / earned.abs().sum().clamp(min=1e-8)),
        }
        return Credit({"teacher": guided, "reward": earned}, watch | self.turn_weight.watch(batch))
