# pyright: reportMissingImports=false
"""tinker-cookbook: our tasks as its data sets, our episodes as its single-use environments.

    config = train.Config(dataset_builder=AgentGymDatasetBuilder(env_id=..., ...), ...)

A data set is a list of `AgentGymGroup`s, one for each task; a group stores what is played and by
which tokenizer and renderer, so that it pickles, and makes its environments when asked.

Observations are tokens. With a renderer whose prompts only grow (`has_extension_property`), and
in the layout "chat", the next one is the last one, the sampled tokens as they are, and the tokens
of the user's message: an episode is one datum. With a renderer that takes thoughts out of the
history, or that stops at a text, the conversation is rendered anew every turn, as the cookbook's
own environments do; and in the layout "turns" every prompt is fresh.

An action is the sampled text, with what the renderer had written of the reply before it, and
without the token that stops it. Nothing is parsed twice: a reply that was cut off or has no action
in it is a turn like any other, played and rewarded as the environment does.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from agentgym_envs.drivers.conversation import Conversation
from agentgym_envs.drivers.setup import Layout, Row, Setup
from agentgym_envs.integrations.needs import require
from agentgym_envs.order import Permutation
from agentgym_envs.prompts import Message

require("tinker-cookbook", (0, 5), (0, 6))

import chz  # noqa: E402 (tinker-cookbook brings it)
from tinker_cookbook.completers import StopCondition  # noqa: E402
from tinker_cookbook.renderers import Renderer, get_renderer  # noqa: E402
from tinker_cookbook.rl.types import (  # noqa: E402
    STOP_METRIC_PREFIX,
    Action,
    ActionExtra,
    Env,
    EnvGroupBuilder,
    InitialObservationOverflow,
    Metrics,
    Observation,
    RLDataset,
    RLDatasetBuilder,
    StepResult,
    StopReason,
)
from tinker_cookbook.tokenizer_utils import get_tokenizer  # noqa: E402

__all__ = ["AgentGymDataset", "AgentGymDatasetBuilder", "AgentGymEnv", "AgentGymGroup"]

# Our reasons to stop under the cookbook's names.
_STOPS = {"done": StopReason.COMPLETED, "max_turns": StopReason.MAX_TURNS}


class AgentGymEnv(Env):
    """One episode of one task; used once.

    max_tokens: the longest prompt and reply together; None: no limit. An episode whose next prompt
    leaves no room for `reply_tokens` ends there, truncated, with the rewards it has.

    Metrics of every turn: `action_valid` and `reply_cut` (the sampler's limit came before the
    stop). Of the last: `stop/<reason>`, `success`, `score`, `terminated`, `truncated`,
    `invalid_turns`. An episode that the cookbook's own limits end has only their `stop/<reason>`.

    The environment works in a thread (of the event loop's default executor), so that a slow one
    holds up nobody; the renderer does not, since a tokenizer that all share bears one thread only.
    """

    def __init__(
        self,
        conversation: Conversation,
        renderer: Renderer,
        *,
        task_id: str | None = None,
        seed: int | None = None,
        max_tokens: int | None = None,
        reply_tokens: int = 1,
    ) -> None:
        self.conversation = conversation
        self._task_id, self._seed = task_id, seed
        self._max_tokens, self._reply_tokens = max_tokens, reply_tokens
        self._renderer = renderer
        self._stops: StopCondition = renderer.get_stop_sequences()
        self._prompt: list[int] = []
        self._messages: list[Any] = []

    async def initial_observation(
        self,
    ) -> tuple[Observation, StopCondition] | InitialObservationOverflow:
        """The first prompt. Raises KeyError for an unknown task, RuntimeError the second time."""
        if self._prompt:
            raise RuntimeError("an environment plays one episode: make another for the next")
        talk = self.conversation
        self._ask(await asyncio.to_thread(talk.begin, task_id=self._task_id, seed=self._seed))
        if self._full:
            return InitialObservationOverflow(
                reward=0.0, metrics=self._ending(StopReason.MAX_TOKENS)
            )
        return Observation.from_ints(self._prompt), self._stops

    async def step(self, action: Action, *, extra: ActionExtra | None = None) -> StepResult:
        """Play the sampled tokens. Raises ResetNeeded after the end."""
        talk = self.conversation
        news = await asyncio.to_thread(talk.take, self._said(action))
        if not talk.over:
            self._ask_on(action, news)
        over = talk.over or self._full
        cut = (extra or {}).get("stop_reason") == "length"
        metrics = {"action_valid": float(talk.info["action_valid"]), "reply_cut": float(cut)}
        if over:
            reason = _STOPS[talk.info["stop_reason"]] if talk.over else StopReason.CONTEXT_OVERFLOW
            metrics |= self._ending(reason)
        return StepResult(
            reward=talk.rewards[-1],
            episode_done=over,
            next_observation=Observation.empty() if over else Observation.from_ints(self._prompt),
            next_stop_condition=self._stops,
            metrics=metrics,
            logs={"task_id": talk.info["task_id"], "action": talk.info["action_parsed"]},
        )

    def _ask_on(self, action: Action, news: Sequence[Message]) -> None:
        """The next prompt, after the reply and what the environment says to it."""
        if self.conversation.layout == "turns":
            self._ask(news)
            return
        end = self._end_of_turn(news[-1])
        if end is not None:
            stopped = len(action) > 0 and action[-1] == end[0]
            self._prompt = [*self._prompt, *action, *(end[1:] if stopped else end)]
        else:
            reply, _ = self._renderer.parse_response(action)
            self._ask([*self._messages, reply, *news])

    def _ask(self, messages: Sequence[Any]) -> None:
        self._messages = list(messages)
        self._prompt = self._renderer.build_generation_prompt(self._messages).to_ints()

    def _end_of_turn(self, message: Message) -> list[int] | None:
        """What follows a reply's words: its stop token, the user's message, the next opening.

        It is where the prompts after two replies agree. None where prompts do not only grow.
        """
        if not self._renderer.has_extension_property:
            return None
        asked = {"role": "user", "content": "?"}
        one, other = (
            self._renderer.build_generation_prompt(
                [asked, {"role": "assistant", "content": reply}, message]
            ).to_ints()
            for reply in ("a", "b")
        )
        pairs = zip(reversed(one), reversed(other), strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        end = one[len(one) - shared :]
        return end if end[:1] and end[0] in self._stops else None

    def _said(self, action: Action) -> str:
        """The reply as text, without what stopped it."""
        tokens = self._renderer._normalize_response_tokens(action)
        if tokens and tokens[-1] in self._stops:
            tokens = tokens[:-1]
        text = str(self._renderer.tokenizer.decode(tokens))
        for stop in self._stops:
            text = text.removesuffix(stop) if isinstance(stop, str) else text
        return text

    @property
    def _full(self) -> bool:
        limit = self._max_tokens
        return limit is not None and len(self._prompt) + self._reply_tokens > limit

    def _ending(self, reason: StopReason) -> Metrics:
        talk, verdict = self.conversation, self.conversation.verdict
        return {
            f"{STOP_METRIC_PREFIX}{reason}": 1.0,
            "success": float(verdict.success),
            "score": verdict.score,
            "terminated": float(talk.terminated),
            "truncated": float(not talk.terminated),
            "invalid_turns": talk.info["invalid_turns"],
        }


@dataclass(frozen=True, kw_only=True)
class AgentGymGroup(EnvGroupBuilder):
    """One task, `group_size` times. It holds no engine, no tokenizer and no renderer.

    model_name: the tokenizer's, for the cookbook's `get_tokenizer`. renderer_name: for its
    `get_renderer`. max_tokens, reply_tokens: as `AgentGymEnv`.
    """

    setup: Setup
    task_id: str
    model_name: str
    renderer_name: str
    group_size: int
    seed: int = 0
    max_tokens: int | None = None
    reply_tokens: int = 1

    @classmethod
    def of(cls, row: Row, **others: Any) -> "AgentGymGroup":
        """The group of a data set row; `others` are the remaining fields.

        Raises ValueError naming the column that is missing or broken.
        """
        setup = Setup.of(row)
        missing = [name for name in ("task_id", "seed") if name not in row]
        if missing:
            raise ValueError(
                f"a task row has no column {missing[0]!r}: write rows with Setup.rows()"
            )
        return cls(setup=setup, task_id=row["task_id"], seed=row["seed"], **others)

    async def make_envs(self) -> Sequence[Env]:
        """New environments, before their first observation."""
        return await asyncio.to_thread(self._made)

    def _made(self) -> list[Env]:
        tokenizer = get_tokenizer(self.model_name)
        renderer = get_renderer(self.renderer_name, tokenizer, model_name=self.model_name)
        return [
            AgentGymEnv(
                self.setup.conversation(),
                renderer,
                task_id=self.task_id,
                seed=self.seed,
                max_tokens=self.max_tokens,
                reply_tokens=self.reply_tokens,
            )
            for _ in range(self.group_size)
        ]

    def logging_tags(self) -> list[str]:
        """The environment's name without its namespace."""
        return [self.setup.env_id.rpartition("/")[2]]


class AgentGymDataset(RLDataset):
    """Groups in batches of `batch_size`, the last of a pass maybe smaller.

    shuffle_seed: every pass has a permutation of its own; None: the order given.
    """

    def __init__(
        self,
        groups: Sequence[AgentGymGroup],
        batch_size: int,
        *,
        passes: int = 1,
        shuffle_seed: int | None = None,
    ) -> None:
        if not groups or batch_size < 1 or passes < 1:
            raise ValueError(
                f"a data set needs groups, a batch_size and passes: got {len(groups)}, "
                f"{batch_size} and {passes}"
            )
        self._groups, self._batch_size = tuple(groups), batch_size
        self._passes, self._shuffle_seed = passes, shuffle_seed

    def get_batch(self, index: int) -> Sequence[EnvGroupBuilder]:
        """Raises IndexError from `len` on."""
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        turn, place = divmod(index, self._batches)
        count, first = len(self._groups), place * self._batch_size
        places: Sequence[int] | range = range(first, min(first + self._batch_size, count))
        if self._shuffle_seed is not None:
            order = Permutation(count, (self._shuffle_seed << 20) + turn)
            places = [order[i] for i in places]
        return [self._groups[i] for i in places]

    def __len__(self) -> int:
        return self._passes * self._batches

    @property
    def _batches(self) -> int:
        return -(-len(self._groups) // self._batch_size)


@chz.chz
class AgentGymDatasetBuilder(RLDatasetBuilder):
    """Every task of an environment's split as a group, shuffled anew for each pass.

    env_id, settings, prompt, layout: as `Setup`. test_settings: what the test set's environment
    has beside or in place of `settings` ({"split": "valid_seen"}); None: no test set, which is
    played in order, one attempt a task. count, test_count: the first tasks only. seed: of the
    shuffling and of every episode. max_tokens, reply_tokens: as `AgentGymEnv`.
    """

    env_id: str
    model_name_for_tokenizer: str
    renderer_name: str
    batch_size: int
    group_size: int
    settings: Mapping[str, Any] = chz.field(default_factory=dict)
    test_settings: Mapping[str, Any] | None = None
    prompt: str = "default"
    layout: Layout = "chat"
    count: int | None = None
    test_count: int | None = None
    passes: int = 1
    seed: int = 0
    max_tokens: int | None = None
    reply_tokens: int = 1

    async def __call__(self) -> tuple[RLDataset, RLDataset | None]:
        """The training and the test data set."""
        groups = await asyncio.to_thread(self._groups, {}, self.count, self.group_size)
        train = AgentGymDataset(groups, self.batch_size, passes=self.passes, shuffle_seed=self.seed)
        if self.test_settings is None:
            return train, None
        held_out = await asyncio.to_thread(self._groups, self.test_settings, self.test_count, 1)
        return train, AgentGymDataset(held_out, self.batch_size)

    def _groups(
        self, more: Mapping[str, Any], count: int | None, group_size: int
    ) -> list[AgentGymGroup]:
        setup = Setup(
            env_id=self.env_id,
            settings={**self.settings, **more},
            prompt=self.prompt,
            layout=self.layout,
        )
        return [
            AgentGymGroup.of(
                row,
                model_name=self.model_name_for_tokenizer,
                renderer_name=self.renderer_name,
                group_size=group_size,
                max_tokens=self.max_tokens,
                reply_tokens=self.reply_tokens,
            )
            for row in setup.rows(count, self.seed)
        ]
