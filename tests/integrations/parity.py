"""What plain Gymnasium gives for a scripted policy: every adapter must give the same.

    from integrations.parity import CASES, POLICIES, scripted, task_ids

    @pytest.mark.parametrize("setup", CASES, ids=case_name)
    @pytest.mark.parametrize("policy", POLICIES)
    def test_the_adapter_plays_as_gymnasium_does(setup, policy):
        for task_id in task_ids(setup):
            expected = scripted(setup, task_id, seed=3, policy=policy)
            ...  # play `expected.responses` through the adapter and compare turn by turn

Or, for stacks that ask a model themselves: `answers([expected, ...])` is the model.

`scripted` uses `gym.make`, `reset`, `step` and the prompt style, and nothing of
`agentgym_envs.drivers` but the setup's fields. Needs gymnasium, numpy and agentgym_envs only.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import gymnasium as gym

from agentgym_envs.core import TextEnv
from agentgym_envs.drivers.setup import Setup
from agentgym_envs.evaluate import yardstick
from agentgym_envs.prompts import Message
from agentgym_envs.registration import importable
from agentgym_envs.types import Advice

# Small, generated, and with every kind of reward and end: penalties, scales, few turns.
CASES = [
    Setup(
        env_id="AgentGym/ALFWorld-v0",
        settings={
            **{"difficulty": "tiny", "games": {"train": 4}, "max_turns": 12},
            **{"reward_scale": 10.0, "invalid_penalty": 0.1},
        },
    ),
    Setup(
        env_id="AgentGym/WebShop-v0",
        settings={
            **{"difficulty": "tiny", "products": 40, "splits": "all", "max_turns": 8},
            "invalid_penalty": 0.25,
        },
    ),
    Setup(
        env_id="AgentGym/SearchQA-v0",
        settings={"world_preset": "nano", "split": "test", "max_turns": 4},
    ),
]
# "garbled": the expert, whose every other response has no action in it.
POLICIES = ("expert", "random", "garbled")
GARBLED = "I am not sure what to do here, so I say nothing useful."


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedTurn:
    """A response, and what came of it.

    observation: the environment's text after the response. message: the same as the style's user
    message of the chat layout, "" after the end.
    """

    response: str
    observation: str
    message: str
    reward: float
    terminated: bool
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One episode.

    observation: the first one; opening: the messages that the chat begins with. prompts: what a
    model reads before each response, in the setup's layout.
    """

    task_id: str
    seed: int
    observation: str
    opening: tuple[Message, ...]
    prompts: tuple[list[Message], ...]
    turns: tuple[PlayedTurn, ...]
    success: bool
    score: float
    stop_reason: str

    @property
    def responses(self) -> list[str]:
        return [turn.response for turn in self.turns]

    @property
    def rewards(self) -> list[float]:
        return [turn.reward for turn in self.turns]

    @property
    def reward(self) -> float:
        return sum(self.rewards)

    @property
    def terminated(self) -> bool:
        return self.turns[-1].terminated

    @property
    def truncated(self) -> bool:
        return self.turns[-1].truncated


def case_name(setup: Setup) -> str:
    """For `ids=` of a parametrised test."""
    return setup.env_id


def task_ids(setup: Setup, count: int = 3) -> list[str]:
    """The first tasks of a case."""
    return list(cast(TextEnv, _made(setup).unwrapped).tasks.ids[:count])


def scripted(setup: Setup, task_id: str, seed: int, policy: str) -> Played:
    """One task played through plain Gymnasium by one of POLICIES, or a yardstick of the
    environment, whose actions are written as the setup's style asks."""
    env = _made(setup)
    inner = cast(TextEnv, env.unwrapped)
    observation, info = env.reset(seed=seed, options={"task_id": task_id})
    style, goal, first = setup.style, info["goal"], str(observation)
    opening = style.opening_messages(goal, first, info["admissible_actions"])
    chat, prompts = opening, []
    choose = yardstick(inner, "expert" if policy == "garbled" else policy, seed)
    turns: list[PlayedTurn] = []
    over = False
    while not over:
        written = style.written(Advice(choose(inner, observation, info)))
        response = GARBLED if policy == "garbled" and len(turns) % 2 == 0 else written
        past = inner.episode.turns
        fresh = style.turn_messages(goal, past, str(observation), info["admissible_actions"])
        prompts.append(chat if setup.layout == "chat" else fresh)
        observation, reward, terminated, truncated, info = env.step(response)
        over, text = terminated or truncated, str(observation)
        message = "" if over else style.following_text(goal, text, info["admissible_actions"])
        said, asked = (
            {"role": "assistant", "content": response},
            {"role": "user", "content": message},
        )
        chat = [*chat, said, asked]
        turns.append(
            PlayedTurn(
                response=response,
                observation=text,
                message=message,
                reward=float(reward),
                terminated=terminated,
                truncated=truncated,
            )
        )
    env.close()
    return Played(
        task_id=task_id,
        seed=seed,
        observation=first,
        opening=tuple(opening),
        prompts=tuple(prompts),
        turns=tuple(turns),
        success=info["success"],
        score=info["score"],
        stop_reason=info["stop_reason"],
    )


def answers(plays: Iterable[Played]) -> Callable[[list[Message]], str]:
    """A model that replies to exactly the prompts of these episodes, and to no other.

    Raises ValueError where two of them ask the same and are answered differently; the model raises
    KeyError when it is asked anything else.
    """
    known: dict[str, str] = {}
    for one in plays:
        for prompt, response in zip(one.prompts, one.responses, strict=True):
            if known.setdefault(_key(prompt), response) != response:
                raise ValueError(f"task {one.task_id!r} asks what another task asks: {prompt}")
    return lambda messages: known[_key(messages)]


def _key(messages: list[Message]) -> str:
    return json.dumps([[message["role"], message["content"]] for message in messages])


def _made(setup: Setup) -> gym.Env:
    settings = {"parser": setup.style.parser, **setup.settings}
    return gym.make(importable(setup.env_id), **settings)
