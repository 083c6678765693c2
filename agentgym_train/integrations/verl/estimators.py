"""Advantage estimators for verl: the credit of our algorithms, on verl's padded tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from verl.trainer.ppo.core_algos import register_adv_est  # pyright: ignore[reportMissingImports]

from agentgym_train.algorithms import BUILT_IN, Algorithm
from agentgym_train.algorithms.gigpo import GiGPO
from agentgym_train.integrations.verl.names import (
    PREFIX,
    TRAINER,
    follows_a_schedule,
    kind_of,
    refuse,
)
from agentgym_train.integrations.verl.responses import Extras, known, responses

ESTIMATED = ("grpo", "gigpo", "opd", "tcod", "sod", "atod", "opsd", "grpo_opsd", "rlsd")


@dataclass(frozen=True)
class Estimator:
    """`algorithm.adv_estimator` of verl, computed by one of our algorithms.

    invalid_penalty: taken off the score of a turn whose response could not be read; needs what our
    trainer hands over (`trainer.v1.trainer_mode=agentgym_sync`). The surrogate and its clips are
    verl's own. A teacher "model" needs `distillation.enabled`; the loss beside the credit is then
    switched off by distillation_loss.use_task_rewards=true and distillation_loss_coef=0.

    Raises ValueError where the algorithm needs what verl did not hand over.
    """

    name: str
    algorithm: Algorithm
    invalid_penalty: float = 0.0

    def __call__(
        self,
        token_level_rewards: Tensor,
        response_mask: Tensor,
        index: Sequence[Any],
        config: Any = None,
    ) -> tuple[Tensor, Tensor]:
        """Advantages and returns, both the credit.  rewards, mask [B, T], index [B] -> [B, T]

        The trajectory's return is the sum of its token rewards.
        """
        extra = known()
        self._check(extra)
        made = responses(
            response_mask,
            list(index),
            token_level_rewards.double().sum(-1),
            extra if self.algorithm.teacher == "self" else replace(extra, privileged=None),
            invalid_penalty=self.invalid_penalty,
            similarity=getattr(self.algorithm, "similarity", 1.0),
        )
        if not len(made.batch):
            zeros = torch.zeros_like(token_level_rewards)
            return zeros, zeros
        batch = made.batch.with_gap_within(self.algorithm.gap_clip)
        step = 1 if extra.step is None else extra.step
        with torch.no_grad():
            credit = self.algorithm.credit(batch, step).advantage(batch)
        advantages = made.grid(credit, token_level_rewards.dtype)
        return advantages, advantages

    def _check(self, extra: Extras) -> None:
        """Everything the credit reads is there."""
        teacher, by_state = self.algorithm.teacher, isinstance(self.algorithm, GiGPO)
        taught = teacher != "none"
        needs = {
            "the teacher's log-probs": (teacher == "model", extra.teacher),
            "what the policy thinks with the row's `hint`": (teacher == "self", extra.privileged),
            "the log-probs at the start of the step": (taught, extra.old),
            "the training step": (follows_a_schedule(self.algorithm), extra.step),
            "each turn's reward": (by_state, extra.rewards),
            "what each turn answered": (by_state, extra.observations),
            "whether each turn could be read": (self.invalid_penalty != 0, extra.valid),
        }
        missing = [what for what, (wanted, value) in needs.items() if wanted and value is None]
        if missing:
            other = f", or loss_mode={self.name} of a distillation" if teacher == "model" else ""
            raise ValueError(
                f"{self.name} needs {' and '.join(missing)}, which verl does not hand to an "
                f"advantage estimator: set trainer.v1.trainer_mode={TRAINER}{other}"
            )


def register_estimator(name: str, algorithm: Algorithm, invalid_penalty: float = 0.0) -> None:
    """Make an algorithm known as `algorithm.adv_estimator=NAME`.

    Raises ValueError for one that verl cannot run so, saying why.
    """
    refuse(algorithm)
    if kind_of(algorithm) != "credit":
        raise ValueError(f"{name} is more than an advantage: use register_loss")
    register_adv_est(name)(Estimator(name, algorithm, invalid_penalty))


def register_all() -> None:
    """The built-in ones, each with the paper's settings, as `agentgym_<algorithm>`."""
    for name in ESTIMATED:
        register_estimator(PREFIX + name, BUILT_IN[name]())
