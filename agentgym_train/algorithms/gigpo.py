"""GiGPO: compare whole attempts, and single turns that started from the same state.

A = A_episode + w A_step
A_step = ret_k - mean of ret over the group's turns with the same anchor
ret_k = sum_{u >= k} gamma^(u - k) r_u - penalty of turn k
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from agentgym_train.algorithms.base import Algorithm, Credit
from agentgym_train.batch import Batch
from agentgym_train.parts import GroupReward
from agentgym_train.signals import group_advantage, suffix_sum
from agentgym_train.tokens import present


@dataclass(frozen=True, kw_only=True)
class GiGPO(Algorithm):
    """mode: "mean_norm" subtracts means only; "mean_std_norm" divides both parts by (std + 1e-6).

    similarity: states of a group at least this alike count as one, 1: identical.
    """

    anchored: ClassVar[bool] = True

    mode: Literal["mean_norm", "mean_std_norm"] = "mean_norm"
    gamma: float = 0.95
    step_weight: float = 1.0
    similarity: float = 1.0

    def __post_init__(self) -> None:
        if self.mode not in ("mean_norm", "mean_std_norm"):
            raise ValueError(f"mode is {self.mode!r}; one of mean_norm, mean_std_norm")

    @property
    def state_similarity(self) -> float:
        return self.similarity

    @property
    def by_std(self) -> bool:
        return self.mode == "mean_std_norm"

    def credit(self, batch: Batch, step: int) -> Credit:
        episode = GroupReward(divide_by_std=self.by_std)(batch)
        turn = self.step_weight * batch.turns.spread(self.step_advantage(batch))
        return Credit({"reward": episode, "turn": turn})

    def returns(self, batch: Batch) -> Tensor:
        """Discounted return from each turn onwards, before any penalty.  [K]"""
        reward = present(batch.step_reward, "step_reward", "rows must carry each turn's reward")
        return suffix_sum(reward, batch.trajs, self.gamma)

    def step_advantage(self, batch: Batch) -> Tensor:
        """Against the turns that started from the same state; 0 where there is no other.  [K]"""
        states = present(batch.anchors, "anchors", "rows must say which state each turn began in")
        every = torch.ones_like(batch.valid)
        worth = self.returns(batch) - batch.penalty
        advantage = group_advantage(worth, states, every, by_spread=self.by_std)
        return advantage.masked_fill(states.spread(states.size) == 1, 0.0)
