"""From text to the tokens a model reads, and from a trajectory to the rows it is trained on.

Token in, token out: what was sampled is what is trained on. A reply is never tokenised again; a
conversation grows by the tokens of the reply itself and of the next message.
"""

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agentgym_envs.drivers import ChatTokens
from agentgym_envs.prompts import PromptStyle
from agentgym_envs.types import Task, Turn, Verdict
from agentgym_train.batch import Row, TokenSpan, TrajectoryRows
from agentgym_train.models.sampler import Reply

Layout = Literal["turns", "chat"]
LongPrompts = Literal["error", "cut", "end"]


class DriftError(RuntimeError):
    """The tokens to be trained on are not the tokens that were sampled."""


class PromptTooLong(ValueError):
    """A prompt has more tokens than the settings allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedTurn:
    """A turn with the tokens behind it. No reply: it was replayed, not sampled."""

    turn: Turn
    prompt: tuple[int, ...]
    reply: Reply | None
    reward: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """An episode with the tokens and log-probs behind it.

    group: equal for the attempts at one task in one step. outcome, stop_reason: of the episode.
    env_seed: what its environment was reset with; None: not known.
    """

    task: Task
    group: Hashable
    turns: tuple[PlayedTurn, ...]
    verdict: Verdict
    outcome: str = ""
    stop_reason: str = ""
    env_seed: int | None = None

    @property
    def sampled(self) -> list[tuple[int, PlayedTurn]]:
        """The turns the student played, with their place."""
        return [(k, played) for k, played in enumerate(self.turns) if played.reply is not None]


ActionOf = Callable[[PlayedTurn], tuple[int, int]]


class Renderer:
    """Prompts as tokens, for one tokenizer, prompt style and layout."""

    def __init__(
        self,
        tokenizer: Any,
        style: PromptStyle,
        layout: Layout,
        max_prompt_tokens: int,
        long_prompts: LongPrompts = "error",
    ) -> None:
        self.tokens = ChatTokens(tokenizer)
        self.style = style
        self.layout = layout
        self.max_prompt_tokens = max_prompt_tokens
        self.long_prompts: LongPrompts = long_prompts
        if layout == "chat":
            self.tokens.between  # noqa: B018 (a template that cannot be grown is refused here)

    def said(self, reply: Reply) -> tuple[str, Reply]:
        """A reply as the text that is played, and the part of it that counts: up to what ends a
        reply in this style."""
        kept = self.tokens.kept(reply.tokens, self.style)
        if kept < len(reply.tokens):
            reply = Reply(reply.tokens[:kept], reply.logprobs[:kept], True)
        return self.style.cut(self.tokens.said(reply.tokens)), reply

    def prompt(
        self,
        task: Task,
        past: Sequence[PlayedTurn],
        observation: str,
        admissible: Sequence[str],
        hint: str = "",
    ) -> tuple[int, ...]:
        """What the model reads before it replies at the turn after `past`.

        hint: text for the start of the user's message, of the first one in a conversation (whose
        later prompts begin with it then). It does not count towards the limit and is never cut:
        where a long prompt loses its beginning, the hint stands before what is left.
        A longer prompt that is not cut raises PromptTooLong, naming the task and the settings.
        """
        said = self.tokens.encoded(hint) if hint else ()
        if self.layout == "chat" and past:
            text = self.style.following_text(task.goal, observation, admissible)
            grown = self._grown(past[-1], text)
            self._check(len(grown) - len(said), task, len(past))
            return grown
        turns = [played.turn for played in past]
        messages = (
            self.style.opening_messages(task.goal, observation, admissible)
            if self.layout == "chat"
            else self.style.turn_messages(task.goal, turns, observation, admissible)
        )
        plain = self.tokens.opening(messages)
        if self.long_prompts == "cut" and len(plain) > self.max_prompt_tokens:
            return (*said, *plain[-self.max_prompt_tokens :])
        self._check(len(plain), task, len(past))
        messages[-1]["content"] = hint + messages[-1]["content"]
        return self.tokens.opening(messages) if hint else plain

    def glued(self, hint: str, prompt: Sequence[int]) -> tuple[int, ...]:
        """The hint's tokens before a finished prompt, cut from the left to the limit.

        How SDAR's reference code places skills (spec 6.4): on long prompts the hint is what is cut.
        """
        return (*self.tokens.encoded(hint), *prompt)[-self.max_prompt_tokens :]

    def noted(self, trajectory: Trajectory, place: int, note: str) -> tuple[int, ...]:
        """The prompt of one turn with a note at the start of its last message."""
        past = trajectory.turns[:place]
        turn = trajectory.turns[place].turn
        if self.layout == "turns" or not past:
            return self.prompt(trajectory.task, past, turn.observation, turn.admissible, note)
        text = self.style.following_text(trajectory.task.goal, turn.observation, turn.admissible)
        return self._grown(past[-1], note + text)

    def written(self, text: str) -> tuple[int, ...]:
        """A reply that somebody else wrote, as the tokens a model would have sampled."""
        return self.tokens.written(text)

    def message(self, text: str) -> tuple[int, ...]:
        """A prompt of one user message, outside any episode."""
        return self.tokens.opening([{"role": "user", "content": text}])

    def action_span(self, played: PlayedTurn) -> tuple[int, int]:
        """Which of a reply's tokens, first:last, spell its action; (0, 0) where none do.

        The last occurrence of the action in the reply counts, whatever its case and white space,
        since parsers change both.
        """
        tokens, words = _reply(played).tokens, played.turn.action.split()
        if not words or not played.turn.valid:
            return 0, 0
        spelt = re.compile(r"\s*".join(map(re.escape, words)), re.IGNORECASE)
        found = list(spelt.finditer(self.tokens.said(tokens)))
        if not found:
            return 0, 0
        first = self.tokens.tokens_of(tokens, found[-1].start() + 1) - 1
        return max(first, 0), self.tokens.tokens_of(tokens, found[-1].end())

    def _check(self, tokens: int, task: Task, past: int) -> None:
        if tokens > self.max_prompt_tokens:
            raise PromptTooLong(
                f"the prompt of turn {past + 1} of task {task.id!r} has {tokens} tokens, and "
                f"rollout.max_prompt_tokens allows {self.max_prompt_tokens}: allow more, or say "
                'with rollout.long_prompts that it is "cut" or that it is to "end" the episode'
            )

    def _grown(self, last: PlayedTurn, text: str) -> tuple[int, ...]:
        reply = self.written(last.turn.response) if last.reply is None else last.reply.tokens
        return self.tokens.grown(last.prompt, reply, text)


def whole_reply(played: PlayedTurn) -> tuple[int, int]:
    """All of a reply's tokens, for environments where the reply is the action."""
    return 0, len(_reply(played).tokens)


def to_rows(
    trajectory: Trajectory,
    layout: Layout,
    return_scale: float,
    on_drift: Literal["error", "count"] = "error",
    action_of: ActionOf | None = None,
) -> TrajectoryRows:
    """The rows a trajectory is trained on.

    "turns": a row per sampled turn. "chat": one row for all of them. Drift is a later prompt that
    does not begin with the earlier one and its reply: a DriftError, or, with "count", the start of
    another row, so that a conversation of more than one row has drifted. Either way every reply is
    trained on behind exactly the tokens it was sampled from. action_of: finds a turn's action among
    its reply's tokens, for algorithms that ask.
    """
    sampled = trajectory.sampled
    rows = (
        [_turn_row(place, played, action_of) for place, played in sampled]
        if layout == "turns"
        else _conversation(trajectory, on_drift, action_of)
    )
    return TrajectoryRows(
        group=trajectory.group,
        rows=rows,
        places=[place for place, _ in sampled],
        valid=[played.turn.valid for _, played in sampled],
        episode_return=return_scale * trajectory.verdict.score,
        success=trajectory.verdict.success,
        step_reward=[return_scale * played.reward for _, played in sampled],
        anchors=[played.turn.observation for _, played in sampled],
    )


def _turn_row(place: int, played: PlayedTurn, action_of: ActionOf | None) -> Row:
    reply = _reply(played)
    span = _span(place, played, action_of)
    return Row((*played.prompt, *reply.tokens), [span], reply.logprobs)


def _span(place: int, played: PlayedTurn, action_of: ActionOf | None) -> TokenSpan:
    start = len(played.prompt)
    action = None
    if action_of is not None:
        first, last = action_of(played)
        action = (start + first, start + last)
    return TokenSpan(place, start, start + len(_reply(played).tokens), action)


def _conversation(trajectory: Trajectory, on_drift: str, action_of: ActionOf | None) -> list[Row]:
    rows: list[Row] = []
    tokens: tuple[int, ...] = ()
    spans: list[TokenSpan] = []
    logprobs: list[float] = []
    for place, played in trajectory.sampled:
        if played.prompt[: len(tokens)] != tokens:
            if on_drift == "error":
                raise DriftError(
                    f"turn {place + 1} of task {trajectory.task.id!r}: the prompt that was sampled "
                    "from does not begin with the conversation so far (env.on_drift = 'count' "
                    "trains it as a row of its own)"
                )
            rows.append(Row(tokens, spans, logprobs))
            spans, logprobs = [], []
        reply = _reply(played)
        spans.append(_span(place, played, action_of))
        logprobs.extend(reply.logprobs)
        tokens = (*played.prompt, *reply.tokens)
    return [*rows, Row(tokens, spans, logprobs)] if spans else rows


def _reply(played: PlayedTurn) -> Reply:
    if played.reply is None:
        raise ValueError("a replayed turn has no sampled tokens")
    return played.reply
