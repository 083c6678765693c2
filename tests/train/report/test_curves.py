"""What is drawn: averages over windows that all seeds share, and runs as far as they are."""

from pathlib import Path

import pytest
from train.report.made_up import MadeUp, write_suite

from agentgym_train.report.curves import AXES, diagnostics, success_series
from agentgym_train.report.findings import Findings
from agentgym_train.report.runs import Arm
from agentgym_train.report.study import Study, read_study

PULL = "teacher's signal over the reward's (credit/teacher ÷ credit/reward)"


def arm(seed: int, metrics, algorithm: str = "atod") -> Arm:
    told = [{"step": 0}, *({"step": i, **one} for i, one in enumerate(metrics, start=1))]
    return Arm(
        folder=Path(),
        source="suite",
        env="env",
        family="",
        algorithm=algorithm,
        kind=algorithm,
        seed=seed,
        steps=len(metrics),
        state="done",
        metrics=told,
    )


def drawn(*arms: Arm) -> dict[str, list]:
    found = Findings(Study(arms=arms), "env")
    styles = {name: i for i, name in enumerate(found.algorithms)}
    return {title: series for title, _, series in diagnostics(found, styles)}


def test_a_ratio_is_of_sums_over_windows_that_all_seeds_share():
    """A step without any credit from the reward is one without a ratio, not one without a window:
    seeds have such steps at different places, and a long run must not lose its line for them."""
    seeds = [
        arm(
            seed,
            [
                {"credit/teacher": 0.3, "credit/reward": 0.0 if (i + seed) % 5 == 0 else 0.1}
                for i in range(150)
            ],
        )
        for seed in range(3)
    ]
    (line,) = drawn(*seeds)[PULL]
    assert len(line.points) == 38  # 150 steps in windows of 4
    assert [point.step for point in line.points[:2]] == [4, 8]
    assert line.points[-1].step == 150
    for point in line.points:
        assert 2.9 <= point.y <= 6.1  # the last window has two steps, of which one may be empty


def test_rounding_in_place_of_credit_is_no_credit():
    metrics = [{"credit/teacher": 0.3, "credit/reward": r} for r in (1e-8, 0.1, 0.0, 0.2)]
    (line,) = drawn(arm(0, metrics))[PULL]
    assert {point.step: point.y for point in line.points} == pytest.approx({2: 3.0, 4: 1.5})


def test_small_figures_have_bands_over_seeds():
    seeds = [arm(seed, [{"actor/grad_norm": 1.0 + seed}] * 3) for seed in range(3)]
    (line,) = drawn(*seeds)["gradient norm (before clipping)"]
    assert {(p.low, p.y, p.high) for p in line.points} == {(1.0, 2.0, 3.0)}


def test_turn_weights_are_drawn_of_both_algorithms_that_have_them():
    atod = arm(0, [{"tdur/mean_weight": 0.5, "tdur/turn_0_mean_weight": 1.0}] * 4)
    sod = arm(0, [{"sod/weight_mean": 0.8, "sod/turn_0_mean_weight": 0.9}] * 4, "sod")
    told = drawn(atod, sod)
    for title, values in (
        ("turn weights, mean (SOD, ATOD)", (0.5, 0.8)),
        ("turn weights, by turn (SOD, ATOD)", (1.0, 0.9)),
    ):
        assert tuple(series.points[0].y for series in told[title]) == values


def test_teacher_tokens_are_what_the_teacher_read():
    """A line's length on that axis, whoever the teacher is; none where it read nothing."""
    told = {"teacher/tokens_read": 70.0, "tokens/read": 10.0, "teacher/gap_mean": 0.1}
    taught = next(axis for axis in AXES if axis.key == "taught")
    assert taught.along(arm(0, [told, told])) == {0: 0.0, 1: 70.0, 2: 140.0}
    assert taught.along(arm(0, [{"tokens/read": 10.0}] * 2))[2] == 0.0


def test_runs_that_are_not_finished_are_lines_of_their_own(tmp_path):
    wanted = MadeUp(
        algorithms=("grpo",), seeds=3, steps=8, every=2, tasks=6, unfinished=("alfworld/grpo-2",)
    )
    found = Findings(read_study([write_suite(tmp_path, wanted)]), "alfworld")
    (series,) = success_series(found, AXES[0], {"grpo": 0})
    assert len(series.runs) == 2 and series.points[-1].step == 8
    assert [[x for x, _ in run] for run in series.unfinished] == [[0, 2, 4]]
