"""Run folders are read as they were written, whole or not."""

import json
import shutil
from dataclasses import replace

import pytest
from train.pantry_run import pantry_run
from train.report.made_up import MadeUp, write_run, write_suite

from agentgym_train.report.findings import Findings
from agentgym_train.report.runs import ReportError, read_arm, task_hash
from agentgym_train.report.study import read_study
from agentgym_train.train import train
from agentgym_train.workers import locked

SMALL = MadeUp(algorithms=("grpo", "atod"), seeds=2, steps=6, every=3, tasks=6)


def test_a_real_run_is_read(tmp_path):
    run = pantry_run()
    train(run, tmp_path / "run")
    arm = read_arm(tmp_path / "run")
    assert (arm.env, arm.algorithm, arm.seed, arm.state) == ("Honey", "grpo", 3, "done")
    assert [one.step for one in arm.evaluations] == [0, 2, 4]
    final = arm.final
    assert final is not None and len(final.outcomes) == final.episodes == 4
    assert final.rate == sum(one.success for one in final.outcomes) / 4
    assert arm.settings["rollout.groups"] == 3
    found = Findings(read_study([tmp_path / "run"]), "Honey")
    cost = found.cost("grpo")
    assert cost is not None and cost.steps == 4 and cost.sampled > 0 and cost.taught == 0
    assert cost.seconds["rollout"] > 0


def test_a_suite_is_read(tmp_path):
    study = read_study([write_suite(tmp_path, SMALL)], order=["grpo", "atod"])
    assert study.title == SMALL.title
    assert [(a.algorithm, a.seed) for a in study.arms] == [
        ("grpo", 0), ("grpo", 1), ("atod", 0), ("atod", 1),
    ]  # fmt: skip
    assert {one.name for one in study.yardsticks["alfworld"]} == {"random", "student", "teacher"}
    final = study.arms[0].final
    assert final is not None
    assert task_hash(final.outcomes) == study.pinned["alfworld"]["evaluation"][0]


def test_only_the_first_best_and_last_episodes_are_kept(tmp_path):
    arm = read_arm(write_run(tmp_path / "a", "alfworld", "grpo", 0, MadeUp(steps=40, every=2)))
    kept = {one.step for one in arm.evaluations if one.outcomes}
    assert arm.best is not None
    assert kept == {0, arm.best.step, 40}


def test_the_best_is_the_earliest_highest_after_training_began(tmp_path):
    arm = read_arm(write_run(tmp_path / "a", "alfworld", "grpo", 0, SMALL))
    assert arm.best is not None
    after = [one for one in arm.evaluations if one.step > 0]
    assert arm.best.rate == max(one.rate for one in after)
    assert arm.best.step == min(one.step for one in after if one.rate == arm.best.rate)


def test_unfinished_and_broken_arms_are_there_and_take_no_part(tmp_path):
    wanted = MadeUp(
        algorithms=("grpo", "opd", "atod"),
        seeds=2,
        steps=6,
        every=3,
        tasks=6,
        unfinished=("alfworld/opd-1", "alfworld/atod-0", "alfworld/atod-1"),
        broken=("alfworld/grpo-1",),
    )
    study = read_study([write_suite(tmp_path, wanted)])
    states = {(arm.algorithm, arm.seed): arm.state for arm in study.arms}
    assert states["grpo", 1] == "broken"
    assert states["opd", 1] == "waiting"
    (broken,) = [arm for arm in study.arms if arm.state == "broken"]
    assert "out of memory" in broken.trouble
    found = Findings(study, "alfworld")
    assert {name: len(arms) for name, arms in found.done.items()} == {"grpo": 1, "opd": 1}
    assert {one.algorithm for one in found.standings} == {"grpo", "opd"}


def test_a_run_that_is_being_written_can_be_read(tmp_path):
    home = write_run(tmp_path / "a", "alfworld", "grpo", 0, SMALL)
    for name in ("metrics", "episodes", "timings"):
        path = home / f"{name}.jsonl"
        path.write_text(path.read_text(encoding="utf-8")[:-9], encoding="utf-8")
    with locked(home):
        assert read_arm(home).state == "running"
    arm = read_arm(home)
    assert arm.state == "stopped"  # nobody works on it
    assert arm.final is None
    (home / "metrics.jsonl").unlink()
    assert read_arm(home).evaluations == []


def test_arms_that_differ_in_a_setting_have_names_of_their_own(tmp_path):
    for name, steps in (("a", 6), ("b", 3)):
        write_run(tmp_path / name, "alfworld", "grpo", 0, MadeUp(steps=steps, every=3, tasks=6))
    study = read_study([tmp_path])
    assert study.algorithms() == ["grpo (steps 3)", "grpo (steps 6)"]


def test_a_seed_again_is_a_repetition_beside_the_first(tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / name, "alfworld", "grpo", 0, SMALL)
    write_run(tmp_path / "c", "alfworld", "grpo", 1, SMALL)
    named = {arm.folder.name: arm.algorithm for arm in read_study([tmp_path]).arms}
    assert named == {"a": "grpo", "b": "grpo (b)", "c": "grpo"}
    assert len(read_study([tmp_path / "a", tmp_path / "a"]).arms) == 1  # named twice, there once


# -- suites put together


def names_of(*suites) -> dict[tuple[str, str], list[int]]:
    """(environment, algorithm) -> its seeds."""
    told: dict[tuple[str, str], list[int]] = {}
    for arm in read_study(suites).arms:
        told.setdefault((arm.env, arm.algorithm), []).append(arm.seed)
    return told


def suite_with(folder, seeds, **wanted):
    """A suite with these seeds alone, others' numbers in their place."""
    suite = write_suite(
        folder, replace(SMALL, algorithms=("grpo",), seeds=max(seeds) + 1, **wanted)
    )
    status = json.loads((suite / "status.json").read_text())
    for seed in set(range(max(seeds))) - set(seeds):
        shutil.rmtree(suite / "arms" / "alfworld" / f"grpo-{seed}")
        del status[f"alfworld/grpo-{seed}"]
    (suite / "status.json").write_text(json.dumps(status))
    return suite


def test_more_seeds_of_the_same_comparison_join(tmp_path):
    one, two = suite_with(tmp_path / "A", [0, 1]), suite_with(tmp_path / "B", [2, 3])
    assert names_of(one, two) == {("alfworld", "grpo"): [0, 1, 2, 3]}


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ({"settings": {"learning": {"lr": 0.5}}}, "grpo (lr 0.5)"),
        ({"student": "another"}, "grpo (B)"),
    ],
)
def test_other_settings_or_weights_are_another_arm(tmp_path, other, name):
    one, two = suite_with(tmp_path / "A", [0]), suite_with(tmp_path / "B", [1], **other)
    told = names_of(one, two)
    assert told.pop(("alfworld", name)) == [1]
    assert list(told.values()) == [[0]]


def test_other_tasks_are_another_environment_with_its_own_yardsticks(tmp_path):
    one, two = suite_with(tmp_path / "A", [0]), suite_with(tmp_path / "B", [1], text="other")
    study = read_study([one, two])
    assert study.envs == ["alfworld (A)", "alfworld (B)"]
    assert set(study.yardsticks) == set(study.pinned) == set(study.shared) == set(study.envs)


def test_what_changes_no_result_makes_no_other_arm(tmp_path):
    less = {"learning": {"micro_tokens": 77}, "threads": 3, "log": {"traces": 0}}
    one, two = suite_with(tmp_path / "A", [0]), suite_with(tmp_path / "B", [1], settings=less)
    assert names_of(one, two) == {("alfworld", "grpo"): [0, 1]}


def test_the_same_seed_in_two_suites_is_a_repetition(tmp_path):
    one, two = suite_with(tmp_path / "A", [0, 1]), suite_with(tmp_path / "B", [1, 2])
    assert names_of(one, two) == {
        ("alfworld", "grpo"): [0, 1],
        ("alfworld", "grpo (B)"): [1, 2],
    }


def test_nothing_runs_that_nobody_runs(tmp_path):
    """After a SIGKILL status.json says "running" still; the lock does not."""
    suite = write_suite(tmp_path, replace(SMALL, unfinished=("alfworld/grpo-0",)))
    status = json.loads((suite / "status.json").read_text())
    status["alfworld/grpo-0"]["state"] = "running"
    (suite / "status.json").write_text(json.dumps(status))

    def states():
        return {f"{arm.algorithm}-{arm.seed}": arm.state for arm in read_study([suite]).arms}

    assert states()["grpo-0"] == "waiting"
    with locked(suite):
        assert states()["grpo-0"] == "running"


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ReportError, match=r"no run.toml in it"):
        read_study([tmp_path])
    with pytest.raises(ReportError, match="no folder at all"):
        read_study([])


def test_a_broken_file_is_named(tmp_path):
    home = write_run(tmp_path / "a", "alfworld", "grpo", 0, SMALL)
    (home / "run.toml").write_text("steps = ", encoding="utf-8")
    with pytest.raises(ReportError, match=str(home)):
        read_arm(home)
    (tmp_path / "b").mkdir()
    write_suite(tmp_path / "b", SMALL)
    (tmp_path / "b" / "tasks.json").write_text("{", encoding="utf-8")
    with pytest.raises(ReportError, match=r"tasks\.json is broken"):
        read_study([tmp_path / "b"])


def test_tasks_that_changed_are_not_compared(tmp_path):
    suite = write_suite(tmp_path, SMALL)
    path = suite / "arms" / "alfworld" / "atod-1" / "episodes.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        if line["task"]["id"] == "alfworld/2":
            line["task"]["hash"] = "another"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = Findings(read_study([suite]), "alfworld")
    assert not found.same_tasks
    assert "alfworld/2" not in [task for task, _ in found.tasks]
    assert len(found.tasks) == SMALL.tasks - 1


def test_arms_that_differ_in_much_are_named_after_their_folder(tmp_path):
    many = {"steps": 6, "every": 3, "tasks": 6}
    for name, other in (("first", {}), ("second", {"steps": 4, "every": 2, "tasks": 4})):
        write_run(tmp_path / name, "alfworld", "grpo", 0, MadeUp(**{**many, **other}))
    assert read_study([tmp_path]).algorithms() == ["grpo (first)", "grpo (second)"]
