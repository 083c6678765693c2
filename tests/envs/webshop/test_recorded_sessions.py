"""Sessions recorded from the official environment and from verl-agent's, played again."""

import hashlib
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from shop_sessions import Replays, is_fork, recorded_sessions

from agentgym_envs.parsing import verl_agent
from agentgym_envs.webshop.shop import Session


def seen(session: Session, executed: bool) -> dict[str, Any]:
    """What the official environment reports of a step."""
    bought = session.purchase if executed and session.done else None
    return {
        "text": session.render("text"),
        "text_rich": session.render("text_rich"),
        "url": session.render("url"),
        "html": session.render("html"),
        "clickables": list(session.clickables),
        "has_search_bar": session.has_search_bar,
        "done": executed and session.done,
        "purchase": bought
        and {"asin": bought.asin, "options": bought.options, "price": bought.price},
    }


def told(step: dict[str, Any]) -> dict[str, Any]:
    available = step["available_actions"]
    return {
        "text": step["text"],
        "text_rich": step["text_rich"],
        "url": step["url"],
        "clickables": available["clickables"],
        "has_search_bar": available["has_search_bar"],
        "done": step["done"],
        "purchase": step.get("purchase"),
    }


def test_every_step_of_every_recorded_session(shop_data: Path):
    """All of it: texts, address, html, clickables, the purchase; after the end too."""
    replays, kinds = Replays(shop_data), Counter()
    for record in recorded_sessions(shop_data):
        if is_fork(record):
            continue
        session = replays.open(record)
        for number, step in enumerate(record["steps"]):
            executed = session.act(step["action"]) if number else True
            if step["done"]:
                session.show_reward(step["reward"])
            got, where = seen(session, executed), (record["id"], number, step["action"])
            html = got.pop("html")
            assert got == told(step), where
            assert hashlib.sha1(html.encode()).hexdigest() == step["html_sha1"], where
            assert step.get("html", html) == html, where
            kinds[session.page.kind] += 1
    everything = {"index", "results", "item", "description", "features", "reviews", "attributes"}
    assert set(kinds) == everything | {"done"}


def test_an_action_that_cannot_be_done_leaves_no_trace(shop_data: Path):
    replays, refused = Replays(shop_data), 0
    for record in recorded_sessions(shop_data):
        if is_fork(record):
            continue
        session, before = replays.open(record), record["steps"][0]
        for step in record["steps"][1:]:
            page, purchase = session.page, session.purchase
            if not session.act(step["action"]):
                assert session.page is page and session.purchase is purchase
                assert step["text"] == before["text"] and step["reward"] == 0.0
                refused += 1
            before = step
    assert refused


project = partial(verl_agent, tail=20)


def test_sessions_through_verl_agent(shop_data: Path):
    """Response -> action and validity, observation (its anchor), and what can be clicked.

    Its environment resets itself at the end, so the last step's clickables are not this shop's.
    """
    replays, turns = Replays(shop_data), 0
    for record in filter(is_fork, recorded_sessions(shop_data)):
        session = replays.open(record)
        for step in record["steps"]:
            where = (record["id"], step)
            if step["response"] is not None:
                parsed = project(step["response"], ())
                assert parsed == (step["action"], bool(step["valid"])), where
                session.act(parsed.action)
                if step["done"]:
                    session.show_reward(step["task_score"])
                turns += 1
            assert session.render("quoted") == step["anchor"], where
            offered = step.get("available_actions")
            if offered and not step["done"]:
                assert list(session.clickables) == offered["clickables"], where
                assert session.has_search_bar == offered["has_search_bar"], where
    if not turns:
        pytest.skip("no session recorded through verl-agent")
