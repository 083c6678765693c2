"""Whether the algorithms are known to another project's trainer, and if not, why not.

verl loads plug-ins when it is imported and says nothing of those that fail; this asks again.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points

from agentgym_envs.integrations.needs import require

GROUP = "verl.plugins"
MODULE = "agentgym_train.integrations.verl"


def check_verl() -> list[str]:
    """What is registered with verl, one line each. Raises whatever verl has swallowed.

    ImportError names the pip command where verl or something it needs is missing.
    """
    require("verl", (0, 9), (0, 10))
    known = [one for one in entry_points(group=GROUP) if one.value == MODULE]
    if not known:
        raise ImportError(
            f"no entry point {GROUP} leads to {MODULE}: install agentgym-envs again with pip"
        )
    module = import_module(MODULE)
    from verl.experimental.agent_loop import agent_loop  # pyright: ignore[reportMissingImports]
    from verl.trainer.distillation import losses  # pyright: ignore[reportMissingImports]
    from verl.trainer.ppo import core_algos  # pyright: ignore[reportMissingImports]
    from verl.trainer.ppo.v1 import trainer_base  # pyright: ignore[reportMissingImports]

    return [
        f"agent loops: {_ours(agent_loop._agent_loop_registry)}",
        f"advantage estimators: {_ours(core_algos.ADV_ESTIMATOR_REGISTRY)}",
        f"distillation losses: {_ours(losses.DISTILLATION_LOSS_REGISTRY)}",
        f"trainers: {_ours(trainer_base.TRAINER_REGISTRY)}",
        f"overlays (--config-dir): {module.overlay_folder()}",
    ]


CHECKS: dict[str, Callable[[], list[str]]] = {"verl": check_verl}


def check(stack: str) -> list[str]:
    """What is registered with a stack. Raises ValueError for one that we have no plug-in for."""
    if stack not in CHECKS:
        raise ValueError(f"no plug-in for {stack!r}; there is one for: {', '.join(CHECKS)}")
    return CHECKS[stack]()


def _ours(registry: dict[str, object]) -> str:
    return ", ".join(sorted(name for name in registry if name.startswith("agentgym")))
