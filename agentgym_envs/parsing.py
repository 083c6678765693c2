"""From a response to an action: small pure functions, chosen by name.

A parser never fails. It says what to send to the engine and whether the response kept the format.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from agentgym_envs.addresses import named

ANY_SEARCH = "search[<your query>]"  # how verl-agent lists a search bar
_IDEOGRAPH = re.compile("[\u4e00-\u9fff]")


class Parsed(NamedTuple):
    """`action` goes to the engine ("" if there is none); `valid`: the format was kept."""

    action: str
    valid: bool


Parser = Callable[[str, tuple[str, ...]], Parsed]


def text(response: str, admissible: tuple[str, ...]) -> Parsed:
    """The whole response is the action. With no frame to keep, it is valid when it can be done.

    `search[<your query>]` among the admissible actions stands for a search of any text.
    """
    action = response.strip()
    if not admissible:
        return Parsed(action, bool(action))
    return Parsed(action, action in admissible or _is_search(action, admissible))


def _is_search(action: str, admissible: tuple[str, ...]) -> bool:
    return ANY_SEARCH in admissible and bool(re.fullmatch(r"search\[.+\]", action, re.DOTALL))


def line(response: str, admissible: tuple[str, ...]) -> Parsed:
    """The last line is the action, whatever was thought on the lines before it."""
    return text(response.strip().rpartition("\n")[2], admissible)


def spoken(response: str, admissible: tuple[str, ...]) -> Parsed:
    """The last line is the action `name[argument]`, spelt `name argument`.

    For small models: a word looks the same, with a blank before it, where it is read and copied.
    """
    name, _, argument = response.strip().rpartition("\n")[2].partition(" ")
    return text(f"{name}[{argument.strip()}]" if argument else name, admissible)


def tagged(response: str, admissible: tuple[str, ...], tag: str = "action") -> Parsed:
    """The last complete `<tag>...</tag>` block, stripped."""
    opening, closing = f"<{tag}>", f"</{tag}>"
    end = response.rfind(closing)
    start = response.rfind(opening, 0, end) if end >= 0 else -1
    if start < 0:
        return Parsed("", False)
    action = response[start + len(opening) : end].strip()
    return Parsed(action, bool(action))


def arrow(response: str, admissible: tuple[str, ...]) -> Parsed:
    """What follows the last `>`: the compact form `thought > action` for small models."""
    _, sign, action = response.rpartition(">")
    action = action.strip()
    return Parsed(action if sign else "", bool(sign and action))


def verl_agent(response: str, admissible: tuple[str, ...], tail: int = 30) -> Parsed:
    """verl-agent's projection, as its released environments apply it.

    The lower-cased text between the first `<action>` and the first `</action>` is sent; without
    such a block the last `tail` characters are. Valid means: both action tags, both `<think>` tags
    as written, and no ideograph (U+4E00 to U+9FFF). Whether the action is admissible is not asked.
    """
    lowered = response.lower()
    start, end = lowered.find("<action>"), lowered.find("</action>")
    if start < 0 or end < 0:
        return Parsed(lowered[-tail:], False)
    framed = "<think>" in response and "</think>" in response
    action = lowered[start + len("<action>") : end].strip()
    return Parsed(action, framed and _IDEOGRAPH.search(response) is None)


PARSERS: dict[str, Parser | str] = {
    "text": text,
    "action": tagged,
    "arrow": arrow,
    "line": line,
    "spoken": spoken,
    "verl_alfworld": partial(verl_agent, tail=30),
    "verl_webshop": partial(verl_agent, tail=20),
    "search_r1": "agentgym_envs.parsing_search:search_r1",
    "spoken_search": "agentgym_envs.parsing_search:spoken_search",
    "verl_search": "agentgym_envs.parsing_search:verl_search",
}


def find_parser(name: str) -> Parser:
    """A built-in parser by name, or anyone's by address ("my_lab.parsing:last_line").

    Raises ValueError when there is none of that name, and what `named` does.
    """
    if ":" in name:
        return named(name, "the parser")
    if name not in PARSERS:
        raise ValueError(
            f"no parser {name!r}; built in: {', '.join(PARSERS)}; yours: 'package.module:function'"
        )
    found = PARSERS[name]
    return find_parser(found) if isinstance(found, str) else found
