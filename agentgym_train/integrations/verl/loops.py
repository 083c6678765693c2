"""Agent loops that follow an algorithm's plan, where the plain one plays as far as it can."""

from collections.abc import Mapping
from typing import Any

from verl.experimental.agent_loop.agent_loop import (  # pyright: ignore[reportMissingImports]
    register,
)

from agentgym_envs.integrations.verl import AgentGymLoop
from agentgym_train.algorithms.tcod import TCOD
from agentgym_train.integrations.verl.names import PREFIX


@register(f"{PREFIX}tcod")
class TCODLoop(AgentGymLoop):
    """Plays the first k(step) turns only, deeper as training goes on (TCOD forward).

    For training files (`write_parquet(..., agent="agentgym_tcod")`); validate with `agentgym`,
    which plays to the end. Subclass it for another depth.
    """

    plan = TCOD().plan

    def depth(self, row: Mapping[str, Any]) -> int | None:
        return self.plan(int(row["global_steps"])).max_turns
