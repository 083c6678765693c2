"""The tables of what ran: settings that differ, states, versions, task lists, odd signs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agentgym_train.report.apart import matters
from agentgym_train.report.comparison import key_of
from agentgym_train.report.findings import Findings
from agentgym_train.report.runs import Arm, task_hash
from agentgym_train.report.study import Study
from agentgym_train.report.tables import Column, Table
from agentgym_train.report.warnings import collapse_warnings

_THE_SAME = (
    "All others are the same in every run of the environment, but for seeds and what changes no "
    "result (threads, memory, what is logged)."
)


def settings_diff(place: int, found: Findings) -> Table:
    """The settings in which the arms of an environment differ and that say something."""
    runs = {name: [a for a in arms if a.settings] for name, arms in found.arms.items()}
    names = [name for name, arms in runs.items() if arms]
    keys = dict.fromkeys(key for name in names for arm in runs[name] for key in arm.settings)
    rows = []
    for key in keys:
        values = [_values(runs[name], key) for name in names]
        read = any(matters(arm, key) for name in names for arm in runs[name])
        if read and len(set(values)) > 1:
            rows.append((key, *values))
    return Table(
        key=key_of("settings", place, found),
        title=f"Settings that differ: {found.env}",
        columns=(Column("setting"), *(Column(name) for name in names)),
        rows=tuple(rows),
        note="" if place else _THE_SAME,
    )


def _values(arms: Sequence[Arm], key: str) -> str:
    said = [_said(arm.settings.get(key)) for arm in arms]
    return " / ".join(dict.fromkeys(said))


def _said(value: Any) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def warnings(study: Study) -> Table:
    return Table(
        key="warnings",
        title="Signs of trouble",
        columns=(
            Column("environment"),
            Column("run"),
            Column("sign"),
            Column("step", "count"),
            Column("numbers"),
        ),
        rows=tuple(
            (one.env, one.arm, one.sign, one.step, one.numbers)
            for one in collapse_warnings(study.arms)
        ),
        note="Hints to look, not verdicts. A step's value is the mean of the five that end there.",
    )


def runs(study: Study) -> Table:
    return Table(
        key="arms",
        title="Runs",
        columns=(
            Column("environment"),
            Column("algorithm"),
            Column("seed", "count"),
            Column("state"),
            Column("step"),
            Column("final", "percent"),
            Column("best", "percent"),
            Column("trouble"),
        ),
        rows=tuple(
            (
                arm.env,
                arm.algorithm,
                arm.seed,
                arm.state,
                f"{arm.reached} of {arm.steps or '?'}",
                arm.final.rate if arm.final else None,
                arm.best.rate if arm.best else None,
                arm.trouble.partition("\n")[0],
            )
            for arm in study.arms
        ),
        note="Runs that are not done are drawn dotted in the curves and take no part in the "
        "comparison.",
    )


def versions(study: Study) -> Table:
    """One column for each machine and set of versions that took part."""
    machines: dict[str, list[Arm]] = {}
    for arm in study.arms:
        if arm.machine:
            machines.setdefault(json.dumps(arm.machine, sort_keys=True), []).append(arm)
    told = [arms[0].machine for arms in machines.values()]
    keys = dict.fromkeys(key for one in told for key in one)
    counts = [f"{len(arms)} run{'s' * (len(arms) > 1)}" for arms in machines.values()]
    return Table(
        key="versions",
        title="Versions and machine",
        columns=(Column("what"), *(Column(count) for count in counts)),
        rows=tuple((key, *(_said(one.get(key)) for one in told)) for key in keys),
        note="" if len(told) < 2 else "The runs did NOT all run with the same versions.",
    )


def shared(study: Study) -> Table:
    """What all arms of an environment start from, and learn from."""
    return Table(
        key="shared",
        title="Models and skill banks that arms share",
        columns=(Column("environment"), Column("what"), Column("made by, or from"), Column("hash")),
        rows=tuple(
            (env, one.name, one.origin, one.hash)
            for env, some in study.shared.items()
            for one in some
        ),
        note="A hash names the content of a model's files, or a bank's.",
    )


def task_lists(study: Study, findings: Mapping[str, Findings]) -> Table:
    rows = []
    for env, found in findings.items():
        lists = [arm.final.outcomes for arms in found.done.values() for arm in arms if arm.final]
        hashes = {task_hash(one): len(one) for one in lists if one}
        pinned = study.pinned.get(env, {})
        for name, count in hashes.items():
            same = pinned.get("evaluation")
            agrees = None if same is None else "yes" if name in same else "NO"
            rows.append((env, "held out, as played", count, name, agrees))
        rows += [
            (env, f"{split}, as pinned", None, name, None)
            for split, names in pinned.items()
            for name in names
        ]
    return Table(
        key="tasks",
        title="Task lists",
        columns=(
            Column("environment"),
            Column("list"),
            Column("tasks", "count"),
            Column("hash"),
            Column("as pinned"),
        ),
        rows=tuple(rows),
        note="A hash names the tasks and their content, in order.",
    )
