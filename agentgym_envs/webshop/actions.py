"""The shop's actions, `search[words]` and `click[thing]`, read as the official shop reads them."""

from typing import NamedTuple


class Action(NamedTuple):
    """`name` as written; `argument` in lower case."""

    name: str
    argument: str


def parse(text: str) -> Action | None:
    """`name[argument]` at the start of `text`, or None where there is none.

    The official pattern is `(.+)\\[(.+)\\]`, greedy and not anchored at the end: the last `]` of
    the first line closes, the last `[` that leaves a name and an argument opens, and what follows
    is ignored. Two searches from the right find them: a megabyte of brackets costs no more than a
    megabyte of words.
    """
    line_end = text.find("\n")
    closing = text.rfind("]", 0, len(text) if line_end < 0 else line_end)
    if closing < 3:  # one character of name, a bracket, one character of argument
        return None
    opening = text.rfind("[", 1, closing - 1)
    if opening < 0:
        return None
    return Action(text[:opening], text[opening + 1 : closing].lower())
