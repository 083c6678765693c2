"""skyrl-gym plays our environments as Gymnasium does."""

import random
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skyrl_gym
from integrations.parity import CASES, POLICIES, case_name, scripted, task_ids
from omegaconf import DictConfig
from pyarrow.parquet import read_table
from skyrl_gym.metrics import aggregate_for_environment

from agentgym_envs.drivers import Setup
from agentgym_envs.integrations import skyrl_gym as adapter

EXAMPLE = Path(__file__).parents[2] / "docs/examples/skyrl_gym_episode.py"
WEBSHOP = CASES[1]


def made(setup, task_id, seed=0, **more):
    return skyrl_gym.make(adapter.NAME, env_config={}, extras={**setup.row(task_id, seed), **more})


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_an_episode_is_the_one_of_gymnasium(setup, policy):
    for row in adapter.rows(setup, count=3, seed=3):
        expected = scripted(setup, row["task_id"], seed=3, policy=policy)
        env = skyrl_gym.make(adapter.NAME, env_config=DictConfig({}), extras=row)
        messages, about = env.init(row["prompt"])
        assert tuple(messages) == expected.opening == tuple(row["prompt"])
        assert about == {}
        for turn in expected.turns:
            out = env.step(turn.response)
            over = turn.terminated or turn.truncated
            following = [] if over else [{"role": "user", "content": turn.message}]
            assert out["observations"] == following
            assert out["reward"] == turn.reward
            assert out["done"] == over
            assert out["postprocessed_action"] is None
            assert out["metadata"]["terminated"] == turn.terminated
            assert out["metadata"]["truncated"] == turn.truncated
        assert out["metadata"]["success"] == expected.success
        assert out["metadata"]["score"] == expected.score
        assert out["metadata"]["stop_reason"] == expected.stop_reason
        assert out["metadata"]["split"] == setup.make().tasks.task(row["task_id"]).split
        told = env.get_metrics()
        assert told["reward"] == pytest.approx(expected.reward)
        assert (told["success"], told["terminated"], told["truncated"]) == (
            expected.success,
            expected.terminated,
            expected.truncated,
        )
        assert told["turns"] == env.turns == len(expected.turns)
        env.close()


def test_the_data_set_survives_parquet(tmp_path):
    rows = adapter.rows(WEBSHOP, count=4)
    adapter.write_parquet(tmp_path / "train.parquet", rows)
    read = read_table(tmp_path / "train.parquet").to_pylist()
    assert read == rows
    assert [row["task_id"] for row in read] == task_ids(WEBSHOP, 4)
    assert {row["env_class"] for row in read} == {adapter.NAME}
    assert Setup.of(read[0]) == WEBSHOP


def test_an_episode_cut_off_by_the_trainer_is_truncated_and_no_success():
    task_id = task_ids(WEBSHOP)[0]
    env = made(WEBSHOP, task_id)
    env.init([])
    env.step(scripted(WEBSHOP, task_id, 0, "expert").responses[0])
    told = env.get_metrics()
    assert (told["success"], told["terminated"], told["truncated"]) == (False, False, True)


def test_metrics_are_means_and_each_environments_where_there_are_several():
    def episode(env_id, success):
        return {"env_id": env_id, "success": success, "reward": 2.0 * success}

    one, other = [episode("A/a-v0", True), episode("A/a-v0", False)], [episode("B/b-v0", True)]
    assert aggregate_for_environment(adapter.NAME, one) == {"success": 0.5, "reward": 1.0}
    both = aggregate_for_environment(adapter.NAME, one + other)
    assert both["success"] == pytest.approx(2 / 3)
    assert both["A/a-v0/success"] == 0.5
    assert both["B/b-v0/reward"] == 2.0
    assert aggregate_for_environment(adapter.NAME, []) == {}


def test_global_generators_are_left_alone():
    before = random.getstate(), np.random.get_state()[1].tolist()
    task_id = task_ids(WEBSHOP)[0]
    env = made(WEBSHOP, task_id, seed=5)
    env.init([])
    for response in scripted(WEBSHOP, task_id, 5, "random").responses:
        env.step(response)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


@pytest.mark.parametrize("column", ["env_id", "settings", "task_id", "seed", "layout"])
def test_a_row_without_a_column_is_refused_by_name(column):
    row = WEBSHOP.row(task_ids(WEBSHOP)[0])
    del row[column]
    with pytest.raises(ValueError, match=f"no column '{column}'"):
        skyrl_gym.make(adapter.NAME, env_config={}, extras=row)


def test_an_unknown_task_is_an_error():
    env = made(WEBSHOP, "no/such-task")
    with pytest.raises(KeyError, match="no/such-task"):
        env.init([])


def test_a_turn_limit_of_the_trainers_below_the_environments_is_refused():
    task_id = task_ids(WEBSHOP)[0]
    own = WEBSHOP.make().max_turns
    with pytest.raises(ValueError, match=rf"generator\.max_turns is 1, .* up to {own} turns"):
        made(WEBSHOP, task_id, max_turns=1)
    assert made(WEBSHOP, task_id, max_turns=own).max_turns == own
    assert made(WEBSHOP, task_id, max_turns=own + 3).max_turns == own


def test_settings_in_the_trainers_file_are_refused():
    row = WEBSHOP.row(task_ids(WEBSHOP)[0])
    with pytest.raises(ValueError, match="has the key 'max_turns', and none is read"):
        skyrl_gym.make(adapter.NAME, env_config={"max_turns": 3}, extras=row)


def test_the_layout_of_fresh_prompts_is_refused():
    fresh = Setup(env_id=WEBSHOP.env_id, settings=WEBSHOP.settings, layout="turns")
    with pytest.raises(ValueError, match="use Setup\\(layout='chat'\\)"):
        adapter.rows(fresh, count=1)
    with pytest.raises(ValueError, match="use Setup\\(layout='chat'\\)"):
        made(fresh, task_ids(WEBSHOP)[0])


def test_another_version_is_refused_with_the_fix(monkeypatch):
    monkeypatch.setattr("agentgym_envs.integrations.needs.version", lambda package: "9.1.0")
    with pytest.raises(ImportError, match='9.1.0 is installed: pip install "skyrl-gym>=0.4,<0.5"'):
        runpy.run_path(adapter.__file__)


def test_the_example_runs():
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)], capture_output=True, text=True, check=True
    )
    assert "max_turns {'env_id': 'AgentGym/ALFWorld-v0'" in done.stdout
