"""Signs that a run went wrong, each with the step and the numbers.

They are hints to look, not verdicts: each rule is one function with its thresholds beside it.
Training metrics are noisy, so a step's value is the mean of the WINDOW steps that end there.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agentgym_train.report.runs import Arm

WINDOW = 5
FALLEN = 0.10  # success below its best, with intervals that do not touch
LITTLE_ENTROPY, SHARE_LEFT = 0.05, 0.2  # nats a token, and of what it was at first
MUCH_ENTROPY, TIMES_START = 1.0, 2.0  # nats a token, and times what it was at first
CLIPPED, CLIPPED_MORE = 0.25, 0.10  # share of replies cut, and rise since the start
INVALID_MORE = 0.15  # rise of the share of turns that cannot be read
FAR_FROM_START = 1.0  # nats a token from the initial policy
FAR_IN_A_STEP = 0.2  # nats a token in one update
TEACHER_LOST, TEACHER_TIMES = 0.5, 2.0  # nats a token more than at first, and how many times


@dataclass(frozen=True, slots=True)
class Warning:
    """What is odd about an arm, where it shows, and the numbers that say so."""

    env: str
    arm: str
    sign: str
    step: int
    numbers: str


def collapse_warnings(arms: Sequence[Arm]) -> list[Warning]:
    """Every sign at every arm, in the arms' order."""
    return [
        Warning(arm.env, arm.name, sign, step, numbers)
        for arm in arms
        for rule in RULES
        for sign, step, numbers in rule(arm)
    ]


Sign = tuple[str, int, str]


def success_fell(arm: Arm) -> Iterator[Sign]:
    best = arm.best
    if best is None:
        return
    last = arm.evaluations[-1]
    if best.rate - last.rate >= FALLEN and last.high < best.low:
        yield (
            "success fell",
            last.step,
            f"{_percent(last.rate)}, after {_percent(best.rate)} at step {best.step}",
        )


def entropy_gone(arm: Arm) -> Iterator[Sign]:
    told = windows(arm, "actor/entropy_loss")
    start = told[0][1] if told else 0.0
    for step, now in told:
        if now < LITTLE_ENTROPY and now < SHARE_LEFT * start:
            yield "entropy collapsed", step, f"{now:.3f} nats a token, {start:.3f} at first"
            return


def entropy_explodes(arm: Arm) -> Iterator[Sign]:
    told = windows(arm, "actor/entropy_loss")
    start = told[0][1] if told else 0.0
    for step, now in told:
        if now > MUCH_ENTROPY and now > TIMES_START * start:
            yield "entropy exploded", step, f"{now:.2f} nats a token, {start:.2f} at first"
            return


def replies_cut(arm: Arm) -> Iterator[Sign]:
    told = windows(arm, "response_length/clip_ratio")
    start = told[0][1] if told else 0.0
    for step, now in told:
        if now > CLIPPED and now - start > CLIPPED_MORE:
            yield (
                "replies are cut",
                step,
                f"{_percent(now)} reach the token limit, {_percent(start)} at first",
            )
            return


def actions_unreadable(arm: Arm) -> Iterator[Sign]:
    first = arm.first
    for one in arm.evaluations:
        if first and one.invalid - first.invalid > INVALID_MORE:
            yield (
                "invalid turns",
                one.step,
                f"{_percent(one.invalid)} of held-out turns, {_percent(first.invalid)} untrained",
            )
            return


def far_from_start(arm: Arm) -> Iterator[Sign]:
    for step, now in windows(arm, "actor/kl_loss"):
        if now > FAR_FROM_START:
            yield "far from the initial policy", step, f"KL {now:.2f} nats a token"
            return


def leap(arm: Arm) -> Iterator[Sign]:
    for record in arm.metrics:
        moved = record.get("actor/ppo_kl", 0.0)
        if abs(moved) > FAR_IN_A_STEP:
            yield "one update moved far", int(record["step"]), f"KL {moved:.2f} nats a token"
            return


def teacher_lost(arm: Arm) -> Iterator[Sign]:
    told = windows(arm, "teacher/gap_abs_mean")
    start = told[0][1] if told else 0.0
    for step, now in told:
        if now - start > TEACHER_LOST and now > TEACHER_TIMES * start:
            yield (
                "drifts away from the teacher",
                step,
                f"mean gap {now:.2f} nats, {start:.2f} at first",
            )
            return


def not_finite(arm: Arm) -> Iterator[Sign]:
    skipped = [r for r in arm.metrics if r.get("actor/skipped_steps", 0) > 0]
    if skipped:
        count = sum(r["actor/skipped_steps"] for r in skipped)
        yield "gradients not finite", int(skipped[0]["step"]), f"{count:.0f} updates left out"


RULES = (
    success_fell,
    entropy_gone,
    entropy_explodes,
    replies_cut,
    actions_unreadable,
    far_from_start,
    leap,
    teacher_lost,
    not_finite,
)


def windows(arm: Arm, name: str) -> list[tuple[int, float]]:
    """(step, mean of a metric over the WINDOW steps that end there); [] for too short a run."""
    values = [
        (int(record["step"]), float(record[name]))
        for record in arm.metrics
        if name in record and math.isfinite(record[name])
    ]
    return [
        (values[i][0], sum(v for _, v in values[i + 1 - WINDOW : i + 1]) / WINDOW)
        for i in range(WINDOW - 1, len(values))
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
