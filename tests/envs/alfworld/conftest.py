"""Real games, where there are any, and the official engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentgym_envs.alfworld.textworld_engine import TextWorldEngine


@pytest.fixture(scope="session")
def alfworld_games(real_data: Path) -> Path:
    """The folder of real games in the official layout."""
    folder = real_data / "alfworld"
    if next(folder.rglob("game.tw-pddl"), None) is None:
        pytest.skip(f"no ALFWorld games under {folder}")
    return folder


@pytest.fixture(scope="session")
def game_files(alfworld_games: Path) -> list[Path]:
    """Every real game, sorted."""
    return sorted(alfworld_games.rglob("game.tw-pddl"))


@pytest.fixture
def official() -> Iterator[TextWorldEngine]:
    """The official stack as an engine."""
    engine = TextWorldEngine()
    yield engine
    engine.close()
