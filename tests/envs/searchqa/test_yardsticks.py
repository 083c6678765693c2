"""The scripted policies: what each may use, and that each ranks where it should."""

import pytest

from agentgym_envs.evaluate import evaluate, play, yardstick
from agentgym_envs.searchqa.env import SearchQAEnv
from agentgym_envs.searchqa.yardsticks import guess, likely


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is Ada older than Bob?", "yes"),
        ("are both rivers in Peru", "yes"),
        ("Which is longer, the Ob or the Po?", "Ob"),
        ("Who was born first, Ada Byron or Bob Stone?", "Ada Byron"),
        ("Which weighs more, an ounce or a pound?", "an ounce"),
        ("who is the mayor of Londinium", "unknown"),
        ("", "unknown"),
    ],
)
def test_what_the_form_of_a_question_suggests(question, answer):
    assert guess(question) == answer


def test_the_sentence_most_like_the_question_answers_it():
    found = (
        '<information>Doc 1(Title: "Ada") Ada is a friend of Bob. The mayor of Rome is Cato.\n'
        'Doc 2(Title: "Po") The Po flows by Turin.</information>'
    )
    assert likely("who is the mayor of Rome?", found) == "Cato"
    assert likely("where does the Po flow?", found) == "Turin"
    assert likely("what now?", "<information></information>") == "unknown"


@pytest.fixture(scope="module", params=["search_r1", "verl_agent"])
def env(request):
    return SearchQAEnv(world_preset="nano", split="test", protocol=request.param)


def test_they_search_as_much_as_they_say(env):
    searches = {}
    for name in ("closed_book", "one_query", "oracle"):
        episode, _ = play(env, yardstick(env, name), env.tasks.ids[0])
        searches[name] = episode.turns[-1].facts["searches"]
        assert all(turn.valid for turn in episode.turns)
    assert searches == {"closed_book": 0, "one_query": 1, "oracle": 0}


def test_floor_and_ceiling(env):
    rates = {name: evaluate(env, yardstick(env, name)).overall.rate for name in env.yardsticks}
    assert rates["oracle"] == rates["expert"] == 1.0
    assert rates["closed_book"] <= rates["one_query"] < 0.9
    assert rates["random"] < 0.1


def test_one_query_finds_what_one_page_says_and_no_chain(env):
    by_kind = evaluate(env, yardstick(env, "one_query")).by_kind
    assert by_kind["single"].rate > 0.9
    assert by_kind["bridge_2"].rate < 0.1
