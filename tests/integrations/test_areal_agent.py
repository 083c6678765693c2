"""The example agent, called as AReaL calls one: a row and an address in, a reward out."""

import asyncio
import runpy
from pathlib import Path

import pytest
from integrations.parity import POLICIES, scripted
from scripted_endpoint import ScriptedEndpoint

from agentgym_envs.drivers.setup import Setup

pytest.importorskip("openai", reason="the openai client is not installed")
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_row_and_an_address_give_the_reward_of_plain_gymnasium(policy):
    example = runpy.run_path(str(ROOT / "docs" / "examples" / "areal_agent.py"))
    (row,) = example["rows"](1)
    played = scripted(Setup.of(row), row["task_id"], row["seed"], policy)

    def reply(messages):
        return played.responses[sum(message["role"] == "assistant" for message in messages)]

    with ScriptedEndpoint(reply) as server:
        agent = example["Agent"](temperature=0.7)
        told = {"base_url": server.url, "api_key": "sk", "http_client": None}
        reward = asyncio.run(agent.run(row, **told))
    assert reward == played.reward
    assert {body["temperature"] for body in server.requests} == {0.7}
    assert len(server.requests) == len(played.turns)
