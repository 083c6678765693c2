"""Episodes by a model behind any OpenAI-compatible endpoint: one at a time, and many at once.

Text in, text out: for evaluation and for stacks that own the tokens themselves. A server that
splits thoughts from replies (a "reasoning parser") hides what prompt styles ask for in the reply:
serve without one, or with a style that asks for the action alone.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentgym_envs.core import TextEnv
from agentgym_envs.drivers.asking import (
    Asker,
    EndpointError,
    Refused,
    Reply,
    TooLong,
    Usage,
    client_of,
)
from agentgym_envs.drivers.conversation import Conversation
from agentgym_envs.drivers.setup import Setup
from agentgym_envs.drivers.transcript import Transcript
from agentgym_envs.episodes import from_record, to_record
from agentgym_envs.prompts import Message
from agentgym_envs.statistics import Summary, summarise
from agentgym_envs.types import Episode, Verdict, content_hash

if TYPE_CHECKING:
    from openai import AsyncOpenAI

PATIENCE = 600.0  # seconds: rate limits are by the minute, and servers take minutes to start


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatEpisode:
    """An episode with its messages.

    chats: one in the chat layout, one a turn in the turns layout; each ends with the model's
    reply. rewards, seconds (from request to reply): one a turn. stop_reason: the environment's,
    or "length" where the endpoint had no room for a later prompt, or "refused" where it would not
    answer one, in the words of `refusal`; these two are truncation, and the verdict is of the turns
    that were played.
    """

    episode: Episode
    verdict: Verdict
    chats: tuple[tuple[Message, ...], ...]
    rewards: tuple[float, ...]
    terminated: bool
    truncated: bool
    stop_reason: str
    usage: Usage
    seconds: tuple[float, ...]
    refusal: str = ""

    @property
    def reward(self) -> float:
        return sum(self.rewards)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The only chat. Raises ValueError where there are several."""
        if len(self.chats) != 1:
            raise ValueError(
                f"this episode has {len(self.chats)} chats, and one was asked for: "
                "use the layout 'chat'"
            )
        return self.chats[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSummary(Summary):
    """A Summary, what it cost, and how many episodes ended for which reason.

    refused: the tasks that the endpoint would not answer, and its words.
    """

    usage: Usage
    stop_reasons: Mapping[str, int]
    refused: Mapping[str, str]


async def openai_episode(
    conversation: Conversation,
    client: "AsyncOpenAI",
    model: str,
    *,
    task_id: str | None = None,
    seed: int | None = None,
    patience: float = PATIENCE,
    **sampling: Any,
) -> ChatEpisode:
    """Play one episode; the environment acts in a thread, so that others play on meanwhile.

    task_id, seed: as for `Conversation.begin`. patience: seconds for which a request that fails is
    tried again, see `Asker`. sampling: sent with every request as `chat.completions.create` names
    it (temperature, max_tokens, extra_body).

    A reply that is empty, missing or filtered is a turn with the response "". Raises EndpointError
    where the endpoint answers nobody.
    """
    asker = Asker(client, model, sampling, patience)
    return await _episode(conversation, asker, task_id, seed)


async def _episode(
    conversation: Conversation, asker: Asker, task_id: str | None, seed: int | None
) -> ChatEpisode:
    messages = await asyncio.to_thread(conversation.begin, task_id=task_id, seed=seed)
    chats: list[tuple[Message, ...]] = []
    replies: list[Reply] = []
    cut = refusal = ""
    while not conversation.over:
        try:
            reply = await asker.ask(messages)
        except Refused as refused:
            full = isinstance(refused, TooLong) and replies
            cut, refusal = ("length", "") if full else ("refused", str(refused))
            break
        replies.append(reply)
        said = conversation.style.cut(reply.text)
        chats.append((*messages, {"role": "assistant", "content": said}))
        await asyncio.to_thread(conversation.take, said)
        messages = conversation.messages
    return ChatEpisode(
        episode=conversation.episode,
        verdict=conversation.verdict,
        chats=tuple(chats if conversation.layout == "turns" else chats[-1:]),
        rewards=tuple(conversation.rewards),
        terminated=conversation.terminated,
        truncated=conversation.truncated or bool(cut),
        stop_reason=cut or conversation.info["stop_reason"],
        usage=sum((reply.usage for reply in replies), Usage()),
        seconds=tuple(reply.seconds for reply in replies),
        refusal=refusal,
    )


def play_openai(
    setup: Setup,
    task_ids: Sequence[str] | None = None,
    *,
    base_url: str,
    model: str,
    api_key: str | None = None,
    seed: int = 0,
    temperature: float | None = None,
    max_tokens: int | None = None,
    extra: Mapping[str, Any] | None = None,
    concurrency: int = 16,
    patience: float = PATIENCE,
    timeout: float = 600.0,
    transcript: str | Path | None = None,
    on_episode: Callable[[int, int], None] | None = None,
) -> EndpointSummary:
    """Play tasks once each, `concurrency` at a time; how many makes no difference to the episodes.

    task_ids: None is the whole split. seed: each episode's. api_key: None is OPENAI_API_KEY, or
    none at all. temperature, max_tokens (of a reply): None leaves them to the endpoint. extra:
    more of a request's body, as the endpoint names it (top_p, seed, chat_template_kwargs).
    patience: seconds for which a request that fails is tried again, see `Asker`; the pauses are
    those of all. timeout: seconds for one reply.

    A request that is refused while others are answered ends its episode ("refused"), and no other.
    It counts, as it stands, in this call's summary; it is not in the transcript, and so the same
    call plays it again.

    transcript: a .jsonl file with a line for each episode: its record (`read_episodes` reads it),
    verdict, messages, rewards, ends, usage, seconds, and the settings under "run". Where it is
    there already, only tasks that it lacks are played, and the summary is of both.
    on_episode: called with how many of the tasks are done, and how many there are.

    Raises EndpointError when the endpoint answers nobody, once the episodes that it does answer are
    over (they are in the transcript); ValueError for a transcript of other settings, OSError for
    one that another call is writing, KeyError for an unknown task. Starts an event loop: in a
    notebook call it by `await asyncio.to_thread(play_openai, ...)`.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, got {concurrency}")
    env = setup.make()
    wanted = tuple(env.tasks.ids) if task_ids is None else _chosen(task_ids, env.tasks.ids)
    sampling: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens}
    sampling = {name: value for name, value in sampling.items() if value is not None}
    run = {
        **{name: value for name, value in setup.row("", seed).items() if name != "task_id"},
        "prompt_hash": content_hash(repr(setup.style)),
        "env_version": env.version,
        "model": model,
        "request": {**sampling, **(extra or {})},
    }
    with Transcript(transcript, run) as log:
        client = client_of(base_url, api_key, timeout)
        body = {**sampling, "extra_body": dict(extra)} if extra else sampling
        asker = Asker(client, model, body, patience, answers=bool(log.records))
        played = _Run(setup, seed, client, asker, concurrency, log, on_episode)
        played.play(wanted)
        return _summary(env, wanted, log.records, played.refused)


def _chosen(task_ids: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The tasks, if each is one of the environment's and named once."""
    if unknown := sorted(set(task_ids).difference(known)):
        raise KeyError(f"no task {unknown[0]!r}; the first of {len(known)}: {known[0]!r}")
    named = Counter(task_ids)
    if twice := [task_id for task_id, times in named.items() if times > 1]:
        raise ValueError(f"each task is played once, and {twice[0]!r} is named twice")
    return tuple(named)


class _Run:
    """All the episodes of one call, and what they share.

    refused: those that the endpoint would not answer to their end, by task.
    """

    def __init__(
        self,
        setup: Setup,
        seed: int,
        client: "AsyncOpenAI",
        asker: Asker,
        concurrency: int,
        log: Transcript,
        on_episode: Callable[[int, int], None] | None,
    ) -> None:
        self._setup, self._seed = setup, seed
        self._client, self._asker, self._concurrency = client, asker, concurrency
        self._log, self._on_episode = log, on_episode or (lambda done, wanted: None)
        self._failed: EndpointError | None = None
        self.refused: dict[str, ChatEpisode] = {}

    def play(self, wanted: Sequence[str]) -> None:
        """Play those of the tasks that the log lacks. Raises EndpointError."""
        asyncio.run(self._play(wanted))
        failed = self._failed
        if failed is None and self.refused and not self._asker.answers:
            failed = EndpointError(next(iter(self.refused.values())).refusal)
        if failed is not None:
            done = sum(task_id in self._log.records for task_id in wanted)
            kept = (
                f"; {done} of {len(wanted)} episodes are in {self._log.path}, and the same call "
                "goes on from there"
                if self._log.path
                else "; nothing was kept: name a transcript to go on from"
            )
            raise EndpointError(f"{failed}{kept}") from failed

    async def _play(self, wanted: Sequence[str]) -> None:
        missing = [task_id for task_id in wanted if task_id not in self._log.records]
        left, players = iter(missing), min(self._concurrency, len(missing))
        done = count(len(wanted) - len(missing))
        self._on_episode(next(done), len(wanted))
        # As many threads as episodes: an environment may wait for a server of its own.
        with ThreadPoolExecutor(max(players, 1)) as threads:
            asyncio.get_running_loop().set_default_executor(threads)
            try:
                async with self._client, asyncio.TaskGroup() as group:
                    for _ in range(players):
                        group.create_task(self._player(left, done, len(wanted)))
            except ExceptionGroup as several:
                first = several.exceptions[0]
                raise first from first.__cause__

    async def _player(self, left: Iterator[str], done: Iterator[int], wanted: int) -> None:
        """One environment, which plays what is left until nothing is, or the endpoint is gone."""
        conversation = await asyncio.to_thread(self._setup.conversation)
        for task_id in left:
            try:
                played = await _episode(conversation, self._asker, task_id, self._seed)
            except EndpointError as error:
                self._failed = self._failed or error
                break
            if played.refusal:
                self.refused[task_id] = played
            else:
                self._log.add(task_id, _record(played))
            self._on_episode(next(done), wanted)
            if self._failed:
                break
        conversation.env.close()


def _record(played: ChatEpisode) -> dict[str, Any]:
    episode = replace(played.episode, stop_reason=played.stop_reason)
    return {
        **to_record(episode, played.verdict),
        "chats": played.chats,
        "rewards": played.rewards,
        "terminated": played.terminated,
        "truncated": played.truncated,
        "usage": asdict(played.usage),
        "seconds": [round(seconds, 3) for seconds in played.seconds],
    }


def _summary(
    env: TextEnv,
    wanted: Sequence[str],
    records: Mapping[str, Mapping[str, Any]],
    refused: Mapping[str, ChatEpisode],
) -> EndpointSummary:
    found = [_record(refused[id]) if id in refused else records[id] for id in wanted]
    judged = [(from_record(dict(one)), Verdict(**one["verdict"])) for one in found]
    counted = summarise(judged, env)
    return EndpointSummary(
        overall=counted.overall,
        by_kind=counted.by_kind,
        invalid_share=counted.invalid_share,
        aggregates=counted.aggregates,
        usage=sum((Usage(**one["usage"]) for one in found), Usage()),
        stop_reasons=dict(sorted(Counter(episode.stop_reason for episode, _ in judged).items())),
        refused={task_id: played.refusal for task_id, played in refused.items()},
    )
