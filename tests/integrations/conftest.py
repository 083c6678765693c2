"""A stack's tests are collected in its own environment only: `python tests/stacks.py NAME`."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STACKS = tomllib.loads(ROOT.joinpath("tests/stacks.toml").read_text(encoding="utf-8"))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    owners = [
        name
        for name, stack in STACKS.items()
        if any(ROOT / test == collection_path for test in stack["tests"])
    ]
    return True if owners and config.getoption("--stack") not in owners else None
