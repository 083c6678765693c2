"""Scripted shoppers to hold a trained agent against. Each is a policy: see `evaluate.Policy`.

They read what a policy sees: the instruction and the infos (`turn`, `has_search_bar`,
`clickables`). `Oracle` also reads the answer: it shows the ceiling, which official goals keep
below 1. Each answers with a bare action and starts afresh at turn 0, so that one plays many
episodes, one after the other.
"""

import random
from collections.abc import Mapping
from typing import Any

from agentgym_envs.core import Observation, TextEnv
from agentgym_envs.webshop.wishes import (
    click,
    closest,
    named_values,
    offers,
    search_for,
    without_price,
)

RESULT_PAGES = 5  # fifty results, ten a page


class RandomClicks:
    """Searches the instruction, then clicks anything, uniformly, from its own generator."""

    def __init__(self, seed: int = 0) -> None:
        self._dice = random.Random(seed)

    def __call__(self, env: TextEnv, observation: Observation, info: dict[str, Any]) -> str:
        if info["has_search_bar"]:
            return search_for(without_price(info["goal"]))
        clickables = info["clickables"]
        return click(self._dice.choice(clickables)) if clickables else ""


class FirstHit:
    """Searches the instruction, opens the first hit, buys it as it is."""

    def __init__(self, seed: int = 0) -> None:
        pass  # nothing here is random, nor in those below

    def __call__(self, env: TextEnv, observation: Observation, info: dict[str, Any]) -> str:
        if info["has_search_bar"]:
            return search_for(without_price(info["goal"]))
        if "buy now" in info["clickables"]:
            return self.at_the_item(info)
        hits = offers(info["clickables"])
        return click(hits[0] if hits else "back to search")

    def at_the_item(self, info: Mapping[str, Any]) -> str:
        """What to do on an item page."""
        return click("buy now")


class Rule(FirstHit):
    """As `FirstHit`, but first clicks the option values that the instruction names."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._clicked: set[str] = set()

    def __call__(self, env: TextEnv, observation: Observation, info: dict[str, Any]) -> str:
        if info["turn"] == 0:
            self._clicked = set()
        return super().__call__(env, observation, info)

    def at_the_item(self, info: Mapping[str, Any]) -> str:
        for value in named_values(without_price(info["goal"]), offers(info["clickables"])):
            if value not in self._clicked:
                self._clicked.add(value)
                return click(value)
        return click("buy now")


class Oracle:
    """Knows the answer: searches the product by its title, clicks the goal's options, buys."""

    def __init__(self, seed: int = 0) -> None:
        self._queries: list[str] = []
        self._page = 0
        self._clicked: set[str] = set()

    def __call__(self, env: TextEnv, observation: Observation, info: dict[str, Any]) -> str:
        answer = env.task.answer
        if info["turn"] == 0:
            self._queries = [answer["title"], without_price(info["goal"])]
            self._clicked = set()
        if info["has_search_bar"]:
            self._page = 1
            query = self._queries.pop(0)
            self._queries.append(query)
            return search_for(query)
        if "buy now" in info["clickables"]:
            return self._at_the_item(info, answer)
        if answer["asin"].lower() in info["clickables"]:
            return click(answer["asin"].lower())
        if offers(info["clickables"]) and self._page < RESULT_PAGES:
            self._page += 1
            return click("next >")
        return click("back to search")

    def _at_the_item(self, info: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
        for option in answer["options"]:
            value = closest(
                option if isinstance(option, str) else option[1], offers(info["clickables"])
            )
            if value is not None and value not in self._clicked:
                self._clicked.add(value)
                return click(value)
        return click("buy now")
