"""Sessions of the official environment, played again through AgentGym/WebShop-v0 itself."""

import hashlib
import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from shop_sessions import is_fork, recorded_sessions

from agentgym_envs.episodes import from_record, to_record
from agentgym_envs.webshop.env import WebShopEnv

PAGES = ("text", "text_rich", "url", "html")


class Shops:
    """The environment of a recording's settings, one for all sessions that share them."""

    def __init__(self, shop_data: Path) -> None:
        self.folder = shop_data
        self.of = cache(self._make)

    def env(self, record: dict[str, Any], page: str) -> WebShopEnv:
        config = record["config"]
        return self.of(
            record["dataset"].partition("-")[0],
            page=page,
            goals="human" if config["human_goals"] else "synthetic",
            price_seed=config["seed"],
            shuffle_seed=config["shuffle_seed"],
            show_attributes=bool(config["show_attrs"]),
            # Recorded for `text` alone: what stands before a page has its mode.
            previous_observations=config["num_prev_obs"] if page == "text" else 0,
            previous_actions=config["num_prev_actions"] if page == "text" else 0,
        )

    def _make(self, name: str, **settings: Any) -> WebShopEnv:
        return WebShopEnv(
            data=self.folder / name,
            splits="all",
            nouns=str(self.folder / "recordings" / f"nouns-{name}.json"),
            parser="shop_sessions:as_written",
            hidden_commands=True,
            max_turns=1000,
            **settings,
        )


@pytest.mark.parametrize("page", PAGES)
def test_every_session_up_to_its_first_purchase(shop_data: Path, page: str):
    shops, count = Shops(shop_data), Counter[str]()
    for record in recorded_sessions(shop_data):
        if is_fork(record):
            continue
        env = shops.env(record, page)
        kind = "human" if record["config"]["human_goals"] else "synthetic"
        task = {"task_id": f"{kind}/{record['goal_index']}"}
        observation, info = env.reset(options=task)
        assert info["goal"] == record["goal"]["instruction_text"], record["id"]
        assert info["goal_index"] == record["goal_index"]
        reward, done = 0.0, False
        for number, step in enumerate(record["steps"]):
            if number:
                observation, reward, done, _, info = env.step(step["action"])
            where = (record["id"], number, step["action"])
            assert shown(observation, page) == told(step, page), where
            assert reported(info, reward, done) == expected(step), where
            count["steps"] += 1
            if done:
                assert (info["task_score"], info["success"]) == (reward, reward == 1), where
                stored = from_record(json.loads(json.dumps(to_record(env.episode))))
                assert WebShopEnv.verify(stored).score == step["reward"], where
                count["right" if reward == 1 else "wrong"] += 1
                break
    assert min(count["right"], count["wrong"]) > 50 and count["steps"] > 1000


def shown(observation: Any, page: str) -> Any:
    return hashlib.sha1(observation.encode()).hexdigest() if page == "html" else observation


def told(step: dict[str, Any], page: str) -> Any:
    """What the official environment showed; `returned` has earlier pages and actions before it."""
    if page == "html":
        return step["html_sha1"]
    return step.get("returned", step["text"]) if page == "text" else step[page]


def reported(info: dict[str, Any], reward: float, done: bool) -> dict[str, Any]:
    bought = info["purchase"]
    return {
        "reward": reward,
        "done": done,
        "clickables": list(info["clickables"]),
        "has_search_bar": info["has_search_bar"],
        "url": info["url"],
        "purchase": bought and {key: bought[key] for key in ("asin", "options", "price")},
        "parts": info["reward_parts"],
        "nouns": bought and list(bought["nouns"]),
    }


def expected(step: dict[str, Any]) -> dict[str, Any]:
    offered = step["available_actions"]
    return {
        "reward": step["reward"] if step["action"] is not None else 0.0,
        "done": step["done"],
        "clickables": offered["clickables"],
        "has_search_bar": offered["has_search_bar"],
        "url": step["url"],
        "purchase": step.get("purchase"),
        "parts": {**step["reward_info"], "reward": step["reward"]} if step["done"] else None,
        "nouns": step["nouns_purchased"] if step["done"] else None,
    }
