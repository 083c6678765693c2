"""The algorithms by name, and anyone's by address."""

from __future__ import annotations

from importlib import import_module

from agentgym_train.algorithms.atod import ATOD
from agentgym_train.algorithms.base import Algorithm, Credit, Live, Loss, Policy, RolloutPlan
from agentgym_train.algorithms.gigpo import GiGPO
from agentgym_train.algorithms.grpo import GRPO
from agentgym_train.algorithms.grpo_opsd import GRPOPlusOPSD
from agentgym_train.algorithms.hint_sd import HintSD
from agentgym_train.algorithms.opd import OPD
from agentgym_train.algorithms.opsd import OPSD
from agentgym_train.algorithms.rlsd import RLSD
from agentgym_train.algorithms.sdar import SDAR
from agentgym_train.algorithms.skill_grpo import SkillGRPO
from agentgym_train.algorithms.skill_sd import SkillSD
from agentgym_train.algorithms.sod import SOD
from agentgym_train.algorithms.stepopsd import StepOPSD
from agentgym_train.algorithms.tcod import TCOD

__all__ = ["BUILT_IN", "Algorithm", "Credit", "Live", "Loss", "Policy", "RolloutPlan", "find"]

BUILT_IN: dict[str, type[Algorithm]] = {
    "grpo": GRPO,
    "opd": OPD,
    "sdar": SDAR,
    "sod": SOD,
    "tcod": TCOD,
    "atod": ATOD,
    "opsd": OPSD,
    "grpo_opsd": GRPOPlusOPSD,
    "skill_grpo": SkillGRPO,
    "skill_sd": SkillSD,
    "rlsd": RLSD,
    "stepopsd": StepOPSD,
    "hint_sd": HintSD,
    "gigpo": GiGPO,
}


def find(name: str) -> type[Algorithm]:
    """A built-in by name, or anyone's by address: "my_lab.bounded:BoundedOPD".

    Raises KeyError for an unknown name, ImportError or AttributeError for a wrong address,
    TypeError where the address leads to something that is no Algorithm.
    """
    if ":" not in name:
        if name not in BUILT_IN:
            raise KeyError(
                f"no algorithm {name!r}; built in: {', '.join(BUILT_IN)}; "
                "yours: 'package.module:Class'"
            )
        return BUILT_IN[name]
    module, _, attribute = name.partition(":")
    found = getattr(import_module(module), attribute)
    if not (isinstance(found, type) and issubclass(found, Algorithm)):
        raise TypeError(f"{name} is {found!r}, not a subclass of agentgym_train's Algorithm")
    return found
