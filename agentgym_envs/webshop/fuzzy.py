"""The likeness of two short texts by their words, as the official reward measures it.

The official code pins thefuzz 0.19.0 without its C helper, so ratios are Python's difflib's. Newer
versions count differently: `10 ounce (pack of 12)` against `240 ounce (pack of 1)` is 84 or 89.
"""

import re
from difflib import SequenceMatcher
from functools import lru_cache

ALIKE = 85  # two texts count as the same when their ratio is above this
LATIN_1_UPPER = dict.fromkeys(range(128, 256))  # the only characters that "forcing ASCII" drops
AUTOJUNK_LENGTH = (
    200  # from here on difflib ignores characters that are frequent in its second text
)
KEPT_PAIRS = 1 << 16

_OTHER = re.compile(r"\W")


def token_set_ratio(first: str, second: str) -> int:
    """0 to 100: how far the words of one text are among the other's, by thefuzz 0.19.0.

    Both texts are lower-cased, lose the characters 128 to 255 and have everything but letters,
    digits and underscores replaced by blanks. Of the words they share, those joined with the rest
    of the first, and those joined with the rest of the second, the best of the three ratios counts:
    100 as soon as all words of one are among the other's. 0 where a text has no word.
    The order of the two can matter by a few points, as it does in difflib.
    """
    shared, one, other = _sides(first, second)
    if not one or not other:
        return 0
    if shared in (one, other):
        return 100
    return max(_ratio(shared, one), _ratio(shared, other), _ratio(one, other))


@lru_cache(maxsize=KEPT_PAIRS)
def alike(first: str, second: str) -> bool:
    """Whether `token_set_ratio(first, second)` is above 85; looks at lengths before it compares."""
    shared, one, other = _sides(first, second)
    if not one or not other:
        return False
    if shared in (one, other):
        return True
    pairs = ((shared, one), (shared, other), (one, other))
    return any(_bound(a, b) > ALIKE and _ratio(a, b) > ALIKE for a, b in pairs)


def _sides(first: str, second: str) -> tuple[str, str, str]:
    """The shared words, and each text's words with the shared ones in front; sorted, joined."""
    one, other = _words(first), _words(second)
    shared = one & other
    common = " ".join(sorted(shared))
    return (
        common,
        f"{common} {' '.join(sorted(one - shared))}".strip(),
        f"{common} {' '.join(sorted(other - shared))}".strip(),
    )


@lru_cache(maxsize=KEPT_PAIRS)
def _words(text: str) -> frozenset[str]:
    return frozenset(_OTHER.sub(" ", text.translate(LATIN_1_UPPER)).lower().split())


def _bound(one: str, other: str) -> int:
    """No ratio of texts of these lengths is higher."""
    return _percent(min(len(one), len(other)), one, other)


def _ratio(one: str, other: str) -> int:
    if len(other) < AUTOJUNK_LENGTH and other.startswith(one):
        return _percent(len(one), one, other)  # the longest match is all of `one`
    matched = SequenceMatcher(None, one, other).get_matching_blocks()
    return _percent(sum(block.size for block in matched), one, other)


def _percent(matched: int, one: str, other: str) -> int:
    return round(100 * (2.0 * matched / (len(one) + len(other))))
