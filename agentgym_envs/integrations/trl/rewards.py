"""Reward functions in TRL's form: one number a completion, from its episode."""

from collections.abc import Callable
from statistics import fmean
from typing import Any

_LOGGED = ("terminated", "truncated", "turns")


def reward(reward: list[float], **columns: Any) -> list[float]:
    """The environment's rewards of each episode, added up: for `rollout_func`.

    Tools need none: their environments own their reward.
    """
    return reward


def success(log_metric: Callable[[str, float], None], **columns: Any) -> list[float]:
    """1.0 for each episode that succeeded, else 0.0; of either route.

    Give it weight 0 to log and not to train on it: `reward_funcs=[reward, success]` and
    `reward_weights=[1.0, 0.0]`, or for tools `[success]` and `[0.0]`. It also logs the means
    `episodes/terminated`, `episodes/truncated` and `episodes/turns`.

    Raises ValueError where the completions were not made by `rollout_func` or `tools_factory`.
    """
    told = _told(columns)
    for name in _LOGGED:
        log_metric(f"episodes/{name}", fmean(told[name]))
    return [float(one) for one in told["success"]]


def _told(columns: dict[str, Any]) -> dict[str, list[Any]]:
    names = ("success", *_LOGGED)
    if "environments" in columns:
        outcomes = [environment.outcome for environment in columns["environments"]]
        return {name: [outcome[name] for outcome in outcomes] for name in names}
    if any(name not in columns for name in names):
        raise ValueError("no episodes to judge: use this with rollout_func or tools_factory")
    return {name: columns[name] for name in names}
