# pyright: reportMissingImports=false
"""OpenEnv: our environments in its servers, and a typed client for its servers and for ours.

    app = make_app("AgentGym/WebShop-v0", {"difficulty": "small"}, sessions=64)
    with TextClient(base_url="http://localhost:8000").sync() as env:
        result = env.reset(seed=3)
        result = env.step(TextAction(text="search[red shoes]"))
        result.observation.truncated, result.observation.info["score"]

OpenEnv has one `done`; terminated, truncated and success are fields of the observation here.
Importing any part of openenv takes it many seconds.

OpenEnv's servers differ from `agentgym-envs serve` in four ways: no token; no snapshot and restore;
`POST /reset` and `POST /step` get a new environment each time, so that only `/ws` plays episodes;
and text with lone surrogates, which no tokenizer writes, is an error instead of a turn.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from agentgym_envs.drivers.setup import make_text_env
from agentgym_envs.integrations.needs import require
from agentgym_envs.registration import package_name
from agentgym_envs.serve.hosted import state_of
from agentgym_envs.serve.messages import observation_of
from agentgym_envs.serve.server import describe

require("openenv", (0, 10), (0, 11))

from openenv.core.client_types import StepResult  # noqa: E402
from openenv.core.env_client import EnvClient  # noqa: E402
from openenv.core.env_server.http_server import create_app  # noqa: E402
from openenv.core.env_server.interfaces import Environment  # noqa: E402
from openenv.core.env_server.types import (  # noqa: E402
    Action,
    EnvironmentMetadata,
    Observation,
    State,
)
from pydantic import Field  # noqa: E402

__all__ = [
    "TextAction",
    "TextClient",
    "TextEnvironment",
    "TextObservation",
    "TextState",
    "environment_factory",
    "make_app",
]


class TextAction(Action):
    """What the policy said, as it said it."""

    text: str = Field(description="what the policy said; any text is a turn")


class TextObservation(Observation):
    """One turn. `reward` is None after a reset, `done` either of terminated and truncated."""

    text: str = Field(description="the new turn's text and nothing older")
    turn: int = Field(ge=0, description="turns played")
    terminated: bool = Field(description="the environment ended the episode")
    truncated: bool = Field(description="the turns ran out")
    success: bool = Field(description="what the verifier says, and neither of the two")
    info: dict[str, Any] = Field(description="Gymnasium's info, whole")


class TextState(State):
    """Where a session stands, and what its environment is like."""

    task_id: str | None = None
    env_id: str
    env_version: str
    observation_mode: str
    max_turns: int = Field(ge=1)
    max_length: int = Field(ge=1, description="characters of a text")


class TextEnvironment(Environment[TextAction, TextObservation, TextState]):
    """A registered environment behind OpenEnv's `reset`, `step` and `state`.

    env_id, settings: as for `gym.make`. Each session needs one of its own: give servers
    `environment_factory(env_id, settings)`. Raises what making the environment raises.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, env_id: str, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.env_id = env_id
        self.env = make_text_env(env_id, settings or {})
        self._episode_id: str | None = None
        self._info: Mapping[str, Any] = {}

    def reset(
        self, seed: int | None = None, episode_id: str | None = None, **options: Any
    ) -> TextObservation:
        """Begin an episode. options: of the environment's reset, such as `task_id`.

        Raises ValueError for an unknown option and KeyError for an unknown task.
        """
        observation, self._info = self.env.reset(seed=seed, options=options or None)
        self._episode_id = episode_id
        return self._shown(observation, None, False, False)

    def step(self, action: TextAction, timeout_s: float | None = None) -> TextObservation:
        """Play one turn. Raises ResetNeeded after the end, ValueError for a time limit."""
        if timeout_s is not None:
            raise ValueError("a turn has no time limit: leave timeout_s out")
        observation, reward, *ends, self._info = self.env.step(action.text)
        return self._shown(observation, float(reward), *ends)

    @property
    def state(self) -> TextState:
        return TextState(**state_of(self.env, self.env_id, self._episode_id, self._info))

    def get_metadata(self) -> EnvironmentMetadata:
        return EnvironmentMetadata(**describe(self.env, self.env_id))

    def close(self) -> None:
        self.env.close()

    # OpenEnv's task API. A task is chosen by `reset(task_id=task["task_id"])`.

    def list_splits(self) -> list[str]:
        """The split that is served; the settings choose it."""
        return [self.env.tasks.task(self.env.tasks.ids[0]).split]

    def num_tasks(self, split: str) -> int:
        """How many tasks there are. Raises IndexError for another split."""
        return len(self._ids(split))

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """All of them. Raises IndexError for another split."""
        return self.get_task_range(split)

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """One task. Raises IndexError where there is none."""
        ids = self._ids(split)
        if not 0 <= index < len(ids):
            raise IndexError(f"no task {index}: there are {len(ids)}")
        return {"task_id": ids[index], "index": index, "split": split}

    def get_task_range(
        self, split: str, start: int | None = None, stop: int | None = None
    ) -> list[dict[str, Any]]:
        """The tasks from start on and before stop, as slices count."""
        places = range(len(self._ids(split)))[start:stop]
        return [self.get_task(split, place) for place in places]

    def _ids(self, split: str) -> Any:
        if split not in self.list_splits():
            raise IndexError(f"no split {split!r} is served: {self.list_splits()[0]!r} is")
        return self.env.tasks.ids

    def _shown(
        self, observation: Any, reward: float | None, terminated: bool, truncated: bool
    ) -> TextObservation:
        seen = observation_of(observation, self._info, terminated, truncated)
        return TextObservation(**seen, reward=reward, done=terminated or truncated)


class TextClient(EnvClient[TextAction, TextObservation, TextState]):
    """OpenEnv's client, typed, for servers of `make_app` and of `agentgym-envs serve`.

    The latter's token goes into `headers={"Authorization": "Bearer ..."}`.
    """

    def _step_payload(self, action: TextAction) -> dict[str, Any]:
        return {"text": action.text}

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[TextObservation]:
        reward, done = payload["reward"], payload["done"]
        observation = TextObservation(**payload["observation"], reward=reward, done=done)
        return StepResult(observation=observation, reward=reward, done=done)

    def _parse_state(self, payload: dict[str, Any]) -> TextState:
        return TextState(**payload)


def environment_factory(
    env_id: str, settings: Mapping[str, Any] | None = None
) -> "partial[TextEnvironment]":
    """What OpenEnv's servers make an environment with, one for each session."""
    return partial(TextEnvironment, env_id, dict(settings or {}))


def make_app(env_id: str, settings: Mapping[str, Any] | None = None, sessions: int = 64) -> Any:
    """OpenEnv's own FastAPI application around an environment. Raises what making one raises."""
    factory = environment_factory(env_id, settings)
    factory().close()  # what is wrong with the settings is said now
    return create_app(
        factory,
        TextAction,
        TextObservation,
        env_name=package_name(env_id),
        max_concurrent_envs=sessions,
        state_cls=TextState,
    )
