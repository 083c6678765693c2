"""Skill-GRPO: GRPO with skills in the student's own prompt, while it collects and trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from agentgym_train.algorithms.base import RolloutPlan
from agentgym_train.algorithms.grpo import GRPO


@dataclass(frozen=True, kw_only=True)
class SkillGRPO(GRPO):
    skills: ClassVar[bool] = True

    def plan(self, step: int) -> RolloutPlan:
        return RolloutPlan(hint=True)
