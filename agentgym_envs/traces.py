"""Play that repeats: what it shows, turn by turn, in values that compare and are JSON."""

import json
from typing import Any

import numpy as np

from agentgym_envs.core import TextEnv
from agentgym_envs.drivers.setup import make_text_env

Trace = list[Any]  # the first observation, then each turn's observation and reward


class Player:
    """Random play, one turn at a time; the dice of turn k depend on the seed and k only."""

    def __init__(self, env: TextEnv, seed: int, task_id: str | None = None) -> None:
        self.env, self.seed = env, seed
        observation, info = env.reset(seed=seed, options={"task_id": task_id} if task_id else None)
        self.trace: Trace = [plain(observation)]
        self.infos = [info]
        self.over = False

    def play_turn(self) -> bool:
        """False where the episode is over."""
        if self.over:
            return False
        action = chosen(self.env, self.seed)
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.trace.append([plain(observation), reward])
        self.infos.append(info)
        self.over = terminated or truncated
        return True

    def play(self) -> "Player":
        """To the end."""
        while self.play_turn():
            pass
        return self

    def resume(self, saved: bytes) -> None:
        """Go on from a snapshot; the trace begins there."""
        observation, info = self.env.restore(saved)
        self.trace, self.infos = [plain(observation)], [info]
        self.over = bool(info["stop_reason"])


def trace(env: TextEnv, seed: int) -> Trace:
    """A whole episode."""
    return Player(env, seed).play().trace


def trace_elsewhere(env_id: str, settings: dict[str, Any], seeds: list[int]) -> str:
    """Episodes of a new environment each, as JSON: what another process is asked for."""
    return json.dumps([trace(make_text_env(env_id, settings), seed) for seed in seeds])


def chosen(env: TextEnv, seed: int) -> str:
    """A random action for the turn that is next."""
    turn = len(env.episode.turns)
    return env.wander(np.random.default_rng([seed, turn])) or "?"


def plain(observation: Any) -> Any:
    """An observation of either mode as a value that compares."""
    if isinstance(observation, dict):
        return [observation["text"], list(observation["admissible"]), int(observation["turn"])]
    return observation
