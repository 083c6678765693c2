"""One environment, asked by messages."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, cast

from agentgym_envs.core import ENDS, TextEnv
from agentgym_envs.episodes import to_record
from agentgym_envs.serve.messages import (
    Find,
    Look,
    Request,
    Reset,
    Restore,
    Snapshot,
    State,
    Step,
    observation_message,
    observation_of,
    snapshot_message,
    task_message,
)
from agentgym_envs.spaces import Unicode


class Hosted:
    """What a session holds: an environment, opened by `make`, and the name of its episode."""

    def __init__(self, make: Callable[[], TextEnv], env_id: str) -> None:
        self._env_id, self._env = env_id, make()
        self._episode_id: str | None = None
        self._info: Mapping[str, Any] = {}

    def answer(self, request: Request) -> dict[str, Any]:
        """Do what is asked and say so. Raises what the environment raises."""
        match request:
            case Reset(seed=seed, episode_id=episode_id, options=options):
                observation, info = self._env.reset(seed=seed, options=dict(options) or None)
                self._episode_id = episode_id
                return self._shown(observation, info, None, False, False)
            case Step(text):
                observation, reward, terminated, truncated, info = self._env.step(text)
                return self._shown(observation, info, float(reward), terminated, truncated)
            case State():
                return {"type": "state", "data": self._state()}
            case Snapshot():
                return snapshot_message(self._env.snapshot())
            case Restore(snapshot, episode_id):
                self._episode_id, self._info = None, {}
                observation, info = self._env.restore(snapshot)
                self._episode_id = episode_id
                return self._shown(observation, info, None, *ENDS[info["stop_reason"]])
            case Find(task_id):
                return task_message(self._env.tasks.task(task_id))
            case Look(what):
                return {"type": what, "data": self._looked(what)}
            case _:
                raise TypeError(f"{type(request).__name__} is not for an environment")

    def close(self) -> None:
        self._env.close()

    def _shown(
        self,
        observation: Any,
        info: Mapping[str, Any],
        reward: float | None,
        terminated: bool,
        truncated: bool,
    ) -> dict[str, Any]:
        self._info = info
        return observation_message(observation_of(observation, info, terminated, truncated), reward)

    def _looked(self, what: str) -> dict[str, Any]:
        env = self._env
        match what:
            case "about":
                return {"parser": env.parser, "tasks": len(env.tasks.ids)}
            case "tasks":
                return {"ids": list(env.tasks.ids)}
            case "turns":
                return {"turns": to_record(env.episode)["turns"]}
            case "verdict":
                return asdict(env.verify(env.episode))
            case "advice" if env.info_level == "debug":
                advice = env.advise()
                return {"advice": advice and asdict(advice)}
        raise ValueError("the expert is not asked here: serve with --set info_level=debug")

    def _state(self) -> dict[str, Any]:
        return state_of(self._env, self._env_id, self._episode_id, self._info)


def state_of(
    env: TextEnv, env_id: str, episode_id: str | None, info: Mapping[str, Any]
) -> dict[str, Any]:
    """Where a session stands, and what its environment is like. info: the last one, or none yet."""
    return {
        "episode_id": episode_id,
        "step_count": info.get("turn", 0),
        "task_id": info.get("task_id"),
        "env_id": env_id,
        "env_version": env.version,
        "observation_mode": env.observation_mode,
        "max_turns": env.max_turns,
        "max_length": cast(Unicode, env.action_space).max_length,
    }
