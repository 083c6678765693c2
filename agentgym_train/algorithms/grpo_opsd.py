"""GRPO+OPSD: the reward, and a little of oneself with skills in the prompt.

advantage form:  A_t = A_grpo + c (log pi_skills - log pi_old)
reference form:  L = L_grpo + c mean(0.5 (log pi_skills - log pi)), an ungated SDAR, whose
                 gradient does not contain the teacher
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from agentgym_train.algorithms.base import Credit, Live, Loss, Teacher
from agentgym_train.algorithms.grpo import GRPO
from agentgym_train.algorithms.sdar import pulled
from agentgym_train.batch import Batch
from agentgym_train.parts import Gate
from agentgym_train.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class GRPOPlusOPSD(GRPO):
    teacher: ClassVar[Teacher] = "self"
    skills: ClassVar[bool] = True

    form: Literal["advantage", "reference"] = "advantage"
    strength: float = 0.01

    def credit(self, batch: Batch, step: int) -> Credit:
        if self.form == "reference":
            return super().credit(batch, step)
        return Credit({"teacher": self.strength * batch.gap, "reward": self.earned(batch)})

    def loss(self, live: Live, part: Tokens, advantage: Tensor, step: int) -> Loss:
        loss = super().loss(live, part, advantage, step)
        if self.form == "advantage":
            return loss
        return pulled(loss, live, part, Gate("gap", beta=0.0), self.strength)
