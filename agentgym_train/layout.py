"""From text to the tokens a model reads, and from a trajectory to the rows it is trained on.

Token in, token out: what was sampled is what is trained on. A reply is never tokenised again; a
conversation grows by the tokens of the reply itself and of the next message.
"""

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jinja2 import TemplateError

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
        if not getattr(tokenizer, "chat_template", None):
            raise ValueError("the tokenizer has no chat template: use an instruction-tuned model")
        self.tokenizer = tokenizer
        self.stop = self._closing_token()
        self.style = style
        self.layout = layout
        self.max_prompt_tokens = max_prompt_tokens
        self._cuts = long_prompts == "cut"
        self._special = _any_of(tokenizer.all_special_tokens)
        self._before, self._after = self._between_messages() if layout == "chat" else ("", "")

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
            messages[-1]["content"] = self._plain(hint + messages[-1]["content"])
            tokens = self._encoded(self._templated(messages, opened=True))
        limit = self.max_prompt_tokens + (len(self._encoded(hint)) if hint else 0)
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
        return (*self._encoded(hint), *prompt)[-self.max_prompt_tokens :]

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
        return (*self._encoded(text), self.stop)

    def message(self, text: str) -> tuple[int, ...]:
        """A prompt of one user message, outside any episode."""
        message = {"role": "user", "content": self._plain(text)}
        return self._encoded(self._templated([message], opened=True))

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
            written = self.tokenizer.decode(reply.tokens[: middle + 1], skip_special_tokens=False)
            if len(written) > character:
                high = middle
            else:
                low = middle + 1
        return low

    def _grown(self, last: PlayedTurn, text: str) -> tuple[int, ...]:
        reply = self.written(last.turn.response) if last.reply is None else last.reply.tokens
        closing = self._before
        if reply and reply[-1] == self.stop:
            space, end, rest = closing.partition(self.tokenizer.convert_ids_to_tokens(self.stop))
            closing = rest if end and not space.strip() else closing
        return (*last.prompt, *reply, *self._encoded(closing + self._plain(text) + self._after))

    def _closing_token(self) -> int:
        """The special token a chat template ends a reply with, or else the tokenizer's own end."""
        turn = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _MARK}]
        _, _, after = self._templated(turn, opened=False).partition(_MARK)
        known = self.tokenizer.added_tokens_decoder
        for token in self._encoded(after.lstrip())[:1]:
            if token in known and known[token].special:
                return token
        if self.tokenizer.eos_token_id is None:
            raise ValueError("neither the chat template nor the tokenizer says how a reply ends")
        return self.tokenizer.eos_token_id

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
        try:
            return self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=opened, enable_thinking=False
            )
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            raise ValueError(
                f"the tokenizer's chat template refuses messages of {roles}: {error}"
            ) from error

    def _plain(self, text: str) -> str:
        """Text that holds no special token: a shop's page must not end the user's message.

        A blank after the first character breaks the spelling of each.
        """
        return self._special.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)

    def _encoded(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))


def _any_of(words: Sequence[str]) -> re.Pattern[str]:
    """Finds any of the words, the longest first; nothing where there are none."""
    longest_first = sorted((word for word in words if word), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


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
