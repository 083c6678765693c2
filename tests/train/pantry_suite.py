"""A suite small enough for tests: two algorithms on the pantry, with models warmed up once."""

import copy
from pathlib import Path
from typing import Any

import tomli_w
from train.pantry_run import SETTINGS
from train.small_runs import ENVS, models, scratch

from agentgym_train.suite_rules import merged
from agentgym_train.suite_settings import Suite, load_suite

TESTS = str(Path(__file__).parents[1])  # where a child process finds the pantry


def suite_file(**tables: Any) -> Path:
    """A suite file in a folder of its own; tables are merged over the smallest one."""
    student, teacher = models("pantry")
    plain = {
        "seeds": [0, 1],
        "algorithms": ["grpo", "opd"],
        "shared": {
            "env": ENVS["pantry"],
            "rollout": {
                "groups": 2,
                "group_size": 2,
                "max_reply_tokens": 12,
                "max_prompt_tokens": 3000,
            },
            "learning": {"lr": 3e-3, "mini_rows": 8, "micro_tokens": 2000},
            "evaluation": {"every": 2, "tasks": 3, "temperature": 1.0},
            "log": {"checkpoint_every": 2, "keep": 1, "episodes": 2},
            "steps": 4,
            "threads": 1,
        },
        "arms": {name: {"algorithm": {"name": name}} for name in ("grpo", "opd", "sdar")},
        "environments": {
            "pantry": {
                "student": {"model": {"name": str(student)}},
                "teacher": {"model": {"name": str(teacher)}},
            }
        },
    }
    path = scratch() / "suite.toml"
    path.write_text(tomli_w.dumps(merged(plain, tables)), encoding="utf-8")
    return path


def small_suite(*overrides: str, **tables: Any) -> Suite:
    return load_suite(suite_file(**tables), overrides)


def warmup(seed: int) -> dict[str, Any]:
    """Settings that make a model of the pantry in a second; one tokenizer for all of them."""
    tiny = copy.deepcopy(SETTINGS["model"])
    tiny["tiny"]["seed"] = seed
    env = {**ENVS["pantry"], "common": {"max_turns": 4}}
    return {"env": env, "model": tiny, "episodes": 8, "steps": 5, "seed": seed, "threads": 1}
