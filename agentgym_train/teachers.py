"""Whose log-probs the student is drawn to: a teacher is weights and what they are shown.

Scored once per step, without gradient, in the batch's flat order, by the policy's own code.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from agentgym_train.batch import Batch, Padded, TrajectoryRows, collate
from agentgym_train.models.load import ModelSettings, load_model
from agentgym_train.models.policy import Policy
from agentgym_train.optimizer import is_narrow

NONFINITE = -100.0  # what a teacher's non-finite log-prob becomes (spec 2.4)


@dataclass(frozen=True, kw_only=True)
class TeacherSettings(ModelSettings):
    """Another model as the teacher. micro_tokens: padded tokens of one of its forward passes; 0:
    as many as the student's."""

    micro_tokens: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.micro_tokens < 0:
            raise ValueError(f"micro_tokens must be at least 0, got {self.micro_tokens}")
        if self.lora.rank or self.gradient_checkpointing:
            raise ValueError("a teacher is never trained: remove its lora, gradient_checkpointing")


class Frozen:
    """Weights that never change: another model, or the policy as it was at the start.

    micro_tokens: of one forward pass; 0: whatever the student has.
    """

    def __init__(self, policy: Policy, micro_tokens: int = 0) -> None:
        self.policy, self.micro_tokens = policy, micro_tokens

    def after(self, step: int) -> None:
        """Called when a step's update is done."""

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must hold."""
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put `tensors` back."""


class Current(Frozen):
    """The student's own weights at the start of the step."""


class Copied(Frozen):
    """A copy of the student's weights: refreshed every so many steps, or drawn slowly after it.

    refresh: copy after every `refresh`-th step (a stale teacher). decay: instead, after every step,
    teacher = decay * teacher + (1 - decay) * student (an exponential moving average).
    Only what trains in the student moves or is kept in checkpoints.
    """

    def __init__(
        self, student: Policy, *, refresh: int | None = None, decay: float | None = None
    ) -> None:
        super().__init__(duplicate(student))
        self._refresh, self._decay = refresh, decay
        copies = dict(self.policy.model.named_parameters())
        self._pairs = {
            name: (copies[name], theirs)
            for name, theirs in student.model.named_parameters()
            if theirs.requires_grad
        }
        # An average in bfloat16 would stand still: its steps are smaller than its rounding.
        self._averages = {
            name: ours.float() if is_narrow(ours.dtype) else ours
            for name, (ours, _) in (self._pairs if decay is not None else {}).items()
        }

    @torch.no_grad()
    def after(self, step: int) -> None:
        if self._decay is not None:
            for name, average in self._averages.items():
                ours, theirs = self._pairs[name]
                average.mul_(self._decay).add_(theirs, alpha=1 - self._decay)
                ours.copy_(average)
        elif self._refresh is not None and step % self._refresh == 0:
            for ours, theirs in self._pairs.values():
                ours.copy_(theirs)

    def tensors(self) -> dict[str, Tensor]:
        return {
            name: self._averages.get(name, ours).data for name, (ours, _) in self._pairs.items()
        }

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        if tensors.keys() != self._pairs.keys():
            raise ValueError(
                "the checkpoint has no weights of this run's teacher: it is incomplete, or of a "
                "run with another algorithm or model"
            )
        for name, (ours, _) in self._pairs.items():
            ours.copy_(tensors[name])
            if name in self._averages:
                self._averages[name].copy_(tensors[name])


@dataclass(frozen=True)
class Reference:
    """The policy as it was at the start: a frozen copy, or its adapters switched off."""

    policy: Policy
    adapters: bool

    @classmethod
    def of(cls, policy: Policy) -> "Reference":
        if hasattr(policy.model, "disable_adapter"):
            return cls(policy, adapters=True)
        return cls(duplicate(policy), adapters=False)

    def __call__(self, batch: Batch, token_budget: int) -> Tensor:
        """Log-probs of the batch's tokens.  [N]"""
        if not self.adapters:
            return self.policy.logprobs(batch, token_budget=token_budget)
        with self.policy.model.disable_adapter():
            return self.policy.logprobs(batch, token_budget=token_budget)


@dataclass
class Scores:
    """A teacher's columns for a batch, and what to log about them."""

    columns: dict[str, Tensor]
    told: dict[str, float] = field(default_factory=dict)


def duplicate(policy: Policy) -> Policy:
    """A frozen copy of a policy. What trains has memory of its own; the rest, which never changes,
    is shared with the policy."""
    shared = {id(p): p for p in policy.model.parameters() if not p.requires_grad}
    model = copy.deepcopy(policy.model, shared).requires_grad_(False)
    return Policy(model, policy.tokenizer, policy.temperature)


def load_teacher(settings: TeacherSettings, student: Policy, *, logits: bool = False) -> Frozen:
    """Another model as the teacher, with its own dtype, device and batch size.

    logits: its whole distributions will be compared with the student's. Raises ValueError where
    its tokenizer is not the student's (spec 2.4), or where distributions have other lengths.
    """
    model, tokenizer = load_model(settings)
    if tokenizer.get_vocab() != student.tokenizer.get_vocab():
        raise ValueError(
            f"teacher {settings.name!r} has another vocabulary than the student: they must share "
            "the tokenizer"
        )
    teacher = Policy(model.requires_grad_(False), tokenizer, student.temperature)
    ours, theirs = (one.head.output.out_features for one in (student, teacher))
    if logits and ours != theirs:
        raise ValueError(
            f"teacher {settings.name!r} scores {theirs} tokens and the student {ours} (padding of "
            "the vocabulary): their distributions cannot be compared; "
            'set algorithm.divergence.over = "sampled"'
        )
    return Frozen(teacher, settings.micro_tokens)


def score(
    teacher: Policy, batch: Batch, token_budget: int, *, logits: bool = False, top: int = 0
) -> Scores:
    """The teacher's log-probs of the batch's tokens [N]; with `logits`, its distribution too.

    Log-probs that are not finite become -100 and are counted. top: keep only so many best tokens
    of the distribution ([N, top] and their ids), else all of it [N, V].
    """
    found = torch.full((len(batch),), torch.nan, dtype=torch.float64, device=batch.ids.device)
    best: list[tuple[Tensor, Tensor, Tensor | None]] = []
    for part, logprob, whole in _read(teacher, batch, token_budget, logits):
        at = part.at.to(found.device)
        found[at] = logprob.to(found)
        if whole is not None:
            most = min(top, whole.shape[-1])
            kept, ids = whole.topk(most, dim=-1) if top else (whole, None)
            best.append((at, kept.to(at.device), None if ids is None else ids.to(at.device)))
    odd = ~found.isfinite()
    scores = Scores({"teacher": torch.where(odd, NONFINITE, found)})
    scores.told["teacher/nonfinite_tokens"] = float(odd.sum())
    scores.told["teacher/tokens_read"] = float(len(batch.ids))
    if best:
        order = torch.cat([at for at, _, _ in best]).argsort()
        scores.columns["teacher_logits"] = torch.cat([kept for _, kept, _ in best])[order]
        if top:
            ids = torch.cat([ids for _, _, ids in best if ids is not None])
            scores.columns["teacher_ids"] = ids[order]
    return scores


def score_rows(
    teacher: Policy,
    rows: Sequence[TrajectoryRows],
    device: Any,
    token_budget: int,
    *,
    logits: bool = False,
    top: int = 0,
) -> Scores:
    """The same for other rows with the same sampled tokens: replies behind other prompts."""
    return score(teacher, collate(rows).to(device), token_budget, logits=logits, top=top)


@torch.no_grad()
def _read(
    teacher: Policy, batch: Batch, token_budget: int, logits: bool
) -> Iterator[tuple[Padded, Tensor, Tensor | None]]:
    rows = torch.arange(len(batch.length), device=batch.ids.device)
    for some in batch.micro_batches(rows, token_budget):
        part = batch.padded(some)
        live = teacher.live(part, logits=logits)
        yield part, live.logprob, live.logits
