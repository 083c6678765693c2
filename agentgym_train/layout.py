"""From text to the tokens a model reads, and from a trajectory to the rows it is trained on.

Token in, token out: what was sampled is what is trained on. A reply is never tokenised again; a
conversation grows by the tokens of the reply itself and of the next message.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agentgym_envs.drivers import ChatTokens
from agentgym_envs.prompts import PromptStyle
from agentgym_envs.types import Task, Turn, Verdict
from agentgym_train.batch import Row, TokenSpan, TrajectoryRows
from agentgym_train.models.sampler import Reply

Layout = Literal["turns", "chat"]


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
        long_prompts: Literal["error", "cut"] = "error",
    ) -> None:
        self.tokens = ChatTokens(tokenizer)
        self.style = style
        self.layout = layout
        self.max_prompt_tokens = max_prompt_tokens
        self._cuts = long_prompts == "cut"
        if layout == "chat":
            self.tokens.between  # noqa: B018 (a template that cannot be grown is refused here)

    @property
    def stop(self) -> int:
        """The token that ends a reply."""
        return self.tokens.stop

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
        later prompts begin with it then). It is never cut: the limit grows by its length.
        A prompt over the limit loses its beginning where long prompts are cut; else raises
        PromptTooLong, naming the task and the setting to change.
        """
        if self.layout == "chat" and past:
            text = self.style.following_text(task.goal, observation, admissible)
            tokens = self._grown(past[-1], text)
        else:
            turns = [played.turn for played in past]
            messages = (
                self.style.opening_messages(task.goal, observation, admissible)
                if self.layout == "chat"
                else self.style.turn_messages(task.goal, turns, observation, admissible)
            )
            messages[-1]["content"] = hint + messages[-1]["content"]
            tokens = self.tokens.opening(messages)
        limit = self.max_prompt_tokens + (len(self.tokens.encoded(hint)) if hint else 0)
        if len(tokens) > limit and self._cuts:
            return tokens[-limit:]
        if len(tokens) > limit:
            raise PromptTooLong(
                f"the prompt of turn {len(past) + 1} of task {task.id!r} has {len(tokens)} tokens; "
                f"rollout.max_prompt_tokens allows {limit}"
            )
        return tokens

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

        The last occurrence of the action in the reply counts, whatever its case.
        """
        reply = _reply(played)
        action = played.turn.action
        at = reply.text.lower().rfind(action.lower()) if action else -1
        if at < 0 or not played.turn.valid:
            return 0, 0
        return self._token_at(reply, at), self._token_at(reply, at + len(action) - 1) + 1

    def _token_at(self, reply: Reply, character: int) -> int:
        """The token that writes a character of the reply's text."""
        low, high = 0, len(reply.tokens) - 1
        while low < high:
            middle = (low + high) // 2
            written = self.tokens.tokenizer.decode(
                reply.tokens[: middle + 1], skip_special_tokens=False
            )
            if len(written) > character:
                high = middle
            else:
                low = middle + 1
        return low

    def _grown(self, last: PlayedTurn, text: str) -> tuple[int, ...]:
        reply = self.written(last.turn.response) if last.reply is None else last.reply.tokens
        return self.tokens.grown(last.prompt, reply, text)


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
