"""Text environments spread over workers, stepped together: local processes, or Ray actors.

pool = make_pool("AgentGym/ALFWorld-v0", 64, workers=8, engine="textworld")
pool = make_pool("AgentGym/ALFWorld-v0", 4096, workers=64, kind="ray")

A pool is what `gym.make_vec` gives, with the same results for any number of workers. It is meant
for environments that are slow, as the textworld engine is: a step of the native ones takes less
time than the message that asks for it.
"""

from typing import Any, Literal

from gymnasium.vector import AutoresetMode

from agentgym_envs.pools.process import ProcessWorker
from agentgym_envs.pools.vector import ShardedVectorEnv
from agentgym_envs.pools.worker import Worker, WorkerDied

__all__ = ["ProcessWorker", "ShardedVectorEnv", "Worker", "WorkerDied", "make_pool"]


def make_pool(
    env_id: str,
    num_envs: int,
    *,
    workers: int = 4,
    kind: Literal["process", "ray"] = "process",
    autoreset_mode: AutoresetMode | str = AutoresetMode.DISABLED,
    **settings: Any,
) -> ShardedVectorEnv:
    """`num_envs` environments over `workers` processes or Ray actors; `settings` are theirs.

    Raises ValueError for another kind, RuntimeError where a script makes a pool of processes at its
    top level, without `if __name__ == "__main__":`, ImportError where Ray is wanted and missing,
    and what `ShardedVectorEnv` does. Ray's cluster is the one that `ray.init` has connected to;
    without one, Ray starts a local one.
    """
    if kind not in ("process", "ray"):
        raise ValueError(f"kind is 'process' or 'ray', got {kind!r}")
    worker: type[Worker] = ProcessWorker
    if kind == "ray":
        from agentgym_envs.pools.ray import RayWorker

        worker = RayWorker
    return ShardedVectorEnv(
        env_id,
        num_envs,
        workers=workers,
        worker=worker,
        autoreset_mode=autoreset_mode,
        **settings,
    )
