"""verl's padded responses as our Batch, and per-token values back.

    [B, T] and a mask  ->  N sampled tokens of K turns of M = B trajectories of G groups

A response holds a whole trajectory in the chat layout. Its turns are the spans that our agent loop
reported, or else the runs of the mask: between two replies there is always a token of the chat
template. (Rollout correction that rejects single tokens breaks runs, not spans.)
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from agentgym_train.batch import Batch
from agentgym_train.groups import same_state
from agentgym_train.segments import Segments
from agentgym_train.teachers import NONFINITE
from agentgym_train.tokens import Tokens

Spans = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What verl does not hand to an advantage estimator, for B responses of T tokens.

    step: the training step, from 1. old, teacher, privileged: log-probs [B, T] of the sampled
    tokens, the last of the policy itself with more in its prompt.
    spans: of each response's turns, (first, last + 1). rewards, valid, observations: of each
    response's turns, in the same order. None where not known.
    """

    step: int | None = None
    old: Tensor | None = None
    teacher: Tensor | None = None
    privileged: Tensor | None = None
    spans: Sequence[Spans] | None = None
    rewards: Sequence[Sequence[float]] | None = None
    valid: Sequence[Sequence[bool]] | None = None
    observations: Sequence[Sequence[str]] | None = None


_GIVEN: ContextVar[Extras | None] = ContextVar("agentgym_extras", default=None)


@contextmanager
def extras(given: Extras) -> Iterator[None]:
    """While it lasts, our estimators know this of the batch that verl has them judge."""
    token = _GIVEN.set(given)
    try:
        yield
    finally:
        _GIVEN.reset(token)


def known() -> Extras:
    """What the batch at hand is known to hold beyond verl's own arguments."""
    return _GIVEN.get() or Extras()


@dataclass(frozen=True, slots=True)
class Responses:
    """A batch of ours and the mask [B, T] it came from."""

    mask: Tensor
    batch: Batch

    def flat(self, grid: Tensor) -> Tensor:
        """[B, T] -> [N]"""
        return grid[self.mask]

    def grid(self, flat: Tensor, dtype: torch.dtype) -> Tensor:
        """[N] -> [B, T], 0 where nothing was sampled; carries gradient."""
        empty = torch.zeros(self.mask.shape, dtype=dtype, device=self.mask.device)
        return empty.masked_scatter(self.mask, flat.to(dtype))


def responses(
    mask: Tensor,
    groups: Sequence[Hashable],
    returns: Tensor,
    extra: Extras,
    *,
    invalid_penalty: float = 0.0,
    similarity: float = 1.0,
) -> Responses:
    """Our batch of verl's.

    mask: [B, T], nonzero where the policy spoke. groups: [B] keys, equal for attempts at one task.
    returns: [B] of each trajectory. invalid_penalty: taken off the score of a turn that could not
    be read. similarity: of observations that count as one state (GiGPO).

    A turn may have no sampled token; without spans, such a turn is not seen. Raises ValueError for
    spans that leave a sampled token out, and for turns without a reward or an observation.
    """
    mask = mask.bool()
    turn, count = _by_spans(mask, extra.spans) if extra.spans is not None else _by_runs(mask)
    first = count.cumsum(0) - count
    total = int(count.sum())
    everyone = torch.arange(len(mask), device=mask.device)
    trajs = everyone.repeat_interleave(count)
    names = {key: g for g, key in enumerate(dict.fromkeys(groups))}
    group = torch.tensor([names[key] for key in groups], dtype=torch.int64, device=mask.device)
    row, column = mask.nonzero(as_tuple=True)
    played = count.tolist()
    valid = _per_turn(extra.valid, played, mask.device, torch.bool, "turn_valid")
    if valid is None:
        valid = torch.ones(total, dtype=torch.bool, device=mask.device)
    width = mask.shape[1] + 1  # one token of context before the response
    batch = Batch(
        turns=Segments((first[:, None] + turn)[mask], total),
        trajs=Segments(trajs, len(mask)),
        groups=Segments(group, len(names)),
        rows=Segments(row, len(mask)),
        tokens=Tokens(),
        place=torch.arange(total, device=mask.device) - first[trajs],
        valid=valid,
        penalty=invalid_penalty * (~valid).to(torch.float64),
        episode_return=returns.to(torch.float64),
        success=torch.zeros(len(mask), dtype=torch.bool, device=mask.device),  # read by no credit
        ids=torch.zeros(len(mask) * width, dtype=torch.int64, device=mask.device),
        start=torch.arange(len(mask) + 1, device=mask.device) * width,
        column=column + 1,
        step_reward=_per_turn(extra.rewards, played, mask.device, torch.float64, "turn_rewards"),
        anchors=_anchors(extra.observations, played, groups, similarity, mask.device),
    )
    return _scored(Responses(mask, batch), extra)


def per_response(data: Any, name: str, count: int) -> list[Any]:
    """A column of verl's batch, one value a response; None for all where it has none."""
    value: Any = None
    if name in data:
        value = data[name]
    if hasattr(value, "tolist"):  # a tensor, an array or a stack, as the queue's back-end has it
        value = value.tolist()
    return list(value) if isinstance(value, list) else [value] * count


def every(episodes: Sequence[Any], name: str) -> list[Any] | None:
    """One extra field of each response; None where a response has no such field."""
    told = [one[name] for one in episodes if name in (one or {})]
    return told if len(told) == len(episodes) else None


def privileged(episodes: Sequence[Any], like: Tensor) -> Tensor | None:
    """What the policy thought of its own responses with the rows' hints in its prompt.

    episodes: extra fields of B responses. -> [B, T] as `like`; None where a response has none.
    """
    told = every(episodes, "privileged_logprobs")
    if told is None:
        return None
    grid = torch.zeros(like.shape, dtype=torch.float64)
    for b, logprobs in enumerate(told):
        kept = logprobs[: like.shape[1]]  # verl's padding copies them from a longer response
        grid[b, : len(kept)] = torch.tensor(kept, dtype=torch.float64)
    return grid.to(like.device)


def _scored(made: Responses, extra: Extras) -> Responses:
    """With the log-probs that are known; a teacher's that are not finite count as very unlikely."""
    teacher = extra.teacher if extra.privileged is None else extra.privileged
    columns = {"old": extra.old, "teacher": teacher}
    flat = {name: made.flat(grid).double() for name, grid in columns.items() if grid is not None}
    if "teacher" in flat:
        flat["teacher"] = flat["teacher"].where(flat["teacher"].isfinite(), NONFINITE)
    return replace(made, batch=made.batch.scored(**flat))


def _by_runs(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Turn of each token [B, T], and turns of each response [B]: the runs of the mask."""
    begins = mask.clone()
    begins[:, 1:] &= ~mask[:, :-1]
    return begins.cumsum(1) - 1, begins.sum(1)


def _by_spans(mask: Tensor, spans: Sequence[Spans]) -> tuple[Tensor, Tensor]:
    """The same by reported spans, of which some tokens may have been masked out since."""
    turn = torch.full(mask.shape, -1, dtype=torch.int64)
    for b, its in enumerate(spans):
        for k, (first, stop) in enumerate(its):
            turn[b, first:stop] = k
    turn = turn.to(mask.device)
    left_out = (mask & (turn < 0)).sum(1).nonzero().flatten().tolist()
    if left_out:
        raise ValueError(f"turn_spans of responses {left_out} leave out tokens that were sampled")
    return turn, torch.tensor([len(its) for its in spans], device=mask.device)


def _per_turn(
    values: Sequence[Sequence[float]] | None,
    played: Sequence[int],
    device: torch.device,
    dtype: torch.dtype,
    name: str,
) -> Tensor | None:
    if values is None:
        return None
    flat = [x for its in _checked(values, played, name) for x in its]
    return torch.tensor(flat, dtype=dtype, device=device)


def _anchors(
    observations: Sequence[Sequence[str]] | None,
    played: Sequence[int],
    groups: Sequence[Hashable],
    similarity: float,
    device: torch.device,
) -> Segments | None:
    """K -> A: turns of one group that answered the same observation."""
    if observations is None:
        return None
    texts: dict[Hashable, list[str]] = {}
    places: dict[Hashable, list[int]] = {}
    found = _checked(observations, played, "turn_observations")
    starts = accumulate(played, initial=0)
    for key, its, start in zip(groups, found, starts, strict=False):
        texts.setdefault(key, []).extend(its)
        places.setdefault(key, []).extend(range(start, start + len(its)))
    owner = torch.zeros(sum(played), dtype=torch.int64)
    states = 0
    for key, said in texts.items():
        state = torch.tensor(same_state(said, similarity), dtype=torch.int64)
        owner[torch.tensor(places[key], dtype=torch.int64)] = states + state
        states += len(state.unique())
    return Segments(owner.to(device), states)


def _checked(values: Sequence[Sequence], played: Sequence[int], name: str) -> Iterator[Sequence]:
    """The values of each response's turns, one for each."""
    for b, (its, turns) in enumerate(zip(values, played, strict=True)):
        if len(its) != turns:
            raise ValueError(f"{name} of response {b} has {len(its)} entries for {turns} turns")
        yield its
