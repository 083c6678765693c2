import dataclasses

import pytest

from agentgym_envs import Advice, Turn
from agentgym_envs.prompts import PromptStyle, load_style

ALFWORLD = "agentgym_envs.alfworld:prompts"
PLAIN = PromptStyle(
    first="{goal}|{observation}|{admissible}",
    later="{goal}|{turns_played}|{history_length}|{history}|{turn}|{observation}|{admissible}",
    pair="{turn}:{observation}>{action}",
    pair_join=";",
    opening="o {observation}",
    following="f {observation} {admissible}",
    reply="{thought}/{action}",
    parser="text",
    hide=("help",),
    admissible_join=",",
)


def turns(count: int) -> list[Turn]:
    return [
        Turn(observation=f"seen {k}", response=f"r{k}", action=f"did {k}", valid=True)
        for k in range(1, count + 1)
    ]


def content(messages) -> str:
    assert [message["role"] for message in messages] == ["user"]
    return messages[0]["content"]


def test_the_first_turn_has_no_history():
    shown = content(PLAIN.turn_messages("G", [], "now", ("help", "look", "open {x}")))
    assert shown == "G|now|'look','open {x}'"


@pytest.mark.parametrize(
    ("window", "history"), [(2, "2:seen 2>did 2;3:seen 3>did 3"), (0, ""), (9, None)]
)
def test_later_turns_show_a_window_of_the_past(window, history):
    style = dataclasses.replace(PLAIN, history=window)
    shown = content(style.turn_messages("G", turns(3), "now", ()))
    if history is None:
        history, window = "1:seen 1>did 1;2:seen 2>did 2;3:seen 3>did 3", 3
    assert shown == f"G|3|{window}|{history}|4|now|"


def test_a_history_that_makes_the_prompt_too_long_is_dropped():
    whole = content(PLAIN.turn_messages("G", turns(2), "now", ()))
    at_limit = dataclasses.replace(PLAIN, longest=len(whole))
    assert content(at_limit.turn_messages("G", turns(2), "now", ())) == whole
    below = dataclasses.replace(PLAIN, longest=len(whole) - 1)
    assert content(below.turn_messages("G", turns(2), "now", ())) == "G|now|"


def test_observations_with_braces_are_left_alone():
    assert content(PLAIN.turn_messages("{goal}", [], "{0} %s {x}", ())) == "{goal}|{0} %s {x}|"


def test_the_chat_layout_only_ever_adds():
    assert content(PLAIN.opening_messages("G", "now", ("look",))) == "o now"
    assert PLAIN.following_text("G", "later", ("look", "help")) == "f later 'look'"


def test_a_system_message_comes_first():
    style = dataclasses.replace(PLAIN, system="Be brief.")
    assert [m["role"] for m in style.opening_messages("G", "x", ())] == ["system", "user"]


@pytest.mark.parametrize("name", ["default", "compact"])
def test_what_an_expert_writes_its_own_parser_reads(name):
    from agentgym_envs.parsing import find_parser

    style = load_style(name, ALFWORLD)
    reply = style.written(Advice("go to desk 1", "find mug"))
    assert find_parser(style.parser)(reply, ()) == ("go to desk 1", True)


def test_the_default_alfworld_prompt_says_everything():
    style = load_style("default", ALFWORLD)
    first = content(style.turn_messages("put a mug in desk.", [], "ROOM", ("help", "look")))
    later = content(style.turn_messages("put a mug in desk.", turns(5), "ROOM", ("help", "look")))
    for text in (first, later):
        assert "ROOM" in text and "['look']" in text and "<think>" in text and "<action>" in text
        assert "help" not in text and "\\" not in text
    assert "put a mug in desk." in later and "taken 5 action(s)" in later and "number 6" in later
    assert "[Observation 4: 'seen 4', Action 4: 'did 4']\n[Observation 5" in later
    assert "seen 3" not in later


def test_a_style_of_your_own_is_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    fields = {f: getattr(PLAIN, f) for f in ("first", "later", "pair", "opening", "following")}
    lines = [f'{key} = "{value}"' for key, value in fields.items()]
    path.write_text("\n".join([*lines, 'reply = "{action}"', 'parser = "text"']))
    assert load_style(str(path)).opening == "o {observation}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('first = "{observatoin}"', "observatoin"),
        ('frist = "x"', "unknown key 'frist'"),
        ("", "missing"),
    ],
)
def test_a_broken_style_is_explained(tmp_path, line, message):
    path = tmp_path / "mine.toml"
    path.write_text(line)
    if "observatoin" in line:
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(PLAIN, first="{observatoin}")
    else:
        with pytest.raises(ValueError, match=message):
            load_style(str(path))


def test_an_unknown_style_is_named():
    with pytest.raises(ValueError, match="no prompt style 'fancy'; built in: compact, default"):
        load_style("fancy", ALFWORLD)
    with pytest.raises(ValueError, match="no prompt style file"):
        load_style("missing.toml", ALFWORLD)


def test_a_style_of_any_package_is_named_by_its_address():
    here = load_style("compact", "agentgym_envs.webshop:prompts")
    assert load_style("agentgym_envs.webshop:prompts/compact", "pantry:prompts") == here
    with pytest.raises(ValueError, match="no prompt style 'lost'; built in: compact"):
        load_style("agentgym_envs.webshop:prompts/lost")


def test_a_style_ends_a_reply_at_its_first_stop_that_occurs():
    style = dataclasses.replace(PLAIN, stop=("</b>", "</a>"))
    assert style.cut("x</a>y</b>z") == "x</a>y</b>"
    assert style.cut("x</a>y") == "x</a>"
    assert style.cut("xy") == "xy"
    assert PLAIN.cut("x</a>y</b>z") == "x</a>y</b>z"


def test_a_style_says_what_its_environment_must_be_made_with():
    style = dataclasses.replace(PLAIN, settings={"protocol": "mine"})
    made = {"parser": PLAIN.parser, "protocol": "mine", "max_turns": 3}
    assert style.fitted({"max_turns": 3}) == made
    assert style.fitted({"max_turns": 3, "protocol": "mine"}) == made
    assert style.fitted({"parser": "text"})["parser"] == "text"
    with pytest.raises(ValueError, match=r"for protocol = 'mine', and the settings say 'other'"):
        style.fitted({"protocol": "other"})
