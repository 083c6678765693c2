"""A TextVectorEnv whose environments live in workers."""

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode

from agentgym_envs.core import TextEnv
from agentgym_envs.fitting import demand_fit
from agentgym_envs.pools.process import ProcessWorker
from agentgym_envs.pools.worker import Worker
from agentgym_envs.registration import entry, importable
from agentgym_envs.vector import Call, TextVectorEnv

_PATIENCE = 5.0  # seconds that workers have to end when the pool is closed


class ShardedVectorEnv(TextVectorEnv):
    """`num_envs` environments in `workers` workers, which play at the same time.

    Seeds, infos, masks and autoreset are TextVectorEnv's, and so are the results, whatever the
    number of workers: environment i depends on its own seed and actions only. Each worker has
    `num_envs / workers` of them, rounded up or down; more workers than environments are not
    started. There is no `envs`: `call` reaches them; what goes there and comes back must pickle.

    env_id: a registered TextEnv, "module:Namespace/Name-v0" for one that a module registers.
    worker: what starts one, see `Worker`. Raises TypeError, before one is started, for a setting
    that the environment does not take; what its constructor raises; and WorkerDied, from any method
    but `close`, when a worker is gone.
    """

    def __init__(
        self,
        env_id: str,
        num_envs: int = 1,
        *,
        workers: int = 4,
        worker: type[Worker] = ProcessWorker,
        autoreset_mode: AutoresetMode | str = AutoresetMode.DISABLED,
        **settings: Any,
    ) -> None:
        self._workers: list[Worker] = []
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self._begin(num_envs, autoreset_mode)
        kind, registered = _found(env_id)
        demand_fit(env_id, kind, {**registered, **settings})
        self.places = _shares(num_envs, min(workers, num_envs))
        address = f"{kind.__module__}:{kind.__qualname__}"
        try:
            for places in self.places:
                self._workers.append(worker(address, {**registered, **settings}, places))
            shown, *_ = [one.receive() for one in self._workers]
        except BaseException:
            self.close()
            raise
        self._describe(kind, *shown)

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the workers: those that do not end in a few seconds are made to."""
        for worker in self._workers:
            worker.release()
        deadline = time.monotonic() + _PATIENCE
        for worker in self._workers:
            worker.end(max(0.0, deadline - time.monotonic()))
        self._workers.clear()

    def _prepare(self, turns: Mapping[int, str]) -> None:
        """Workers do it, each for its own."""

    def _advance(
        self, turns: Mapping[int, str], resets: Sequence[int]
    ) -> tuple[list[Any], list[Any]]:
        steps = {i: Call("step", (action,)) for i, action in turns.items()}
        answers = self._play({**steps, **{i: Call("reset") for i in resets}})
        return [answers[i] for i in turns], [answers[i] for i in resets]

    def _play(self, calls: Mapping[int, Call]) -> dict[int, Any]:
        """The results by environment, in order. The error of the first that fails is raised, once
        every worker has answered."""
        if not self._workers:
            raise ValueError("the pool is closed: make another one")
        asked = []
        for worker, places in zip(self._workers, self.places, strict=True):
            own = [i for i in places if i in calls]
            if own:
                worker.send([(i - places[0], calls[i]) for i in own])
                asked.append((worker, own))
        results: dict[int, Any] = {}
        errors = []
        for worker, own in asked:
            try:
                results.update(zip(own, worker.receive(), strict=True))
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return results


def _shares(count: int, workers: int) -> list[range]:
    """0 to count - 1 cut into so many runs whose lengths differ by one at most."""
    cuts = [count * i // workers for i in range(workers + 1)]
    return [range(first, last) for first, last in pairwise(cuts)]


def _found(env_id: str) -> tuple[type[TextEnv], dict[str, Any]]:
    """The class behind an id and its registered settings, as `gym.make_vec` would find them."""
    spec = gym.spec(importable(env_id))
    point = spec.vector_entry_point
    kind = entry(env_id, point)
    if not (isinstance(kind, type) and issubclass(kind, TextVectorEnv)):
        raise ValueError(f"{spec.id} has no TextVectorEnv: register it with register_text_env")
    return kind.env_type, spec.kwargs
