"""How an environment gets its id, ours and anybody's, and how ids are found."""

import re
from importlib.metadata import entry_points, packages_distributions
from typing import Any

import gymnasium as gym

from agentgym_envs.addresses import module, named

# The group in which a package names, as `anything = "its_module"`, the module that registers its
# environments when it is imported.
ENTRY_POINTS = "agentgym_envs.environments"
_registered: list[str] = []
_MODULE = re.compile(r"[a-z]\w*", re.ASCII)


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
    if env_id not in _registered:
        _registered.append(env_id)


def importable(env_id: str) -> str:
    """The plain id in "module:Namespace/Name-v0", after importing the module.

    Raises ModuleNotFoundError where there is no such module, and gymnasium's errors for an id that
    is not registered.
    """
    home, _, name = env_id.rpartition(":")
    if home:
        module(home, f"the id {env_id!r}")
    try:
        gym.spec(name)
    except gym.error.NamespaceNotFound as unknown:
        hint = (
            f"Importing {home} registers no {name}: call register_text_env in its __init__"
            if home
            else f"An id of your own needs its package in front, as in my_package:{name}"
        )
        raise gym.error.NamespaceNotFound(f"{unknown} {hint}") from None
    return name


def text_envs() -> list[str]:
    """The ids that were registered with `register_text_env`, as a new process can name them:
    another package's as "package:Namespace/Name-v0"."""
    home = __name__.partition(".")[0]
    return [
        env_id if package_of(env_id) == home else f"{package_of(env_id)}:{env_id}"
        for env_id in _registered
    ]


def package_of(env_id: str) -> str:
    """The package that an environment is from. Raises TypeError where no import path says so."""
    point = gym.spec(importable(env_id)).entry_point
    if not isinstance(point, str):
        raise TypeError(f"register the entry point of {env_id} as 'package.module:Class'")
    return point.partition(":")[0].partition(".")[0]


def distribution_of(env_id: str) -> str:
    """What pip calls the package that an environment is from; its own name where pip has none."""
    package = package_of(env_id)
    return packages_distributions().get(package, [package])[0]


def installed() -> dict[str, str]:
    """The modules that installed packages name in ENTRY_POINTS, each with its distribution."""
    found = entry_points(group=ENTRY_POINTS)
    return {one.value: one.dist.name if one.dist else one.name for one in found}


def maker_of(env_id: str) -> Any:
    """What makes an environment: the class, where there is one."""
    return entry(env_id, gym.spec(importable(env_id)).entry_point)


def entry(env_id: str, point: Any) -> Any:
    """What an entry point names, or is."""
    return named(point, f"the entry point of {env_id}") if isinstance(point, str) else point


def summary_of(env_id: str) -> str:
    """The first line of its docstring."""
    maker = maker_of(env_id)
    return (maker.__doc__ or maker.__name__).strip().partition("\n")[0]


def package_name(env_id: str, name: str | None = None) -> str:
    """What a package made for an environment is called: "AgentGym/WebShop-v0" is
    `agentgym_webshop_v0`. Raises ValueError for another `name` that no module can have."""
    chosen = re.sub(r"\W+", "_", importable(env_id).lower()).strip("_") if name is None else name
    if not _MODULE.fullmatch(chosen.replace("-", "_")):
        raise ValueError(f"a package's name is as my_maze or my-maze, got {name!r}")
    return chosen.replace("-", "_")
