"""Distillation losses for verl: the same credit and losses as everywhere, on verl's tensors.

Two kinds, by what verl does with them (`distillation.distillation_loss`):

    credit  what a sampled token is worth; verl's clipped surrogate learns from it
            use_policy_gradient=true   use_task_rewards=false     OPD, TCOD, SOD, ATOD
    pull    a loss beside the surrogate of the reward
            use_policy_gradient=false  use_task_rewards=true      SDAR, Skill-SD
            distillation_loss_coef=1 (the strength is the algorithm's own)

The reward's part of a credit is what `algorithm.adv_estimator` made of it: use `agentgym_grpo`.
A teacher "model" is verl's teacher server. A teacher "self" is the policy with the row's `hint` in
its prompt, which our agent loop asks.

Each value depends on nothing outside its own response, so micro-batches may cut anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from verl.trainer.distillation.losses import (  # pyright: ignore[reportMissingImports]
    DISTILLATION_LOSS_REGISTRY,
    DistillationLossSettings,
    register_distillation_loss,
)
from verl.workers.utils.padding import (  # pyright: ignore[reportMissingImports]
    no_padding_2_padding,
)

from agentgym_train.algorithms import BUILT_IN, Algorithm, Credit, Live
from agentgym_train.batch import Batch
from agentgym_train.integrations.verl.names import (
    PREFIX,
    SURROGATE,
    Kind,
    follows_a_schedule,
    kind_of,
    looks_across_rows,
    refuse,
)
from agentgym_train.integrations.verl.responses import (
    Extras,
    Responses,
    every,
    per_response,
    privileged,
    responses,
)

LOSSES = ("opd", "tcod", "sod", "atod", "sdar", "skill_sd")
DUAL_CLIP = 3.0  # verl's own where it learns from a distillation loss; no setting reaches it


@dataclass(frozen=True)
class Given:
    """Credit that was computed before; stands where `GroupReward` does."""

    value: Tensor

    def __call__(self, batch: Batch) -> Tensor:
        """[N]"""
        return self.value


@dataclass(frozen=True)
class DistillationLoss:
    """`distillation.distillation_loss.loss_mode` of verl, computed by one of our algorithms.

    Raises ValueError where verl's settings would make another algorithm of it, or where the batch
    lacks what it reads.
    """

    name: str
    algorithm: Algorithm
    kind: Kind

    def __call__(
        self, config: Any, distillation_config: Any, model_output: Any, data: Any
    ) -> tuple[Tensor, dict[str, Any]]:
        """One value per response token [B, T], 0 where nothing was sampled; and what to log.

        config: verl's actor settings. model_output: `log_probs`, with gradient, and `entropy`
        where the gate reads it. data: a micro-batch with `response_mask`, `old_log_probs`,
        `advantages`, `global_steps`, and `teacher_logprobs` or, for a teacher "self",
        `extra_fields`.
        """
        new = no_padding_2_padding(model_output["log_probs"], data)
        step = self._step(data, len(new))
        episodes = per_response(data, "extra_fields", len(new))
        self._check_depth(episodes, step)
        extra = Extras(
            step=step,
            old=padded(data["old_log_probs"]),
            teacher=self._teacher(data, episodes, new),
            spans=every(episodes, "turn_spans"),
        )
        nothing = torch.zeros(len(new), device=new.device)
        made = responses(padded(data["response_mask"]), range(len(new)), nothing, extra)
        batch = made.batch.with_gap_within(self.algorithm.gap_clip)
        live = Live(made.flat(new).double(), self._entropy(model_output, data, made))
        self.check(config, distillation_config.distillation_loss)
        if self.kind != "credit":
            pull, watch = self._pull(live, batch, step or 1)
            return made.grid(pull, new.dtype), watch
        credit = self._credit(batch, made.flat(padded(data["advantages"])).double(), step or 1)
        return made.grid(-credit.advantage(batch), new.dtype), dict(credit.watch)

    def _credit(self, batch: Batch, earned: Tensor, step: int) -> Credit:
        algorithm = self.algorithm
        if not len(batch):
            return Credit({})  # nothing was sampled: verl's padding
        if "earned" in {one.name for one in fields(algorithm)}:
            algorithm = replace(algorithm, earned=Given(earned))
        with torch.no_grad():
            return algorithm.credit(batch, step)

    def _pull(self, live: Live, batch: Batch, step: int) -> tuple[Tensor, dict[str, float]]:
        """The algorithm's loss [N] but for the surrogate."""
        nothing = torch.zeros(len(batch), dtype=torch.float64, device=batch.ids.device)
        loss = self.algorithm.loss(live, batch.tokens, nothing, step)
        values = {name: x for name, x in loss.values.items() if name != SURROGATE}
        watch = {name: x for name, x in loss.watch.items() if not name.startswith("actor/")}
        told = {name: float(x.detach().double().mean()) for name, x in watch.items()}
        return replace(loss, values=values).total, told if len(batch) else {}

    def _teacher(self, data: Any, episodes: Sequence[Any], new: Tensor) -> Tensor:
        if self.algorithm.teacher == "self":
            own = privileged(episodes, new)
            if own is not None:
                return own
            raise ValueError(
                f"{self.name} learns from the policy itself with skills in its prompt, and no "
                "response was read so: give write_parquet `hints`"
            )
        if "teacher_logprobs" not in data:
            raise ValueError(f"{self.name}: no teacher spoke; set distillation.teacher_models")
        return no_padding_2_padding(data["teacher_logprobs"], data)[..., 0]

    def _step(self, data: Any, count: int) -> int | None:
        told = per_response(data, "global_steps", count)
        steps = {int(step) for step in told if step is not None}
        if len(steps) == 1:
            return steps.pop()
        if follows_a_schedule(self.algorithm) or self.algorithm.plan(1).max_turns is not None:
            raise ValueError(
                f"{self.name} follows a schedule: it needs one training step a batch, this one is "
                f"of {sorted(steps) or 'no known step'}; set trainer.v1.trainer_mode=sync"
            )
        return None

    def _check_depth(self, episodes: Sequence[Any], step: int | None) -> None:
        wanted = self.algorithm.plan(step or 1).max_turns
        played = {(told or {}).get("depth") for told in episodes}
        if wanted is not None and played != {wanted}:
            raise ValueError(
                f"{self.name} learns at step {step} from episodes of at most {wanted} turns, these "
                f"were limited to {played}: give write_parquet agent='{PREFIX}tcod'"
            )

    def _entropy(self, model_output: Any, data: Any, made: Responses) -> Tensor | None:
        if not self.algorithm.needs_entropy:
            return None
        if model_output.get("entropy") is None:
            raise ValueError(f"{self.name} reads the entropy: set actor.calculate_entropy=true")
        return made.flat(no_padding_2_padding(model_output["entropy"], data)).double()

    def check(self, actor: Any, loss: Any) -> None:
        """Raise ValueError unless verl will do with the values what the algorithm would.

        actor, loss: verl's `actor_rollout_ref.actor` and `distillation.distillation_loss`.
        """
        clips = {
            "clip_ratio_low": self.algorithm.clip_low,
            "clip_ratio_high": self.algorithm.clip_high,
        }
        credit, rewarded = self.kind == "credit", self.kind == "pull"
        wanted: dict[str, Any] = {"loss_max_clamp": None, "use_policy_gradient": credit}
        wanted |= {"use_task_rewards": rewarded} | (clips if credit else {})
        self._equal("distillation.distillation_loss", loss, wanted)
        if rewarded:
            self._equal("distillation.distillation_loss", loss, {"distillation_loss_coef": 1.0})
            clips["clip_ratio_c"] = self.algorithm.dual_clip
            self._equal("actor_rollout_ref.actor", actor, clips)

    def _equal(self, where: str, found: Any, wanted: dict[str, Any]) -> None:
        for setting, value in wanted.items():
            if getattr(found, setting) != value:
                raise ValueError(
                    f"{self.name} needs {where}.{setting}={value}, not {getattr(found, setting)}"
                )


def register_loss(name: str, algorithm: Algorithm) -> None:
    """Make an algorithm known as `distillation.distillation_loss.loss_mode=NAME`.

    Raises ValueError for one that verl cannot run so, saying why.
    """
    refuse(algorithm)
    kind, why = kind_of(algorithm), None
    if algorithm.teacher == "none":
        why = "it has no teacher: use register_estimator"
    elif looks_across_rows(algorithm):
        why = "it compares tokens of the whole batch, and verl shows a loss a part of it"
    elif kind != "pull" and algorithm.anchored:
        why = "verl drops the reference KL where it has no task rewards: use register_estimator"
    elif kind == "credit" and algorithm.dual_clip != DUAL_CLIP:
        why = f"the dual clip is {DUAL_CLIP} here, not {algorithm.dual_clip}"
    if why:
        raise ValueError(f"{name} cannot be a distillation loss of verl: {why}")
    loss = DistillationLoss(name, algorithm, kind)
    if DISTILLATION_LOSS_REGISTRY.get(name) != loss:
        settings = DistillationLossSettings(names=[name], use_estimator=True)
        register_distillation_loss(settings)(loss)


def register_all() -> None:
    """The built-in ones, each with the paper's settings, as `agentgym_<algorithm>`."""
    for name in LOSSES:
        register_loss(PREFIX + name, BUILT_IN[name]())


def padded(x: Tensor) -> Tensor:
    """[B, T], zeros where a nested tensor has nothing."""
    return x.to_padded_tensor(0) if x.is_nested else x
