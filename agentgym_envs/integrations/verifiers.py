# pyright: reportMissingImports=false
"""verifiers (its `v1`): our tasks as a Taskset, our environments as an Env, played by `vf-eval`.

verifiers finds a taskset by the name of a top-level module. `agentgym-envs export verifiers ID
FOLDER` writes that module; it says little more than which environment is meant, and exports:

- `Tasks`, an `AgentGymTaskset`: one task for each of the environment's split;
- `AgentGymEnv`: one episode, the environment in this process and the model behind an agent;
- `AgentGymHarness`: the agent, unless `--env.agent.harness.id` names another. It asks the model
  from this process. verifiers' own chat program (`null`) does the same with a new process for
  every turn, made ready by uv.

The model reads and writes plain text in the chat layout: no tools, and nothing runs in a sandbox.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, Generic, TypeVar

from agentgym_envs.drivers.conversation import Conversation
from agentgym_envs.drivers.setup import Setup
from agentgym_envs.integrations.needs import require

require("verifiers", (0, 4), (0, 5))

import verifiers.v1 as vf  # noqa: E402
from openai import (  # noqa: E402 (verifiers brings it)
    APIStatusError,
    AsyncOpenAI,
    DefaultAsyncHttpxClient,
    Timeout,
)
from pydantic import field_validator  # noqa: E402 (verifiers brings it)
from verifiers.v1.agent import Agents  # noqa: E402
from verifiers.v1.dialects.chat import message_to_wire  # noqa: E402
from verifiers.v1.harnesses.utils.compaction import is_context_overflow  # noqa: E402
from verifiers.v1.runtimes import SubprocessRuntime  # noqa: E402

__all__ = [
    "AgentGymConfig",
    "AgentGymEnv",
    "AgentGymHarness",
    "AgentGymTask",
    "AgentGymTaskset",
    "TaskRow",
]

_AT_ONCE = 256  # environments that act at one time; verifiers plays 128 episodes unless told
T = TypeVar("T")


class TaskRow(vf.TaskData):
    """The columns of `Setup.row`. The system prompt, where the style has one, is a field of
    verifiers' own, so that what verifiers puts in its place is what the model reads."""

    env_id: str
    task_id: str
    seed: int
    settings: str
    prompt_style: str
    layout: str


class AgentGymTask(vf.Task[TaskRow]):
    """One of an environment's tasks. The environment scores it, so it has no reward of its own."""

    @property
    def key(self) -> str:
        """The task's id: the same wherever the task lies in a data set."""
        return self.data.task_id


class AgentGymConfig(vf.TasksetConfig):
    """Which tasks, under `--env.taskset.*`.

    env_id: as for `gym.make`. settings: constructor arguments of the environment; those given for
    a run are put over the module's. prompt_style: a style's name or path. seed: of every episode;
    it moves what the environment draws by itself.
    """

    env_id: str = ""
    settings: dict[str, Any] = {}  # noqa: RUF012 (pydantic copies it)
    prompt_style: str = "default"
    seed: int = 0

    @field_validator("settings", mode="before")
    @classmethod
    def _over_the_defaults(cls, given: object) -> object:
        default = cls.model_fields["settings"].default
        return {**default, **given} if isinstance(given, dict) else given


ConfigT = TypeVar("ConfigT", bound=AgentGymConfig)


class AgentGymTaskset(vf.Taskset[AgentGymTask, ConfigT], Generic[ConfigT]):
    """Every task of the environment's split, in its order; `-n` and `--select.*` choose."""

    def load(self) -> Iterator[AgentGymTask]:
        """Yields the tasks. Raises ValueError where no environment or no such style is named, and
        what `gym.make` raises."""
        config = self.config
        if not config.env_id:
            raise ValueError("no environment is named: set --env.taskset.env-id")
        setup = Setup(env_id=config.env_id, settings=config.settings, prompt=config.prompt_style)
        system = setup.style.system or None
        for task_id in setup.make().tasks.ids:
            row = TaskRow(
                **setup.row(task_id, config.seed), id=task_id, name=task_id, system_prompt=system
            )
            yield AgentGymTask(row, config.task)


class AgentGymEnvConfig(vf.EnvConfig):
    """`--env.agent.*`: the model's seat. It runs no code, so it needs no sandbox."""

    agent: vf.AgentConfig = vf.AgentConfig(runtime=vf.SubprocessConfig())


class AgentGymEnv(vf.Env[AgentGymEnvConfig]):
    """One episode: the environment is the user, the model's whole reply is the response.

    Rewards: `reward`, the environment's rewards added up. Metrics: `success`, `score`,
    `terminated`, `truncated`, `turns`, `invalid_turns`. `trace.info`: the summary of a
    `Conversation`, with `rewards`, one for each turn.

    An episode that verifiers stops before the environment ends it is truncated, and `stop_reason`
    is verifiers' stop condition, or "length" where the model had no room for the next prompt. One
    that fails (the endpoint is gone) is not scored.
    """

    async def start(self) -> None:
        """Threads for the environments: they must not hold up the event loop, nor one another."""
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="agentgym")
        # The first environment of a kind reads files that later ones share: one at a time.
        self._making = asyncio.Lock()

    async def stop(self) -> None:
        self._threads.shutdown()

    async def run(self, task: vf.Task, agents: Agents) -> None:
        """Play the task to its end. Raises TypeError for a task of another taskset."""
        row = task.data
        if not isinstance(row, TaskRow):
            raise TypeError(f"AgentGymEnv plays an AgentGymTaskset, got a {type(task).__name__}")
        async with self._making:
            conversation = await self._aside(Setup.of(row.model_dump()).conversation)
        try:
            async with agents.agent.interaction(task) as interaction:
                begin = partial(conversation.begin, task_id=row.task_id, seed=row.seed)
                messages = await self._aside(begin)
                while messages:
                    segment = await interaction.turn(messages[-1]["content"])
                    if segment.terminated:
                        break
                    messages = await self._aside(partial(conversation.take, _reply(segment)))
                if not interaction.trace.errors:
                    _report(conversation, interaction.trace)
        finally:
            conversation.env.close()

    async def _aside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class AgentGymHarness(vf.Harness[vf.HarnessConfig]):
    """The model as a chat partner without tools, asked from this process.

    Faults of the endpoint are tried again as the OpenAI client does. A conversation that outgrows
    the model's window ends the episode; other refusals fail it, and so does a first prompt that
    is too long already.
    """

    APPENDS_SYSTEM_PROMPT = True
    SUPPORTS_RESUME = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def setup(self, runtime: vf.Runtime) -> None:
        """Raises ValueError for a runtime elsewhere, from where this process is not reached."""
        if not isinstance(runtime, SubprocessRuntime):
            raise ValueError(
                f"{type(self).__name__} runs in this process, not in a {type(runtime).__name__}: "
                "set --env.agent.runtime.type subprocess, or --env.agent.harness.id null"
            )

    async def launch(
        self,
        ctx: vf.ModelContext,
        trace: vf.Trace,
        runtime: vf.Runtime,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: vf.TaskData,
    ) -> vf.ProgramResult:
        """Ask for one reply to the conversation; verifiers, behind `endpoint`, records it."""
        system, prompt = self.resolve_prompt(data)
        said = [vf.UserMessage(content=prompt)] if isinstance(prompt, str) else prompt or []
        opening = [vf.SystemMessage(content=system)] if system else []
        messages: list[Any] = [message_to_wire(message) for message in (*opening, *said)]
        async with AsyncOpenAI(
            base_url=endpoint,
            api_key=secret,
            timeout=Timeout(None, connect=5.0),  # verifiers' own limits bound an episode
            http_client=DefaultAsyncHttpxClient(verify=_trust()),
        ) as client:
            try:
                await client.chat.completions.create(model=ctx.model, messages=messages)
            except APIStatusError as error:
                if not trace.num_turns or not is_context_overflow(error):
                    raise
        return vf.ProgramResult(exit_code=0, stdout="", stderr="")


@cache
def _trust() -> ssl.SSLContext:
    """Made once: it takes longer than a turn does."""
    return ssl.create_default_context()


def _reply(segment: vf.Segment) -> str:
    """What the model said last, to the letter (`Segment.last_reply` is without its margins)."""
    said = [m.content or "" for m in segment.messages if isinstance(m, vf.AssistantMessage)]
    return segment.root_reply or (said[-1] if said else "")


def _report(conversation: Conversation, trace: vf.Trace) -> None:
    """Write how the episode went where verifiers keeps it."""
    summary = dict(conversation.summary)
    if conversation.over:
        trace.stop(summary["stop_reason"])
    else:
        summary |= {"truncated": True, "stop_reason": trace.stop_condition or "length"}
    trace.info.update(summary, rewards=list(conversation.rewards))
    trace.record_reward("reward", summary["reward"])
    plain = ("success", "score", "terminated", "truncated", "invalid_turns")
    trace.record_metrics({name: summary[name] for name in plain} | {"turns": summary["turn"]})
