"""The two parsers of Search-QA: what is cut, which block decides, what is flagged."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs.parsing_search import cut, read_action, search_r1, spoken_search, verl_search

PIECES = st.lists(
    st.sampled_from(
        [
            *("<search>", "</search>", "<answer>", "</answer>", "<think>", "</think>"),
            *("<SEARCH>", "</Answer>", "<information>", " ", "\n", "who", "is", "<", ">", "ſ", "İ"),
        ]
    )
    | st.text(max_size=5),
    max_size=12,
).map("".join)


@pytest.mark.parametrize(
    ("response", "action"),
    [
        ("<think>hm</think> <search> who is it </search>", "<search>who is it</search>"),
        ("<search>one</search><search>two</search>", "<search>one</search>"),
        ("<answer>x</answer> <search>q</search>", "<answer>x</answer>"),  # the first block decides
        ("<search>q</search> <answer>x</answer>", "<search>q</search>"),  # cut after the search
        ("<search>open <answer>x</answer>", "<answer>x</answer>"),
        ("<answer>two\nlines</answer>", "<answer>two\nlines</answer>"),
        ("<answer></answer>", "<answer></answer>"),
        ("<SEARCH>q</SEARCH>", ""),  # lower-case tags only
        ("</search><search>q</search>", ""),  # cut after the first closing tag, wherever it is
        ("Paris", ""),
        ("", ""),
    ],
)
def test_search_r1(response, action):
    assert search_r1(response, ()) == (action, bool(action))


@pytest.mark.parametrize(
    ("response", "action", "valid"),
    [
        ("<think>hm</think><search> q </search>", "<search>q</search>", True),
        ("<search>q</search>", "<search>q</search>", True),  # <think> is not asked for
        ("<Search>q</SEARCH>", "<search>q</search>", True),
        ("<answer>x</answer><search>q</search>", "<search>q</search>", False),  # both tags
        ("<search>q</search> and <answer>", "<search>q</search>", False),  # in the raw text
        ("<search>a</search><search>b</search>", "<search>a</search>", False),  # one twice
        ("<answer>x</answer><answer>y</answer>", "<answer>x</answer>", False),
        ("<search>q", "", False),
        ("Paris", "", False),
    ],
)
def test_verl_search(response, action, valid):
    assert verl_search(response, ()) == (action, valid)


def by_expressions(text: str, flags: int = 0) -> str:
    """The search and answer rule as regular expressions, which are slower and easier to read."""
    found = re.search(r"<search>(.*?)</search>", text, re.DOTALL | flags)
    return f"<search>{found[1].strip()}</search>" if found else ""


@given(PIECES)
def test_a_search_is_what_the_plain_expression_finds(response):
    action, _ = verl_search(response, ())
    if not re.search("[ſİ]", response):  # Unicode's own case folding is not wanted in a tag
        wanted = by_expressions(cut(response), re.IGNORECASE)
        assert not wanted or action == wanted
    found = re.search(r"<(search|answer)>(.*?)</\1>", cut(response), re.DOTALL)
    expected = f"<{found[1]}>{found[2].strip()}</{found[1]}>" if found else ""
    assert search_r1(response, ()).action == expected


@given(PIECES)
def test_any_text_parses_to_one_block_or_none(response):
    for parse in (search_r1, verl_search):
        action, valid = parse(response, ())
        block = read_action(action)
        assert (block is None) == (action == "")
        assert not valid or action
        assert block is None or str(block) == action
        assert parse(action, ()).action == action  # a canonical block is its own parse


@given(PIECES)
def test_cutting_twice_is_cutting_once(response):
    assert cut(cut(response)) == cut(response)
    assert response.startswith(cut(response))


def test_many_open_tags_take_no_quadratic_time():
    for tag in ("<search>", "</search>", "<SEARCH>"):
        long = tag * 200_000
        assert verl_search(long, ()).valid is False
        assert search_r1(long, ()).valid is False


@pytest.mark.parametrize(
    "action", ["", "Paris", "<search>a</search><search>b</search>", "x <answer>y</answer>"]
)
def test_only_a_whole_block_is_an_action(action):
    assert read_action(action) is None


@pytest.mark.parametrize(
    ("response", "action"),
    [
        ("need: mayor of Ur\nsearch  Ur ", "<search>Ur</search>"),
        ("answer Ann Bo", "<answer>Ann Bo</answer>"),
        ("answer Ann\nthat is all", ""),
        ("search", ""),
        ("look Ur", ""),
        ("", ""),
    ],
)
def test_spoken_search(response, action):
    assert spoken_search(response, ()) == (action, bool(action))
