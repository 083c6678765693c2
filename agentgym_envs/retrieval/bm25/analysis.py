"""Text to index terms, as Lucene's English analysis makes them.

Words by the Unicode word-break rules, a final 's dropped, lower case, 33 stop words dropped, Porter
stems. Measured against Lucene 9; `ANALYSER` names the rules, and an index remembers it.
"""

import re

from agentgym_envs.retrieval.bm25.porter import stem
from agentgym_envs.retrieval.bm25.word_break import LONGEST, unicode_words

ANALYSER = "english-1"
STOP_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it",
    "no", "not", "of", "on", "or", "such", "that", "the", "their", "then", "there", "these",
    "they", "this", "to", "was", "will", "with",
})  # fmt: skip
# Terms are remembered per word; when this many are known, all are forgotten.
_REMEMBERED = 1_000_000
_ASCII_WORDS = re.compile(
    r"_*[a-zA-Z0-9]\w*(?:(?:(?<=[a-zA-Z])['.:](?=[a-zA-Z])|(?<=[0-9])['.,;](?=[0-9]))\w+)*",
    re.ASCII,
)
_POSSESSIVE = re.compile("['’＇][sS]$")


def words(text: str) -> list[str]:
    """The words of a text in order, as written, none longer than 255 UTF-16 units."""
    if not text.isascii():
        return unicode_words(text)
    found: list[str] = _ASCII_WORDS.findall(text)
    if len(text) > LONGEST and found and max(map(len, found)) > LONGEST:
        return unicode_words(text)
    return found


class _Terms(dict[str, str]):
    """Word -> its term, "" where it has none; made on first use and remembered."""

    def __missing__(self, word: str) -> str:
        if len(self) >= _REMEMBERED:
            self.clear()
        made = self[word] = _term(word)
        return made


def _term(word: str) -> str:
    base = _POSSESSIVE.sub("", word)
    base = base.lower() if base.isascii() else "".join(map(_lower, base))
    return "" if base in STOP_WORDS else stem(base)


def _lower(letter: str) -> str:
    """One letter for one letter: no final sigma, no dot of its own for a capital İ."""
    return letter.lower()[:1]


_TERMS = _Terms()


def term(word: str) -> str:
    """The index term of one word; "" for a stop word."""
    return _TERMS[word]


def analyze(text: str) -> list[str]:
    """The terms of a text in order; a repeated word gives a repeated term."""
    return [term for word in words(text) if (term := _TERMS[word])]
