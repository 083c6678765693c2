"""Words of a text in any script: Unicode's word breaks (UAX #29) as Lucene's tokenizer has them.

Beyond the standard: ideographs and hiragana are words one by one, runs of Thai, Lao, Khmer or
Burmese are one word, emoji and other pictographs are words, and no word is longer than 255 UTF-16
units (the rest of it is read anew).

`word_break.txt` lists the characters of each class; all others only separate words.

    A letter       W Hebrew letter       B letter and pictograph   N digit   D ASCII digit
    K katakana     _ joins words         : inside letters          , inside digits
    m inside both  q apostrophe (also inside both)                 d double quote
    X extends what precedes it; so do k keycap, v and V variation selectors, J joiner,
    M skin tone    S word by run of its kind    T the same, or extends
    I word by itself    P pictograph    R half a flag    H # or *, before a keycap
"""

import re
from bisect import bisect_right
from functools import cache
from pathlib import Path

LONGEST = 255
_TABLE = Path(__file__).with_name("word_break.txt")


def _pattern() -> re.Pattern[str]:
    """A word, written in classes. All that joins depends on neighbours only, so greedy is right."""
    tail = "[XkvVJMT]*"
    hebrew = f"W{tail}(?:q{tail}|d{tail}W{tail})"
    letters = f"[ABW]{tail}(?:[:mq]{tail}[ABW]{tail})*"
    digits = f"[ND]{tail}(?:[,mq]{tail}[ND]{tail})*"
    run = f"(?:(?:{hebrew}|{letters}|{digits})+|(?:K{tail})+)"
    joint = f"(?:_{tail})"
    extended = "[XkJMT]*"
    picture = f"[PB]{extended}v?"
    # A joiner that nothing took goes with the picture it precedes.
    first = f"(?:J*{picture}|M{extended})"
    more = f"(?:(?:J|(?<=J)){picture}|(?<=v)JM{extended})"
    return re.compile(
        f"(?=[^B]|[BMJXkTv]*P){first}(?:{more})+"
        f"|{joint}*{run}(?:{joint}+{run})*{joint}*"
        f"|(?:[ST]{tail})+"
        f"|I{tail}"
        f"|{first}"
        f"|R{tail}R{tail}"
        f"|H{extended}v?k{extended}"
    )


_WORD = _pattern()


class _Classes(dict[int, str]):
    """Code point -> its class, a blank for none; looked up on first use."""

    def __init__(self) -> None:
        rows: list[tuple[int, int, str]] = []
        for line in _TABLE.read_text(encoding="ascii").splitlines():
            name, *spans = line.split()
            for span in spans:
                first, _, last = span.partition("-")
                rows.append((int(first, 16), int(last or first, 16), name))
        self._rows = sorted(rows)
        self._firsts = [first for first, _, _ in self._rows]

    def __missing__(self, code: int) -> str:
        at = bisect_right(self._firsts, code) - 1
        _, last, name = self._rows[at]
        found = self[code] = name if at >= 0 and code <= last else " "
        return found


@cache
def _classes() -> _Classes:
    return _Classes()


def unicode_words(text: str) -> list[str]:
    """The words of a text in order, as written."""
    classes = text.translate(_classes())
    found, at = [], 0
    while match := _WORD.search(classes, at):
        begin, at = match.span()
        if at - begin > LONGEST // 2:
            at = _cut(text, classes, begin, at)
        found.append(text[begin:at])
    return found


def _cut(text: str, classes: str, begin: int, end: int) -> int:
    """Where the word from `begin` to `end` stops when only 255 UTF-16 units are seen of it."""
    units, limit = 0, begin
    for letter in text[begin:end]:
        units += 1 + (letter > "\uffff")
        if units > LONGEST:
            break
        limit += 1
    if limit == end:
        return end
    match = _WORD.match(classes, begin, limit)
    return match.end() if match else limit
