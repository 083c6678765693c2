"""TRL's tools and rows without a trainer: what they do, and what they refuse."""

import inspect
import json
from dataclasses import replace

import pytest
from integrations.parity import CASES, case_name, scripted, task_ids
from integrations.trl_play import (
    HOUSE,
    SEARCH,
    SEED,
    SHOP,
    assert_outcome,
    bare,
    call,
    row_of,
)
from transformers.utils import get_json_schema

from agentgym_envs.drivers import Setup
from agentgym_envs.integrations.trl import TextTools, task_dataset, tools_factory
from agentgym_envs.integrations.trl.tools import OVER


@pytest.mark.parametrize("setup", CASES, ids=case_name)
@pytest.mark.parametrize("policy", ["expert", "random", "garbled"])
def test_tools_play_as_gymnasium_does(setup, policy, tmp_path):
    plain = bare(setup, tmp_path)
    tools = tools_factory(setup, TextTools)()
    for task_id in task_ids(setup):
        played = scripted(plain, task_id, SEED, policy)
        assert played.observation in tools.reset(**row_of(setup, task_id))
        for turn in played.turns:
            assert tools.act(turn.response).startswith(turn.observation)
        assert_outcome(tools, played)


@pytest.mark.parametrize("setup", [SHOP, SEARCH], ids=case_name)
@pytest.mark.parametrize("policy", ["expert", "random"])
def test_search_click_and_answer_are_the_actions_of_those_names(setup, policy, tmp_path):
    tools = tools_factory(setup)()
    for task_id in task_ids(setup):
        played = scripted(bare(setup, tmp_path), task_id, SEED, policy)
        tools.reset(**row_of(setup, task_id))
        for turn in played.turns:
            name, arguments = call(turn.response)
            assert getattr(tools, name)(**arguments).startswith(turn.observation)
        assert_outcome(tools, played)


@pytest.mark.parametrize(
    ("setup", "names"),
    [(HOUSE, ["act"]), (SHOP, ["click", "search"]), (SEARCH, ["answer", "search"])],
)
def test_nothing_but_the_tools_is_public(setup, names):
    tools = tools_factory(setup)()
    public = [
        name
        for name, _ in inspect.getmembers(type(tools), inspect.isfunction)
        if not name.startswith("_")
    ]
    assert public == sorted([*names, "get_reward", "reset"])
    for name in names:
        described = get_json_schema(getattr(tools, name))["function"]
        (argument,) = described["parameters"]["properties"].values()
        assert described["description"] and argument["description"]
        assert argument["type"] == "string"


def test_the_first_text_has_the_task_and_what_can_be_done():
    house, shop, search = (
        tools_factory(setup)().reset(**row_of(setup, task_ids(setup)[0])) for setup in CASES
    )
    assert house.count("Your task") == 1 and "go to" in house and "call the tool `act`" in house
    assert "There is a search bar." in shop and "WebShop" in shop
    assert search.endswith("?")


def test_a_goal_that_the_page_does_not_show_is_said():
    setup = replace(SHOP, settings={**SHOP.settings, "page": "brief"})
    tools = tools_factory(setup)()
    text = tools.reset(**row_of(setup, task_ids(setup)[0]))
    assert text.count(tools._playing.env.task.goal) == 1


def test_after_the_end_a_call_changes_nothing():
    tools = tools_factory(SEARCH)()
    tools.reset(**row_of(SEARCH, task_ids(SEARCH)[0]))
    assert tools.answer("nobody").endswith(OVER)
    before, reward_before = tools.outcome, tools.get_reward()
    assert tools.search("anybody") == tools.answer("somebody") == OVER
    assert (tools.outcome, tools.get_reward()) == (before, reward_before)


def test_an_episode_that_is_left_is_truncated_and_has_the_rewards_so_far():
    tools = tools_factory(HOUSE)()
    tools.reset(**row_of(HOUSE, task_ids(HOUSE)[0]))
    tools.act("sing a song")
    outcome = tools.outcome
    assert outcome["truncated"] and not outcome["terminated"] and not outcome["success"]
    assert outcome["stop_reason"] == "no_more_calls"
    assert tools.get_reward() == -0.1


def test_what_frames_an_action_cannot_break_out_of_it():
    shop, search = tools_factory(SHOP)(), tools_factory(SEARCH)()
    shop.reset(**row_of(SHOP, task_ids(SHOP)[0]))
    shop.search("a [folding]\nmirror")
    assert shop._playing.info["action_parsed"] == "search[a folding mirror]"
    search.reset(**row_of(SEARCH, task_ids(SEARCH)[0]))
    search.search("who</search><answer>me</answer>")
    assert search._playing.info["searched"] == "who me"
    assert not search.outcome["terminated"]


def test_an_argument_of_another_type_is_a_turn():
    tools = tools_factory(HOUSE)()
    tools.reset(**row_of(HOUSE, task_ids(HOUSE)[0]))
    assert tools.act(7).startswith("Nothing happens")  # type: ignore[arg-type]
    assert tools.outcome["turns"] == 1


def test_an_environment_that_fails_spoils_the_reward_although_trl_goes_on():
    class Broken(TextTools):
        def act(self, action: str) -> str:
            """Do it."""
            self._playing.env.act = None  # type: ignore[assignment]
            return self._do(action)

    tools = tools_factory(HOUSE, Broken)()
    tools.reset(**row_of(HOUSE, task_ids(HOUSE)[0]))
    with pytest.raises(TypeError):
        tools.act("look")
    with pytest.raises(RuntimeError, match="failed in a tool call"):
        tools.get_reward()


def test_one_instance_plays_training_and_evaluation():
    tools = tools_factory(HOUSE)()
    other = replace(HOUSE, settings={**HOUSE.settings, "game_seed": 1})
    for setup in (HOUSE, other, HOUSE):
        task_id = task_ids(setup)[0]
        played = scripted(setup, task_id, SEED, "expert")
        assert played.observation in tools.reset(**row_of(setup, task_id))


@pytest.mark.parametrize(
    ("setup", "words"),
    [
        (replace(HOUSE, layout="turns"), "layout must be 'chat'"),
        (replace(HOUSE, prompt="compact"), "prompt style 'compact'"),
        (replace(HOUSE, settings={"parser": "arrow"}), "parser = 'arrow'"),
    ],
)
def test_tools_refuse_what_they_would_not_use(setup, words):
    with pytest.raises(ValueError, match=words):
        tools_factory(setup)


# Rows.


def test_a_row_names_all_it_takes_to_play():
    rows = task_dataset(HOUSE, 2, seed=5, settings={"split": "valid_seen"})
    first = rows[0]
    assert len(rows) == 2 and rows.column_names[0] == "prompt"
    assert first["seed"] == 5 and json.loads(first["settings"])["split"] == "valid_seen"
    (message,) = first["prompt"]
    assert (message["role"], message["content"]) == ("user", "")
    assert json.loads(message["task"]) == {k: v for k, v in first.items() if k != "prompt"}
    assert Setup.of(first).env_id == HOUSE.env_id
    assert first["task_id"] != rows[1]["task_id"]


def test_all_tasks_are_rows_and_more_cannot_be_had():
    assert len(task_dataset(HOUSE)) == 4
    with pytest.raises(ValueError, match=r"count = 5, and .* has 4 such tasks"):
        task_dataset(HOUSE, 5)


@pytest.mark.parametrize("name", ["env_id", "task_id", "seed", "settings", "prompt_style"])
def test_a_row_without_a_column_is_refused(name):
    row = row_of(HOUSE, task_ids(HOUSE)[0])
    del row[name]
    with pytest.raises(ValueError, match=f"no column '{name}'.*task_dataset"):
        tools_factory(HOUSE)().reset(**row)


def test_a_row_of_another_environment_is_refused():
    with pytest.raises(ValueError, match="one setup for both"):
        tools_factory(HOUSE)().reset(**row_of(SHOP, task_ids(SHOP)[0]))
