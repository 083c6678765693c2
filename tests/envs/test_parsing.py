import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs.parsing import PARSERS, Parsed, find_parser


@pytest.mark.parametrize(
    ("name", "response", "action", "valid"),
    [
        ("text", "  look ", "look", True),
        ("text", "fly", "fly", False),
        ("action", "I think <action>look</action>", "look", True),
        ("action", "<action>a</action> no: <action> b </action>", "b", True),
        ("action", "<action>look", "", False),
        ("action", "</action>look<action>", "", False),
        ("action", "<action></action>", "", False),
        ("arrow", "find mug > go to desk 1", "go to desk 1", True),
        ("arrow", "a > b > c", "c", True),
        ("arrow", "no arrow", "", False),
        ("arrow", "nothing after >  ", "", False),
        ("verl_alfworld", "<think>x</think><action>Go To Desk 1</action>", "go to desk 1", True),
        ("verl_alfworld", "<action>look</action>", "look", False),
        ("verl_alfworld", "<think>x</think><action>a</action><action>b</action>", "a", True),
        ("verl_alfworld", "<THINK>x</THINK><ACTION>look</ACTION>", "look", False),
        ("verl_alfworld", "<think>我</think><action>look</action>", "look", False),
        ("verl_alfworld", "<think>日</think>x", "<think>日</think>x", False),
        ("verl_alfworld", "A" * 40, "a" * 30, False),
        ("verl_alfworld", "</action><action>", "", False),
        ("verl_webshop", "A" * 40, "a" * 20, False),
        ("text", "search[a mug]", "search[a mug]", False),
        ("line", "need it\n> so\n look ", "look", True),
        ("line", "look\nfly", "fly", False),
        ("line", "\n \n", "", False),
        ("spoken", "need it\nlook", "look", True),
        ("spoken", "need it\nclick  a mug ", "click[a mug]", False),
    ],
)
def test_by_example(name, response, action, valid):
    assert find_parser(name)(response, ("look",)) == Parsed(action, valid)


@given(response=st.text(), name=st.sampled_from(sorted(PARSERS)))
def test_any_string_is_parsed(response, name):
    parsed = find_parser(name)(response, ("look",))
    assert isinstance(parsed.action, str) and isinstance(parsed.valid, bool)


@given(st.text(alphabet=st.characters(exclude_characters="<>", exclude_categories=["Cs"])))
def test_a_framed_action_comes_back(action):
    assert find_parser("action")(f"<action>{action}</action>", ()).action == action.strip()
    assert find_parser("arrow")(f"why > {action}", ()).action == action.strip()


def test_an_unknown_parser_is_named():
    with pytest.raises(ValueError, match="no parser 'xml'.*verl_alfworld"):
        find_parser("xml")


def test_anyones_by_address():
    assert find_parser("agentgym_envs.parsing:arrow") is PARSERS["arrow"]


@pytest.mark.parametrize(
    ("response", "valid"),
    [
        ("search[a mug]", True),
        ("search[]", False),
        ("search[a mug", False),
        ("click[<b>]", True),
        ("click[a mug]", False),
        ("Search[a mug]", False),
    ],
)
def test_a_search_bar_admits_any_search(response, valid):
    admissible = ("search[<your query>]", "click[<b>]")
    assert find_parser("text")(response, admissible) == Parsed(response, valid)
