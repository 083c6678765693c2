"""Who besides the policy says how likely its tokens are: the reference and the teacher."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agentgym_train.batch import Batch
from agentgym_train.models.load import ModelSettings, load_model
from agentgym_train.models.policy import Policy

Scorer = Callable[[Batch], Tensor]
NONFINITE = -100.0  # what a teacher's non-finite log-prob becomes (spec 2.4)


@dataclass(frozen=True)
class Reference:
    """The policy as it was at the start: a frozen copy, or its adapters switched off."""

    policy: Policy
    adapters: bool

    @classmethod
    def of(cls, policy: Policy) -> "Reference":
        if hasattr(policy.model, "disable_adapter"):
            return cls(policy, adapters=True)
        model = copy.deepcopy(policy.model).requires_grad_(False)
        return cls(Policy(model, policy.tokenizer, policy.temperature), adapters=False)

    def __call__(self, batch: Batch, token_budget: int) -> Tensor:
        if not self.adapters:
            return self.policy.logprobs(batch, token_budget=token_budget)
        with self.policy.model.disable_adapter():
            return self.policy.logprobs(batch, token_budget=token_budget)


class TeacherModel:
    """Another model on the same tokens, frozen (spec 2.4).

    Raises ValueError where its tokenizer is not the student's.
    """

    def __init__(self, settings: ModelSettings, student: Policy) -> None:
        model, tokenizer = load_model(settings)
        if tokenizer.get_vocab() != student.tokenizer.get_vocab():
            raise ValueError(
                f"teacher {settings.name!r} has another vocabulary than the student: they must "
                "share the tokenizer"
            )
        self._policy = Policy(model.requires_grad_(False), tokenizer, student.temperature)

    def __call__(self, batch: Batch, token_budget: int) -> tuple[Tensor, dict[str, float]]:
        """Log-probs [N], non-finite ones replaced, and how many those were."""
        logprob = self._policy.logprobs(batch, token_budget=token_budget).to(batch.ids.device)
        odd = ~logprob.isfinite()
        told: dict[str, Any] = {"teacher/nonfinite_tokens": float(odd.sum())}
        return torch.where(odd, NONFINITE, logprob), told
