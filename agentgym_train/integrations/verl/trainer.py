"""verl's synchronous trainer, whose advantage estimators learn what it knows of each episode."""

from typing import Any

import transfer_queue as tq  # pyright: ignore[reportMissingImports]
from verl.trainer.ppo.v1.trainer_base import (  # pyright: ignore[reportMissingImports]
    register_trainer,
)
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync  # pyright: ignore[reportMissingImports]
from verl.workers.utils.padding import (  # pyright: ignore[reportMissingImports]
    no_padding_2_padding,
)

from agentgym_train.integrations.verl.names import TRAINER
from agentgym_train.integrations.verl.responses import (
    Extras,
    every,
    extras,
    per_response,
    privileged,
)

_TURNS = ("turn_spans", "turn_rewards", "turn_valid", "turn_observations")


@register_trainer(TRAINER)
class AgentGymTrainer(PPOTrainerSync):
    """`trainer.v1.trainer_mode=agentgym_sync`: needed by GiGPO, by penalties of single turns, and
    by estimators that read a teacher. In all else it is verl's mode "sync"."""

    def __init__(self, config: Any) -> None:
        config.trainer.v1.trainer_mode = "sync"  # verl asks for this name in many places
        super().__init__(config)

    def _compute_advantage(self, batch: Any, metrics: dict) -> Any:
        with extras(episodes(batch, self.global_steps)):
            return super()._compute_advantage(batch, metrics)


def episodes(batch: Any, step: int) -> Extras:
    """What TransferQueue holds of a batch's episodes, in its order.

    Raises ValueError for episodes that another agent loop has played.
    """
    wanted = ["response_mask", "prompts", "responses", "old_log_probs", "extra_fields"]
    data = tq.kv_batch_get(
        keys=batch.keys,
        partition_id=batch.partition_id,
        select_fields=[*wanted, "teacher_logprobs"],
    )
    told = per_response(data, "extra_fields", len(batch.keys))
    turns = [every(told, name) for name in _TURNS]
    if None in turns:
        raise ValueError("these episodes are not of our agent loop: use rows of write_parquet")
    spans, rewards, valid, observations = turns
    teacher = data.get("teacher_logprobs", None)
    old = data["old_log_probs"].to_padded_tensor(0.0)
    return Extras(
        step=step,
        old=old,
        teacher=None if teacher is None else no_padding_2_padding(teacher, data)[..., 0],
        privileged=privileged(told, old),
        spans=spans,
        rewards=rewards,
        valid=valid,
        observations=observations,
    )
