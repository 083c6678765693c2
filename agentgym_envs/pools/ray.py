"""A worker that is a Ray actor, on any machine of the cluster."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from agentgym_envs.integrations.needs import require
from agentgym_envs.pools.worker import Shard, WorkerDied
from agentgym_envs.vector import Call

require("ray", (2, 60), (2, 61))

ray: Any = import_module("ray")


class RayWorker:
    """See `Worker`. Actors are spread over the cluster's machines, on which the environment's
    package must be installed; one that waits takes no CPU from the cluster's count.
    """

    def __init__(self, env_type: str, settings: Mapping[str, Any], places: range) -> None:
        self._places = places
        self._actor = ray.remote(Shard).options(scheduling_strategy="SPREAD").remote()
        self._answer = self._actor.make.remote(env_type, dict(settings), len(places))

    def send(self, calls: Sequence[tuple[int, Call]]) -> None:
        self._answer = self._actor.call.remote(list(calls))

    def receive(self) -> Any:
        try:
            return ray.get(self._answer)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayActorError as error:
            raise WorkerDied(self._places, str(error).partition("\n")[0].rstrip(".")) from None

    def release(self) -> None:
        if ray.is_initialized():
            self._answer = self._actor.close.remote()

    def end(self, seconds: float) -> None:
        if not ray.is_initialized():
            return
        with suppress(ray.exceptions.RayError):  # late, failed or gone: it is ended all the same
            ray.get(self._answer, timeout=seconds)
        ray.kill(self._actor)
