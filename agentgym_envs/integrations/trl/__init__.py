"""The environments in TRL's GRPO trainer, by two routes.

Tools: the model calls an environment's actions as functions.

    GRPOTrainer(..., environment_factory=tools_factory(setup), train_dataset=task_dataset(setup))

Plain text: the model writes what the setup's prompt style asks for.

    GRPOTrainer(..., rollout_func=rollout_func(setup, max_tokens=4096),
                reward_funcs=reward, train_dataset=task_dataset(setup))

Either way one row of the data set is one task, and the trainer repeats it to make a group: its
members play the same task from the same seed. `success` is a reward function of weight 0 that puts
success, ends and turns into the trainer's log.
"""

from agentgym_envs.integrations.needs import require

# One minor version: `rollout_func` samples through a method that TRL does not call public.
require("trl", (1, 16), (1, 17))

from agentgym_envs.integrations.trl.rewards import reward, success  # noqa: E402
from agentgym_envs.integrations.trl.rollout import rollout_func  # noqa: E402
from agentgym_envs.integrations.trl.rows import task_dataset  # noqa: E402
from agentgym_envs.integrations.trl.tools import (  # noqa: E402
    EpisodeTools,
    SearchTools,
    ShopTools,
    TextTools,
    tools_factory,
)

__all__ = [
    "EpisodeTools",
    "SearchTools",
    "ShopTools",
    "TextTools",
    "reward",
    "rollout_func",
    "success",
    "task_dataset",
    "tools_factory",
]
