"""An episode as chat messages plays as plain Gymnasium does."""

from dataclasses import replace

import pytest
from envs.drivers.byte_tokens import PANTRY, TASK
from gymnasium.error import ResetNeeded
from hypothesis import given, settings
from hypothesis import strategies as st
from integrations.parity import CASES, POLICIES, case_name, scripted, task_ids

from agentgym_envs.drivers import Conversation


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("layout", ["chat", "turns"])
@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_a_conversation_plays_as_gymnasium_does(setup, layout, policy):
    setup = replace(setup, layout=layout)
    talk = setup.conversation()  # one for all: nothing of an episode stays for the next
    for task_id in task_ids(setup):
        expected = scripted(setup, task_id, seed=3, policy=policy)
        asked = [talk.begin(task_id=task_id, seed=3)]
        for turn in expected.turns:
            assert not talk.over
            news = talk.take(turn.response)
            assert bool(news) == (not talk.over) == bool(turn.message)
            if layout == "chat" and news:
                assert news == [user(turn.message)] == talk.messages[-1:]
            asked += [talk.messages] if news else []
            assert talk.episode.outcome == turn.observation
            assert (talk.rewards[-1], talk.terminated, talk.truncated) == (
                *(turn.reward, turn.terminated),
                turn.truncated,
            )
        assert tuple(asked) == expected.prompts
        assert talk.over and talk.rewards == expected.rewards and talk.reward == expected.reward
        assert (talk.verdict.success, talk.verdict.score) == (expected.success, expected.score)
        assert talk.summary["stop_reason"] == expected.stop_reason


def test_a_chat_by_hand():
    talk = PANTRY.conversation()
    opening = [user("Find the honey. Cupboards, all closed.")]
    assert talk.begin(task_id=TASK, seed=0) == opening == talk.messages
    assert talk.take("hm > open red") == [user("The red cupboard holds honey.")]
    assert talk.take("> take honey") == []
    assert talk.messages == [
        *opening,
        assistant("hm > open red"),
        user("The red cupboard holds honey."),
        assistant("> take honey"),
    ]
    assert (talk.terminated, talk.truncated, talk.rewards) == (True, False, [0.0, 1.0])
    assert talk.verdict.reason == "honey taken"
    assert talk.summary == {
        **{"task_id": TASK, "task_hash": talk.env.task.hash, "split": "train", "turn": 2},
        **{"score": 1.0, "success": True, "stop_reason": "done", "invalid_turns": 0},
        **{"env_version": "0", "terminated": True, "truncated": False, "reward": 1.0},
    }


def test_fresh_prompts_by_hand():
    talk = replace(PANTRY, layout="turns").conversation()
    assert talk.begin(task_id=TASK, seed=0) == [user("Find the honey. Cupboards, all closed.")]
    shown = "Find the honey. Find the honey. Cupboards, all closed. > open red "
    assert talk.take("> open red") == [user(shown + "The red cupboard holds honey.")]
    assert talk.take("> take honey") == []


@settings(max_examples=40)
@given(st.lists(st.text(), min_size=1, max_size=4))
def test_a_chat_only_grows_whatever_is_said(responses):
    talk = PANTRY.conversation()
    before = talk.begin(task_id=TASK, seed=0)
    for response in responses:
        news = talk.take(response)
        assert talk.messages == [*before, assistant(response), *news]
        assert [turn.response for turn in talk.episode.turns][-1] == response
        before = talk.messages
    assert talk.truncated == (len(responses) == 4)


def test_after_the_end_a_conversation_has_to_begin_again():
    talk = PANTRY.conversation()
    talk.begin(task_id=TASK, seed=0)
    talk.take("> open red")
    talk.take("> take honey")
    with pytest.raises(ResetNeeded):
        talk.take("> look")
    assert len(talk.rewards) == 2
    talk.begin(task_id=TASK, seed=0)
    assert (talk.over, talk.rewards, talk.reward, len(talk.messages)) == (False, [], 0, 1)


def test_a_seed_chooses_the_task_as_reset_does():
    talk, env = PANTRY.conversation(), PANTRY.make()
    for seed in range(5):
        talk.begin(seed=seed)
        _, info = env.reset(seed=seed)
        assert talk.info == info


def test_a_task_that_is_not_there():
    with pytest.raises(KeyError, match="pantry/black"):
        PANTRY.conversation().begin(task_id="pantry/black")


def test_dictionaries_cannot_be_said():
    with pytest.raises(ValueError, match="observation_mode='text'"):
        replace(PANTRY, settings={"observation_mode": "dict"}).conversation()
    assert isinstance(PANTRY.conversation(), Conversation)
