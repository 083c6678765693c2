"""When an answer is right: the normalisation and measures of the open-domain QA literature."""

import re
import string
from collections import Counter
from collections.abc import Iterable

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalised(text: str) -> str:
    """Lower case, ASCII punctuation deleted, the words a, an, the left out, blanks collapsed.

    Deleted, not replaced by a blank: "U.S." becomes "us", "e-mail" "email". Typographic quotes and
    dashes stay, as in the official evaluation (SQuAD, Search-R1, verl-agent).
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(prediction: str, targets: Iterable[str]) -> bool:
    """The normalised prediction equals a normalised target. A blank prediction never does."""
    given = normalised(prediction)
    return bool(prediction.strip()) and any(given == normalised(target) for target in targets)


def contains_answer(text: str, targets: Iterable[str]) -> bool:
    """Sub-EM: a normalised target is a substring of the normalised text ("us" is in "russia").

    A target that normalises to nothing ("The") would be in every text: it counts as in none.
    """
    given = normalised(text)
    return any(wanted and wanted in given for wanted in map(normalised, targets))


def f1(prediction: str, targets: Iterable[str]) -> float:
    """The best F1 of word bags over the targets, in [0, 1], after normalisation."""
    return max((_f1(normalised(prediction), normalised(target)) for target in targets), default=0.0)


def _f1(prediction: str, target: str) -> float:
    given, wanted = Counter(prediction.split()), Counter(target.split())
    common = (given & wanted).total()
    return 2 * common / (given.total() + wanted.total()) if common else 0.0
