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

_MANY = 45  # points of a small figure, at most: where there are more steps, windows of them
_NOTHING = 1e-5  # a mean magnitude of credit that is rounding


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
    Beside finished runs the others are lines of their own, as far as they are. An algorithm that
    does not move along the axis (no teacher) has no line.
    """
    series = []
    for name, arms in found.arms.items():
        begun = [arm for arm in arms if arm.evaluations]
        shown = found.done.get(name) or begun
        curves = [_curve(arm, axis) for arm in shown]
        points = _over_runs(curves)
        if points and points[-1].x > 0:
            others = [_curve(arm, axis) for arm in begun if arm not in shown]
            series.append(
                Series(
                    name=name,
                    style=styles[name],
                    points=points,
                    runs=tuple(tuple(curve.values()) for curve in curves if len(curves) > 1),
                    unfinished=tuple(tuple(curve.values()) for curve in others if curve),
                    open=name not in found.done,
                )
            )
    return series


def _curve(arm: Arm, axis: Axis) -> dict[int, tuple[float, float]]:
    """step -> where the run is on the axis then, and its success."""
    along = axis.along(arm)
    return {e.step: (along[e.step], e.rate) for e in arm.evaluations if e.step in along}


def levels(found: Findings) -> list[Line]:
    """Yardsticks as lines; the untrained student where the suite has no yardstick of it."""
    lines = [Line(one.name, one.rate) for one in found.yardsticks]
    if any(line.name == "student" for line in lines):
        return lines
    return [*lines, Line("untrained", found.untrained[0])] if found.untrained else lines


# -- diagnostics


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A small figure: a title, the metrics (the first that a run has), and what to say about them.

    over: another metric to divide by, sum by sum.
    """

    title: str
    metrics: tuple[str, ...]
    about: str = ""
    over: str = ""


OVER_TIME = (
    Diagnostic(
        "teacher's signal over the reward's",
        ("credit/teacher",),
        "credit/teacher ÷ credit/reward",
        over="credit/reward",
    ),
    Diagnostic("teacher gap, mean magnitude", ("teacher/gap_abs_mean",), "nats a token"),
    Diagnostic("KL to the teacher", ("kl/token_mean",), "nats a token"),
    Diagnostic("gate: share of tokens above ½", ("sdar/gate_active_ratio",), "SDAR"),
    Diagnostic("gate, mean", ("sdar/gate_mean",), "SDAR"),
    Diagnostic("turn weights, mean", ("tdur/mean_weight", "sod/weight_mean"), "SOD, ATOD"),
    Diagnostic("first turn's divergence", ("sod/first_turn_divergence",), "SOD"),
    Diagnostic("turns left to the student", ("tcod/depth",), "TCOD's depth"),
    Diagnostic("weight of the teacher", ("hybrid/kl_coef",), "ATOD's κ"),
    Diagnostic("weight of the reward", ("hybrid/rl_coef",), "ATOD's ρ"),
    Diagnostic("reweighted trajectories", ("tdur/active_ratio",), "ATOD, share"),
    Diagnostic("entropy", ("actor/entropy_loss",), "nats a token"),
    Diagnostic("KL to the initial policy", ("actor/kl_loss",), "nats a token"),
    Diagnostic("replies cut at the limit", ("response_length/clip_ratio",), "share"),
    Diagnostic("readable actions", ("episode/valid_action_ratio",), "share of turns"),
    Diagnostic("turns of an episode", ("episode/length/mean",), "while training"),
    Diagnostic("gradient norm", ("actor/grad_norm",), "before clipping"),
)
BY_TURN = (
    ("KL to the teacher, by turn", re.compile(r"turn/(\d+)/kl")),
    ("disagreement, by turn", re.compile(r"turn/(\d+)/disagreement")),
    ("student's entropy, by turn", re.compile(r"turn/(\d+)/student_entropy")),
    ("turn weights, by turn (SOD, ATOD)", re.compile(r"(?:tdur|sod)/turn_(\d+)_mean_weight")),
)


def diagnostics(found: Findings, styles: Mapping[str, int]) -> list[tuple[str, str, list[Series]]]:
    """(title, axis, lines) of every figure that has a line. Against the step, averaged over windows
    that are the same for all runs; by turn, the mean over the last quarter of training."""
    last = max((arm.reached for arms in found.arms.values() for arm in arms), default=0)
    size = max(math.ceil(last / _MANY), 1)
    figures = []
    for one in OVER_TIME:
        lines = _drawn(found, styles, lambda arm, one=one: _over_time(arm, one, size))
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
        points = _over_runs(curves, least=1)
        if points:
            series.append(Series(name=name, style=styles[name], points=points))
    return series


def _over_time(arm: Arm, what: Diagnostic, size: int) -> dict[int, float]:
    """last step of a window -> mean there, or sum over sum; without windows that have none."""
    windows: dict[int, list[tuple[float, float]]] = {}
    for record in arm.metrics:
        value = next((record[name] for name in what.metrics if name in record), None)
        under = record.get(what.over) if what.over else 1.0
        if value is not None and under is not None and math.isfinite(value + under):
            window = math.ceil(record["step"] / size) * size
            windows.setdefault(window, []).append((value, under))
    sums = {
        window: (sum(value for value, _ in told), sum(under for _, under in told), len(told))
        for window, told in windows.items()
    }
    return {
        min(window, arm.reached): value / under
        for window, (value, under, count) in sums.items()
        if under > _NOTHING * count
    }


def _by_turn(arm: Arm, pattern: re.Pattern[str]) -> dict[int, float]:
    values: dict[int, list[float]] = {}
    for record in arm.metrics:
        if record["step"] > 0.75 * arm.reached:
            for name, value in record.items():
                match = pattern.fullmatch(name)
                if match and math.isfinite(value):
                    values.setdefault(int(match[1]), []).append(value)
    return {turn: sum(told) / len(told) for turn, told in sorted(values.items())}


def _over_runs(
    curves: Sequence[Mapping[int, tuple[float, float]]], least: int = 0
) -> tuple[Point, ...]:
    """Means over the runs at the steps that all of them have, or `least` so many; x is averaged as
    well."""
    needed = least or len(curves)
    points = []
    for step in sorted({step for curve in curves for step in curve}):
        there = [curve[step] for curve in curves if step in curve]
        if len(there) >= needed:
            xs, ys = zip(*there, strict=True)
            mean = sum(ys) / len(ys)
            points.append(Point(sum(xs) / len(xs), mean, min(ys), max(ys), step))
    return tuple(points)
