"""Made-up corpora and queries for the BM25 benchmark, the same for the same seed.

Words follow a Zipf-Mandelbrot law without end, so that a larger corpus has more of them. Pages of
8 passages have topic words that come again and again, as on real pages, and two words in five
are function words, most of them stop words. The law's two numbers make the commonest 30, 280, 1,000
and 10,000 terms as large a share of the text as in 11,155 real Wikipedia passages (11, 35, 57 and
90 in a hundred; here 11, 35, 62 and 90).
"""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_STOP = re.findall(
    r"\w+",
    "the of and in to a is was for as on by with that at it an are be this not but they their",
)
_OTHER = re.findall(
    r"\w+", "he his from were which also had first one after who has its new two her she been other"
)
# The stop words among them come first.
FUNCTION_WORDS = [*_STOP, *_OTHER]
PAGE, TOPICS, TITLE = 8, 24, 3
MEAN_LENGTH = 100
_FUNCTION, _TOPIC = 0.42, 0.22
_OFFSET, _TAIL = 250.0, 0.55
_SYLLABLES = [c + v for c in "bdfgklmnprstvzhj" for v in "aeio"]
Ids = NDArray[np.int64]


def passages(count: int, seed: int) -> Iterator[str]:
    """That many passages: a title in quotes, a newline, about 100 words."""
    for titles, function, words, lengths in _pages(count, seed):
        at = 0
        for number, length in enumerate(lengths.tolist()):
            title = " ".join(_spell(word).capitalize() for word in titles[number // PAGE].tolist())
            pairs = zip(
                function[at : at + length].tolist(), words[at : at + length].tolist(), strict=True
            )
            text = " ".join(FUNCTION_WORDS[f] if f >= 0 else _spell(w) for f, w in pairs)
            at += length
            yield f'"{title}"\n{text}.'


def queries(passages: list[str], count: int, seed: int) -> list[str]:
    """Title words, words of one passage, function words and a word of another, mixed."""
    rng = np.random.default_rng((seed, 1))
    made = []
    for number in rng.integers(len(passages), size=count):
        title, _, text = passages[number].partition("\n")
        words = text[:-1].split()
        picked = [
            *title.strip('"').lower().split()[: rng.integers(4)],
            *(words[at] for at in rng.integers(len(words), size=rng.integers(2, 6))),
            *(FUNCTION_WORDS[at] for at in rng.integers(len(FUNCTION_WORDS), size=3)),
            _spell(int(_ranks(rng, 1)[0])),
        ]
        rng.shuffle(picked)
        made.append(" ".join(picked))
    return made


def term_ids(count: int, seed: int, vocabulary: int) -> Iterator[tuple[Ids, Ids]]:
    """Term numbers of passages and each one's length, 8,000 passages at a time, as analysed."""
    for _, function, words, lengths in _pages(count, seed):
        kept = function < 0
        content = (words % (vocabulary - 30)) + 30
        terms = np.where(kept, content, function - len(_STOP))
        owners = np.repeat(np.arange(len(lengths)), lengths)
        here = terms >= 0
        yield terms[here], np.bincount(owners[here], minlength=len(lengths))


def _pages(count: int, seed: int) -> Iterator[tuple[Ids, Ids, Ids, Ids]]:
    """A thousand pages at a time: title words, function words (-1: none), words, lengths."""
    rng = np.random.default_rng((seed, 0))
    for first in range(0, count, 1000 * PAGE):
        size = min(1000 * PAGE, count - first)
        pages = -(-size // PAGE)
        lengths = rng.poisson(MEAN_LENGTH, size) + 1
        total = int(lengths.sum())
        topics = _ranks(rng, pages * TOPICS).reshape(pages, TOPICS) + 200
        page = np.repeat(np.arange(size) // PAGE, lengths)
        topical = topics[page, np.minimum(rng.geometric(0.15, total), TOPICS) - 1]
        words = np.where(rng.random(total) < _TOPIC, topical, _ranks(rng, total))
        # The k-th function word is about 1/k as frequent as the first.
        drawn = len(FUNCTION_WORDS) ** rng.random(total) - 1
        function = np.where(rng.random(total) < _FUNCTION, drawn.astype(np.int64), -1)
        yield topics[:, :TITLE], function, words, lengths


def _ranks(rng: np.random.Generator, size: int) -> Ids:
    """Ranks of words, 0 the most frequent."""
    rank = _OFFSET * ((1 - rng.random(size)) ** (-1 / _TAIL) - 1)
    return np.minimum(rank, 2.0**40).astype(np.int64)


def _spell(rank: int) -> str:
    """A word for a rank: rarer words are longer."""
    word = ""
    rank += 64 * 64
    while rank:
        rank, syllable = divmod(rank, len(_SYLLABLES))
        word += _SYLLABLES[syllable]
    return word
