"""A mark for tests that need the official ALFWorld stack beside ours."""

import importlib.util

import pytest

needs_official_stack = pytest.mark.skipif(
    importlib.util.find_spec("textworld") is None or importlib.util.find_spec("alfworld") is None,
    reason="the official stack is not installed: pip install 'agentgym-envs[alfworld]'",
)
