"""A TextVectorEnv whose environments live in workers."""

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from agentgym_envs.core import TextEnv
from agentgym_envs.pools.process import ProcessWorker
from agentgym_envs.pools.worker import Call, Worker
from agentgym_envs.registration import importable
from agentgym_envs.vector import TextVectorEnv

_PATIENCE = 5.0  # seconds that workers have to end when the pool is closed


class ShardedVectorEnv(TextVectorEnv):
    """`num_envs` environments in `workers` workers, which play at the same time.

    Seeds, infos, masks and autoreset are TextVectorEnv's, and so are the results, whatever the
    number of workers: environment i depends on its own seed and actions only. Each worker has
    `num_envs / workers` of them, rounded up or down; more workers than environments are not
    started. There is no `envs`: `call` reaches them.

    env_id: a registered TextEnv, "module:Namespace/Name-v0" for one that a module registers.
    worker: what starts one, see `Worker`. Raises what the environment's constructor raises, and
    WorkerDied, from any method but `close`, when a worker is gone. After any error out of `reset`
    or `step`, workers may have played on: reset all environments.
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
        if num_envs < 1 or workers < 1:
            raise ValueError(
                f"num_envs and workers must be at least 1, got {num_envs} and {workers}"
            )
        mode = AutoresetMode(autoreset_mode)
        if mode is AutoresetMode.SAME_STEP:
            raise ValueError("autoreset_mode is 'Disabled' or 'NextStep'; SAME_STEP is not offered")
        kind, registered = _found(env_id)
        self.num_envs = num_envs
        self.autoreset_mode = mode
        self.metadata = {**kind.metadata, "autoreset_mode": mode}
        self.places = _shares(num_envs, min(workers, num_envs))
        address = f"{kind.__module__}:{kind.__qualname__}"
        try:
            for places in self.places:
                self._workers.append(worker(address, {**registered, **settings}, places))
            shown, *_ = [one.receive() for one in self._workers]
        except BaseException:
            self.close()
            raise
        self.render_mode = shown.render_mode
        self.single_observation_space = shown.observation_space
        self.single_action_space = shown.action_space
        self.observation_space = batch_space(shown.observation_space, num_envs)
        self.action_space = batch_space(shown.action_space, num_envs)
        self._observations = [None] * num_envs
        self._infos = [{} for _ in range(num_envs)]
        self._ended = np.ones(num_envs, dtype=bool)
        self._terminated = np.zeros(num_envs, dtype=bool)
        self._truncated = np.zeros(num_envs, dtype=bool)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Start an episode in every environment, or in those of `options["reset_mask"]`."""
        options = dict(options or {})
        mask = self._mask(options.pop("reset_mask", None))
        seeds = self._spread(
            seed if not isinstance(seed, int) else [seed + i for i in range(self.num_envs)], "seed"
        )
        task_ids = self._spread(options.pop("task_id", None), "options['task_id']")
        calls = {}
        for i in map(int, np.flatnonzero(mask)):
            own = options if task_ids[i] is None else {**options, "task_id": task_ids[i]}
            calls[i] = Call(i, "reset", kwargs={"seed": seeds[i], "options": own})
        for i, result in self._play(calls).items():
            self._observations[i], self._infos[i] = result
        self._ended[mask] = self._terminated[mask] = self._truncated[mask] = False
        return tuple(self._observations), self._gather(mask)

    def step(
        self, actions: Sequence[str | None]
    ) -> tuple[tuple[Any, ...], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One turn in every environment that has not ended."""
        if len(actions) != self.num_envs:
            raise ValueError(f"{len(actions)} actions for {self.num_envs} environments")
        calls = {}
        for i, action in enumerate(actions):
            call = self._turn(i, action)
            if call is not None:
                calls[i] = call
        rewards = np.zeros(self.num_envs)
        for i, result in self._play(calls).items():
            if calls[i].method == "reset":
                self._observations[i], self._infos[i] = result
                self._terminated[i] = self._truncated[i] = False
            else:
                self._observations[i], rewards[i] = result[0], result[1]
                self._terminated[i], self._truncated[i], self._infos[i] = result[2:]
        self._ended = self._terminated | self._truncated
        played = np.array([i in calls for i in range(self.num_envs)])
        return (
            tuple(self._observations),
            rewards,
            self._terminated.copy(),
            self._truncated.copy(),
            self._gather(played),
        )

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """A method of every environment, or an attribute: `call("snapshot")`, `call("episode")`.

        What goes there and comes back must pickle. One that plays (`step`, `restore`) is unknown
        to the pool, which then takes an ended environment for one that is not.
        """
        calls = {i: Call(i, name, args, kwargs) for i in range(self.num_envs)}
        return tuple(self._play(calls).values())

    def render(self) -> tuple[Any, ...]:
        return self.call("render")

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the workers: those that do not end in a few seconds are made to."""
        for worker in self._workers:
            worker.release()
        deadline = time.monotonic() + _PATIENCE
        for worker in self._workers:
            worker.end(max(0.0, deadline - time.monotonic()))
        self._workers.clear()

    def _turn(self, i: int, action: str | None) -> Call | None:
        """What environment i is asked to do, None where it rests. Raises ResetNeeded."""
        if not self._ended[i]:
            if action is None:
                raise ResetNeeded(f"environment {i} has not ended: it needs an action, got None")
            return Call(i, "step", (action,))
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            return Call(i, "reset")
        if action is not None:
            raise ResetNeeded(
                f"environment {i} has ended: reset it with options['reset_mask'], "
                "or pass None as its action"
            )
        return None

    def _play(self, calls: Mapping[int, Call]) -> dict[int, Any]:
        """The results by environment, in order. The error of the first that fails is raised, once
        every worker has answered."""
        if not self._workers:
            raise ValueError("the pool is closed: make another one")
        asked = []
        for worker, places in zip(self._workers, self.places, strict=True):
            own = [i for i in places if i in calls]
            if own:
                worker.send([calls[i]._replace(place=i - places[0]) for i in own])
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
    kind = load_env_creator(point) if isinstance(point, str) else point
    if not (isinstance(kind, type) and issubclass(kind, TextVectorEnv)):
        raise ValueError(f"{spec.id} has no TextVectorEnv: register it with register_text_env")
    return kind.env_type, spec.kwargs
