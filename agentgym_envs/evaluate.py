"""Every task of an environment, each exactly once."""

from collections.abc import Callable, Iterator, Sequence

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


def expert_policy(env: TextEnv, observation: Observation, info: dict) -> str:
    """The environment's own expert; an action it has no advice for is the empty one."""
    advice = env.advise()
    return advice.action if advice else ""


class RandomPolicy:
    """A uniformly random admissible action, from its own seeded generator."""

    def __init__(self, seed: int) -> None:
        import numpy as np

        self._dice = np.random.default_rng(seed)

    def __call__(self, env: TextEnv, observation: Observation, info: dict) -> str:
        actions = info["admissible_actions"]
        return actions[self._dice.integers(len(actions))] if actions else ""
