"""A comparison on the pantry: arms in processes of their own, stopped, continued, broken."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from train.pantry_suite import TESTS, small_suite, suite_file, warmup
from train.small_runs import bank

from agentgym_train import cli
from agentgym_train.runlog import read_metrics
from agentgym_train.settings import Run, SettingsError, load
from agentgym_train.suite import compare
from agentgym_train.suite_pins import ChangedError
from agentgym_train.suite_settings import load_suite
from agentgym_train.workers import Workers, in_use, locked

RECORDS = ("metrics.jsonl", "episodes.jsonl")
COMPARE = (
    "import sys; from pathlib import Path; from agentgym_train.suite import compare, load_suite\n"
    "compare(load_suite(sys.argv[1]), Path(sys.argv[2]), workers=2)"
)


@pytest.fixture(autouse=True)
def _children_find_the_pantry(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", TESTS)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def records(folder: Path) -> dict[str, str]:
    """What is equal for equal comparisons: every arm's metrics and episodes."""
    homes = (folder / "arms").glob("*/*")
    return {f"{home.name}/{file}": (home / file).read_text() for home in homes for file in RECORDS}


def status(folder: Path) -> dict[str, dict[str, str]]:
    return json.loads((folder / "status.json").read_text())


def started(file: Path, folder: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", COMPARE, str(file), str(folder)])


def until(happened, seconds=500):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A comparison that went through: its folder, what it was told on the way, how it ended."""
    folder = tmp_path_factory.mktemp("compared")
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", TESTS)
        outcome = compare(small_suite("seeds=[0]"), folder, workers=2, on_progress=told.append)
    return folder, told, outcome


def test_every_arm_is_played_from_the_same_student_and_reported(compared):
    folder, told, outcome = compared
    assert outcome.done == ("pantry/grpo-0", "pantry/opd-0") and not outcome.broken
    assert {name for now in told for name, _ in now.ended} == {*outcome.done, "yardsticks/pantry"}
    assert (told[-1].done, told[-1].waiting, told[-1].running) == (2, 0, ())
    assert {name: one["state"] for name, one in status(folder).items()} == dict.fromkeys(
        outcome.done, "done"
    )
    first = [read_metrics(folder / "arms" / name)[0] for name in outcome.done]
    assert first[0] == first[1]


def test_the_command_ends_with_table_page_and_picture(compared, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(compared[0], tmp_path / "copy")
    said = ["agentgym-train", "compare", str(folder / "suite.toml"), "--out", str(folder)]
    monkeypatch.setattr(sys, "argv", said)
    with pytest.raises(SystemExit) as end:
        cli.main()
    told = capsys.readouterr()
    assert end.value.code == 0, told.err
    rows = [line.split("│")[1].strip() for line in told.out.splitlines() if line.startswith("│")]
    assert {*rows[:2]} == {"grpo", "opd"}
    assert {*rows[2:]} == {"random", "expert", "student", "teacher"}
    paths = dict(line.split(": ", 1) for line in told.out.splitlines() if ": /" in line)
    assert set(paths) == {"page", "picture", "Markdown", "CSV"}
    assert all(Path(path).exists() for path in paths.values())


def test_what_arms_share_is_written_down(compared):
    folder, _, _ = compared
    tasks = json.loads((folder / "tasks.json").read_text())["pantry"]
    assert len(tasks["train"]["ids"]) == len(tasks["train"]["hashes"]) == 8
    lines = (folder / "arms" / "pantry" / "opd-0" / "episodes.jsonl").read_text().splitlines()
    episodes = [one for line in lines if (one := json.loads(line))["phase"] == "evaluation"]
    assert tasks["evaluation"]["ids"] == [one["task"]["id"] for one in episodes[:3]]
    assert tasks["evaluation"]["hashes"] == [one["task"]["hash"] for one in episodes[:3]]
    yardsticks = json.loads((folder / "yardsticks.json").read_text())["pantry"]
    assert set(yardsticks) == {"random", "expert", "student", "teacher"}
    assert yardsticks["expert"]["successes"] == yardsticks["expert"]["episodes"] == 3
    assert load_suite(folder / "suite.toml") == small_suite("seeds=[0]")


@pytest.mark.parametrize(
    ("file", "keys"),
    [
        ("tasks.json", ("train", "hash")),
        ("tasks.json", ("train", "ids", 0)),
        ("pins.json", ("teacher",)),
    ],
)
def test_other_tasks_and_models_are_refused(compared, file, keys):
    folder, _, _ = compared
    kept = (folder / file).read_text()
    pins = json.loads(kept)
    inner = pins["pantry"]
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = "other"
    (folder / file).write_text(json.dumps(pins))
    with pytest.raises(ChangedError, match=f"pantry: {keys[0]} changed since"):
        compare(small_suite("seeds=[0]"), folder)
    (folder / file).write_text(kept)


def test_other_settings_are_refused(compared):
    folder, _, _ = compared
    with pytest.raises(SettingsError, match="began with steps = 4, the suite now says 6"):
        compare(small_suite("shared.steps=6"), folder)
    run = folder / "arms" / "pantry" / "opd-0" / "run.toml"
    kept = run.read_text()
    run.write_text(kept.replace("steps = 4\n", "steps = 8\n"))
    with pytest.raises(SettingsError, match="pantry/opd-0 began with steps = 8"):
        compare(small_suite("seeds=[0]"), folder)
    run.write_text(kept)


def test_added_seeds_and_algorithms_join_and_what_is_done_is_not_repeated(compared, tmp_path):
    folder = shutil.copytree(compared[0], tmp_path / "copy")
    before = records(folder)
    skills = {"bank": str(bank("honey", "jam"))}
    added = small_suite("seeds=[1]", algorithms=["sdar"], arms={"sdar": {"skills": skills}})
    started = []
    both = compare(added, folder, on_progress=lambda now: started.extend(now.running))
    assert both.done == ("pantry/sdar-1",)
    assert {one.name for one in started} == {"pantry/sdar-1"}
    assert before.items() <= records(folder).items()
    assert {arm.id for arm in load_suite(folder / "suite.toml").arms} == {
        "pantry/grpo-0",
        "pantry/opd-0",
        "pantry/sdar-1",
    }


@pytest.mark.slow
def test_a_broken_arm_is_recorded_and_does_not_stop_the_others(tmp_path):
    suite = small_suite("seeds=[0]")
    blocked = tmp_path / "arms" / "pantry" / "grpo-0"
    blocked.mkdir(parents=True)
    (blocked / "episodes.jsonl").mkdir()  # nothing can be written there
    told = []
    outcome = compare(suite, tmp_path, on_progress=told.append)
    assert outcome.done == ("pantry/opd-0",)
    assert "episodes.jsonl" in outcome.broken["pantry/grpo-0"].splitlines()[0]
    assert all(now.seconds_left is None or now.seconds_left >= 0 for now in told)
    assert status(tmp_path)["pantry/grpo-0"]["state"] == "broken"
    assert "episodes.jsonl" in status(tmp_path)["pantry/grpo-0"]["error"]

    (blocked / "episodes.jsonl").rmdir()
    assert compare(suite, tmp_path).done == ("pantry/grpo-0", "pantry/opd-0")


@pytest.mark.slow
def test_a_broken_arm_starts_afresh_with_other_settings(compared, tmp_path):
    """The others keep theirs, and what the broken one left is put aside."""
    folder = shutil.copytree(compared[0], tmp_path / "copy")
    states = status(folder)
    states["pantry/opd-0"] = {"state": "broken", "error": "out of memory"}
    (folder / "status.json").write_text(json.dumps(states))
    left = folder / "arms" / "pantry" / "opd-0"
    shutil.rmtree(left / "model")
    before = records(folder)
    gentle = {"pantry": {"arms": {"opd": {"algorithm": {"strength": 0.5}}}}}
    outcome = compare(small_suite("seeds=[0]", environments=gentle), folder)
    assert outcome.done == ("pantry/grpo-0", "pantry/opd-0") and not outcome.broken
    assert load(left / "run.toml", Run).algorithm.strength == 0.5
    assert (folder / "aside" / "pantry" / "opd-0" / "metrics.jsonl").exists()
    now = records(folder)
    assert {name for name in before if now[name] != before[name]} <= {
        "opd-0/metrics.jsonl",
        "opd-0/episodes.jsonl",
    }


@pytest.mark.slow
def test_a_stopped_arm_goes_on_with_less_memory(compared, tmp_path):
    folder = shutil.copytree(compared[0], tmp_path / "copy")
    home = folder / "arms" / "pantry" / "opd-0"
    shutil.rmtree(home / "model")
    before = read_metrics(home)
    compare(small_suite("seeds=[0]", "shared.learning.micro_tokens=900"), folder)
    assert load(home / "run.toml", Run).learning.micro_tokens == 900
    assert (home / "model").exists()
    assert read_metrics(home) == before  # its last checkpoint is of the last step


def test_a_broken_commands_reason_comes_first(tmp_path, monkeypatch):
    said = "print('step 1: fine\\nerror: no room left'); raise SystemExit(4)"
    (tmp_path / "breaks.py").write_text(said)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    with locked(tmp_path) as lock:
        team = Workers(1, 1, lock)
        team.start("one", "breaks", [], tmp_path / "log")
        ended = []
        until(lambda: ended.extend(team.ended()) or ended, 60)
    assert ended[0].error.splitlines() == [
        "exit code 4: no room left",
        "step 1: fine",
        "error: no room left",
    ]


def test_a_lock_is_seen_while_it_is_held(tmp_path):
    assert not in_use(tmp_path)
    with locked(tmp_path):
        assert in_use(tmp_path)
    assert not in_use(tmp_path)


@pytest.mark.slow
def test_models_that_the_suite_makes_and_arms_that_teach(tmp_path):
    """Student by warm-up, teacher by an arm of another environment, which is played first."""
    student = {"model": {"dtype": "float32"}, "warmup": warmup(0)}
    envs = {
        "pantry": {"student": student, "teacher": {"arm": "first/grpo-0"}, "algorithms": ["opd"]},
        "first": {"like": "pantry", "algorithms": ["grpo"]},
    }
    file = suite_file(environments=envs)
    text = file.read_text().replace("[environments.pantry.teacher.model]\nname = ", "#")
    file.write_text("\n".join(line for line in text.splitlines() if 'model"' not in line))
    suite = load_suite(file, ["seeds=[0]"])
    outcome = compare(suite, tmp_path, workers=2, only=["pantry/*"])
    assert outcome.done == ("first/grpo-0", "pantry/opd-0") and not outcome.broken
    run = load(tmp_path / "arms" / "pantry" / "opd-0" / "run.toml", Run)
    assert run.teacher is not None
    assert run.teacher.name == str(tmp_path / "arms" / "first" / "grpo-0" / "model")
    assert run.model.name == str(tmp_path / "warm" / "pantry" / "student" / "model")
    pins = json.loads((tmp_path / "pins.json").read_text())
    assert set(pins["pantry"]) == {"student", "teacher"} and set(pins["first"]) == {"student"}


def test_what_is_missing_is_an_error_before_any_work(tmp_path):
    where = tmp_path / "runs"
    absent = str(tmp_path / "nowhere")
    student = {"pantry": {"student": {"model": {"name": absent}}}}
    skills = {"sdar": {"skills": {"bank": f"{absent}.toml"}}}
    for tables, error in (
        ({"environments": student}, FileNotFoundError),
        ({"algorithms": ["sdar"], "arms": skills}, ValueError),
        ({"shared": {"env": {"common": {"shelves": 3}}}}, TypeError),
    ):
        with pytest.raises(error):
            compare(small_suite(**tables), where)
        assert {path.name for path in where.iterdir()} == {"lock"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_in_the_middle_and_continued_is_byte_for_byte_the_same(tmp_path, number):
    """The children of a killed comparison end with it, and a second start goes on."""
    file = suite_file()
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    compare(load_suite(file), whole, workers=2)
    process = started(file, torn)
    until(lambda: any(len(read_metrics(home)) >= 2 for home in (torn / "arms").glob("*/*")))
    process.send_signal(number)
    process.wait()
    with locked(torn):  # free as soon as the last child is gone
        homes = [*(torn / "arms").glob("*/*")]
        assert not all((home / "model").exists() for home in homes) or len(homes) < 4
    outcome = compare(load_suite(file), torn, workers=2)
    assert len(outcome.done) == 4 and not outcome.broken
    assert records(torn) == records(whole)


def test_two_comparisons_do_not_work_in_one_folder(tmp_path):
    with (
        locked(tmp_path),
        pytest.raises(BlockingIOError, match=f"process {os.getpid()}"),
        locked(tmp_path, patience=0.0),
    ):
        pass
