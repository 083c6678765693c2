"""A model of the pantry that reads what it is shown, and the transcripts of what it played."""

import json
from pathlib import Path
from typing import Any

from pantry.env import CUPBOARDS

from agentgym_envs.drivers import Setup

PANTRY = Setup(env_id="pantry:Pantry/Honey-v0", settings={"max_turns": 5})
IDS = tuple(PANTRY.make().tasks.ids)  # two jars in each of four cupboards


def seeker(messages: list[dict[str, Any]]) -> str:
    """Opens one cupboard after the other, so that the last jars take five turns, the first two."""
    jar = "jam" if "Find the jam" in messages[0]["content"] else "honey"
    opened = sum(message["role"] == "assistant" for message in messages)
    found = f"holds {jar}" in messages[-1]["content"]
    return f"> take {jar}" if found else f"> open {CUPBOARDS[opened]}"


def lines(path: Path) -> list[dict[str, Any]]:
    """The records of a transcript."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
