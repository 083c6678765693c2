"""From rows of tokens to a Batch: sampled tokens only, flat, and who owns them.

    N sampled tokens -> K turns -> M trajectories -> G groups

N runs trajectory by trajectory, turn by turn, token by token, however the trajectories were laid
out into rows. So a prompt per turn and one long conversation give the same N, in the same order,
and everything computed from owners is the same for both.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from agentgym_train.groups import same_state
from agentgym_train.segments import Segments
from agentgym_train.tokens import Tokens


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """The tokens `start:stop` of a row were sampled in one turn.

    turn: the turn's index in its trajectory, from 0.
    action: `start, stop` in the row of the action itself, where it is known; may be empty.
    """

    turn: int
    start: int
    stop: int
    action: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What the model reads in one piece, and which parts of it it wrote.

    tokens: ids, prompt and replies. logprobs: the sampler's, of each sampled token, span after
    span; None where the sampler gave none.
    """

    tokens: Sequence[int]
    spans: Sequence[TokenSpan]
    logprobs: Sequence[float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrajectoryRows:
    """One trajectory as the trainer needs it: its rows, and a fact or two per turn.

    Only turns the student played are listed; turns replayed from a demonstration have no entry.
    A listed turn may have no sampled tokens.

    group: equal for attempts at one task in one step.
    places: turn indices, ascending. valid: could the response be read as an action.
    step_reward: reward of each turn. anchors: the state before each turn, as text (GiGPO).
    chosen: turns picked by hindsight (HINT-SD). The three may be left out.
    """

    group: Hashable
    rows: Sequence[Row]
    places: Sequence[int]
    valid: Sequence[bool]
    episode_return: float
    success: bool
    step_reward: Sequence[float] | None = None
    anchors: Sequence[str] | None = None
    chosen: Sequence[bool] | None = None

    def __post_init__(self) -> None:
        if list(self.places) != sorted(set(self.places)):
            raise ValueError(f"places must ascend without repeats, got {list(self.places)}")
        for name in ("valid", "step_reward", "anchors", "chosen"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.places):
                raise ValueError(f"{name} has {len(column)} entries for {len(self.places)} turns")


@dataclass(frozen=True, slots=True, kw_only=True)
class Padded:
    """Rows ready for a forward pass, right-padded with 0 to T tokens.

    ids: [r, T]. length: [r], real tokens of each row. The n sampled tokens in these rows sit at
    `ids[row, column]` (their log-probs are read one column earlier) and are number `at` of the
    batch's N; at is ascending.
    """

    ids: Tensor
    length: Tensor
    row: Tensor
    column: Tensor
    at: Tensor

    def to(self, device: torch.device | str) -> Padded:
        return Padded(
            ids=self.ids.to(device),
            length=self.length.to(device),
            row=self.row.to(device),
            column=self.column.to(device),
            at=self.at.to(device),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """N sampled tokens of K turns of M trajectories of G groups, read in R rows.

    turns, trajs, groups: N -> K -> M -> G. rows: N -> R.
    tokens: the [N] columns (log-probs under policy, teacher, reference).
    place: [K] turn index. valid: [K] bool. penalty: [K] what an unreadable response costs.
    step_reward: [K] or None. anchors: K -> A turns of a group met in the same state, or None.
    chosen: [K] bool, turns picked by hindsight, or None.
    episode_return: [M]. success: [M] bool.
    ids: [L] all rows' tokens, one after another; row i is `ids[start[i]:start[i + 1]]`.
    column: [N] where each sampled token sits in its row.
    """

    turns: Segments
    trajs: Segments
    groups: Segments
    rows: Segments
    tokens: Tokens
    place: Tensor
    valid: Tensor
    penalty: Tensor
    episode_return: Tensor
    success: Tensor
    ids: Tensor
    start: Tensor
    column: Tensor
    step_reward: Tensor | None = None
    anchors: Segments | None = None
    chosen: Tensor | None = None

    def __len__(self) -> int:
        """Number of sampled tokens N."""
        return len(self.turns)

    @property
    def score(self) -> Tensor:
        """Return of the turn's trajectory, less the penalty of this very turn.  [K]"""
        return self.trajs.spread(self.episode_return) - self.penalty

    @property
    def gap(self) -> Tensor:
        """Teacher minus student log-prob.  [N]"""
        return self.tokens.gap

    @property
    def old_logprob(self) -> Tensor:
        return self.tokens.old_logprob

    @property
    def teacher_logprob(self) -> Tensor:
        return self.tokens.teacher_logprob

    @property
    def reference_logprob(self) -> Tensor:
        return self.tokens.reference_logprob

    @property
    def sampler_logprob(self) -> Tensor:
        return self.tokens.sampler_logprob

    @property
    def length(self) -> Tensor:
        """Tokens of each row, prompt included.  [R]"""
        return self.start.diff()

    @property
    def token_trajs(self) -> Segments:
        """N -> M."""
        return self.turns.then(self.trajs)

    @property
    def turn_groups(self) -> Segments:
        """K -> G."""
        return self.trajs.then(self.groups)

    def scored(self, **columns: Tensor) -> Batch:
        """With these columns of `Tokens` filled in, each [N] (logits and ids: [N, k]), detached.

        Raises ValueError for a column of the wrong length, TypeError for one that is none.
        """
        for name, column in columns.items():
            if len(column) != len(self):
                raise ValueError(f"{name} has {len(column)} entries for {len(self)} tokens")
        exact = {k: _exact(v, self.ids.device) for k, v in columns.items()}
        return replace(self, tokens=replace(self.tokens, **exact))

    def with_gap_within(self, limit: float | None) -> Batch:
        """With the teacher's log-probs moved so that no gap exceeds `limit` either way."""
        if limit is None or self.tokens.teacher is None:
            return self
        return self.scored(teacher=self.old_logprob + self.gap.clamp(-limit, limit))

    def padded(self, rows: Tensor) -> Padded:
        """The rows numbered `rows` [r], ready for a forward pass."""
        length = self.length[rows]
        column = torch.arange(int(length.max()), device=rows.device)
        real = column < length[:, None]
        ids = torch.zeros(real.shape, dtype=torch.int64, device=rows.device)
        ids[real] = self.ids[(self.start[:-1][rows][:, None] + column)[real]]
        place = torch.full_like(self.start[:-1], -1)
        place[rows] = torch.arange(len(rows), device=rows.device)
        row = self.rows.spread(place)
        at = (row >= 0).nonzero().squeeze(1)
        return Padded(ids=ids, length=length, row=row[at], column=self.column[at], at=at)

    def micro_batches(self, rows: Tensor, token_budget: int) -> list[Tensor]:
        """Split `rows` [r] into lists that take at most `token_budget` tokens once padded.

        Rows of similar length go together, the shortest first; the split depends on nothing but
        the lengths and their order. A row longer than the budget goes alone.
        """
        if token_budget < 1:
            raise ValueError(f"token_budget must be positive, got {token_budget}")
        lengths, order = self.length[rows].sort(stable=True)
        cuts, first = [], 0
        for i, length in enumerate(lengths.tolist()):
            if i > first and (i + 1 - first) * length > token_budget:
                cuts.append(i)
                first = i
        return [part for part in rows[order].tensor_split(cuts) if len(part)]

    def to(self, device: torch.device | str) -> Batch:
        moved: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            moved[name] = None if value is None else value.to(device)
        return Batch(**moved)


def collate(
    trajectories: Iterable[TrajectoryRows],
    *,
    invalid_penalty: float = 0.0,
    similarity: float = 1.0,
) -> Batch:
    """Trajectories in rows -> one Batch, on the CPU.

    invalid_penalty: taken off the score of a turn whose response could not be read (spec 2.3).
    similarity: anchors of a group at least this alike are one state; 1: identical texts only.
    `old`, `teacher` and `reference` are still missing: see `Batch.scored`.

    Raises ValueError where there is no sampled token at all, where a span leaves its row, starts
    it, overlaps, or names a turn twice or one that is not in `places`.
    """
    played = list(trajectories)
    rows = [row for one in played for row in one.rows]
    located = list(_locate(played))
    n_tokens = sum(span.stop - span.start for _, _, span, _ in located)
    if n_tokens == 0:
        raise ValueError(
            f"nothing to learn from: {len(played)} trajectories without a single sampled token"
        )
    traj_of_turn = [m for m, one in enumerate(played) for _ in one.places]
    group_index = {key: g for g, key in enumerate(dict.fromkeys(one.group for one in played))}
    lengths = torch.tensor([span.stop - span.start for _, _, span, _ in located])
    columns = [torch.arange(span.start, span.stop) for _, _, span, _ in located]
    valid = torch.tensor([v for one in played for v in one.valid], dtype=torch.bool)
    start = torch.tensor([0, *(len(row.tokens) for row in rows)]).cumsum(0)
    return Batch(
        turns=_owned([k for k, _, _, _ in located], len(traj_of_turn), lengths),
        trajs=_owned(traj_of_turn, len(played)),
        groups=_owned([group_index[one.group] for one in played], len(group_index)),
        rows=_owned([r for _, r, _, _ in located], len(rows), lengths),
        tokens=_columns(located),
        place=torch.tensor([p for one in played for p in one.places], dtype=torch.int64),
        valid=valid,
        penalty=invalid_penalty * (~valid).to(torch.float64),
        episode_return=torch.tensor([one.episode_return for one in played], dtype=torch.float64),
        success=torch.tensor([one.success for one in played], dtype=torch.bool),
        ids=torch.tensor([token for row in rows for token in row.tokens], dtype=torch.int64),
        start=start,
        column=torch.cat(columns),
        step_reward=_per_turn(played, "step_reward", torch.float64),
        anchors=_anchors(played, similarity),
        chosen=_per_turn(played, "chosen", torch.bool),
    )


def _locate(played: list[TrajectoryRows]):
    """Every span with its turn k, its row r and its sampler log-probs, in the order of N."""
    first_turn, first_row = 0, 0
    for m, one in enumerate(played):
        turn_of = {place: first_turn + i for i, place in enumerate(one.places)}
        found = {}
        for r, row in enumerate(one.rows, first_row):
            for span, logprobs in _checked_spans(row, f"row {r} (trajectory {m})"):
                if span.turn not in turn_of or span.turn in found:
                    problem = "twice" if span.turn in found else "but `places` does not list it"
                    raise ValueError(f"trajectory {m} samples turn {span.turn} {problem}")
                found[span.turn] = (turn_of[span.turn], r, span, logprobs)
        yield from (found[place] for place in sorted(found))
        first_turn += len(one.places)
        first_row += len(one.rows)


def _checked_spans(row: Row, where: str):
    """The spans of a row with their own log-probs, refused unless they lie inside it in order."""
    end, used = 1, 0  # the first token of a row has no context to be predicted from
    total = sum(span.stop - span.start for span in row.spans)
    if row.logprobs is not None and len(row.logprobs) != total:
        raise ValueError(f"{where} has {len(row.logprobs)} log-probs for {total} sampled tokens")
    for span in row.spans:
        if not end <= span.start <= span.stop <= len(row.tokens):
            raise ValueError(
                f"{where} of {len(row.tokens)} tokens: span {span.start}:{span.stop} must start "
                f"at {end} or later (after a prompt and the span before) and end in the row"
            )
        if span.action and not span.start <= span.action[0] <= span.action[1] <= span.stop:
            raise ValueError(f"{where}: action {span.action} leaves {span.start}:{span.stop}")
        width = span.stop - span.start
        yield span, None if row.logprobs is None else row.logprobs[used : used + width]
        end, used = span.stop, used + width


def _columns(located: list[tuple[int, int, TokenSpan, Sequence[float] | None]]) -> Tokens:
    """The columns that rows bring along; None where a single span does not."""
    sampled, action = [], []
    for _, _, span, logprobs in located:
        at = torch.arange(span.start, span.stop)
        sampled.append(None if logprobs is None else torch.tensor(logprobs, dtype=torch.float64))
        bounds = span.action
        action.append(None if bounds is None else (at >= bounds[0]) & (at < bounds[1]))
    return Tokens(sampler=_joined(sampled), action=_joined(action))


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known) if len(known) == len(parts) else None


def _owned(owner: list[int], count: int, repeats: Tensor | None = None) -> Segments:
    each = torch.tensor(owner, dtype=torch.int64)
    return Segments(each if repeats is None else each.repeat_interleave(repeats), count)


def _per_turn(played: list[TrajectoryRows], name: str, dtype: torch.dtype) -> Tensor | None:
    columns = [getattr(one, name) for one in played]
    if any(column is None for column in columns):
        return None
    return torch.tensor([x for column in columns for x in column], dtype=dtype)


def _anchors(played: list[TrajectoryRows], similarity: float) -> Segments | None:
    """K -> A: turns of one group that started from the same state."""
    by_group: dict[Hashable, list[str]] = {}
    for one in played:
        if one.anchors is None:
            return None
        by_group.setdefault(one.group, []).extend(one.anchors)
    states = {group: same_state(texts, similarity) for group, texts in by_group.items()}
    upcoming = {group: iter(numbers) for group, numbers in states.items()}
    keys = [(one.group, next(upcoming[one.group])) for one in played for _ in one.places]
    index = {key: a for a, key in enumerate(dict.fromkeys(keys))}
    return _owned([index[key] for key in keys], len(index))


def _exact(column: Tensor, device: torch.device) -> Tensor:
    column = column.detach().to(device)
    wide = column.ndim > 1  # whole distributions keep their own precision: N x V doubles add up
    return column.to(torch.float64) if column.is_floating_point() and not wide else column
