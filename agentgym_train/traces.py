"""Per-token numbers of a few trajectories, so that a reader can see what a step taught.

Read off a scored batch just before its update; nothing that training uses is touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from agentgym_train.algorithms.base import Algorithm, Live
from agentgym_train.batch import Batch
from agentgym_train.layout import Trajectory
from agentgym_train.models.policy import Policy

MAX_TOKENS = 2000  # of one trajectory; what comes later is counted, not kept
GATE = "sdar/gate_mean"  # the name under which gated losses watch their gate
_DIGITS = 3  # significant


@torch.no_grad()
def token_records(
    algorithm: Algorithm,
    policy: Policy,
    batch: Batch,
    step: int,
    kept: Sequence[Trajectory],
    *,
    token_budget: int,
) -> list[dict[str, Any]]:
    """Plain records of the batch's first `len(kept)` trajectories, which are `kept`.

    One per trajectory: `task`, `turns`, `left_out` (tokens beyond MAX_TOKENS). A turn has `turn`
    (its index in the episode), `reward`, `pieces` (its tokens as text) and columns of one number a
    token: `logprob` (the sampler's), `advantage`, and where there is such a thing `gap` (teacher
    minus student), `weight` (of the turn), `gate`, and `credit/<name>` of each of several terms.
    A number that is not finite is None.

    token_budget: padded tokens of one forward pass, made only where the gate reads entropies or
    whole distributions.
    """
    columns = _columns(algorithm, policy, batch, step, len(kept), token_budget)
    records, start = [], 0
    for trajectory in kept:
        records.append(_record(trajectory, columns, start, policy.tokenizer))
        start += sum(len(played.reply.tokens) for _, played in trajectory.sampled if played.reply)
    return records


def pieces_of(tokenizer: Any, tokens: Sequence[int]) -> list[str]:
    """What each token adds to the text; together they are the text, special tokens included.

    A character that several tokens spell belongs to the last of them.
    """
    pieces, shown = [], ""
    for count in range(1, len(tokens) + 1):
        text = tokenizer.decode(tokens[:count], skip_special_tokens=False)
        if text.endswith("\ufffd") and count < len(tokens):
            pieces.append("")
            continue
        pieces.append(text[len(shown) :])
        shown = text
    return pieces


def _columns(
    algorithm: Algorithm, policy: Policy, batch: Batch, step: int, count: int, token_budget: int
) -> dict[str, list[float | None]]:
    """The numbers of the first `count` trajectories' tokens, by name."""
    batch = batch.with_gap_within(algorithm.gap_clip)
    credit = algorithm.credit(batch, step)
    advantage = credit.advantage(batch)
    found = {"logprob": batch.sampler_logprob, "advantage": advantage}
    if batch.tokens.teacher is not None:
        found["gap"] = batch.gap
    weight = algorithm.weigh(batch)
    if weight is not None:
        found["weight"] = weight
    if len(credit.terms) > 1:
        found |= {f"credit/{name}": term for name, term in credit.terms.items()}
    at = (batch.token_trajs.owner < count).nonzero().squeeze(1)
    told = {name: _short(column[at]) for name, column in found.items()}
    gate = _gate(algorithm, policy, batch, advantage, step, at, token_budget)
    return told if gate is None else told | {"gate": _short(gate)}


def _gate(
    algorithm: Algorithm,
    policy: Policy,
    batch: Batch,
    advantage: Tensor,
    step: int,
    at: Tensor,
    token_budget: int,
) -> Tensor | None:
    """How far the loss opens its gate for the tokens `at` before the update; None: it has none."""
    if not (algorithm.needs_entropy or algorithm.needs_logits):
        live = Live(batch.old_logprob[at])  # what the policy says until its first update
        return algorithm.loss(live, batch.tokens.at(at), advantage[at], step).watch.get(GATE)
    gate = torch.full_like(advantage, torch.nan)
    rows = batch.rows.owner[at].unique()
    devices = [policy.device] if policy.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):  # dropout must not spend training's dice
        for some in batch.micro_batches(rows, token_budget):
            padded = batch.padded(some)
            extra = {"logits": True} if algorithm.needs_logits else {}
            live = policy.live(padded, entropy=algorithm.needs_entropy, **extra)
            part = batch.tokens.at(padded.at)
            watch = algorithm.loss(live, part, advantage[padded.at], step).watch
            if GATE not in watch:
                return None
            gate[padded.at] = watch[GATE].to(gate)
    return gate[at]


def _record(
    trajectory: Trajectory, columns: dict[str, list[float | None]], start: int, tokenizer: Any
) -> dict[str, Any]:
    turns, used, left_out = [], 0, 0
    for place, played in trajectory.sampled:
        assert played.reply is not None
        tokens = played.reply.tokens
        first, room = start + used, max(MAX_TOKENS - used, 0)
        used += len(tokens)
        left_out += len(tokens[room:])
        if room:
            shown = tokens[:room]
            turns.append(
                {
                    "turn": place,
                    "reward": played.reward,
                    "pieces": pieces_of(tokenizer, shown),
                    **{name: told[first : first + len(shown)] for name, told in columns.items()},
                }
            )
    return {"task": trajectory.task.id, "turns": turns, "left_out": left_out}


def _short(column: Tensor) -> list[float | None]:
    """[n] numbers with few digits; None where one is not finite."""
    return [float(f"{x:.{_DIGITS}g}") if isfinite(x) else None for x in column.tolist()]
