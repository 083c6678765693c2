"""Every task of an environment, each exactly once."""

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module

import numpy as np

from agentgym_envs.core import Observation, TextEnv
from agentgym_envs.statistics import Summary, summarise
from agentgym_envs.types import Episode, Verdict

Policy = Callable[[TextEnv, Observation, dict], str]


def play(env: TextEnv, policy: Policy, task_id: str) -> tuple[Episode, Verdict]:
    """One episode of `policy(env, observation, info) -> response`, and its verdict."""
    observation, info = env.reset(options={"task_id": task_id})
    over = False
    while not over:
        observation, _, terminated, truncated, info = env.step(policy(env, observation, info))
        over = terminated or truncated
    return env.episode, env.verify(env.episode)


def play_all(
    env: TextEnv, policy: Policy, task_ids: Sequence[str] | None = None
) -> Iterator[tuple[Episode, Verdict]]:
    """Play each task once, in order: all of the environment's, or those named."""
    for task_id in env.tasks.ids if task_ids is None else task_ids:
        yield play(env, policy, task_id)


def evaluate(env: TextEnv, policy: Policy, task_ids: Sequence[str] | None = None) -> Summary:
    """Success of `policy`, each task once, with Wilson intervals, over all and by kind of task."""
    return summarise(list(play_all(env, policy, task_ids)))


class ExpertPolicy:
    """The environment's own expert; an action it has no advice for is the empty one."""

    def __init__(self, seed: int = 0) -> None:
        pass  # an expert's dice are the environment's

    def __call__(self, env: TextEnv, observation: Observation, info: dict) -> str:
        advice = env.advise()
        return advice.action if advice else ""


class RandomPolicy:
    """Random actions that can be tried, from its own seeded generator."""

    def __init__(self, seed: int = 0) -> None:
        self._dice = np.random.default_rng(seed)

    def __call__(self, env: TextEnv, observation: Observation, info: dict) -> str:
        return env.wander(self._dice)


def yardstick(env: TextEnv, name: str, seed: int = 0) -> Policy:
    """One of the environment's scripted policies by name. Raises ValueError naming those it has."""
    if name not in env.yardsticks:
        listed = ", ".join(env.yardsticks)
        raise ValueError(f"{type(env).__name__} has no policy {name!r}; it has: {listed}")
    module, _, policy = env.yardsticks[name].partition(":")
    return getattr(import_module(module), policy)(seed)
