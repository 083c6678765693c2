"""The prompt styles: what they show, and that what they ask for is what their parser reads."""

import pytest

from agentgym_envs.parsing import find_parser
from agentgym_envs.prompts import load_style
from agentgym_envs.searchqa.env import SearchQAEnv
from agentgym_envs.searchqa.verify import well_formed
from agentgym_envs.types import Advice

STYLES = ("default", "search_r1", "verl_agent", "compact")
TAGS = ("<think>", "</think>", "<search>", "</search>", "<answer>", "</answer>", "<information>")


@pytest.fixture(scope="module", params=STYLES)
def style(request):
    return load_style(request.param, SearchQAEnv.prompt_folder)


def played(style):
    """An episode of a generated world, played by its expert in this style."""
    env = SearchQAEnv(**style.fitted({"world_preset": "nano"}))
    chained = next(id for id in env.tasks.ids if env.tasks.task(id).kind == "bridge_2")
    env.reset(options={"task_id": chained})
    over = False
    while not over:
        advice = env.advise()
        *_, terminated, truncated, info = env.step(style.written(advice))
        assert (info["action_valid"], info["action_parsed"]) == (True, advice.action)
        over = terminated or truncated
    return env.episode


def test_the_expert_can_be_written_and_read(style):
    episode = played(style)
    assert len(episode.turns) == 3
    last = episode.turns[-1].facts
    assert last["gold_found"] == last["gold_known"] == 2


@pytest.mark.parametrize("name", ["default", "search_r1", "verl_agent"])
def test_the_expert_keeps_the_published_format(name):
    assert well_formed(played(load_style(name, SearchQAEnv.prompt_folder)))


@pytest.mark.parametrize("name", ["default", "search_r1", "verl_agent"])
def test_every_tag_and_the_question_are_told(name):
    style = load_style(name, SearchQAEnv.prompt_folder)
    opening = style.opening_messages("who is it?", "who is it?", ())[-1]["content"]
    assert all(tag in opening for tag in TAGS)
    assert opening.count("who is it?") == 1
    first = style.turn_messages("who is it?", (), "who is it?", ())[-1]["content"]
    assert first.count("who is it?") == 1


def test_later_turns_show_what_was_searched_and_found(style):
    turns = played(style).turns
    later = style.turn_messages(turns[0].observation, turns[:2], turns[2].observation, ())
    text = later[-1]["content"]
    for turn in turns[:2]:
        assert turn.action in text
    for turn in turns[1:]:
        assert turn.observation.strip() in text
    assert turns[0].observation in text


def test_verl_agents_history_is_numbered_and_four_long():
    style = load_style("verl_agent", SearchQAEnv.prompt_folder)
    assert style.history == 4
    turns = played(style).turns
    text = style.turn_messages("q", turns[:2], "now", ())[-1]["content"]
    assert (
        f"Step 1: {turns[0].action} {turns[1].observation}\nStep 2: {turns[1].action} now" in text
    )
    assert "taken 2 step(s)" in text


def test_the_example_in_a_prompt_is_no_answer_of_the_policys(style):
    parse = find_parser(style.parser)
    reply = style.written(Advice("<answer>Rome</answer>", "need: capital"))
    assert parse(reply, ()) == ("<answer>Rome</answer>", True)


def test_a_conversation_goes_on_with_what_was_found(style):
    assert style.following_text("q", "\n\n<information>x</information>\n\n", ()).strip() == (
        "<information>x</information>"
    )
