"""HINT-SD: look back at a failure, note what went wrong in a few turns, imitate the noted self.

A_t = log pi_ema(y_t | prompt, note) - log pi_old on the chosen turns; no other token counts
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from agentgym_train.algorithms.base import Algorithm, Credit, Teacher
from agentgym_train.batch import Batch
from agentgym_train.parts import OwnWeights
from agentgym_train.tokens import present


@dataclass(frozen=True, kw_only=True)
class HintSD(Algorithm):
    teacher: ClassVar[Teacher] = "self"
    hindsight: ClassVar[Literal["none", "peer", "notes"]] = "notes"

    weights: OwnWeights = OwnWeights("ema", decay=0.99)
    strength: float = 1.0

    @property
    def own_weights(self) -> OwnWeights:
        return self.weights

    def credit(self, batch: Batch, step: int) -> Credit:
        chosen = present(batch.chosen, "chosen", "say which turns hindsight has picked")
        return Credit({"teacher": self.strength * batch.gap}, keep=batch.turns.spread(chosen))
