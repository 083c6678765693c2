"""Runs of every algorithm, small enough for tests: on the pantry and on generated ALFWorld games.

Student and teacher are warmed up once a process, so that games are sometimes won and gaps are real.
"""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from train.pantry_run import SETTINGS

from agentgym_train.algorithms import BUILT_IN
from agentgym_train.settings import Run, Warmup, build
from agentgym_train.warmup import warm_up

_HOME = TemporaryDirectory(prefix="agentgym-tests-")  # removed when the process ends
TINY: dict[str, Any] = {"width": 32, "layers": 1, "heads": 2, "inner": 32, "vocabulary": 400}
ENVS: dict[str, dict[str, Any]] = {
    "pantry": SETTINGS["env"],
    "alfworld": {
        "id": "AgentGym/ALFWorld-v0",
        "prompt": "compact",
        "common": {
            "difficulty": "tiny",
            "max_turns": 5,
            "games": {"train": 12, "valid_unseen": 4},
        },
        "train": {"split": "train"},
        "evaluation": {"split": "valid_unseen"},
    },
}
KINDS = {"pantry": ("honey", "jam"), "alfworld": ("clean", "put")}  # words of goals
BANK = """
name = "small"
match = "first"

[[general]]
id = "g1"
title = "Look"
principle = "Open what is closed."
when = "At first."
"""
BLOCK = """
[types.{kind}]
title = "{kind}"
keywords = ["{kind}"]

[[types.{kind}.skills]]
id = "{kind}1"
title = "Find it"
principle = "Take the {kind}."
when = "Once seen."
"""


def scratch() -> Path:
    """A new folder that goes when the process ends."""
    return Path(mkdtemp(dir=_HOME.name))


def bank(*kinds: str) -> Path:
    """A skill bank of a few lines with these types, each its own keyword."""
    path = scratch() / "small.toml"
    path.write_text(BANK + "".join(BLOCK.format(kind=kind) for kind in kinds), encoding="utf-8")
    return path


@cache
def models(env: str) -> tuple[Path, Path]:
    """A weak student and its teacher, with one tokenizer."""
    folder = Path(_HOME.name) / env
    long = {**ENVS[env], "common": {**ENVS[env]["common"], "max_turns": 30}}
    common = {"env": long, "batch": 8, "threads": 1, "lr": 1e-2}
    teacher = warm_up(
        build(
            Warmup,
            {**common, "model": {"name": "tiny", "tiny": TINY}, "episodes": 24, "steps": 160},
        ),
        folder / "teacher",
    )
    weak = {"name": "tiny", "tiny": {**TINY, "seed": 1, "tokenizer": str(teacher)}}
    student = warm_up(
        build(Warmup, {**common, "model": weak, "episodes": 24, "steps": 110, "noise": 0.3}),
        folder / "student",
    )
    return student, teacher


def needs(name: str, env: str = "pantry") -> dict[str, Any]:
    """The tables that an algorithm asks for, and nothing else."""
    kind, tables = BUILT_IN[name], {}
    if kind.teacher == "model":
        tables["teacher"] = {"name": str(models(env)[1])}
    if kind.skills:
        tables["skills"] = {"bank": str(bank(*KINDS[env]))}
    return tables


def small_run(name: str, on: str = "pantry", **tables: Any) -> Run:
    """A run of an algorithm with all it needs; tables replace or, as dictionaries, are merged."""
    merged: dict[str, Any] = {
        **SETTINGS,
        "env": ENVS[on],
        "model": {"name": str(models(on)[0])},
        "algorithm": {"name": name},
        "rollout": {
            "groups": 2,
            "group_size": 3,
            "max_reply_tokens": 16,
            "max_prompt_tokens": 3000,
        },
        "learning": {"lr": 3e-3, "mini_rows": 8, "micro_tokens": 2000},
        "evaluation": {"every": 0, "tasks": 2, "temperature": 1.0},
        "steps": 2,
        **needs(name, on),
    }
    for key, value in tables.items():
        merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
    return build(Run, merged)
