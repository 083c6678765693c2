"""Advice for warming up small models: what to do next on a page, and a short thought why.

The expert knows the goal and says no more of it than which of the things shown to choose; what it
searches for it copies out of the instruction. Only where that does not bring up the product does
it search for the title, which the shopper cannot know.
"""

from collections.abc import Collection, Mapping
from typing import Any

from agentgym_envs.types import Advice
from agentgym_envs.webshop.leaflets import BACK, BUY, NEXT, PREV
from agentgym_envs.webshop.pages import DONE, INDEX, ITEM, RESULTS, Page
from agentgym_envs.webshop.product import Product
from agentgym_envs.webshop.wishes import click, closest, offers, search_for, telling_words

PAGES = 4  # result pages it looks through before it searches for something else
TITLE_WORDS = 8  # of a title, in a thought


class Expert:
    """Advises one shopper; remembers nothing, so any page may come from anyone's actions.

    goal: the task's answer (see `reward.goal_record`). product: the goal's. instruction: as shown.
    """

    def __init__(self, goal: Mapping[str, Any], product: Product, instruction: str) -> None:
        names = [option[0] for option in goal["options"] if not isinstance(option, str)]
        self._link = product.asin.lower()
        self._asin = product.asin
        self._match = " ".join(_shared_words(product.title, telling_words(instruction, names)))
        self._searches = [
            search_for(query)
            for query in (telling_words(instruction, names), product.title.lower())
        ]
        self._choices = _choices(goal, product, instruction)

    def advise(
        self, page: Page, clickables: Collection[str], actions: Collection[str]
    ) -> Advice | None:
        """The next action and its thought.

        page, clickables: where the shopper is. actions: the episode's so far, to know what was
        searched for. None on the page after the purchase.
        """
        if page.kind == INDEX:
            return self._search(actions)
        if page.kind == RESULTS:
            return self._look_through(page, clickables)
        if page.kind == DONE:
            return None
        if page.asin != self._asin:
            return Advice(click(PREV), "wrong product: go back")
        if page.kind != ITEM:
            return Advice(click(PREV), "read enough: go back")
        return self._choose(page, clickables)

    def _search(self, actions: Collection[str]) -> Advice:
        left = [search for search in self._searches if search not in actions]
        if left == self._searches:
            return Advice(left[0], "search first")
        return Advice((left or self._searches)[0 if left else -1], "not found: search other words")

    def _look_through(self, page: Page, clickables: Collection[str]) -> Advice:
        if self._link in clickables:
            return Advice(click(self._link), f"match: {self._match}: {self._link}")
        if page.shown and page.number < PAGES:
            return Advice(click(NEXT), "no match: next page")
        return Advice(click(BACK), "no match: search again")

    def _choose(self, page: Page, clickables: Collection[str]) -> Advice:
        chosen = dict(page.options)
        for name, value in self._choices.items():
            if chosen.get(name) != value and value in clickables:
                return Advice(click(value), f"need {name}: {value}")
        return Advice(click(BUY), "all chosen: buy")


def _shared_words(title: str, asked: str) -> list[str]:
    """What of a title was asked for, as the title has it; all of it where nothing was."""
    words, told = title.split(), set(asked.split())
    shared = [word for word in words if word.strip(",.;:()").lower() in told]
    return (shared or words)[:TITLE_WORDS]


def _choices(goal: Mapping[str, Any], product: Product, instruction: str) -> dict[str, str]:
    """name -> value to click, in the order of the instruction; one value a name.

    What the product lacks or the page does not offer is left out. A value that two names have sets
    the last of them.
    """
    owners = {value: name for name, values in product.options.items() for value in offers(values)}
    text = instruction.lower()
    found: dict[str, str] = {}
    wanted = [option if isinstance(option, str) else option[1] for option in goal["options"]]
    for want in sorted(wanted, key=lambda value: text.find(value) % (len(text) + 1)):
        value = closest(want, owners)
        if value is not None:
            found.setdefault(owners[value], value)
    return found
