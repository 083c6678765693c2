"""TCOD: OPD on trajectories that grow deeper as training goes on.

    k(n) = k_start + floor(n / eta)

forward: the student plays the first k(n) turns. backward: a demonstration is replayed until k(n)
of its turns are left, and the student plays from there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from agentgym_train.algorithms.base import Credit, RolloutPlan
from agentgym_train.algorithms.opd import OPD
from agentgym_train.batch import Batch
from agentgym_train.parts import Depth


@dataclass(frozen=True, kw_only=True)
class TCOD(OPD):
    order: Literal["forward", "backward"] = "forward"
    depth: Depth = Depth(start=1, every=3)

    def plan(self, step: int) -> RolloutPlan:
        if self.order == "forward":
            return RolloutPlan(max_turns=self.depth(step))
        return RolloutPlan(leave_to_student=self.depth(step))

    def credit(self, batch: Batch, step: int) -> Credit:
        return replace(super().credit(batch, step), watch={"tcod/depth": float(self.depth(step))})
