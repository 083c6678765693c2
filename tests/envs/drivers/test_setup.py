"""What is played, and the rows that name tasks in other stacks."""

import json

import pytest
from envs.drivers.byte_tokens import PANTRY
from hypothesis import given, settings
from hypothesis import strategies as st
from integrations.parity import CASES, case_name

from agentgym_envs.drivers import Setup

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
json_values = st.recursive(
    plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
)


@settings(max_examples=50)
@given(
    st.text(min_size=1),
    st.dictionaries(st.text(), json_values, max_size=3),
    st.text(),
    st.sampled_from(["chat", "turns"]),
    st.text(),
    st.integers(0, 2**63),
)
def test_a_row_is_all_it_takes(env_id, arguments, prompt, layout, task_id, seed):
    """Through a file of another stack and back, beside columns of the stack's own."""
    setup = Setup(env_id=env_id, settings=arguments, prompt=prompt, layout=layout)
    row = setup.row(task_id, seed)
    assert all(isinstance(value, str | int) for value in row.values())
    back = json.loads(json.dumps({**row, "prompt": [1], "extra": None}))
    assert Setup.of(back) == setup
    assert (back["task_id"], back["seed"]) == (task_id, seed)


@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_rows_name_the_tasks_in_order(setup):
    ids = list(setup.make().tasks.ids)
    rows = setup.rows(seed=7)
    assert [row["task_id"] for row in rows] == ids
    assert setup.rows(2, seed=7) == rows[:2] == [setup.row(task_id, 7) for task_id in ids[:2]]
    assert len({tuple(sorted(row)) for row in rows}) == 1
    talk = Setup.of(rows[1]).conversation()
    talk.begin(task_id=rows[1]["task_id"], seed=rows[1]["seed"])
    assert talk.env.task.id == ids[1]


def test_the_style_says_how_replies_are_parsed_unless_the_settings_do():
    assert PANTRY.style.parser == "arrow"
    for setup, action in ((PANTRY, "open red"), (_with(parser="text"), "hm > open red")):
        talk = setup.conversation()
        talk.begin(seed=0)
        talk.take("hm > open red")
        assert talk.episode.turns[0].action == action


def test_an_environment_has_no_wrapper():
    env = PANTRY.make()
    assert env.unwrapped is env and env.max_turns == 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"settings": None}, "no column 'settings'"),
        ({"layout": None}, "no column 'layout'"),
        ({"settings": "{"}, "column 'settings' is not JSON"),
        ({"layout": "tree"}, "layout is 'chat' or 'turns', got 'tree'"),
    ],
)
def test_a_broken_row_says_which_column(changed, message):
    row = {**PANTRY.row("pantry/red/honey"), **changed}
    with pytest.raises(ValueError, match=message):
        Setup.of({name: value for name, value in row.items() if value is not None})


def test_what_cannot_be_made():
    with pytest.raises(TypeError, match="CartPole-v1 is a CartPoleEnv, not a TextEnv"):
        Setup(env_id="CartPole-v1").make()
    with pytest.raises(ValueError, match="no prompt style 'fancy'; built in: default"):
        _ = Setup(env_id=PANTRY.env_id, prompt="fancy").style


def _with(**arguments):
    return Setup(env_id=PANTRY.env_id, settings=arguments)
