"""What an algorithm is: its credit, its loss, what it must be given, and how it collects."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from agentgym_train.batch import Batch, Padded
from agentgym_train.parts import OwnWeights
from agentgym_train.signals import clipped_surrogate
from agentgym_train.tokens import Tokens

Teacher = Literal["none", "model", "self"]
ActionSpan = Literal["none", "action", "reply"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPlan:
    """How to collect trajectories at one step.

    max_turns: the student plays at most so many turns; None: as many as the environment allows.
    leave_to_student: a demonstration is replayed until so many of its turns are left; None: no
        replay.
    hint: the student's own prompt carries the skills.
    """

    max_turns: int | None = None
    leave_to_student: int | None = None
    hint: bool = False

    def depth(self, limit: int) -> int:
        """Turns the student may play where the environment allows `limit`."""
        return limit if self.max_turns is None else min(self.max_turns, limit)

    def replayed(self, demonstration: int) -> int:
        """Turns to replay of a demonstration of so many turns; 0: there is none, or no replay."""
        if self.leave_to_student is None:
            return 0
        return max(0, demonstration - self.leave_to_student)


@dataclass(frozen=True, slots=True)
class Credit:
    """What each sampled token is worth.

    terms: named [N] tensors; their sum is the advantage. No terms: all zero.
    watch: numbers to log under exactly these names.
    keep: [N] bool, the tokens that count, in numerator and denominator; None: all.
    """

    terms: dict[str, Tensor]
    watch: dict[str, float] = field(default_factory=dict)
    keep: Tensor | None = None

    def advantage(self, batch: Batch) -> Tensor:
        """The sum of the terms.  [N], float64

        Raises ValueError for a term of the wrong shape, FloatingPointError for one that is not
        finite on a token that counts.
        """
        total = torch.zeros(len(batch), dtype=torch.float64, device=batch.ids.device)
        for name, term in self.terms.items():
            if term.shape != total.shape:
                raise ValueError(f"credit {name!r} is {tuple(term.shape)}, not {len(batch)} tokens")
            total = total + (term if self.keep is None else term.masked_fill(~self.keep, 0.0))
            if not bool(total.isfinite().all()):
                raise FloatingPointError(f"credit {name!r} is not finite on every token")
        return total


@dataclass(frozen=True, slots=True)
class Live:
    """The policy being trained, with gradient, on n sampled tokens.

    logprob: [n]. entropy: [n] nats. logits: [n, V], temperature applied. The last two only when
    asked for.
    """

    logprob: Tensor
    entropy: Tensor | None = None
    logits: Tensor | None = None


class Policy(Protocol):
    """Whatever can say the log-probs of sampled tokens, in the order of `Padded.at`."""

    def live(self, padded: Padded, *, entropy: bool = False, logits: bool = False) -> Live: ...


@dataclass(frozen=True, slots=True)
class Loss:
    """What to minimise, token by token: sum over terms of coefficient * value.

    values: named [n] tensors with gradient, logged unscaled under these names.
    coefficients: one per name. watch: [n] tensors to log as means over tokens.
    """

    values: dict[str, Tensor]
    coefficients: dict[str, float]
    watch: dict[str, Tensor] = field(default_factory=dict)

    def plus(
        self, name: str, coefficient: float, value: Tensor, watch: dict[str, Tensor] | None = None
    ) -> Loss:
        """With one more term."""
        return replace(
            self,
            values=self.values | {name: value},
            coefficients=self.coefficients | {name: coefficient},
            watch=self.watch | (watch or {}),
        )

    @property
    def total(self) -> Tensor:
        """[n]"""
        parts = [self.coefficients[name] * value for name, value in self.values.items()]
        return torch.stack(parts).sum(0)


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """Base of all algorithms. The fields are the settings; the class attributes are the needs.

    clip_low, clip_high: the ratio new / old is trusted within [1 - low, 1 + high].
    dual_clip: a second limit where the advantage is negative.
    gap_clip: every |gap| to the teacher is cut to this; None: no limit.
    """

    teacher: ClassVar[Teacher] = "none"  # who gives `teacher_logprob`
    anchored: ClassVar[bool] = False  # held near the initial policy by a reference KL
    skills: ClassVar[bool] = False  # someone's prompt carries retrieved skills
    hindsight: ClassVar[Literal["none", "peer", "notes"]] = "none"  # what the teacher knows more

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float = 3.0
    gap_clip: float | None = None

    @property
    def needs_entropy(self) -> bool:
        """Does `loss` read `live.entropy`?"""
        return False

    @property
    def needs_logits(self) -> bool:
        """Does `loss` read `live.logits` and the teacher's distribution?"""
        return False

    @property
    def action_span(self) -> ActionSpan:
        """Which tokens of a turn `credit` takes for its action; "none": it does not ask."""
        return "none"

    @property
    def state_similarity(self) -> float:
        """From which likeness on two states of a group count as one, 1: identical (GiGPO)."""
        return 1.0

    @property
    def teacher_top(self) -> int:
        """How many of the teacher's best tokens `loss` reads, where it reads `logits`; 0: all."""
        return 0

    @property
    def own_weights(self) -> OwnWeights:
        """Which of the student's weights teach, where the teacher is the student itself."""
        return OwnWeights()

    def weigh(self, batch: Batch) -> Tensor | None:
        """How much the teacher counts at each token, for readers of traces; None: always alike."""
        return None

    def reads_teacher(self, step: int) -> bool:
        """Does this step read the teacher's log-probs at all?"""
        return self.teacher != "none"

    def plan(self, step: int) -> RolloutPlan:
        """How to collect at this step, counted from 1."""
        return RolloutPlan()

    def credit(self, batch: Batch, step: int) -> Credit:
        """What each of the batch's N tokens is worth. Runs without gradient."""
        raise NotImplementedError(f"{type(self).__name__} must define credit(batch, step)")

    def loss(self, live: Live, part: Tokens, advantage: Tensor, step: int) -> Loss:
        """One value per token, each of which may look at no other token.  [n]"""
        loss, clipped, dual_clipped = clipped_surrogate(
            live.logprob,
            part.old_logprob,
            advantage,
            self.clip_low,
            self.clip_high,
            self.dual_clip,
        )
        watch = {
            "actor/pg_clipfrac": clipped,
            "actor/pg_clipfrac_lower": dual_clipped,
            "actor/ppo_kl": part.old_logprob - live.logprob,
        }
        return Loss({"actor/pg_loss": loss}, {"actor/pg_loss": 1.0}, watch)
