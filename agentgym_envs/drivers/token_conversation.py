"""One episode as tokens: token in, token out, with the mask and spans other trainers need."""

from collections.abc import Sequence
from dataclasses import dataclass

from gymnasium.error import ResetNeeded

from agentgym_envs.core import TextEnv
from agentgym_envs.drivers.chat_tokens import ChatTokens, Tokens
from agentgym_envs.drivers.conversation import Conversation
from agentgym_envs.types import Episode, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """What a trainer reads: a prompt, and what followed it.

    Over the R tokens of `response`: `mask` [R] is 1 where the model spoke and 0 where the
    environment did; `logprobs` [R] are the sampler's, 0.0 where it did not speak or did not tell.
    `spans`: (first, last + 1) in `response` of each turn's sampled tokens; `turns`: their places.
    """

    prompt: Tokens
    response: Tokens
    mask: tuple[int, ...]
    logprobs: tuple[float, ...]
    spans: tuple[tuple[int, int], ...]
    turns: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEpisode:
    """An episode with its tokens.

    rows: one in the chat layout, one a turn in the turns layout. rewards: one a turn.
    stop_reason: the environment's, or "length" where the token budget ended it; the latter is
    truncation, and the verdict is of the turns that were played.
    """

    episode: Episode
    verdict: Verdict
    rows: tuple[TokenRow, ...]
    rewards: tuple[float, ...]
    terminated: bool
    truncated: bool
    stop_reason: str

    @property
    def reward(self) -> float:
        return sum(self.rewards)

    @property
    def row(self) -> TokenRow:
        """The only row, for stacks that take one. Raises ValueError where there are several."""
        if len(self.rows) != 1:
            raise ValueError(
                f"this episode has {len(self.rows)} rows, and one was asked for: "
                "use the layout 'chat'"
            )
        return self.rows[0]


@dataclass(frozen=True, slots=True)
class _Said:
    prompt: Tokens
    reply: Tokens
    logprobs: tuple[float, ...]


class TokenConversation:
    """A conversation in tokens: `begin`, then sample from `prompt` and `take` the reply.

    max_tokens: the longest prompt and reply together, of a conversation or of one fresh prompt;
    None: no limit. An episode whose next prompt leaves no room for `reply_tokens` ends there.
    """

    def __init__(
        self,
        conversation: Conversation,
        tokens: ChatTokens,
        *,
        max_tokens: int | None = None,
        reply_tokens: int = 1,
    ) -> None:
        self.conversation, self.tokens = conversation, tokens
        self._max_tokens, self._reply_tokens = max_tokens, reply_tokens
        self.prompt: Tokens = ()
        self._said: list[_Said] = []
        self._full = False
        if conversation.layout == "chat":
            tokens.between  # noqa: B018 (a template that cannot be grown is refused here)

    def begin(self, *, task_id: str | None = None, seed: int | None = None) -> Tokens:
        """Start an episode, as `Conversation.begin`. Returns the prompt.

        Raises ValueError where the first prompt alone leaves no room for a reply.
        """
        self._said = []
        self._full = False
        self._ask(self.tokens.opening(self.conversation.begin(task_id=task_id, seed=seed)))
        if self._full:
            raise ValueError(
                f"the first prompt of task {self.conversation.env.task.id!r} has "
                f"{len(self.prompt)} tokens, which leaves no room for {self._reply_tokens} more "
                f"within max_tokens={self._max_tokens}"
            )
        return self.prompt

    @property
    def room(self) -> int | None:
        """How many tokens the next reply may have; None: no limit."""
        return None if self._max_tokens is None else self._max_tokens - len(self.prompt)

    @property
    def over(self) -> bool:
        """The episode has ended, or no further reply fits."""
        return self._full or self.conversation.over

    def take(self, reply: Sequence[int], logprobs: Sequence[float] | None = None) -> Tokens:
        """Play the reply sampled behind `prompt`. Returns the next prompt, empty after the end.

        reply: its tokens, the stop token included where one was sampled; those behind what ends a
        reply in this style (`PromptStyle.stop`) are dropped. logprobs: one a token.
        Raises ResetNeeded after the end, ValueError where the log-probs do not fit.
        """
        if self._full:
            raise ResetNeeded("the tokens are spent and the episode is over: call begin()")
        told = [0.0] * len(reply) if logprobs is None else logprobs
        if len(told) != len(reply):
            raise ValueError(f"{len(reply)} tokens have {len(told)} log-probs")
        kept = self.tokens.kept(reply, self.conversation.style)
        said = _Said(self.prompt, tuple(map(int, reply[:kept])), tuple(map(float, told[:kept])))
        news = self.conversation.take(self.tokens.said(said.reply))
        self._said.append(said)
        if self.conversation.over:
            self.prompt = ()
        elif self.conversation.layout == "chat":
            self._ask(self.tokens.grown(said.prompt, said.reply, news[-1]["content"]))
        else:
            self._ask(self.tokens.opening(news))
        return () if self.over else self.prompt

    def _ask(self, prompt: Tokens) -> None:
        self.prompt = prompt
        room = self.room
        self._full = room is not None and room < self._reply_tokens

    def finished(self) -> TokenEpisode:
        """The episode so far, with its tokens. Raises ValueError before the first reply."""
        if not self._said:
            raise ValueError("nothing was said yet: an episode needs a reply")
        talk = self.conversation
        cut = self._full and not talk.over
        return TokenEpisode(
            episode=talk.episode,
            verdict=talk.verdict,
            rows=self._rows(),
            rewards=tuple(talk.rewards),
            terminated=talk.terminated,
            truncated=talk.truncated or cut,
            stop_reason="length" if cut else talk.info["stop_reason"],
        )

    def _rows(self) -> tuple[TokenRow, ...]:
        if self.conversation.layout == "chat":
            return (_row(self._said, 0),)
        return tuple(_row([said], place) for place, said in enumerate(self._said))


def prepare(talks: Sequence[TokenConversation], replies: Sequence[Sequence[int]]) -> None:
    """Let environments do together what their next turns need, before each takes its reply."""
    groups: dict[type[TextEnv], tuple[list[TextEnv], list[str]]] = {}
    for talk, reply in zip(talks, replies, strict=True):
        env = talk.conversation.env
        envs, said = groups.setdefault(type(env), ([], []))
        envs.append(env)
        said.append(talk.conversation.style.cut(talk.tokens.said(reply)))
    for kind, (envs, said) in groups.items():
        kind.prepare(envs, said)


def _row(said: Sequence[_Said], first_turn: int) -> TokenRow:
    """Turns of which each prompt begins with the one before and its reply."""
    opening = said[0].prompt
    response: list[int] = []
    mask: list[int] = []
    logprobs: list[float] = []
    spans: list[tuple[int, int]] = []
    for one in said:
        between = one.prompt[len(opening) + len(response) :]
        response += between
        mask += [0] * len(between)
        logprobs += [0.0] * len(between)
        spans.append((len(response), len(response) + len(one.reply)))
        response += one.reply
        mask += [1] * len(one.reply)
        logprobs += one.logprobs
    return TokenRow(
        prompt=opening,
        response=tuple(response),
        mask=tuple(mask),
        logprobs=tuple(logprobs),
        spans=tuple(spans),
        turns=tuple(range(first_turn, first_turn + len(said))),
    )
