"""OPSD: imitate oneself with skills in the prompt, without any reward.

advantage form:  A_t = c (log pi_skills - log pi_old)
reference form:  L = 0.01 mean(sg(sigma(5 gap)) (log pi_skills - log pi)), no surrogate

The original method keeps the teacher at the initial weights, or moves it as an average of 0.999.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from agentgym_train.algorithms.base import Credit, Live, Loss, Teacher
from agentgym_train.algorithms.opd import OPD
from agentgym_train.algorithms.sdar import pulled
from agentgym_train.batch import Batch
from agentgym_train.parts import Gate, OwnWeights
from agentgym_train.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class OPSD(OPD):
    teacher: ClassVar[Teacher] = "self"
    anchored: ClassVar[bool] = True
    skills: ClassVar[bool] = True

    form: Literal["advantage", "reference"] = "advantage"
    pull: float = 0.01
    gate: Gate = Gate("gap", beta=5.0)
    weights: OwnWeights = OwnWeights()

    def __post_init__(self) -> None:
        unread = (self.pull, self.gate) != (OPSD.pull, OPSD.gate)
        if self.form == "advantage" and unread:
            raise ValueError('OPSD reads pull and gate only where form = "reference"')

    @property
    def own_weights(self) -> OwnWeights:
        return self.weights

    @property
    def needs_entropy(self) -> bool:
        return self.form == "reference" and self.gate.needs_entropy

    def credit(self, batch: Batch, step: int) -> Credit:
        return Credit({}) if self.form == "reference" else super().credit(batch, step)

    def loss(self, live: Live, part: Tokens, advantage: Tensor, step: int) -> Loss:
        loss = super().loss(live, part, advantage, step)
        if self.form == "advantage":
            return loss
        return pulled(loss, live, part, self.gate, self.pull)
