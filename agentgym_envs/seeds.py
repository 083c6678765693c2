"""Tasks from several seeds: a generated world or shop for each, played as one set of tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Generic, TypeVar

from agentgym_envs.core import TaskSource
from agentgym_envs.types import Task

Part = TypeVar("Part", bound=TaskSource)


def seeds_of(seed: int | Sequence[int], name: str) -> tuple[int, ...]:
    """One seed or several. Raises ValueError, naming the setting, for none or one given twice."""
    seeds = (seed,) if isinstance(seed, int) else tuple(seed)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"{name} is one seed, or several different ones, got {seed!r}")
    return seeds


class InTurns(Generic[Part]):
    """The tasks of several parts, which take turns; ids are `<seed>/<the part's own id>`.

    at_most: so many tasks; None: all.
    """

    def __init__(self, parts: Mapping[int, Part], at_most: int | None = None) -> None:
        self._parts = {str(seed): part for seed, part in parts.items()}
        rounds = zip_longest(
            *([f"{seed}/{id}" for id in part.ids] for seed, part in self._parts.items())
        )
        ids = [id for taken in rounds for id in taken if id is not None]
        self.ids: tuple[str, ...] = tuple(ids[:at_most])

    def find(self, task_id: str) -> tuple[Part, str]:
        """The part a task is from, and its id there. Raises KeyError."""
        seed, _, inner = task_id.partition("/")
        if seed not in self._parts:
            raise KeyError(f"no task {task_id!r}; the first of {len(self.ids)}: {self.ids[0]!r}")
        return self._parts[seed], inner

    def task(self, task_id: str) -> Task:
        """Raises KeyError."""
        part, inner = self.find(task_id)
        return replace(part.task(inner), id=task_id)
