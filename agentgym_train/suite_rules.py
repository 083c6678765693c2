"""What makes a comparison fair: arms differ in their algorithm and what that needs, alone."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from agentgym_train.settings import Run, SettingsError, dump

# What an algorithm brings with it. Whoever has a teacher has the same one, though.
OWN = ("algorithm", "teacher", "skills", "notes", "demonstrations", "seed", "threads")
SHARED = ("env", "model", "evaluation")
# What a run takes in memory and leaves behind: changes no gradient but for rounding, and so may
# change at any time.
FREE = (
    "threads",
    "log",
    "rollout.at_once",
    "learning.micro_tokens",
    "model.gradient_checkpointing",
    "model.device",
    "teacher.micro_tokens",
    "teacher.gradient_checkpointing",
    "teacher.device",
)


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` put on `under`, tables inside tables too; neither is changed."""
    both = dict(under)
    for key, value in over.items():
        old = both.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            both[key] = merged(old, value)
        else:
            both[key] = value
    return both


def within(key: str, names: Sequence[str]) -> bool:
    """Is a dotted key one of these settings, or inside one of these tables?"""
    return any(key == one or key.startswith(f"{one}.") for one in names)


def check_arms(runs: Mapping[str, Run], differ: Sequence[str], where: str) -> None:
    """Raises SettingsError naming the first setting in which arms of one environment differ and
    may not: everything but what is their algorithm's own, their seed, and `differ`."""
    for key in differ:
        if key.partition(".")[0] in SHARED:
            raise SettingsError(
                f"differ: arms of one environment share tasks and student, so {key!r} cannot "
                "differ: make it another environment"
            )
    told = {name: _flat(run) for name, run in runs.items()}
    taught = {n: _part(one, "teacher") for n, one in told.items() if runs[n].teacher is not None}
    plain = {
        name: {key: v for key, v in one.items() if key.partition(".")[0] not in OWN}
        for name, one in told.items()
    }
    for some in (plain, taught):
        for key, one, other in _differences(some, lambda key: within(key, (*differ, *FREE))):
            raise SettingsError(
                f"{where}: {key} is {some[one].get(key)!r} in {one} and {some[other].get(key)!r} "
                f"in {other}: arms of one environment differ in their algorithm alone, unless the "
                f"suite says differ = [{key!r}]"
            )


def check_unchanged(before: Run, now: Run, where: str) -> None:
    """Raises SettingsError naming the first setting of an arm that is not as it began."""
    for key, was, is_now in _changes(before, now):
        raise SettingsError(
            f"{where} began with {key} = {was!r}, the suite now says {is_now!r}: put it back, or "
            "compare in another folder"
        )


def unchanged(before: Run, now: Run) -> bool:
    """Is this the same run, whatever memory it takes?"""
    return not any(True for _ in _changes(before, now))


def _changes(before: Run, now: Run) -> Iterator[tuple[str, Any, Any]]:
    runs = {"before": _flat(before), "now": _flat(now)}
    for key, _, _ in _differences(runs, lambda key: within(key, FREE)):
        yield key, runs["before"].get(key), runs["now"].get(key)


def _differences(
    told: Mapping[str, dict[str, Any]], allowed: Callable[[str], bool]
) -> Iterator[tuple[str, str, str]]:
    """A key, the first of `told`, and another one that has another value there."""
    names = list(told)
    for name in names[1:]:
        one, other = told[names[0]], told[name]
        for key in {**one, **other}:
            if not allowed(key) and one.get(key) != other.get(key):
                yield key, names[0], name


def _flat(run: Run) -> dict[str, Any]:
    """Every setting by its dotted key; what is None is not there."""
    return dict(_walk(tomllib.loads(dump(run)), ""))


def _walk(table: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _walk(value, f"{where}{key}.")
        else:
            yield f"{where}{key}", value


def _part(told: Mapping[str, Any], table: str) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key.partition(".")[0] == table}
