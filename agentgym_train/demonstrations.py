"""Demonstrations to replay: the environment's expert, or successful episodes of a file."""

from collections.abc import Callable

from agentgym_envs import TextEnv
from agentgym_envs.episodes import read_episodes

Demonstrations = Callable[[str], tuple[str, ...]]


def demonstrations(source: str, env: TextEnv) -> Demonstrations:
    """Task id -> the actions that solve it, () where there is no demonstration.

    source: "expert", or a `.jsonl` file of episodes, of which each task's shortest successful one
    counts. Raises FileNotFoundError for a missing file, ValueError where none in it succeeded.
    """
    if source == "expert":
        return lambda task_id: env.tasks.task(task_id).expert
    found: dict[str, tuple[str, ...]] = {}
    for episode in read_episodes(source):
        actions = tuple(turn.action for turn in episode.turns)
        known = found.get(episode.task.id)
        if env.verify(episode).success and (known is None or len(actions) < len(known)):
            found[episode.task.id] = actions
    if not found:
        raise ValueError(f"no episode in {source} succeeded: there is nothing to replay")
    return lambda task_id: found.get(task_id, ())
