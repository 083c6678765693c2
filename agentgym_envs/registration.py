"""How an environment gets its id, ours and anybody's."""

from importlib import import_module
from typing import Any

import gymnasium as gym


def register_text_env(
    env_id: str, entry_point: str, vector_entry_point: str, **settings: Any
) -> None:
    """Register a TextEnv with Gymnasium, by import path.

    `entry_point` is "package.module:EnvClass"; `vector_entry_point` names its TextVectorEnv, used
    by `gym.make_vec`. `settings` become the defaults of the constructor's arguments.

    Put the call in your package's `__init__`, and `gym.make("your_package:Your/Env-v0")` imports
    it first. The environment keeps its own turn limit, so no time limit is registered; what a
    step checker would ask once a step, the conformance kit (`agentgym-envs check`) asks once.
    """
    gym.register(
        id=env_id,
        entry_point=entry_point,
        vector_entry_point=vector_entry_point,
        disable_env_checker=True,
        kwargs=settings,
    )


def importable(env_id: str) -> str:
    """The plain id in "module:Namespace/Name-v0", after importing the module."""
    module, colon, name = env_id.rpartition(":")
    if colon:
        import_module(module)
    return name
