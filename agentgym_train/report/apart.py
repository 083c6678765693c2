"""Telling arms apart: what may stand under one name in a report, and what it is called if not.

Two runs are seeds of one arm where they differ in nothing but their seed and what changes no
result: neither in a setting nor in what their suites pinned (tasks, student, teacher, skill bank).
Others are named after what differs, or where that is much, after the folder that they came in. So
is a seed that a name has already: it is a repetition, not one seed more.
"""

import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentgym_train.report.runs import Arm
from agentgym_train.suite_rules import FREE, within

_FEW = 2  # differing settings that fit into a name
_ENV = ("env.id", "env.common", "env.evaluation")
# Settings that name what a suite pins, and the pin.
_PINNED = {"model.name": "student", "teacher.name": "teacher"}


def told_apart(arms: Sequence[Arm]) -> list[Arm]:
    """The arms under names that are the same for seeds of one arm alone."""
    by_env = _named(arms, "env", lambda arm: arm.env, _place_of)
    by_arm = _named(by_env, "algorithm", lambda arm: (arm.env, arm.algorithm), _all_of)
    return _repetitions_named(by_arm)


def matters(arm: Arm, key: str) -> bool:
    """Does this setting change what the run finds, seeds aside? The tiny model's shape only where
    the run makes it, and LoRA's settings only where there is one."""
    model, tiny, _ = key.partition(".tiny.")
    if tiny:
        return arm.settings.get(f"{model}.name") == "tiny"
    model, lora, _ = key.partition(".lora.")
    if lora:
        return bool(arm.settings.get(f"{model}.lora.rank"))
    return not within(key, ("seed", *FREE))


def source_names(folders: Iterable[Path]) -> list[str]:
    """The last part of each path, or the last two where that is not enough to tell them apart."""
    paths = [folder.resolve() for folder in folders]
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [f"{path.parent.name}/{path.name}" for path in paths]
    return names


def _place_of(arm: Arm) -> dict[str, str]:
    """What an arm was played on."""
    told = {key: _said(value) for key, value in arm.settings.items() if within(key, _ENV)}
    return told | ({"pinned tasks": arm.pins["tasks"]} if arm.pins.get("tasks") else {})


def _all_of(arm: Arm) -> dict[str, str]:
    """What an arm is. A model or a bank that is pinned is its hash, wherever it lies."""
    told: dict[str, str] = {}
    for key, value in arm.settings.items():
        pin = f"skill bank {value}" if key == "skills.bank" else _PINNED.get(key, "")
        if pin in arm.pins:
            told[f"pinned {key}"] = arm.pins[pin]
        elif matters(arm, key):
            told[key] = _said(value)
    return told


def _named(
    arms: Sequence[Arm],
    what: str,
    group_of: Callable[[Arm], Hashable],
    content_of: Callable[[Arm], dict[str, str]],
) -> list[Arm]:
    groups: dict[Hashable, list[Arm]] = {}
    for arm in arms:
        groups.setdefault(group_of(arm), []).append(arm)
    names = {id(arm): name for group in groups.values() for arm, name in _names(group, content_of)}
    return [replace(arm, **{what: f"{getattr(arm, what)}{names[id(arm)]}"}) for arm in arms]


def _names(
    group: Sequence[Arm], content_of: Callable[[Arm], dict[str, str]]
) -> Iterable[tuple[Arm, str]]:
    """Each arm with what is put behind its name: "" where all are alike.

    An arm that has not begun is like the others of its source.
    """
    known = {id(arm): content_of(arm) for arm in group if arm.settings}
    by_source = {arm.source: known[id(arm)] for arm in reversed(group) if id(arm) in known}
    contents = [known.get(id(arm), by_source.get(arm.source)) for arm in group]
    some = [one for one in contents if one is not None]
    keys = dict.fromkeys(key for one in some for key in one)
    differing = [key for key in keys if len({one.get(key) for one in some}) > 1]
    readable = len(differing) <= _FEW and not any(key.startswith("pinned ") for key in differing)
    first: dict[tuple[str | None, ...], str] = {}
    for arm, content in zip(group, contents, strict=True):
        if not differing:
            yield arm, ""
        elif content is None:
            yield arm, f" ({arm.source})"
        elif readable:
            said = [f"{_called(key)} {content.get(key, '–')}" for key in differing]
            yield arm, f" ({', '.join(said)})"
        else:
            variant = tuple(content.get(key) for key in differing)
            yield arm, f" ({first.setdefault(variant, arm.source)})"


def _repetitions_named(arms: Sequence[Arm]) -> list[Arm]:
    """All arms of a source that has a seed again come under a name of their own."""
    first: dict[tuple[str, str, int], str] = {}
    again = {
        (arm.env, arm.algorithm, arm.source)
        for arm in arms
        if first.setdefault((arm.env, arm.algorithm, arm.seed), arm.source) != arm.source
    }
    return [
        replace(arm, algorithm=f"{arm.algorithm} ({arm.source})")
        if (arm.env, arm.algorithm, arm.source) in again
        else arm
        for arm in arms
    ]


def _called(key: str) -> str:
    """ "lr" of "learning.lr", "model" of "model.name"."""
    return key.removesuffix(".name").rpartition(".")[2]


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
