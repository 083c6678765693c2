"""The token-set ratio against values of thefuzz 0.19.0 (with difflib), and its laws."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentgym_envs.webshop.fuzzy import alike, token_set_ratio

# First, second, thefuzz's answer, and its answer the other way round.
KNOWN = [
    ("10 ounce (pack of 12)", "240 ounce (pack of 1)", 84, 89),
    ("navy blue", "dark blue", 67, 67),
    ("long sleeves", "long sleeve", 96, 96),
    ("machine wash", "machine washable", 86, 86),
    ("2x-large", "3x-large", 88, 88),
    ("x-large", "large", 100, 100),
    ("size_name 9", "9 size", 71, 71),
    ("('color', 'navy blue')", "blue", 100, 100),
    ("('color', 'rectangular')", "tan", 30, 30),
    ("a b c d e f g h i j k", "k j i h g f e d c b x", 95, 95),
    ("café noir", "caf noir", 100, 100),  # 128 to 255 are dropped
    ("日本茶", "日本茶 250g", 100, 100),  # what is beyond stays
    ("☕", "☕", 0, 0),  # no letter, no digit
    ("", "a", 0, 0),
    ("---", "---", 0, 0),
    ("ab" * 120, "ba" * 120, 0, 0),  # from 200 characters on difflib ignores frequent ones
    ("abc " * 70 + "xyz", "abd " * 70 + "xyz", 86, 86),
]

texts = st.text(alphabet="abAB 1_-.é日'", max_size=12)


@pytest.mark.parametrize(("first", "second", "forth", "back"), KNOWN)
def test_known_ratios(first, second, forth, back):
    assert token_set_ratio(first, second) == forth
    assert token_set_ratio(second, first) == back


@given(texts, texts)
@example("machine wash", "machine washable")
def test_alike_means_above_85(first, second):
    assert alike(first, second) == (token_set_ratio(first, second) > 85)


@given(texts, texts)
def test_order_of_words_and_case_do_not_matter(first, second):
    turned = " ".join(reversed(first.swapcase().split(" ")))
    assert token_set_ratio(turned, second) == token_set_ratio(first, second)


@given(texts, texts)
def test_all_words_of_one_among_the_other_make_100(first, second):
    both = f"{first} {second}"
    assert token_set_ratio(first, both) in (0, 100)
    assert (token_set_ratio(first, both) == 100) == (token_set_ratio(first, first) == 100)
