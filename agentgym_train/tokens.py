"""What is known of each sampled token: its log-probs under everyone who was asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class MissingScoreError(ValueError):
    """An algorithm asked for log-probs that nobody has computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Columns over the N sampled tokens; None where nobody was asked.

    sampler, old, teacher, reference: log-probs [N] of the sampled token under the engine that
        sampled it, under the policy at the start of the step, under the teacher (of any kind),
        and under the frozen initial policy. Constants for autograd.
    action: [N] bool, tokens of the action itself (StepOPSD).
    teacher_logits: [N, V], the teacher's whole distribution; or [N, k], its k best tokens, with
        teacher_ids [N, k] saying which. Unnormalised is fine; temperature already applied.
    """

    sampler: Tensor | None = None
    old: Tensor | None = None
    teacher: Tensor | None = None
    reference: Tensor | None = None
    action: Tensor | None = None
    teacher_logits: Tensor | None = None
    teacher_ids: Tensor | None = None

    @property
    def sampler_logprob(self) -> Tensor:
        return present(self.sampler, "sampler", "the sampler gave no log-probs")

    @property
    def old_logprob(self) -> Tensor:
        return present(self.old, "old", "score the batch with the policy first")

    @property
    def teacher_logprob(self) -> Tensor:
        return present(self.teacher, "teacher", "score the batch with the teacher first")

    @property
    def reference_logprob(self) -> Tensor:
        return present(self.reference, "reference", "score it with the initial policy first")

    @property
    def gap(self) -> Tensor:
        """Teacher minus student log-prob; positive: the teacher likes the token more.  [N]"""
        return self.teacher_logprob - self.old_logprob

    @property
    def in_action(self) -> Tensor:
        """Tokens of the action itself.  [N] bool"""
        return present(self.action, "action", "rows must say where the action lies in a turn")

    @property
    def teacher_distribution(self) -> tuple[Tensor, Tensor | None]:
        """The teacher's logits [N, V] and None, or its best k [N, k] and their ids [N, k]."""
        logits = present(self.teacher_logits, "teacher_logits", "ask the teacher for its logits")
        return logits, self.teacher_ids

    def at(self, items: Tensor) -> Tokens:
        """Only these tokens ([n] positions or [N] bool)."""
        return self._map(lambda column: column[items])

    def to(self, device: torch.device | str) -> Tokens:
        return self._map(lambda column: column.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Tokens:
        known = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: change(v) for k, v in known.items() if v is not None})


def present(column: T | None, name: str, remedy: str) -> T:
    """The column, or MissingScoreError that says which one is missing and what to do."""
    if column is None:
        raise MissingScoreError(f"this batch has no `{name}` column: {remedy}")
    return column
