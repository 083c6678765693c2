"""A run small enough for tests: the pantry, a model of a few thousand weights, four steps."""

from typing import Any

from agentgym_train.settings import Run, build

SETTINGS: dict[str, Any] = {
    "env": {
        "id": "pantry:Pantry/Honey-v0",
        "prompt": "default",
        "layout": "chat",
        "common": {"max_turns": 4},
    },
    "model": {
        "name": "tiny",
        "tiny": {"width": 32, "layers": 1, "heads": 2, "inner": 32, "vocabulary": 320},
    },
    "algorithm": {"name": "grpo"},
    "rollout": {"groups": 3, "group_size": 2, "max_reply_tokens": 6},
    "learning": {"lr": 1e-2, "mini_rows": 4, "micro_tokens": 400},
    "evaluation": {"every": 2, "tasks": 4, "temperature": 1.0},
    "log": {"checkpoint_every": 2, "keep": 1, "episodes": 2},
    "steps": 4,
    "seed": 3,
    "threads": 1,
}


def pantry_run(**tables: Any) -> Run:
    """The small run, with whole tables or values replaced; dictionaries are merged."""
    merged = dict(SETTINGS)
    for name, value in tables.items():
        merged[name] = {**merged[name], **value} if isinstance(value, dict) else value
    return build(Run, merged)
