"""OPD: imitate a bigger teacher on the student's own tokens.

    A_t = c (log pi_T - log pi_old)                         descends on KL(student || teacher)

Other uses of the name add the reward: A_grpo + c gap, or with c lowered where the reward is good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from agentgym_train.algorithms.base import Algorithm, Credit, Live, Loss, Teacher
from agentgym_train.batch import Batch
from agentgym_train.parts import Divergence, GroupReward, ReturnToGo, RewardGate
from agentgym_train.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class OPD(Algorithm):
    teacher: ClassVar[Teacher] = "model"

    strength: float = 1.0
    divergence: Divergence = Divergence()
    within_turn: ReturnToGo = ReturnToGo()
    reward: Literal["none", "added", "gated"] = "none"
    earned: GroupReward = GroupReward()
    reward_gate: RewardGate = RewardGate()

    @property
    def needs_logits(self) -> bool:
        return self.divergence.over == "vocabulary"

    @property
    def teacher_top(self) -> int:
        return self.divergence.top

    def credit(self, batch: Batch, step: int) -> Credit:
        guided = self.strength * self.within_turn(self.divergence(batch.gap), batch.turns)
        if self.reward == "none":
            return Credit({"teacher": guided})
        earned = self.earned(batch)
        if self.reward == "gated":
            guided = self.reward_gate(earned) * guided
        return Credit({"teacher": guided, "reward": earned})

    def loss(self, live: Live, part: Tokens, advantage: Tensor, step: int) -> Loss:
        loss = super().loss(live, part, advantage, step)
        if not self.needs_logits:
            return loss
        return loss.plus("opd/divergence", self.strength, self.divergence.whole(live.logits, part))
