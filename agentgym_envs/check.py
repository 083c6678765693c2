"""The conformance kit: what every registered environment promises, checked by playing it.

report = check_text_env("AgentGym/ALFWorld-v0")      # raises CheckFailed, naming each failure
agentgym-envs check AgentGym/ALFWorld-v0             # the same as a table
"""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agentgym_envs.failures import told, wants_traceback
from agentgym_envs.promises import FOUNDATIONS, Kit, Promise
from agentgym_envs.registration import importable


class CheckFailed(AssertionError):
    """Some promises are not kept; the message lists them."""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise and how it went. problem: how it was broken. skipped: why it was not asked for.
    Both are empty where it is kept."""

    name: str
    problem: str = ""
    skipped: str = ""


def check_text_env(
    env_id: str,
    *,
    episodes: int = 5,
    on_check: Callable[[Check], None] | None = None,
    **settings: Any,
) -> list[Check]:
    """Check every promise of the environment made by `gym.make(env_id, **settings)`.

    `episodes` is how many are played where several are needed. Returns the checks in order;
    raises CheckFailed at the end when any promise is not kept, at once where all others stand on
    it. Raises what the environment raises where it cannot be made, or lacks what it needs to play.
    """
    kit = Kit(importable(env_id), settings, episodes)
    kit.make().close()
    checks: list[Check] = []
    for name, promise in kit.promises():
        checks.append(check := _checked(promise, missing_ends=name in FOUNDATIONS))
        if on_check is not None:
            on_check(check)
        if check.problem and name in FOUNDATIONS:
            raise _failed(f"{env_id} breaks a promise on which all others stand", checks)
    if broken := sum(bool(check.problem) for check in checks):
        raise _failed(f"{env_id} breaks {broken} of {len(checks)} promises", checks)
    return checks


def _checked(promise: Promise, missing_ends: bool) -> Check:
    """How a promise went. missing_ends: an error that says that something is missing is raised."""
    name = promise.__doc__ or ""
    try:
        return Check(name, skipped=promise() or "")
    except Exception as error:
        if missing_ends and isinstance(error, ImportError | OSError):
            raise
        said = "".join(traceback.format_exception(error)) if wants_traceback() else told(error)
        return Check(name, said)


def _failed(summary: str, checks: list[Check]) -> CheckFailed:
    listed = [f"- {check.name}: {check.problem}" for check in checks if check.problem]
    return CheckFailed("\n".join([f"{summary}:", *listed]))
