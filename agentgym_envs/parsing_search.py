"""The parsers of the search protocols: a response becomes one canonical block.

The action is `<search>query</search>` or `<answer>text</answer>`, its content stripped, or "" where
no complete block is found. All run in time linear in the response.
"""

import re
from typing import Literal, NamedTuple

from agentgym_envs.parsing import Parsed

BlockTag = Literal["search", "answer"]
TAGS: tuple[BlockTag, ...] = ("search", "answer")


class Block(NamedTuple):
    """A complete block: its tag, its stripped content, and where it begins in the text."""

    tag: BlockTag
    content: str
    begin: int

    def __str__(self) -> str:
        return f"<{self.tag}>{self.content}</{self.tag}>"


def read_action(action: str) -> Block | None:
    """The block that a canonical action is; None when it is anything else."""
    for tag in TAGS:
        block = _first(action, tag)
        if block is not None and action.strip() == action[block.begin : _end(action, block)]:
            return block
    return None


def cut(response: str) -> str:
    """What a generation that stops at its first closing tag would have said.

    Up to and with the first `</search>`; only where there is none, the first `</answer>`.
    """
    for closing in ("</search>", "</answer>"):
        end = response.find(closing)
        if end >= 0:
            return response[: end + len(closing)]
    return response


def search_r1(response: str, admissible: tuple[str, ...]) -> Parsed:
    """Search-R1's rule: cut, then the first complete block decides. Tags are lower-case.

    Valid when there is a block.
    """
    said = cut(response)
    blocks = [block for tag in TAGS if (block := _first(said, tag)) is not None]
    if not blocks:
        return Parsed("", False)
    return Parsed(str(min(blocks, key=lambda block: block.begin)), True)


def verl_search(response: str, admissible: tuple[str, ...]) -> Parsed:
    """verl-agent's projection for search: cut, then the first search block, else the first answer.

    Tags in any case. Invalid, although a block found is still sent: nothing found; both opening
    tags anywhere in the whole response; one of them twice. `<think>` is not asked for.
    """
    said = cut(response)
    block = _first(said, "search", any_case=True) or _first(said, "answer", any_case=True)
    searches, answers = (len(_OPENING[tag].findall(response)) for tag in TAGS)
    one_tag = searches + answers == 1
    return Parsed(str(block) if block else "", block is not None and one_tag)


def spoken_search(response: str, admissible: tuple[str, ...]) -> Parsed:
    """The last line is the action, spelt `search query` or `answer text`.

    For small models: a word looks the same, with a blank before it, where it is read and copied.
    """
    tag, _, content = response.strip().rpartition("\n")[2].partition(" ")
    if tag not in TAGS or not content.strip():
        return Parsed("", False)
    return Parsed(str(Block(tag, content.strip(), 0)), True)


_OPENING = {tag: re.compile(f"<{tag}>", re.IGNORECASE | re.ASCII) for tag in TAGS}
_CLOSING = {tag: re.compile(f"</{tag}>", re.IGNORECASE | re.ASCII) for tag in TAGS}


def _first(text: str, tag: BlockTag, any_case: bool = False) -> Block | None:
    """The first complete block of a tag.

    Where the first opening has no closing after it, no later one has: two searches are enough.
    """
    if any_case:
        opening = _OPENING[tag].search(text)
        closing = _CLOSING[tag].search(text, opening.end()) if opening else None
        if opening is None or closing is None:
            return None
        return Block(tag, text[opening.end() : closing.start()].strip(), opening.start())
    begin = text.find(f"<{tag}>")
    inside = begin + len(tag) + 2
    end = text.find(f"</{tag}>", inside) if begin >= 0 else -1
    return Block(tag, text[inside:end].strip(), begin) if end >= 0 else None


def _end(text: str, block: Block) -> int:
    closing = f"</{block.tag}>"
    return text.find(closing, block.begin) + len(closing)
