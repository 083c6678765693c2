"""SDAR: learn from the reward, and from oneself with skills in the prompt, behind a gate.

    L = L_grpo + lambda mean(sg(sigma(beta z)) (log pi_skills - log pi))         z = gap by default

Minimising the second term makes every sampled token likelier, the more the more its gate is open.
The gate follows the policy as it trains; the teacher is scored once per step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from agentgym_train.algorithms.base import Credit, Live, Loss, Teacher
from agentgym_train.algorithms.grpo import GRPO
from agentgym_train.batch import Batch
from agentgym_train.parts import Divergence, Gate
from agentgym_train.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class SDAR(GRPO):
    teacher: ClassVar[Teacher] = "self"
    skills: ClassVar[bool] = True

    strength: float = 0.01
    gate: Gate = Gate("gap", beta=5.0)
    divergence: Divergence = Divergence()

    def __post_init__(self) -> None:
        if self.divergence.over == "sampled" and self.divergence.kind != "rkl":
            raise ValueError(
                f"SDAR has no sampled form of {self.divergence.kind!r}: "
                'set divergence.over to "vocabulary", or divergence.kind to "rkl"'
            )

    @property
    def needs_entropy(self) -> bool:
        return self.gate.needs_entropy

    @property
    def needs_logits(self) -> bool:
        return self.divergence.over == "vocabulary"

    @property
    def teacher_top(self) -> int:
        return self.divergence.top

    def credit(self, batch: Batch, step: int) -> Credit:
        return replace(super().credit(batch, step), watch={"sdar/coef": self.strength})

    def loss(self, live: Live, part: Tokens, advantage: Tensor, step: int) -> Loss:
        loss = super().loss(live, part, advantage, step)
        far = self.divergence.whole(live.logits, part) if self.needs_logits else None
        return pulled(loss, live, part, self.gate, self.strength, far)


def pulled(
    loss: Loss, live: Live, part: Tokens, gate: Gate, strength: float, far: Tensor | None = None
) -> Loss:
    """The loss with a gated pull towards the teacher.

    far: [n] distance to shrink, with gradient; None: the gap itself.
    """
    gap = part.teacher_logprob - live.logprob
    opened = gate(gap, live.entropy)
    watch = {
        "sdar/gate_mean": opened,
        "sdar/gate_active_ratio": opened > 0.5,
        "sdar/gap_mean": gap,
        "sdar/negative_gap_fraction": gap < 0,
    }
    return loss.plus("sdar/loss", strength, opened * (gap if far is None else far), watch)
