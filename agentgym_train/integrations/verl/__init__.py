"""Our algorithms in verl: everything is registered when this is imported, as `import verl` does.

    algorithm.adv_estimator=agentgym_grpo                  advantage estimators
    distillation.distillation_loss.loss_mode=agentgym_sod  distillation losses
    trainer.v1.trainer_mode=agentgym_sync                  a trainer whose estimators know more
    agent_name: agentgym                                   the agent loop, in the task file's rows

An algorithm with settings of its own is registered by a module named in VERL_USE_EXTERNAL_MODULES:

    register_loss("my_atod", ATOD(kappa=Linear(1.0, 0.2, steps=40)))

verl swallows what goes wrong here: `agentgym-train doctor verl` imports it again, aloud.
"""

from agentgym_envs.integrations.needs import require

require("verl", (0, 9), (0, 10))

from agentgym_envs.integrations.verl import AgentGymLoop, write_parquet  # noqa: E402
from agentgym_train.integrations.verl import estimators, losses  # noqa: E402
from agentgym_train.integrations.verl.estimators import Estimator, register_estimator  # noqa: E402
from agentgym_train.integrations.verl.loops import TCODLoop  # noqa: E402
from agentgym_train.integrations.verl.losses import DistillationLoss, register_loss  # noqa: E402
from agentgym_train.integrations.verl.overlays import overlay_folder  # noqa: E402
from agentgym_train.integrations.verl.trainer import AgentGymTrainer  # noqa: E402

__all__ = [
    "AgentGymLoop",
    "AgentGymTrainer",
    "DistillationLoss",
    "Estimator",
    "TCODLoop",
    "overlay_folder",
    "register_estimator",
    "register_loss",
    "write_parquet",
]

estimators.register_all()
losses.register_all()
