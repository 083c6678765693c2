"""GEM plays our environments as Gymnasium does, alone and in both of its vector forms."""

import random
import runpy
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import gem
import numpy as np
import pytest
from gem.vector.async_vector_env import AsyncVectorEnv
from gem.vector.sync_vector_env import SyncVectorEnv
from gem.vector.vector_env import AutoresetMode
from gem.wrappers.episode_tracking_wrapper import EpisodeTrackingWrapper
from gem.wrappers.observation_wrapper import ObservationWrapper
from gymnasium.error import ResetNeeded
from integrations.parity import CASES, POLICIES, case_name, scripted, task_ids

from agentgym_envs.drivers import Setup
from agentgym_envs.integrations import gem as adapter

EXAMPLE = Path(__file__).parents[2] / "docs/examples/gem_vector.py"
NAMES = [setup.env_id.replace("AgentGym/", "agentgym:") for setup in CASES]
ALFWORLD, WEBSHOP = CASES[0], CASES[1]
FORMS = {"sync": False, "async": True}


def made(setup, **more):
    return gem.make("agentgym", gym_id=setup.env_id, settings=setup.settings, **more)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("name", "setup"), list(zip(NAMES, CASES, strict=True)), ids=NAMES)
def test_an_episode_is_the_one_of_gymnasium(name, setup, policy):
    for task_id in task_ids(setup):
        expected = scripted(setup, task_id, seed=3, policy=policy)
        env = gem.make(name, settings=setup.settings, task_id=task_id)
        text, info = env.reset(seed=3)
        assert text + info["suffix"] == "\n\n".join(said["content"] for said in expected.opening)
        for turn in expected.turns:
            text, reward, terminated, truncated, info = env.step(turn.response)
            if terminated or truncated:
                assert (text, info["suffix"]) == (turn.observation, "")
            else:
                assert text + info["suffix"] == turn.message
            assert (reward, terminated, truncated) == (
                turn.reward,
                turn.terminated,
                turn.truncated,
            )
            assert info["metrics"]["action_is_valid"] == info["action_valid"]
        assert (info["success"], info["score"]) == (expected.success, expected.score)
        assert info["metrics"]["success"] == expected.success
        assert info["metrics"].keys() == info["metrics_agg_mode"].keys()
        assert info["stop_reason"] == expected.stop_reason
        with pytest.raises(ResetNeeded):
            env.step("anything")


def test_the_list_of_actions_is_the_suffix_and_not_in_the_observation():
    text, info = made(ALFWORLD).reset(seed=0)
    actions = [action for action in info["admissible_actions"] if action != "help"]
    assert all(f"'{action}'" in info["suffix"] for action in actions)
    assert not any(f"'{action}'" in text for action in actions)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_list_of_actions_can_stay_in_the_observation(policy):
    task_id = task_ids(ALFWORLD)[0]
    expected = scripted(ALFWORLD, task_id, seed=1, policy=policy)
    env = made(ALFWORLD, task_id=task_id, admissible="observation")
    text, info = env.reset(seed=1)
    assert (text, info["suffix"]) == (expected.opening[-1]["content"], "")
    for turn in expected.turns[:-1]:
        text, *_, info = env.step(turn.response)
        assert (text, info["suffix"]) == (turn.message, "")


@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_fresh_prompts_are_those_of_a_conversation(setup):
    fresh = replace(setup, layout="turns")
    task_id = task_ids(setup)[0]
    talk = fresh.conversation()
    env = made(setup, layout="turns", task_id=task_id)
    text, info = env.reset(seed=2)
    messages = talk.begin(task_id=task_id, seed=2)
    for turn in scripted(setup, task_id, seed=2, policy="random").turns:
        assert text == "\n\n".join(said["content"] for said in messages)
        assert info["suffix"] == ""
        text, *_, info = env.step(turn.response)
        messages = talk.take(turn.response)


def test_the_task_follows_the_seed_as_in_gymnasium():
    plain, env = WEBSHOP.make(), made(WEBSHOP)
    for seed in (11, 12, None, None, 11):
        assert env.reset(seed=seed)[1]["task_id"] == plain.reset(seed=seed)[1]["task_id"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_vector_episodes_are_those_of_one_environment(setup, form):
    ids = task_ids(setup)
    played = [scripted(setup, task_id, 4 + i, "random") for i, task_id in enumerate(ids)]
    envs = gem.make_vec(
        ["agentgym"] * len(ids),
        vec_kwargs=[{"task_id": task_id} for task_id in ids],
        async_mode=FORMS[form],
        gym_id=setup.env_id,
        settings=setup.settings,
    )
    assert isinstance(envs, AsyncVectorEnv if FORMS[form] else SyncVectorEnv)
    texts, infos = envs.reset(seed=4)
    for text, info, expected in zip(texts, infos, played, strict=True):
        assert text + info["suffix"] == expected.opening[-1]["content"]
    left = {i: list(expected.turns) for i, expected in enumerate(played)}
    while left:  # those that have ended are left out: a partial step
        actions = {i: turns[0].response for i, turns in left.items()}
        _, rewards, terminated, truncated, infos = envs.step(actions)
        assert len(rewards) == len(infos) == len(left)
        for place, i in enumerate(list(left)):
            turn = left[i].pop(0)
            assert rewards[place] == turn.reward
            assert terminated[place] == turn.terminated
            assert truncated[place] == turn.truncated
            if not left[i]:
                ended = infos[place]["final_info"]
                assert ended["success"] == played[i].success
                assert ended["stop_reason"] == played[i].stop_reason
                del left[i]


@pytest.mark.parametrize("form", [SyncVectorEnv, AsyncVectorEnv])
def test_the_next_step_form_of_reset_shows_the_last_info_in_its_place(form):
    task_id = task_ids(WEBSHOP)[0]
    expected = scripted(WEBSHOP, task_id, 0, "expert")
    envs = form(
        env_ids=["agentgym"],
        env_fns=[partial(made, WEBSHOP, task_id=task_id)],
        autoreset_mode=AutoresetMode.NEXT_STEP,
    )
    envs.reset(seed=0)
    for turn in expected.turns:
        *_, infos = envs.step([turn.response])
    assert infos[0]["success"] is expected.success
    _, rewards, terminated, _, infos = envs.step(["ignored"])
    assert (rewards[0], terminated[0], infos[0]["turn"]) == (0.0, False, 0)
    assert infos[0]["final_info"]["success"] is expected.success


def test_vector_environments_begin_with_the_seeds_they_are_made_with():
    envs = gem.make_vec(["agentgym"] * 3, seed=20, gym_id=WEBSHOP.env_id, settings=WEBSHOP.settings)
    _, infos = envs.reset()
    plain = [WEBSHOP.make().reset(seed=20 + i)[1]["task_id"] for i in range(3)]
    assert [info["task_id"] for info in infos] == plain


def test_gems_wrappers_keep_the_history_and_show_the_newest_actions_only():
    task_id = task_ids(ALFWORLD)[0]
    expected = scripted(ALFWORLD, task_id, 0, "random")
    env = EpisodeTrackingWrapper(
        ObservationWrapper(made(ALFWORLD, task_id=task_id), include_chat_template=False)
    )
    env.reset(seed=0)
    for turn in expected.turns[:2]:
        text, *_, info = env.step(turn.response)
    assert all(turn.response in text for turn in expected.turns[:2])
    assert text.count("Actions you may choose from") == 1
    assert text.endswith(info["suffix"])
    assert info["step_counter"] == 2
    assert info["cumulative_rewards"] == pytest.approx(sum(expected.rewards[:2]))


def test_a_spawned_environment_goes_on_from_the_same_state():
    task_id = task_ids(WEBSHOP)[0]
    expected = scripted(WEBSHOP, task_id, 0, "expert")
    env = made(WEBSHOP, task_id=task_id)
    with pytest.raises(ResetNeeded):
        env.spawn(same_state=True)
    env.reset(seed=0)
    for turn in expected.turns[:1]:
        env.step(turn.response)
    twin = env.spawn(same_state=True)
    for turn in expected.turns[1:]:
        assert twin.step(turn.response) == env.step(turn.response)
    other = env.spawn(task_id=task_ids(WEBSHOP)[1])
    assert other.reset(seed=0)[1]["task_id"] == task_ids(WEBSHOP)[1]


def test_global_generators_are_left_alone():
    before = random.getstate(), np.random.get_state()[1].tolist()
    env = made(WEBSHOP)
    env.reset(seed=5)
    over = False
    while not over:
        _, _, terminated, truncated, _ = env.step(env.sample_random_action())
        over = terminated or truncated
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_random_actions_follow_the_seed_and_keep_the_format():
    def tried(seed):
        env = made(ALFWORLD, task_id=task_ids(ALFWORLD)[0])
        env.reset(seed=seed)
        said, over = [], False
        while not over:
            said.append(env.sample_random_action())
            _, _, terminated, truncated, info = env.step(said[-1])
            assert info["action_valid"]
            over = terminated or truncated
        return said

    assert tried(1) == tried(1) != tried(2)


def test_a_setup_gets_a_name_of_its_own():
    adapter.register_setup("agentgym:Compact-v0", replace(WEBSHOP, prompt="compact"))
    env = gem.make("agentgym:Compact-v0")
    assert env.setup == replace(WEBSHOP, prompt="compact")
    assert env.env_id == "agentgym:Compact-v0"
    with pytest.raises(ValueError, match="already registered"):
        adapter.register_setup("agentgym:Compact-v0", WEBSHOP)


def test_a_system_text_stands_before_the_first_observation(tmp_path):
    style = tmp_path / "mine.toml"
    style.write_text(
        'parser = "text"\nsystem = "Be brief."\nreply = "{action}"\npair = ""\nlater = ""\n'
        'first = ""\nopening = "{goal} {observation}"\nfollowing = "{observation}"\n'
    )
    setup = Setup(env_id=WEBSHOP.env_id, settings=WEBSHOP.settings, prompt=str(style))
    text, info = made(setup, prompt=str(style)).reset(seed=0)
    assert text.startswith(f"Be brief.\n\n{info['goal']} ")


def test_unknown_arguments_tasks_and_ways_to_list_actions_are_errors():
    with pytest.raises(TypeError, match="max_turns"):
        gem.make("agentgym:WebShop-v0", max_turns=3)
    with pytest.raises(ValueError, match="'suffix' or 'observation', got 'prefix'"):
        made(WEBSHOP, admissible="prefix")
    with pytest.raises(KeyError, match="no/such-task"):
        made(WEBSHOP, task_id="no/such-task").reset()


def test_another_version_is_refused_with_the_fix(monkeypatch):
    monkeypatch.setattr("agentgym_envs.integrations.needs.version", lambda package: "9.1.0")
    with pytest.raises(ImportError, match='9.1.0 is installed: pip install "gem-llm>=0.1,<0.2"'):
        runpy.run_path(adapter.__file__)


def test_the_example_runs():
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("max_turns") == 3
