"""Every task of an environment, each exactly once."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from agentgym_envs.addresses import named
from agentgym_envs.core import Observation, TextEnv
from agentgym_envs.statistics import Summary, summarise
from agentgym_envs.types import Episode, Verdict

Policy = Callable[[TextEnv, Observation, dict], str]
NO_EXPERT = "no expert: give `advise` or `Task.expert`"


def play(env: TextEnv, policy: Policy, task_id: str, seed: int = 0) -> tuple[Episode, Verdict]:
    """One episode of `policy(env, observation, info) -> response`, and its verdict."""
    observation, info = env.reset(seed=seed, options={"task_id": task_id})
    over = False
    while not over:
        observation, _, terminated, truncated, info = env.step(policy(env, observation, info))
        over = terminated or truncated
    return env.episode, env.verify(env.episode)


def play_all(
    env: TextEnv, policy: Policy, task_ids: Sequence[str] | None = None, seed: int = 0
) -> Iterator[tuple[Episode, Verdict]]:
    """Play each task once, in order: all of the environment's, or those named.

    The first one's dice begin with `seed`, the next one's with the number after it.
    """
    for i, task_id in enumerate(env.tasks.ids if task_ids is None else task_ids):
        yield play(env, policy, task_id, seed + i)


def evaluate(
    env: TextEnv, policy: Policy, task_ids: Sequence[str] | None = None, seed: int = 0
) -> Summary:
    """Success of `policy`, each task once, with Wilson intervals, over all and by kind of task;
    and the environment's own averages."""
    return summarise(list(play_all(env, policy, task_ids, seed)), env)


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


def yardsticks(env: TextEnv) -> list[str]:
    """The names of the environment's scripted policies; "expert" is one where it has an expert."""
    return [name for name in env.yardsticks if name != "expert" or env.has_expert]


def yardstick(env: TextEnv, name: str, seed: int = 0) -> Policy:
    """One of the environment's scripted policies by name. Raises ValueError naming those it has."""
    if name not in (known := yardsticks(env)):
        why = f" ({NO_EXPERT})" if name in env.yardsticks else ""
        raise ValueError(
            f"{type(env).__name__} has no policy {name!r}{why}; it has: {', '.join(known)}"
        )
    return named(env.yardsticks[name], f"the yardstick {name}")(seed)
