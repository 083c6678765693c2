"""Shared by all tests: where real data lies, and a small environment to play with."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No test is timed: on a busy machine any example may take long.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# One thread a test process: several processes with several threads each only wait for each other.
# Set before anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real third-party data; its tests skip where it is absent."""
    folder = Path(os.environ.get("AGENTGYM_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set AGENTGYM_TEST_DATA to test on it")
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stack", help="run the tests of one stack (see tests/stacks.py)")
