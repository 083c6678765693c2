"""From text to the tokens a model reads, and from a trajectory to the rows it is trained on.

Token in, token out: what was sampled is what is trained on. A reply is never tokenised again; a
conversation grows by the tokens of the reply itself and of the next message.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agentgym_envs.prompts import PromptStyle
from agentgym_envs.types import Task, Turn, Verdict
from agentgym_train.batch import Row, TokenSpan, TrajectoryRows
from agentgym_train.models.sampler import Reply

Layout = Literal["turns", "chat"]
_MARK = "\u2060agentgym\u2060"  # stands for a text while a chat template is taken apart


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
    """

    task: Task
    group: Hashable
    turns: tuple[PlayedTurn, ...]
    verdict: Verdict
    outcome: str = ""
    stop_reason: str = ""

    @property
    def sampled(self) -> list[tuple[int, PlayedTurn]]:
        """The turns the student played, with their place."""
        return [(k, played) for k, played in enumerate(self.turns) if played.reply is not None]


class Renderer:
    """Prompts as tokens, for one tokenizer, prompt style and layout."""

    def __init__(
        self, tokenizer: Any, style: PromptStyle, layout: Layout, max_prompt_tokens: int
    ) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise ValueError("the tokenizer has no chat template: use an instruction-tuned model")
        self.tokenizer = tokenizer
        self.stop: int = tokenizer.eos_token_id
        self.style = style
        self.layout = layout
        self.max_prompt_tokens = max_prompt_tokens
        self._end_text = tokenizer.eos_token or ""
        self._before, self._after = self._between_messages() if layout == "chat" else ("", "")

    def prompt(
        self,
        task: Task,
        past: Sequence[PlayedTurn],
        observation: str,
        admissible: Sequence[str],
    ) -> tuple[int, ...]:
        """What the model reads before it replies at the turn after `past`.

        Raises PromptTooLong, naming the task and the setting to change.
        """
        if self.layout == "turns":
            turns = [played.turn for played in past]
            messages = self.style.turn_messages(task.goal, turns, observation, admissible)
            tokens = self._opened(messages)
        elif not past:
            messages = self.style.opening_messages(task.goal, observation, admissible)
            tokens = self._opened(messages)
        else:
            text = self.style.following_text(task.goal, observation, admissible)
            tokens = self._grown(past[-1], text)
        if len(tokens) > self.max_prompt_tokens:
            raise PromptTooLong(
                f"the prompt of turn {len(past) + 1} of task {task.id!r} has {len(tokens)} tokens; "
                f"rollout.max_prompt_tokens allows {self.max_prompt_tokens}"
            )
        return tokens

    def written(self, text: str) -> tuple[int, ...]:
        """A reply that somebody else wrote, as the tokens a model would have sampled."""
        return (*self._encoded(text), self.stop)

    def _opened(self, messages: list[dict[str, str]]) -> tuple[int, ...]:
        return self._encoded(self._templated(messages, opened=True))

    def _grown(self, last: PlayedTurn, text: str) -> tuple[int, ...]:
        reply = self.written(last.turn.response) if last.reply is None else last.reply.tokens
        ended = bool(reply) and reply[-1] == self.stop
        closing = self._before.removeprefix(self._end_text) if ended else self._before
        return (*last.prompt, *reply, *self._encoded(closing + text + self._after))

    def _between_messages(self) -> tuple[str, str]:
        """What a chat template writes after a reply, before and after the next message's text."""
        turn = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _MARK}]
        shown = self._templated([*turn, {"role": "user", "content": _MARK}], opened=True)
        pieces = shown.split(_MARK)
        if len(pieces) != 3:
            raise ValueError(
                "the tokenizer's chat template rewrites the history, so a conversation cannot "
                "grow by it: set env.layout = 'turns'"
            )
        return pieces[1], pieces[2]

    def _templated(self, messages: list[dict[str, str]], opened: bool) -> str:
        return self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=opened, enable_thinking=False
        )

    def _encoded(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))


def to_rows(
    trajectory: Trajectory,
    layout: Layout,
    return_scale: float,
    on_drift: Literal["error", "count"] = "error",
) -> TrajectoryRows:
    """The rows a trajectory is trained on.

    "turns": a row per sampled turn. "chat": one row for all of them. Drift is a later prompt that
    does not begin with the earlier one and its reply: a DriftError, or, with "count", the start of
    another row, so that a conversation of more than one row has drifted. Either way every reply is
    trained on behind exactly the tokens it was sampled from.
    """
    sampled = trajectory.sampled
    rows = (
        [_turn_row(place, played) for place, played in sampled]
        if layout == "turns"
        else _conversation(trajectory, on_drift)
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


def _turn_row(place: int, played: PlayedTurn) -> Row:
    reply = _reply(played)
    start = len(played.prompt)
    span = TokenSpan(place, start, start + len(reply.tokens))
    return Row((*played.prompt, *reply.tokens), [span], reply.logprobs)


def _conversation(trajectory: Trajectory, on_drift: str) -> list[Row]:
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
        start = len(played.prompt)
        spans.append(TokenSpan(place, start, start + len(reply.tokens)))
        logprobs.extend(reply.logprobs)
        tokens = (*played.prompt, *reply.tokens)
    return [*rows, Row(tokens, spans, logprobs)] if spans else rows


def _reply(played: PlayedTurn) -> Reply:
    if played.reply is None:
        raise ValueError("a replayed turn has no sampled tokens")
    return played.reply
