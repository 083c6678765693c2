"""A mark for tests that need the official ALFWorld stack beside ours."""

import importlib.util

import pytest

from agentgym_envs.extras import install

needs_official_stack = pytest.mark.skipif(
    importlib.util.find_spec("textworld") is None or importlib.util.find_spec("alfworld") is None,
    reason=f"the official stack is not installed: {install('alfworld')}",
)
