"""From credit to weights: mini-batches, micro-batches, the optimiser.

The only place that aggregates, regularises and steps. Every token's loss is multiplied by its
share of the mini-batch and summed, so gradient and metrics do not depend on the micro-batches.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor
from torch.optim import Optimizer

from agentgym_train.algorithms.base import Algorithm, Credit, Live, Loss, Policy
from agentgym_train.batch import Batch
from agentgym_train.diagnostics import describe_teacher
from agentgym_train.optimizer import masters
from agentgym_train.signals import KL, Aggregate, kl_estimate, share
from agentgym_train.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How credit becomes weights. Defaults are the specification's (2.6 - 2.10).

    lr: learning rate, reached by a straight line over the first warmup_steps training steps (or
        warmup_fraction of all steps, where that is more), then constant.
    mini_rows: rows per optimiser step. micro_tokens: padded tokens per forward pass.
    epochs: passes over a step's data.
    max_grad_norm: gradients are scaled down to it; a step whose norm is not finite is skipped.
    reference_kl, reference_kl_kind: pull towards the initial policy, for anchored algorithms.
    entropy: bonus per nat. watch_entropy: log it even where the bonus is 0.
    """

    lr: float = 1e-6
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_steps: int = 0
    warmup_fraction: float = 0.0
    max_grad_norm: float = 1.0
    mini_rows: int = 256
    micro_tokens: int = 16384
    epochs: int = 1
    aggregate: Aggregate = "token-mean"
    reference_kl: float = 0.01
    reference_kl_kind: KL = "k3"
    entropy: float = 0.001
    watch_entropy: bool = False

    def __post_init__(self) -> None:
        for name in ("mini_rows", "micro_tokens", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.max_grad_norm > 0:
            raise ValueError(f"max_grad_norm must be above 0, got {self.max_grad_norm}")
        for name in ("lr", "weight_decay", "warmup_steps", "warmup_fraction", "reference_kl"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")

    def rate(self, step: int, steps: int) -> float:
        """Learning rate at training step `step` of `steps`, counted from 1."""
        warmup = max(float(self.warmup_steps), self.warmup_fraction * steps)
        return self.lr * min(1.0, step / warmup) if warmup > 0 else self.lr

    def needs_reference(self, algorithm: Algorithm) -> bool:
        """Must the batch carry log-probs under the initial policy?"""
        return algorithm.anchored and self.reference_kl != 0


def update(
    policy: Policy,
    optimizer: Optimizer,
    algorithm: Algorithm,
    batch: Batch,
    step: int,
    learning: Learning,
    *,
    steps: int,
    generator: torch.Generator,
) -> dict[str, float]:
    """One training step on a scored batch; returns metrics under the names of the literature.

    step: this training step of `steps`, counted from 1. generator: on the CPU; shuffles rows.
    Optimiser steps taken: epochs * ceil(rows that count / mini_rows).

    Raises MissingScoreError where the batch lacks log-probs that the algorithm needs.
    """
    with torch.no_grad():
        batch = batch.with_gap_within(algorithm.gap_clip)
        credit = algorithm.credit(batch, step)
        advantage = credit.advantage(batch)
    for group in optimizer.param_groups:
        group["lr"] = learning.rate(step, steps)
    counted = _counted(credit, batch)
    told = describe_teacher(batch, counted) | describe_credit(credit, advantage)
    rows = batch.rows.owner[counted].unique()
    taken: list[dict[str, float]] = []
    for _ in range(learning.epochs):
        shuffled = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
        for mini in shuffled.split(learning.mini_rows) if len(rows) else ():
            sums = _gradient(policy, algorithm, batch, counted, advantage, mini, step, learning)
            taken.append(sums | _descend(optimizer, learning.max_grad_norm))
    done = sum("actor/grad_norm" in one for one in taken)
    return (
        told
        | _averaged(taken)
        | {
            "actor/lr": learning.rate(step, steps),
            "actor/optimizer_steps": float(done),
            "actor/skipped_steps": float(len(taken) - done),
        }
    )


def describe_credit(credit: Credit, advantage: Tensor) -> dict[str, float]:
    """Range of the advantage and mean magnitude of each term, over the tokens that count."""
    kept = advantage if credit.keep is None else advantage[credit.keep]
    told = dict(credit.watch)
    if not len(kept):
        return told
    for name, term in credit.terms.items():
        counted = term if credit.keep is None else term[credit.keep]
        told[f"credit/{name}"] = float(counted.abs().mean())
    return told | {
        "critic/advantages/mean": float(kept.mean()),
        "critic/advantages/max": float(kept.max()),
        "critic/advantages/min": float(kept.min()),
    }


def token_loss(
    algorithm: Algorithm,
    learning: Learning,
    live: Live,
    part: Tokens,
    advantage: Tensor,
    step: int,
) -> Loss:
    """The algorithm's loss and the regularisers, token by token.  [n]"""
    loss = algorithm.loss(live, part, advantage, step)
    if learning.needs_reference(algorithm):
        kl = kl_estimate(live.logprob, part.reference_logprob, learning.reference_kl_kind)
        loss = loss.plus("actor/kl_loss", learning.reference_kl, kl)
    if live.entropy is not None:
        entropy = live.entropy if learning.entropy else live.entropy.detach()
        loss = loss.plus("actor/entropy_loss", -learning.entropy, entropy)
    return loss


def _gradient(
    policy: Policy,
    algorithm: Algorithm,
    batch: Batch,
    counted: Tensor,
    advantage: Tensor,
    mini: Tensor,
    step: int,
    learning: Learning,
) -> dict[str, float]:
    """Add up the gradient of one mini-batch, and its metrics.

    counted: [N] bool. mini: the mini-batch's rows.
    """
    inside = counted & torch.isin(batch.rows.owner, mini)
    weight = torch.zeros_like(advantage)
    weight[inside] = share(learning.aggregate, batch.rows.at(inside), batch.token_trajs.at(inside))
    mean = inside.to(advantage.dtype) / inside.sum()
    entropy = learning.entropy != 0 or learning.watch_entropy or algorithm.needs_entropy
    extra = {"logits": True} if algorithm.needs_logits else {}
    sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64))
    for rows in batch.micro_batches(mini, learning.micro_tokens):
        padded = batch.padded(rows)
        live = policy.live(padded, entropy=entropy, **extra)
        at = padded.at
        loss = token_loss(algorithm, learning, live, batch.tokens.at(at), advantage[at], step)
        total = (weight[at] * loss.total).sum()
        total.backward()
        sums["actor/loss"] = sums["actor/loss"] + total.detach()
        for name, value in loss.values.items():
            sums[name] = sums[name] + (weight[at] * value.detach()).sum()
        for name, value in loss.watch.items():
            sums[name] = sums[name] + (mean[at] * value.detach()).sum()
    return {name: float(value) for name, value in sums.items()}


def _counted(credit: Credit, batch: Batch) -> Tensor:
    """Tokens that take part.  [N] bool"""
    if credit.keep is not None:
        return credit.keep
    return torch.ones(len(batch), dtype=torch.bool, device=batch.ids.device)


def _descend(optimizer: Optimizer, max_grad_norm: float) -> dict[str, float]:
    """One optimiser step, unless the gradient is not finite: then no step and no norm."""
    norm = float(torch.nn.utils.clip_grad_norm_(masters(optimizer), max_grad_norm))
    if isfinite(norm):
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {"actor/grad_norm": norm} if isfinite(norm) else {}


def _averaged(taken: list[dict[str, float]]) -> dict[str, float]:
    """Mean over mini-batches of each number, over those that have it."""
    found: dict[str, list[float]] = {}
    for one in taken:
        for name, value in one.items():
            found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}
