"""Prompts as observations: those of the drivers, for whoever knows Gymnasium only."""

from dataclasses import replace

import gymnasium as gym
import pytest
from integrations.parity import CASES, case_name, scripted, task_ids

from agentgym_envs.registration import importable
from agentgym_envs.wrappers import PromptWrapper

PANTRY = "pantry:Pantry/Honey-v0"


def make(setup, **asked):
    settings = {"parser": setup.style.parser, **setup.settings}
    return PromptWrapper(
        gym.make(importable(setup.env_id), **settings), layout=setup.layout, **asked
    )


@pytest.mark.parametrize("layout", ["chat", "turns"])
@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_observations_are_the_prompts_of_the_drivers(setup, layout):
    setup = replace(setup, layout=layout)
    env = make(setup, messages=True)
    (task_id,) = task_ids(setup, 1)
    expected = scripted(setup, task_id, seed=3, policy="garbled")
    seen, _ = env.reset(seed=3, options={"task_id": task_id})
    for prompt, response in zip(expected.prompts, expected.responses, strict=True):
        assert list(seen) == prompt and seen in env.observation_space
        seen, *_ = env.step(response)


def test_a_text_is_the_contents_of_the_messages():
    env = PromptWrapper(gym.make(PANTRY, parser="arrow"), layout="chat")
    first, _ = env.reset(options={"task_id": "pantry/red/honey"})
    text, reward, *_ = env.step("> open red")
    assert text == f"{first}\n\n> open red\n\nThe red cupboard holds honey."
    assert text in env.observation_space and reward == 0.0


def test_its_spec_makes_it_again():
    env = PromptWrapper(gym.make(PANTRY, parser="arrow"), layout="chat", messages=True)
    again = gym.make(type(env.spec).from_json(env.spec.to_json()))
    assert again.reset(seed=1)[0] == env.reset(seed=1)[0]


def test_what_cannot_be_prompted_is_refused():
    with pytest.raises(ValueError, match="parser 'arrow' reads.*has 'text': make it with that"):
        PromptWrapper(gym.make(PANTRY))
    with pytest.raises(ValueError, match="no prompt style 'lost'"):
        PromptWrapper(gym.make(PANTRY), style="lost")
    with pytest.raises(TypeError, match="a prompt needs a TextEnv, got CartPoleEnv"):
        PromptWrapper(gym.make("CartPole-v1"))
