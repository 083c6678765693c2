"""The Porter stemmer as Lucene's English analysis has it.

M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980, with the two departures
its author later published: `bli` -> `ble` and `logi` -> `log`. Words of one or two letters
(UTF-16 units) stay. Every character other than a, e, i, o, u, y counts as a consonant, so any
script goes through.
"""

_STEP_2 = (
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("logi", "log"),
)
_STEP_3 = (
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
)
_STEP_4 = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "sion",
    "tion", "ou", "ism", "ate", "iti", "ous", "ive", "ize",
]  # fmt: skip

_Rules = dict[str, tuple[tuple[str, str], ...]]


def _by_ending(rules: tuple[tuple[str, str], ...]) -> _Rules:
    """Rules that can apply to a word, by its last two letters; in each, the first match counts."""
    endings = dict.fromkeys(suffix[-2:] for suffix, _ in rules)
    return {end: tuple(rule for rule in rules if rule[0].endswith(end)) for end in endings}


_RULES_2, _RULES_3 = _by_ending(_STEP_2), _by_ending(_STEP_3)
# `ion` goes only after s or t, which stay.
_RULES_4 = _by_ending(tuple((suffix, suffix[0] * (suffix[1:] == "ion")) for suffix in _STEP_4))


class _Letters(dict[int, str]):
    """Code point -> "v", "y" or "c"."""

    def __missing__(self, code: int) -> str:
        return "c"


_LETTERS = _Letters({**{ord(letter): "v" for letter in "aeiou"}, ord("y"): "y"})


def _shape(word: str) -> str:
    """The word in c (consonant) and v (vowel). A y after a consonant is a vowel."""
    shape = word.translate(_LETTERS)
    if "y" not in shape:
        return shape
    resolved = ""
    for letter in shape:
        vowel = letter == "v" or (letter == "y" and resolved[-1:] == "c")
        resolved += "v" if vowel else "c"
    return resolved


def _measure(shape: str) -> int:
    """How often a consonant follows a vowel: m of [C](VC)^m[V]."""
    return shape.count("vc")


def _short_end(word: str, shape: str) -> bool:
    """Ends consonant, vowel, consonant, the last none of w, x, y."""
    return shape.endswith("cvc") and word[-1] not in "wxy"


def stem(word: str) -> str:
    """The stem of a lower-case word. Never empty, never longer than the word."""
    if len(word) < 3 and sum(1 + (letter > "\uffff") for letter in word) < 3:
        return word
    word = _past(_plural(word))
    if word[-1] == "y" and "v" in _shape(word[:-1]):
        word = word[:-1] + "i"
    word = _replaced(word, _RULES_2, 0)
    word = _replaced(word, _RULES_3, 0)
    word = _replaced(word, _RULES_4, 1)
    return _tidied(word)


def _plural(word: str) -> str:
    """Step 1a."""
    if word[-1] != "s":
        return word
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word if word[-2] == "s" else word[:-1]


def _past(word: str) -> str:
    """Step 1b."""
    if word.endswith("eed"):
        return word[:-1] if _measure(_shape(word[:-3])) > 0 else word
    if not word.endswith(("ed", "ing")):
        return word
    rest = word[:-2] if word[-1] == "d" else word[:-3]
    shape = _shape(rest)
    if "v" not in shape:
        return word
    if rest.endswith(("at", "bl", "iz")):
        return rest + "e"
    if len(rest) > 1 and rest[-1] == rest[-2] and shape[-1] == "c":
        return rest if rest[-1] in "lsz" else rest[:-1]
    return rest + "e" if _measure(shape) == 1 and _short_end(rest, shape) else rest


def _replaced(word: str, rules: _Rules, least: int) -> str:
    """Steps 2 to 4: the first suffix that fits is replaced if what precedes it measures enough."""
    for suffix, new in rules.get(word[-2:], ()):
        if word.endswith(suffix):
            rest = word[: -len(suffix)]
            # In step 4 the s or t before `ion` belongs to what is measured.
            kept = rest + new if least else rest
            return rest + new if _measure(_shape(kept)) > least else word
    return word


def _tidied(word: str) -> str:
    """Step 5: a final e, and one l of a final ll."""
    if word[-1] == "e":
        shape = _shape(word)
        measure = _measure(shape)
        if measure > 1 or (measure == 1 and not _short_end(word[:-1], shape[:-1])):
            word = word[:-1]
    return word[:-1] if word.endswith("ll") and _measure(_shape(word)) > 1 else word
