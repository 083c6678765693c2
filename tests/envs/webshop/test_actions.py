"""The action grammar is the official pattern, found without its worst cases."""

import re

from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs.webshop.actions import Action, parse

OFFICIAL = re.compile(r"(.+)\[(.+)\]")


def test_examples():
    assert parse("search[Red Shoes]") == Action("search", "red shoes")
    assert parse("click[< Prev]") == Action("click", "< prev")
    assert parse("CLICK[x]") == Action("CLICK", "x")  # the name keeps its case
    assert parse("search[a] and more") == Action("search", "a")
    assert parse("click[2 [pack]]") == Action("click[2 ", "pack]")  # an inner bracket splits


def test_what_is_no_action():
    for text in ("", "search", "search[]", "search[a\nb]", "\nsearch[a]", "[a]", "search]a[", "]"):
        assert parse(text) is None


@given(st.text(alphabet="ab []\n\r\u2028É", max_size=14))
def test_equals_the_official_pattern(text: str):
    match = OFFICIAL.match(text)
    expected = None if match is None else Action(match[1], match[2].lower())
    assert parse(text) == expected


def test_a_megabyte_of_brackets_is_read_at_once():
    """The pattern itself would try every pair of them."""
    assert parse("[" * 1_000_000) is None
    assert parse("[" * 1_000_000 + "x]") == Action("[" * 999_999, "x")
