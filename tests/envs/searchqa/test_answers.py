"""Normalisation and measures: known cases of the official evaluation, and laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs.searchqa.answers import contains_answer, exact_match, f1, normalised

TARGETS = st.lists(st.text(min_size=1), min_size=1, max_size=3)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The Beatles", "beatles"),
        ("U.S.", "us"),  # punctuation is deleted, not replaced by a blank
        ("e-mail", "email"),
        ("an apple a day", "apple day"),
        ("Theatre", "theatre"),  # only the whole word is an article
        ("A.", ""),  # deleting the full stop leaves an article
        ("  two\n\twords ", "two words"),
        ("“quoted”", "“quoted”"),  # only ASCII punctuation goes
        ("1960–70", "1960–70"),
        ("rock 'n' roll", "rock n roll"),
        ("$1,000", "1000"),
        ("Beyoncé", "beyoncé"),
    ],
)
def test_normalisation(text, wanted):
    assert normalised(text) == wanted


@given(st.text())
def test_normalising_twice_changes_nothing_that_counts(text):
    once = normalised(text)
    assert exact_match(once, [text]) == bool(once)


@pytest.mark.parametrize(
    ("prediction", "targets", "right"),
    [
        ("the Eiffel Tower.", ["Eiffel Tower"], True),
        ("Tower", ["Eiffel Tower"], False),
        ("Paris", ["London", "PARIS"], True),
        ("the", ["A"], True),  # as in the official rule: both normalise to nothing
        ("", ["The"], False),  # but no answer is no answer
        (" \n", ["The"], False),
    ],
)
def test_exact_match(prediction, targets, right):
    assert exact_match(prediction, targets) is right


@pytest.mark.parametrize(
    ("text", "targets", "right"),
    [
        ("It was in Paris, I think", ["Paris"], True),
        ("Russia", ["U.S."], True),  # a substring, not a word
        ("anything", ["The"], False),  # an empty target is in no text
        ("", ["Paris"], False),
    ],
)
def test_sub_exact_match(text, targets, right):
    assert contains_answer(text, targets) is right


@pytest.mark.parametrize(
    ("prediction", "targets", "value"),
    [
        ("the tall tower", ["tower"], 2 / 3),  # precision 1/2, recall 1
        ("big big tower", ["big tower tower"], 2 / 3),  # bags: two words in common
        ("Paris", ["London", "Paris France"], 2 / 3),  # the best target counts
        ("Rome", ["Paris"], 0.0),
        ("", ["The"], 0.0),
    ],
)
def test_f1(prediction, targets, value):
    assert f1(prediction, targets) == pytest.approx(value)


@given(st.text(), TARGETS)
def test_an_exact_match_is_the_strictest(prediction, targets):
    value = f1(prediction, targets)
    assert 0.0 <= value <= 1.0
    if exact_match(prediction, targets) and normalised(prediction):
        assert contains_answer(prediction, targets)
        assert value == 1.0


@given(st.text(), TARGETS, st.text(min_size=1))
def test_another_right_answer_never_hurts(prediction, targets, more):
    for measure in (exact_match, contains_answer, f1):
        assert measure(prediction, [*targets, more]) >= measure(prediction, targets)


@given(st.text(), TARGETS)
def test_the_order_of_targets_does_not_matter(prediction, targets):
    for measure in (exact_match, contains_answer, f1):
        assert measure(prediction, targets) == measure(prediction, targets[::-1])
