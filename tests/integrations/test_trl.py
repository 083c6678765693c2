"""TRL's GRPO over our environments, offline with a tiny model: by tools, and by plain text."""

import importlib
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import concatenate_datasets
from integrations.parity import CASES, GARBLED, Played, case_name, scripted
from integrations.trl_play import (
    DONE,
    HOUSE,
    SAID_AT,
    SEARCH,
    SEED,
    Recorded,
    Scripted,
    assert_outcome,
    bare,
    settings,
    tool_reply,
    weights,
)

import agentgym_envs.integrations.needs
import agentgym_envs.integrations.trl as adapter
from agentgym_envs.drivers import Setup
from agentgym_envs.integrations.trl import (
    SearchTools,
    TextTools,
    reward,
    rollout_func,
    success,
    task_dataset,
    tools_factory,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:You are using '(rollout_func|environment_factory)'"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
SHORT = replace(HOUSE, settings={**HOUSE.settings, "max_turns": 3})


def tools_trainer(setup: Setup, out: Path, **more: Any) -> dict[str, Any]:
    return {
        "setup": setup,
        "environment_factory": tools_factory(setup),
        "reward_funcs": [success],
        "train_dataset": task_dataset(setup, 2, seed=SEED),
        "args": settings(
            out,
            reward_weights=[0.0],
            chat_template_kwargs={"enable_thinking": False},
            **{"per_device_train_batch_size": 4, "num_generations": 2} | more,
        ),
    }


def text_trainer(setup: Setup, out: Path, max_tokens: int = 30_000, **more: Any) -> dict[str, Any]:
    return {
        "setup": setup,
        "rollout_func": rollout_func(setup, max_tokens=max_tokens),
        "reward_funcs": [reward, success],
        "train_dataset": task_dataset(setup, 2, seed=SEED),
        "args": settings(
            out,
            reward_weights=[1.0, 0.0],
            **{"per_device_train_batch_size": 6, "num_generations": 3} | more,
        ),
    }


def assert_learnt(trainer: Scripted, before: torch.Tensor) -> None:
    """The members' rewards differ, there is a gradient, and the weights moved."""
    assert not torch.equal(weights(trainer), before)
    (step,) = [line for line in trainer.state.log_history if "grad_norm" in line]
    assert step["reward_std"] > 0 and step["grad_norm"] > 0
    for place, replies in enumerate(trainer.scripted):
        assert trainer.masked(place) == [token for reply in replies for token in reply]


@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_grpo_by_tools_learns_from_episodes_as_gymnasium_plays_them(setup, tmp_path):
    plain = bare(setup, tmp_path)
    policies = ("expert", "random")
    played: dict[tuple[str, int], Played] = {}

    def script(row: Mapping[str, Any], member: int) -> list[str]:
        one = scripted(plain, row["task_id"], SEED, policies[member])
        played[row["task_id"], member] = one
        return [*map(tool_reply, one.responses), DONE]

    trainer = Scripted(
        script=script, **tools_trainer(setup, tmp_path, max_completion_length=30_000)
    )
    before = weights(trainer)
    trainer.train()
    assert_learnt(trainer, before)
    for place, row in enumerate(trainer.rows):
        expected = played[row["task_id"], place % 2]
        assert expected.observation in trainer.asked[place][0]["content"]
        told = [m["content"] for m in trainer.completions[place] if m["role"] == "tool"]
        assert len(told) == len(expected.turns)
        for text, turn in zip(told, expected.turns, strict=True):
            assert text.startswith(turn.observation)
        assert trainer.completions[place][-1]["content"] == DONE
        assert_outcome(trainer.environments[place], expected)
        assert trainer.rewards[place].tolist() == pytest.approx(
            [float(expected.success), expected.reward]
        )


@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_grpo_by_text_learns_from_episodes_as_gymnasium_plays_them(setup, tmp_path):
    policies = ("expert", "random", "garbled")
    played: dict[tuple[str, int], Played] = {}

    def script(row: Mapping[str, Any], member: int) -> list[str]:
        one = scripted(setup, row["task_id"], SEED, policies[member])
        played[row["task_id"], member] = one
        return one.responses

    trainer = Scripted(script=script, **text_trainer(setup, tmp_path))
    before = weights(trainer)
    trainer.train()
    assert_learnt(trainer, before)
    tokens = trainer.tokens
    for place, row in enumerate(trainer.rows):
        expected = played[row["task_id"], place % 3]
        prompt = tokens.opening(expected.opening)
        assert trainer.prompt_ids[place] == list(prompt)
        *earlier, last = expected.turns
        whole = prompt
        for turn in earlier:
            whole = tokens.grown(whole, tokens.written(turn.response), turn.message)
        whole = (*whole, *tokens.written(last.response))
        assert trainer.completion_ids[place] == list(whole[len(prompt) :])
        told = {name: values[place] for name, values in trainer.columns.items()}
        assert told == {
            "reward": expected.reward,
            "score": expected.score,
            "success": expected.success,
            "terminated": expected.terminated,
            "truncated": expected.truncated,
            "turns": len(expected.turns),
            "stop_reason": expected.stop_reason,
        }
        assert trainer.rewards[place].tolist() == pytest.approx(
            [expected.reward, float(expected.success)]
        )


def test_members_of_a_group_play_one_task_from_one_seed(tmp_path):
    trainer = Scripted(script=lambda row, member: [GARBLED] * 3, **text_trainer(SHORT, tmp_path))
    trainer.train()
    for first in (0, 3):
        members = range(first, first + 3)
        assert len({trainer.rows[i]["task_id"] for i in members}) == 1
        assert len({tuple(trainer.completion_ids[i]) for i in members}) == 1
    assert trainer.rows[0]["task_id"] != trainer.rows[3]["task_id"]


def test_the_samplers_log_probs_stand_where_it_sampled(tmp_path):
    trainer = Scripted(script=lambda row, member: [GARBLED] * 3, **text_trainer(SHORT, tmp_path))
    trainer.train()
    for told, mask in zip(trainer.logprobs, trainer.mask, strict=True):
        assert told == [SAID_AT if sampled else 0.0 for sampled in mask]


def test_a_log_prob_that_vllm_cannot_tell_is_not_a_number(tmp_path):
    class Unsure(Scripted):
        def _generate_single_turn(self, prompt_ids: Any, *rest: Any, **more: Any) -> Any:
            replies, logprobs = super()._generate_single_turn(prompt_ids, *rest, **more)
            return replies, [[None, *told[1:]] for told in logprobs]

    trainer = Unsure(script=lambda row, member: [GARBLED] * 3, **text_trainer(SHORT, tmp_path))
    trainer.train()
    for told, replies in zip(trainer.logprobs, trainer.scripted, strict=True):
        assert sum(map(math.isnan, told)) == len(replies)


def test_tools_run_unmodified_and_evaluate(tmp_path):
    trainer = Recorded(**tools_trainer(HOUSE, tmp_path, max_completion_length=24, max_steps=2))
    trainer.train()
    assert trainer.state.global_step == 2
    logged = trainer.state.log_history[0]
    assert logged["episodes/truncated"] == 1.0  # a random model calls no tool
    assert {"rewards/TextTools/mean", "rewards/success/mean"} <= logged.keys()
    measured = trainer.evaluate(task_dataset(HOUSE, 4, settings={"game_seed": 1}))
    assert measured["eval_rewards/success/mean"] == 0.0


def test_several_environments_train_together(tmp_path):
    setups = {"house": HOUSE, "questions": SEARCH}
    datasets = [
        task_dataset(setup, 1).add_column("environment", [name]) for name, setup in setups.items()
    ]
    options = tools_trainer(HOUSE, tmp_path, max_completion_length=24) | {
        "environment_factory": {name: tools_factory(setup) for name, setup in setups.items()},
        "train_dataset": concatenate_datasets(datasets),
    }
    trainer = Recorded(**options)
    trainer.train()
    played = [type(environment) for environment in trainer.environments]
    assert played == [TextTools, TextTools, SearchTools, SearchTools]


def test_text_runs_unmodified_and_evaluates(tmp_path):
    trainer = Recorded(**text_trainer(SHORT, tmp_path, max_completion_length=8, max_steps=2))
    trainer.train()
    assert trainer.state.global_step == 2
    assert trainer.logprobs is None
    for ids, mask in zip(trainer.completion_ids, trainer.mask, strict=True):
        assert len(ids) == len(mask) and 3 <= sum(mask) <= 3 * 8
    assert set(trainer.columns["stop_reason"]) == {"max_turns"}
    assert trainer.state.log_history[0]["episodes/turns"] == 3
    measured = trainer.evaluate(task_dataset(SHORT, 4, settings={"game_seed": 1}))
    assert measured["eval_episodes/truncated"] == 1.0


def test_text_that_has_no_room_left_is_truncated(tmp_path):
    group = {"num_generations": 6, "max_completion_length": 200}
    trainer = Scripted(
        script=lambda row, member: [GARBLED] * 12,
        **text_trainer(HOUSE, tmp_path, max_tokens=900, **group),
    )
    trainer.train()
    assert set(trainer.columns["stop_reason"]) == {"length"}
    assert set(trainer.columns["truncated"]) == {True}
    assert set(trainer.columns["terminated"]) == {False}
    assert all(
        len(prompt) + len(completion) <= 900
        for prompt, completion in zip(trainer.prompt_ids, trainer.completion_ids, strict=True)
    )


def test_a_tool_result_that_does_not_fit_leaves_a_truncated_episode(tmp_path):
    options = tools_trainer(HOUSE, tmp_path, max_completion_length=60)
    trainer = Scripted(script=lambda row, member: [tool_reply("look")], **options)
    trainer.train()
    for environment in trainer.environments:
        assert environment.outcome["turns"] == 1
        assert environment.outcome["truncated"] and not environment.outcome["terminated"]
        assert environment.outcome["stop_reason"] == "no_more_calls"


# What plain text refuses.


def test_text_refuses_fresh_prompts():
    with pytest.raises(ValueError, match="layout = 'turns' makes one for each turn"):
        rollout_func(replace(HOUSE, layout="turns"), max_tokens=100)


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A trainer that waits for six completions."""
    return Recorded(**text_trainer(HOUSE, tmp_path_factory.mktemp("trainer")))


def test_text_refuses_another_count_of_prompts(trainer):
    prompts = list(task_dataset(HOUSE, 2)["prompt"])
    with pytest.raises(RuntimeError, match="2 prompts where 6 completions are due"):
        trainer.rollout_func(prompts, trainer)


@pytest.mark.parametrize("prompt", ["text", [{"role": "user", "content": "a task"}]])
def test_text_refuses_prompts_that_name_no_task(trainer, prompt):
    with pytest.raises(ValueError, match=r"names no task: .*task_dataset"):
        trainer.rollout_func([prompt] * 6, trainer)


def test_text_refuses_a_first_prompt_that_does_not_fit(trainer):
    prompts = [task_dataset(HOUSE, 1)["prompt"][0]] * 6
    with pytest.raises(ValueError, match="leaves no room"):
        rollout_func(HOUSE, max_tokens=100)(prompts, trainer)


def test_text_refuses_template_settings_it_would_not_use(trainer, monkeypatch):
    monkeypatch.setattr(trainer, "chat_template_kwargs", {"enable_thinking": True})
    with pytest.raises(ValueError, match="would not be used"):
        trainer.rollout_func([], trainer)


def test_text_refuses_a_trainer_that_does_not_stop_where_replies_end(trainer, monkeypatch):
    monkeypatch.setattr(trainer, "eos_token_ids", [0])
    with pytest.raises(ValueError, match=r"set tokenizer.eos_token = '<\|im_end\|>'"):
        trainer.rollout_func([], trainer)


def test_text_refuses_processes_that_would_wait_for_each_other(trainer, monkeypatch):
    monkeypatch.setattr(type(trainer.accelerator), "num_processes", 2)
    monkeypatch.setattr(trainer, "use_vllm", True)
    monkeypatch.setattr(trainer, "vllm_mode", "server")
    with pytest.raises(ValueError, match="every process must sample equally often"):
        trainer.rollout_func([], trainer)


def test_success_needs_episodes():
    with pytest.raises(ValueError, match="no episodes to judge"):
        success(log_metric=print, prompts=[], completions=[])


def test_another_version_of_trl_is_refused_with_the_fix(monkeypatch):
    monkeypatch.setattr(agentgym_envs.integrations.needs, "version", lambda package: "1.17.0")
    with pytest.raises(ImportError, match=r'pip install "trl>=1.16,<1.17"'):
        importlib.reload(adapter)


# The examples.


@pytest.mark.parametrize("name", ["trl_tools", "trl_rollout"])
def test_the_example_runs(name, tmp_path):
    trainer = importlib.import_module(name).main(["--steps", "1", "--out", str(tmp_path)])
    assert trainer.state.global_step == 1
