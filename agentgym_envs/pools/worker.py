"""What a pool asks of its workers, and what runs inside one."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from gymnasium import spaces

from agentgym_envs.addresses import named
from agentgym_envs.core import TextEnv
from agentgym_envs.vector import Call


class WorkerDied(RuntimeError):
    """A worker ended by itself, and the episodes of its environments with it."""

    def __init__(self, places: range, why: str) -> None:
        first, last = places[0], places[-1]
        held = f"environment {first}" if first == last else f"environments {first} to {last}"
        super().__init__(f"the worker of {held} died: {why}. Close the pool and make another one")


class Shown(NamedTuple):
    """What a pool needs to know of the environments, which it has none of itself."""

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[str]
    render_mode: str | None


class Worker(Protocol):
    """Some of a pool's environments, elsewhere. It starts when it is made; the first thing that
    `receive` gives is a `Shown`, and after that one list of results for each `send`.
    """

    def __init__(self, env_type: str, settings: Mapping[str, Any], places: range) -> None:
        """env_type: "package.module:Class". places: which environments of the pool these are."""
        ...

    def send(self, calls: Sequence[tuple[int, Call]]) -> None:
        """Begin these calls, in order, each with its environment's place. Raises WorkerDied."""
        ...

    def receive(self) -> Any:
        """Wait for the results. Raises WorkerDied, or what the first failing call raised."""
        ...

    def release(self) -> None:
        """Ask it to end; returns at once."""
        ...

    def end(self, seconds: float) -> None:
        """Give it so long to end, then end it."""
        ...


class Shard:
    """The environments of one worker, in the worker."""

    def __init__(self) -> None:
        self._envs: list[TextEnv] = []

    def make(self, env_type: str, settings: Mapping[str, Any], count: int) -> Shown:
        """Make them. Raises what the constructor raises."""
        kind = named(env_type, "the environment")
        self._envs = [kind(**settings) for _ in range(count)]
        first = self._envs[0]
        return Shown(first.observation_space, first.action_space, first.render_mode)

    def call(self, calls: Sequence[tuple[int, Call]]) -> list[Any]:
        """The results, in order; turns are prepared together."""
        turns = [
            (self._envs[place], call.args[0]) for place, call in calls if call.method == "step"
        ]
        if turns:
            type(turns[0][0]).prepare([env for env, _ in turns], [said for _, said in turns])
        return [call.to(self._envs[place]) for place, call in calls]

    def close(self) -> None:
        for env in self._envs:
            env.close()
