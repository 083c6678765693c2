"""What every collection of games shares, however it is stored or made."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from agentgym_envs.alfworld.game import Game, find_task_type
from agentgym_envs.alfworld.world import World


class Library(Protocol):
    """A collection of games that never changes, however it is stored."""

    def ids(self, split: str, task_types: Sequence[str | int] | None = None) -> tuple[str, ...]: ...

    def game(self, id: str) -> Game: ...

    def world(self, id: str) -> World: ...


class WorldCache:
    """The `keep` most recently used compiled games; safe to share between threads."""

    def __init__(self, keep: int) -> None:
        if keep < 1:
            raise ValueError(f"keep should be at least 1 world, got {keep}")
        self.keep = keep
        self._lock = threading.Lock()
        self._worlds: OrderedDict[str, World] = OrderedDict()

    def __len__(self) -> int:
        return len(self._worlds)

    def get(self, id: str, make: Callable[[], World]) -> World:
        """The world of that id, made where it is not remembered."""
        with self._lock:
            if id in self._worlds:
                self._worlds.move_to_end(id)
                return self._worlds[id]
        world = make()
        with self._lock:
            world = self._worlds.setdefault(id, world)
            self._worlds.move_to_end(id)
            while len(self._worlds) > self.keep:
                self._worlds.popitem(last=False)
        return world


def ids_of(kinds: Mapping[str, str], task_types: Sequence[str | int] | None) -> tuple[str, ...]:
    """The ids whose task type is wanted; all of them for None. kinds: id -> task type.

    Raises ValueError naming the known task types.
    """
    if task_types is None:
        return tuple(kinds)
    if isinstance(task_types, str):
        raise ValueError(f"task_types is a list of task types, got the text {task_types!r}")
    wanted = {find_task_type(kind) for kind in task_types}
    return tuple(id for id, kind in kinds.items() if kind in wanted)
