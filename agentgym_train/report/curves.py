"""Lines of a report: success and diagnostics of each algorithm, put together over its seeds."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from agentgym_train.report.charts import Line, Point, Series
from agentgym_train.report.findings import (
    Findings,
    sampled_tokens,
    taught_tokens,
    training_seconds,
)
from agentgym_train.report.runs import Arm

_MANY = 45  # points of a small figure, at most: steps are averaged in groups where there are more


@dataclass(frozen=True, slots=True)
class Axis:
    """What success is drawn against: a title, and how far a run is along it at each step."""

    key: str
    title: str
    along: Callable[[Arm], dict[int, float]]


def _steps(arm: Arm) -> dict[int, float]:
    return {int(record["step"]): float(record["step"]) for record in arm.metrics}


def _added(
    arm: Arm, amount: Callable[[Mapping[str, float]], float], lines: str
) -> dict[int, float]:
    records = getattr(arm, lines)
    totals = accumulate((amount(record) for record in records), initial=0.0)
    next(totals)
    found = {int(r["step"]): total for r, total in zip(records, totals, strict=True)}
    return {0: 0.0, **found}


AXES = (
    Axis("step", "training step", _steps),
    Axis("sampled", "student tokens", lambda arm: _added(arm, sampled_tokens, "metrics")),
    Axis("taught", "teacher tokens", lambda arm: _added(arm, taught_tokens, "metrics")),
    Axis("seconds", "seconds of training", lambda arm: _added(arm, training_seconds, "seconds")),
)


def success_series(found: Findings, axis: Axis, styles: Mapping[str, int]) -> list[Series]:
    """One line an algorithm: mean over seeds, band from the lowest seed to the highest.

    Its finished runs, or where there are none, those that have begun, as far as all of them are.
    An algorithm that does not move along the axis (no teacher) has no line.
    """
    series = []
    for name, arms in found.arms.items():
        shown = found.done.get(name) or [arm for arm in arms if arm.evaluations]
        along = {id(arm): axis.along(arm) for arm in shown}
        curves = [
            {
                e.step: (along[id(arm)][e.step], e.rate)
                for e in arm.evaluations
                if e.step in along[id(arm)]
            }
            for arm in shown
        ]
        points = _over_runs(curves)
        if points and points[-1].x > 0:
            runs = tuple(tuple(curve.values()) for curve in curves) if len(curves) > 1 else ()
            series.append(
                Series(
                    name=name,
                    style=styles[name],
                    points=points,
                    runs=runs,
                    open=name not in found.done,
                )
            )
    return series


def levels(found: Findings) -> list[Line]:
    """Yardsticks as lines; the untrained student where the suite has no yardstick of it."""
    lines = [Line(one.name, one.rate) for one in found.yardsticks]
    if any(line.name == "student" for line in lines):
        return lines
    return [*lines, Line("untrained", found.untrained[0])] if found.untrained else lines


# -- diagnostics


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A small figure: a title, the metric of a step, and what to say about it."""

    title: str
    value: Callable[[Mapping[str, float]], float | None]
    about: str = ""


def _metric(name: str) -> Callable[[Mapping[str, float]], float | None]:
    return lambda record: record.get(name)


def _pull(record: Mapping[str, float]) -> float | None:
    """How hard the teacher pulls for each unit of the reward's pull."""
    teacher, reward = record.get("credit/teacher"), record.get("credit/reward")
    if teacher is None or reward is None or reward < 1e-8:
        return None
    return teacher / reward


OVER_TIME = (
    Diagnostic("teacher's signal over the reward's", _pull, "credit/teacher ÷ credit/reward"),
    Diagnostic("teacher gap, mean magnitude", _metric("teacher/gap_abs_mean"), "nats a token"),
    Diagnostic("KL to the teacher", _metric("kl/token_mean"), "nats a token"),
    Diagnostic("gate: share of tokens above ½", _metric("sdar/gate_active_ratio"), "SDAR"),
    Diagnostic("gate, mean", _metric("sdar/gate_mean"), "SDAR"),
    Diagnostic("turn weights, mean", _metric("sod/weight_mean"), "SOD"),
    Diagnostic("first turn's divergence", _metric("sod/first_turn_divergence"), "SOD"),
    Diagnostic("turns left to the student", _metric("tcod/depth"), "TCOD's depth"),
    Diagnostic("weight of the teacher", _metric("hybrid/kl_coef"), "ATOD's κ"),
    Diagnostic("weight of the reward", _metric("hybrid/rl_coef"), "ATOD's ρ"),
    Diagnostic("reweighted trajectories", _metric("tdur/active_ratio"), "ATOD, share"),
    Diagnostic("entropy", _metric("actor/entropy_loss"), "nats a token"),
    Diagnostic("KL to the initial policy", _metric("actor/kl_loss"), "nats a token"),
    Diagnostic("replies cut at the limit", _metric("response_length/clip_ratio"), "share"),
    Diagnostic("readable actions", _metric("episode/valid_action_ratio"), "share of turns"),
    Diagnostic("turns of an episode", _metric("episode/length/mean"), "while training"),
    Diagnostic("gradient norm", _metric("actor/grad_norm"), "before clipping"),
)
BY_TURN = (
    ("KL to the teacher, by turn", re.compile(r"turn/(\d+)/kl")),
    ("disagreement, by turn", re.compile(r"turn/(\d+)/disagreement")),
    ("student's entropy, by turn", re.compile(r"turn/(\d+)/student_entropy")),
    ("ATOD's turn weights", re.compile(r"tdur/turn_(\d+)_mean_weight")),
)


def diagnostics(found: Findings, styles: Mapping[str, int]) -> list[tuple[str, str, list[Series]]]:
    """(title, axis, lines) of every figure that has a line. Against the step, averaged
    in groups where there are many steps; by turn,
    the mean over the last quarter of training."""
    figures = []
    for one in OVER_TIME:
        lines = _drawn(found, styles, lambda arm, one=one: _over_time(arm, one.value))
        title = f"{one.title} ({one.about})" if one.about else one.title
        figures.append((title, "step", lines))
    for title, pattern in BY_TURN:
        lines = _drawn(found, styles, lambda arm, pattern=pattern: _by_turn(arm, pattern))
        figures.append((title, "turn", lines))
    return [figure for figure in figures if figure[2]]


def _drawn(
    found: Findings, styles: Mapping[str, int], curve: Callable[[Arm], dict[int, float]]
) -> list[Series]:
    series = []
    for name, arms in found.arms.items():
        shown = found.done.get(name) or [arm for arm in arms if arm.metrics]
        curves = [{x: (float(x), y) for x, y in curve(arm).items()} for arm in shown]
        points = _over_runs([c for c in curves if c])
        if points:
            flat = tuple(Point(p.x, p.y, p.y, p.y, p.step) for p in points)
            series.append(Series(name=name, style=styles[name], points=flat))
    return series


def _over_time(arm: Arm, value: Callable[[Mapping[str, float]], float | None]) -> dict[int, float]:
    found = {}
    for record in arm.metrics:
        told = value(record)
        if told is not None and math.isfinite(told):
            found[int(record["step"])] = told
    if len(found) <= _MANY:
        return found
    steps = list(found)
    size = math.ceil(len(steps) / _MANY)
    chunks = [steps[i : i + size] for i in range(0, len(steps), size)]
    return {chunk[-1]: sum(found[s] for s in chunk) / len(chunk) for chunk in chunks}


def _by_turn(arm: Arm, pattern: re.Pattern[str]) -> dict[int, float]:
    values: dict[int, list[float]] = {}
    for record in arm.metrics:
        if record["step"] > 0.75 * arm.reached:
            for name, value in record.items():
                match = pattern.fullmatch(name)
                if match and math.isfinite(value):
                    values.setdefault(int(match[1]), []).append(value)
    return {turn: sum(told) / len(told) for turn, told in sorted(values.items())}


def _over_runs(curves: Sequence[Mapping[int, tuple[float, float]]]) -> tuple[Point, ...]:
    """Means over the runs at the steps that all of them have; x is averaged as well."""
    if not curves:
        return ()
    steps = sorted(set(curves[0]).intersection(*curves[1:]))
    points = []
    for step in steps:
        xs, ys = zip(*(curve[step] for curve in curves), strict=True)
        mean = sum(ys) / len(ys)
        points.append(Point(sum(xs) / len(xs), mean, min(ys), max(ys), step))
    return tuple(points)
