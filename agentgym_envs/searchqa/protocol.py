"""How an episode is written and counted: two published protocols, each a named preset.

`search_r1` and `verl_agent` differ in nearly every detail, and the details move scores by points;
so they are chosen by one name. Passages are data: our own tags in them are defused first.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agentgym_envs.retrieval.types import Passage

_TAG = re.compile(r"<([\s/]*)(information|answer|search|think)(\s*)>", re.IGNORECASE)

CORRECTION = (
    "\nThat was no action I can carry out. To look something up, write the query between <search> "
    "and </search>. To finish, write the answer between <answer> and </answer>. Please go on.\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """The rules of one published setting.

    `parser` reads responses. `max_turns` counts generations; a search on the last of them is not
    carried out. `question_mark`: a question without one gets a "?". `passages` writes retrieved
    passages: "titled", `Doc i(Title: "title") text` a line; "json", `Doc i: contents` inside a JSON
    string. `correction` answers a turn without a readable action.
    """

    name: str
    parser: str
    max_turns: int
    question_mark: bool
    passages: Literal["titled", "json"]
    correction: str
    topk: int = 3

    def question(self, text: str) -> str:
        """The question as this protocol asks it: stripped, and with its "?" where it adds one."""
        text = text.strip()
        return text + "?" if self.question_mark and not text.endswith("?") else text

    def information(self, passages: Sequence[Passage], max_words: int | None = None) -> str:
        """What the policy reads after a search; at most `max_words` words of passages.

        Where words are cut, blanks between those kept become single ones. (The published limit
        is 500 tokens of the trained model's tokeniser, which an environment does not know.)
        """
        if self.passages == "titled":
            listed = "\n".join(
                f"Doc {i}(Title: {title}) {text}"
                for i, (title, _, text) in enumerate(map(_parts, passages), start=1)
            )
            return f"\n\n<information>{_cut(listed, max_words).strip()}</information>\n\n"
        listed = "".join(
            f"Doc {i}: {defused(passage.contents).strip()}\n"
            for i, passage in enumerate(passages, start=1)
        )
        return self._json(_cut(listed, max_words))

    def failure(self, message: str) -> str:
        """What the policy reads when a search failed and failures are shown to it."""
        text = f"Search error: {defused(message)}"
        if self.passages == "titled":
            return f"\n\n<information>{text}</information>\n\n"
        return self._json(text)

    def _json(self, text: str) -> str:
        return f"\n<information>{json.dumps({'result': text})}</information>\n"


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        # Four searches, and a fifth turn to answer in.
        Protocol(
            name="search_r1",
            parser="search_r1",
            max_turns=5,
            question_mark=True,
            passages="titled",
            correction=CORRECTION,
        ),
        # Four turns: three searches and an answer.
        Protocol(
            name="verl_agent",
            parser="verl_search",
            max_turns=4,
            question_mark=False,
            passages="json",
            correction="",
        ),
    )
}


def find_protocol(name: str) -> Protocol:
    """A protocol by name. Raises ValueError naming those there are."""
    if name not in PROTOCOLS:
        raise ValueError(f"no Search-QA protocol {name!r}; there are: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def defused(text: str) -> str:
    """The text with our tags in square brackets: no passage can answer, search, or end its frame.

    `</answer>` becomes `[/answer]`; likewise information, search and think, in any case and with
    blanks inside the brackets.
    """
    return _TAG.sub(r"[\1\2\3]", text)


def _parts(passage: Passage) -> tuple[str, str, str]:
    return defused(passage.contents).partition("\n")


def _cut(text: str, max_words: int | None) -> str:
    if max_words is None:
        return text
    words = text.split(maxsplit=max_words)
    return text if len(words) <= max_words else " ".join(words[:max_words])
