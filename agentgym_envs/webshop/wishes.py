"""What an instruction says, read as text: what to search for, which option values it names."""

import re
from collections.abc import Collection, Iterable

from agentgym_envs.webshop.actions import parse
from agentgym_envs.webshop.fuzzy import alike, token_set_ratio
from agentgym_envs.webshop.leaflets import BACK, BUY, NEXT, PREV, SUB_PAGES
from agentgym_envs.webshop.noun_words import STOP_WORDS
from agentgym_envs.webshop.reward import shade

BUTTONS = frozenset({"search", BACK, BUY, NEXT, PREV, *SUB_PAGES})

_ASKING = """
find need want wanted looking look like love search searching buy purchase order interested seek
i'm i'd i'll i've it's that's don't offer offers known
"""
ASKING = frozenset(_ASKING.split())

_PRICE = re.compile(r",? and price lower than [\d.]+ dollars\s*$")
_WORD = re.compile(r"[^\W_](?:[\w'’./-]*\w)?")


def without_price(instruction: str) -> str:
    """The instruction less the price limit at its end."""
    return _PRICE.sub("", instruction)


def telling_words(instruction: str, names: Iterable[str] = ()) -> str:
    """The words that tell what is wanted, copied in their order.

    Left out are the price limit, words of asking and of grammar, and `name:` for option names.
    """
    text = without_price(instruction).lower()
    for name in names:
        text = re.sub(rf"(?<!\w){re.escape(name)}: ", " ", text)
    words = _WORD.findall(text)
    return " ".join(word for word in words if word not in STOP_WORDS and word not in ASKING)


def named_values(instruction: str, values: Iterable[str]) -> list[str]:
    """Those of the values that the instruction names, in its order, each once.

    A value within a longer one that is named ("large" in "x-large") is not named itself there.
    """
    text = instruction.lower()
    found: list[tuple[int, str]] = []
    for value in sorted(set(values) - {""}, key=lambda value: (-len(value), value)):
        hit = re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text)
        if hit:
            found.append((hit.start(), value))
            text = text[: hit.start()] + "\0" * (hit.end() - hit.start()) + text[hit.end() :]
    return [value for _, value in sorted(found)]


def closest(wanted: str, values: Collection[str]) -> str | None:
    """The value itself if it is offered, else the most alike that the judge would let pass."""
    if wanted in values:
        return wanted
    passing = [value for value in values if alike(shade(value), shade(wanted))]
    return max(passing, key=lambda value: token_set_ratio(value, wanted), default=None)


def offers(clickables: Iterable[str]) -> list[str]:
    """What can be clicked besides the buttons: hits on a result page, option values on an item's.

    An option value that equals a button acts as that button, and one with a bracket in it the
    grammar cannot say: neither is an offer.
    """
    return [text for text in clickables if text not in BUTTONS and _can_say(text)]


def _can_say(text: str) -> bool:
    said = parse(click(text))
    return said is not None and said.name == "click" and said.argument == text


def search_for(query: str) -> str:
    """The action. On one line and without brackets, at which the grammar would cut."""
    return f"search[{' '.join(re.sub(r'[][]', ' ', query).split())}]"


def click(text: str) -> str:
    """The action."""
    return f"click[{text}]"
