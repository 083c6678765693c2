import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from likely_messages import JSON, LIKELY

from agentgym_envs.serve.messages import (
    Close,
    Refused,
    Request,
    Reset,
    Restore,
    Snapshot,
    State,
    Step,
    observation_message,
    observation_of,
    read_message,
)


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ('{"type": "reset"}', Reset()),
        ('{"type": "reset", "data": {"seed": null}}', Reset()),
        (
            '{"type": "reset", "data": {"seed": 3, "episode_id": "e"}}',
            Reset(seed=3, episode_id="e"),
        ),
        ('{"type": "reset", "data": {"task_id": "t"}}', Reset(options={"task_id": "t"})),
        (
            '{"type": "reset", "data": {"options": {"task_id": "t"}}}',
            Reset(options={"task_id": "t"}),
        ),
        ('{"type": "step", "data": {"text": ""}}', Step("")),
        ('{"type": "step", "data": {"text": "\\ud800", "metadata": {}}}', Step("\ud800")),
        ('{"type": "state"}', State()),
        ('{"type": "state", "data": {}}', State()),
        ('{"type": "snapshot"}', Snapshot()),
        ('{"type": "restore", "data": {"snapshot": "AP8="}}', Restore(b"\x00\xff")),
        ('{"type": "close"}', Close()),
    ],
)
def test_what_is_asked(text, request_):
    assert read_message(text) == request_


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", "INVALID_JSON", "not JSON"),
        ("[" * 100_000, "INVALID_JSON", "not JSON"),
        ("[]", "INVALID_JSON", "a message is a JSON object"),
        ("{}", "UNKNOWN_TYPE", "no message type 'None'; there are: reset, step, state"),
        ('{"type": "fly"}', "UNKNOWN_TYPE", "no message type 'fly'"),
        ('{"type": "state", "dat": {}}', "VALIDATION_ERROR", "not 'dat'"),
        ('{"type": "state", "data": {"a": 1}}', "VALIDATION_ERROR", "state has no data, got 'a'"),
        ('{"type": "step", "data": "look"}', "VALIDATION_ERROR", "is an object, got str"),
        ('{"type": "step", "data": {}}', "VALIDATION_ERROR", "got text nothing"),
        ('{"type": "step", "data": {"action": "a", "text": "a"}}', "VALIDATION_ERROR", "'action'"),
        ('{"type": "reset", "data": {"seed": -1}}', "VALIDATION_ERROR", "whole number from 0"),
        ('{"type": "reset", "data": {"seed": true}}', "VALIDATION_ERROR", "whole number from 0"),
        (
            '{"type": "reset", "data": {"task_id": "a", "options": {"task_id": "b"}}}',
            "VALIDATION_ERROR",
            "'task_id' is given both",
        ),
        ('{"type": "restore", "data": {}}', "VALIDATION_ERROR", "in base64"),
        ('{"type": "restore", "data": {"snapshot": "?"}}', "VALIDATION_ERROR", "in base64"),
    ],
)
def test_what_is_wrong_is_said(text, code, said):
    with pytest.raises(Refused) as refused:
        read_message(text)
    assert refused.value.code == code
    assert said in str(refused.value)


@given(st.text() | JSON.map(json.dumps) | LIKELY.map(json.dumps))
def test_any_text_is_a_request_or_refused(text):
    try:
        code = ""
        assert isinstance(read_message(text), Request)
    except Refused as refused:
        code = refused.code
    assert code in {"", "INVALID_JSON", "UNKNOWN_TYPE", "VALIDATION_ERROR"}


@given(st.text())
def test_any_response_of_a_policy_is_an_action(response):
    message = json.dumps({"type": "step", "data": {"text": response}})
    assert read_message(message) == Step(response)


@given(st.binary())
def test_a_snapshot_arrives_as_it_was(snapshot):
    sent = base64.b64encode(snapshot).decode()
    message = json.dumps({"type": "restore", "data": {"snapshot": sent}})
    assert read_message(message) == Restore(snapshot)


@pytest.mark.parametrize("terminated", [False, True])
@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("success", [False, True])
def test_three_facts_and_one_done(terminated, truncated, success):
    info = {"turn": 2, "success": success}
    data = observation_message(observation_of("a page", info, terminated, truncated), 0.5)["data"]
    assert (data["reward"], data["done"]) == (0.5, terminated or truncated)
    assert data["observation"] == {
        **{"text": "a page", "turn": 2, "info": info, "metadata": {}},
        **{"terminated": terminated, "truncated": truncated, "success": success},
    }
