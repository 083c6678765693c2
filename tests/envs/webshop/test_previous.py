"""The returned text with earlier observations and actions in it."""

from pathlib import Path

from shop_sessions import is_fork, recorded_sessions

from agentgym_envs.webshop.pages import previous


def test_oldest_first_and_the_present_last():
    observations, actions = ["A", "B", "C"], ["a", "b"]
    assert previous(observations, actions, 0, 0) == "C"
    assert previous(observations, actions, 1, 0) == "B [SEP] C"
    assert previous(observations, actions, 0, 1) == "b [SEP] C"
    assert previous(observations, actions, 2, 1) == "A [SEP] B [SEP] b [SEP] C"
    assert previous(observations, actions, 9, 9) == "A [SEP] a [SEP] B [SEP] b [SEP] C"
    assert previous(["A"], [], 5, 5) == "A"


def test_equals_the_recorded_returns(shop_data: Path):
    compared = 0
    for record in recorded_sessions(shop_data):
        if is_fork(record):
            continue
        steps, config = record["steps"], record["config"]
        for number, step in enumerate(steps):
            got = previous(
                [each["text"] for each in steps[: number + 1]],
                [each["action"] for each in steps[1 : number + 1]],
                config["num_prev_obs"],
                config["num_prev_actions"],
            )
            assert got == step.get("returned", step["text"]), (record["id"], number)
            compared += "returned" in step
    assert compared
