"""verl's own step from rewards to advantages, under our trainer, on what TransferQueue holds.

TransferQueue itself is Ray actors, which take minutes to start on two cores: a shelf in this
process stands in for it, and the slow test plays against the real one.
"""

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import ray
import torch
import transfer_queue
from integrations.verl_batches import Held, held, nested, shifted
from integrations.verl_settings import composed
from omegaconf import OmegaConf
from tensordict import NonTensorStack, TensorDict
from torch.testing import assert_close
from train.conftest import by_turn, told
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1 import get_trainer_cls, trainer_base

from agentgym_train.algorithms import BUILT_IN
from agentgym_train.integrations.verl import AgentGymTrainer, trainer
from agentgym_train.integrations.verl.responses import known

STEP = 7


class Shelf:
    """What keys hold, as TransferQueue gives it: nested tensors, and a stack of the rest."""

    def __init__(self) -> None:
        self.rows: dict[str, dict] = {}

    def kv_batch_put(self, *, keys: Sequence[str], partition_id: str, fields: TensorDict, **_):
        for i, key in enumerate(keys):
            row = self.rows.setdefault(key, {})
            for name in sorted(fields.keys()):
                row[name] = fields[name][i]
        return KVBatchMeta(partition_id=partition_id, keys=list(keys), tags=[{} for _ in keys])

    def kv_batch_get(self, *, keys: Sequence[str], partition_id: str, select_fields: Sequence[str]):
        rows = [self.rows[key] for key in keys]
        columns = {name: [row[name] for row in rows] for name in select_fields if name in rows[0]}
        return TensorDict(
            {
                name: nested(values)
                if isinstance(values[0], torch.Tensor)
                else NonTensorStack(*values)
                for name, values in columns.items()
            },
            batch_size=len(rows),
        )


def stories():
    """Six attempts at two tasks, told by hand: some lost, some won, one turn unreadable."""

    def turn(prompt: int, *reply: int, valid: bool = True):
        return SimpleNamespace(prompt=(prompt,), reply=reply, valid=valid)

    return [
        SimpleNamespace(group=0, episode_return=1.0, turns=[turn(1, 1, 2), turn(2, 3)]),
        SimpleNamespace(group=0, episode_return=0.0, turns=[turn(1, 4), turn(2, 5, 6, 7)]),
        SimpleNamespace(
            group=0, episode_return=0.0, turns=[turn(1, 1), turn(1, 1, valid=False), turn(2, 8, 9)]
        ),
        SimpleNamespace(group=1, episode_return=1.0, turns=[turn(5, 2, 3, 4)]),
        SimpleNamespace(group=1, episode_return=1.0, turns=[turn(5, 2), turn(6, 1, 0)]),
        SimpleNamespace(group=1, episode_return=0.0, turns=[turn(6, 2), turn(5, 1, 0)]),
    ]


def shelved(one: Held, queue) -> KVBatchMeta:
    """The batch as our agent loop and verl's workers leave it in a queue."""
    extra, uid = one.extras(), one.uid
    grids = {
        "response_mask": one.mask,
        "responses": one.mask,
        "rm_scores": one.rewards,
        "old_log_probs": extra.old,
        "rollout_log_probs": extra.old,
    }
    columns = {
        name: nested([grid[b, :n] for b, n in enumerate(one.length)])
        for name, grid in grids.items()
    }
    columns["prompts"] = nested([torch.ones(3, dtype=torch.int64) for _ in uid])
    columns["teacher_logprobs"] = nested(
        [shifted(extra.teacher[b, :n])[:, None] for b, n in enumerate(one.length)]
    )
    episodes = [
        {
            "turn_spans": extra.spans[b],
            "turn_rewards": extra.rewards[b],
            "turn_valid": extra.valid[b],
            "turn_observations": extra.observations[b],
            "privileged_logprobs": extra.privileged[b, :n].tolist(),
        }
        for b, n in enumerate(one.length)
    ]
    columns |= {"uid": NonTensorStack(*uid), "extra_fields": NonTensorStack(*episodes)}
    return queue.kv_batch_put(
        keys=[f"{name}_{b}_0" for b, name in enumerate(uid)],
        partition_id="train",
        fields=TensorDict(columns, batch_size=len(uid)),
        tags=[{} for _ in uid],
    )


def at_work(*overrides: str) -> AgentGymTrainer:
    """Our trainer at step 7, without the workers that it needs a GPU for."""
    made = object.__new__(AgentGymTrainer)
    made.config = composed("+agentgym=gigpo", "actor_rollout_ref.model.path=nowhere", *overrides)
    made.global_steps = STEP
    return made


def judged(name: str, one: Held, queue) -> torch.Tensor:
    """The advantages [N] that verl writes back."""
    meta = shelved(one, queue)
    at_work(f"algorithm.adv_estimator=agentgym_{name}")._compute_advantage(meta, {})
    found = queue.kv_batch_get(
        keys=meta.keys, partition_id="train", select_fields=["advantages", "returns"]
    )
    return one.flat(found["advantages"].to_padded_tensor(0.0))


@pytest.mark.parametrize("name", ["grpo", "gigpo", "opd", "sod", "atod", "rlsd"])
def test_the_trainer_hands_the_estimator_all_it_reads(name, monkeypatch):
    queue = Shelf()
    monkeypatch.setattr(trainer_base, "tq", queue)
    monkeypatch.setattr(trainer, "tq", queue)
    one = held(told(stories(), by_turn, penalty=0.0))
    expected = BUILT_IN[name]().credit(one.batch, STEP).advantage(one.batch)
    assert expected.any()
    assert_close(judged(name, one, queue), expected, rtol=0, atol=1e-9)
    assert known().spans is None, "what one batch told is forgotten with it"


def test_episodes_of_another_loop_are_refused(monkeypatch):
    queue = Shelf()
    monkeypatch.setattr(trainer, "tq", queue)
    one = held(told(stories(), by_turn, penalty=0.0))
    meta = shelved(one, queue)
    queue.rows[meta.keys[0]]["extra_fields"] = {"turn_scores": []}
    with pytest.raises(ValueError, match="write_parquet"):
        at_work()._compute_advantage(meta, {})


def test_it_is_verls_synchronous_trainer_in_all_else(monkeypatch):
    """verl compares the mode's name with "sync" wherever it matters."""
    assert get_trainer_cls("agentgym_sync") is AgentGymTrainer
    seen = []
    monkeypatch.setattr(trainer_base.PPOTrainer, "__init__", lambda self, c: seen.append(c))
    config = composed("+agentgym=gigpo", "actor_rollout_ref.model.path=nowhere")
    assert config.trainer.v1.trainer_mode == "agentgym_sync"
    AgentGymTrainer(config)
    assert seen[0].trainer.v1.trainer_mode == "sync"


@pytest.mark.slow
def test_the_real_queue_gives_the_same():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        settings = composed().transfer_queue
        OmegaConf.set_struct(settings, False)
        settings.backend.SimpleStorage.num_data_storage_units = 1
        transfer_queue.init(settings)
        one = held(told(stories(), by_turn, penalty=0.0))
        expected = BUILT_IN["gigpo"]().credit(one.batch, STEP).advantage(one.batch)
        assert_close(judged("gigpo", one, transfer_queue), expected, rtol=0, atol=1e-9)
        transfer_queue.close()
    finally:
        ray.shutdown()
