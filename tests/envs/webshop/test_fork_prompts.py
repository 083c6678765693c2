"""Settings and a prompt style that make AgentGym/WebShop-v0 verl-agent's environment.

Its sentences are not ours to ship. The test takes them from the first two prompts recorded, and
every other prompt has to follow.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from shop_sessions import is_fork, recorded_sessions

from agentgym_envs.prompts import PromptStyle
from agentgym_envs.types import Turn
from agentgym_envs.webshop.env import WebShopEnv

PAIR = "[Observation {turn}: '{observation}', Action {turn}: '{action}']"
ITEM, JOIN = "'{action}',", "\n"
LONGEST = 13_000


@pytest.fixture(scope="module")
def records(shop_data: Path) -> list[dict[str, Any]]:
    found = [record for record in recorded_sessions(shop_data) if is_fork(record)]
    if not found:
        pytest.skip("no session recorded through verl-agent")
    return found


@pytest.fixture(scope="module")
def opened(shop_data: Path):
    """The environment of a recording, at the beginning of its task."""

    @cache
    def make(name: str, seed: int, max_turns: int) -> WebShopEnv:
        return WebShopEnv(
            data=shop_data / name,
            nouns=str(shop_data / "recordings" / f"nouns-{name}.json"),
            splits="all",
            price_seed=seed,
            shuffle_seed=seed,
            hidden_commands=True,
            page="quoted",
            parser="verl_webshop",
            reward="success",
            reward_scale=10,
            max_turns=max_turns,
        )

    def open_(record: dict[str, Any]) -> tuple[WebShopEnv, Any, dict[str, Any]]:
        config, name = record["config"], record["dataset"].partition("-")[0]
        assert config["seed"] == config["shuffle_seed"]
        env = make(name, config["seed"], config["max_steps"])
        return env, *env.reset(options={"task_id": f"synthetic/{record['goal_index']}"})

    return open_


def test_every_step_is_the_same(records, opened):
    """Parsed action, valid, anchor, reward, won, score, what can be done next, and when it ends."""
    won = 0
    for record in records:
        env, observation, info = opened(record)
        assert info["goal"] == record["goal"]["instruction_text"]
        first, *steps = record["steps"]
        assert observation == first["anchor"]
        terminated = truncated = False
        for number, step in enumerate(steps, start=1):
            where = (record["id"], number)
            observation, reward, terminated, truncated, info = env.step(step["response"])
            assert info["action_parsed"] == step["action"], where
            assert info["action_valid"] == bool(step["valid"]), where
            assert observation == step["anchor"], where
            assert reward == step["reward"], where
            assert terminated == step["done"], where
            assert info["success"] == step["won"], where
            assert (info["task_score"] or 0.0) == step["task_score"], where
            if not terminated:  # there the environment has begun another episode by now
                offered = step["available_actions"]
                assert list(info["clickables"]) == offered["clickables"], where
                assert info["has_search_bar"] == offered["has_search_bar"], where
            won += step["won"]
        assert terminated or truncated or len(steps) < record["config"]["max_steps"]
    assert won


def test_every_prompt_is_the_same(records, opened):
    begun = next(moments(records[0], opened))
    followed = next(moment for moment in moments(records[0], opened) if moment["turns"])
    style = PromptStyle(
        first=template(begun),
        later=template(followed),
        pair=PAIR,
        admissible_item=ITEM,
        admissible_join=JOIN,
        longest=LONGEST,
        history=records[0]["config"]["history_length"],
        opening="",
        following="",
        reply="",
        parser="verl_webshop",
    )
    compared = 0
    for record in records:
        for moment in moments(record, opened):
            [message] = style.turn_messages(
                moment["goal"], moment["turns"], moment["observation"], moment["admissible"]
            )
            assert message["content"] == moment["prompt"], (record["id"], len(moment["turns"]))
            compared += 1
    assert compared > len(records)


def moments(record: dict[str, Any], opened) -> Iterator[dict[str, Any]]:
    """What our environment shows at every recorded prompt, and the prompt.

    After a purchase verl-agent's environment lists the actions of the episode that it began.
    """
    env, observation, info = opened(record)
    begun = info["admissible_actions"]
    for step in record["steps"]:
        if step["response"] is not None:
            observation, _, _, _, info = env.step(step["response"])
        yield {
            "goal": info["goal"],
            "turns": env.episode.turns,
            "observation": observation,
            "admissible": begun if step.get("done") else info["admissible_actions"],
            "prompt": step["prompt"],
        }


def template(moment: dict[str, Any]) -> str:
    """The prompt with placeholders where the parts of its moment stand.

    Every part is looked for behind the one before it, in the order in which they come. The numbers
    are the first ones between two parts, in the order that is known of that text.
    """
    turns = moment["turns"]
    parts = [("goal", moment["goal"])]
    if turns:
        parts += [("turns_played", str(len(turns))), ("history_length", str(len(turns)))]
        parts += [("history", written(turns)), ("turn", str(len(turns) + 1))]
    listed = JOIN.join(ITEM.format(action=action) for action in moment["admissible"])
    parts += [("observation", moment["observation"]), ("admissible", listed)]
    rest, made = moment["prompt"], ""
    for name, text in parts:
        before, found, rest = rest.partition(text)
        assert found, f"{name}: {text!r} is not in the prompt"
        made += f"{braced(before)}{{{name}}}"
    return made + braced(rest)


def written(turns: tuple[Turn, ...]) -> str:
    return "\n".join(
        PAIR.format(turn=number, observation=turn.observation, action=turn.action)
        for number, turn in enumerate(turns, start=1)
    )


def braced(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
