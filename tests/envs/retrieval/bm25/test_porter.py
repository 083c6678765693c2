"""Porter's stemmer: the paper's own examples, and the two departures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs.retrieval.bm25.porter import stem

PAPER = """
caresses caress, ponies poni, ties ti, caress caress, cats cat, feed feed, agreed agre,
plastered plaster, bled bled, motoring motor, sing sing, conflated conflat, troubled troubl,
sized size, hopping hop, tanned tan, falling fall, hissing hiss, fizzed fizz, failing fail,
filing file, happy happi, sky sky, relational relat, conditional condit, rational ration,
valenci valenc, hesitanci hesit, digitizer digit, radicalli radic, differentli differ, vileli vile,
analogousli analog, vietnamization vietnam, predication predic, operator oper, feudalism feudal,
decisiveness decis, hopefulness hope, callousness callous, formaliti formal, sensitiviti sensit,
sensibiliti sensibl, triplicate triplic, formative form, formalize formal, electriciti electr,
electrical electr, hopeful hope, goodness good, revival reviv, allowance allow, inference infer,
airliner airlin, gyroscopic gyroscop, adjustable adjust, defensible defens, irritant irrit,
replacement replac, adjustment adjust, dependent depend, adoption adopt, homologou homolog,
communism commun, activate activ, angulariti angular, homologous homolog, effective effect,
bowdlerize bowdler, probate probat, rate rate, cease ceas, controll control, roll roll
"""


@pytest.mark.parametrize("pair", PAPER.replace("\n", " ").strip().split(", "))
def test_the_examples_of_the_paper(pair):
    word, wanted = pair.split()
    assert stem(word) == wanted


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("technology", "technolog"),
        ("possibly", "possibl"),
        ("generalizations", "gener"),
        ("oscillators", "oscil"),
        ("yelling", "yell"),
        ("saying", "sai"),
        ("syzygy", "syzygi"),
    ],
)
def test_departures_chains_and_y(word, wanted):
    assert stem(word) == wanted


@pytest.mark.parametrize("word", ["", "a", "us", "as", "by", "é"])
def test_words_of_up_to_two_letters_stay(word):
    assert stem(word) == word


def test_a_letter_beyond_the_first_plane_counts_twice():
    assert stem("\U0001d7ecs") == "\U0001d7ec"


@given(st.text("aeiouybcdstlngé", min_size=1, max_size=12))
def test_a_stem_begins_its_word_but_for_the_last_letter(word):
    stemmed = stem(word)
    assert 0 < len(stemmed) <= len(word)
    assert stemmed[:-1] == word[: len(stemmed) - 1]
