"""Killed at any moment and resumed, a run ends as if it had never stopped."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from train.pantry_play import pool
from train.pantry_run import SETTINGS, pantry_run

from agentgym_train.train import resume, train
from agentgym_train.workers import locked

# Runs in a process of its own and kills it, as a power cut would, the n-th time a function is
# about to return to its caller, or is called.
DRIVER = """
import json, os, signal, sys
from pathlib import Path
from agentgym_train import checkpoint, files, runlog, train
from agentgym_train.settings import Run, build

where, count, folder, settings = json.loads(sys.stdin.read())
home, name = {
    "metrics line": (runlog, "append_line"),
    "checkpoint rename": (os, "replace"),
    "optimiser step": (train, "update"),
}[where]
real, calls = getattr(home, name), 0

def deadly(*arguments, **named):
    global calls
    counts = where != "checkpoint rename" or "step-" in str(arguments[1])
    calls += counts
    if counts and calls == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **named)

setattr(home, name, deadly)
train.train(build(Run, settings), Path(folder))
"""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(pantry_run(), folder)
    return folder


def killed(folder: Path, where: str, count: int) -> None:
    tests = str(Path(__file__).parent.parent)
    path = os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps([where, count, str(folder), SETTINGS]),
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_run_that_is_still_going_is_left_alone(uninterrupted):
    before = (uninterrupted / "metrics.jsonl").read_bytes()
    with locked(uninterrupted), pytest.raises(BlockingIOError, match="in use"):
        resume(pantry_run(), uninterrupted)
    assert (uninterrupted / "metrics.jsonl").read_bytes() == before


def test_what_a_killed_run_had_half_written_is_removed(uninterrupted, tmp_path):
    folder = tmp_path / "run"
    killed(folder, "checkpoint rename", 2)
    half = [path.name for path in (folder / "checkpoints").iterdir()]
    assert any(name.endswith(".aside") for name in half)
    resume(pantry_run(), folder)
    assert not list(folder.rglob("*.aside"))
    names = [sorted(p.name for p in (f / "checkpoints").iterdir()) for f in (folder, uninterrupted)]
    assert names[0] == names[1]


def test_a_run_goes_on_with_the_data_it_began_with(tmp_path, monkeypatch):
    """Of what the environment tells, such as which index answered its searches."""
    kind = type(pool().take(1)[0])
    monkeypatch.setattr(kind, "provenance", {"index": "one"}, raising=False)
    folder = tmp_path / "run"
    train(pantry_run(), folder)
    resume(pantry_run(), folder)
    monkeypatch.setattr(kind, "provenance", {"index": "another"}, raising=False)
    with pytest.raises(ValueError, match=r"other data: index \(evaluation\) was 'one' and is 'an"):
        resume(pantry_run(), folder)


@pytest.mark.parametrize(
    ("where", "count", "resumed_from"),
    [
        ("metrics line", 2, 0),  # before the first checkpoint
        ("optimiser step", 4, 2),  # in the middle of the last step
        ("checkpoint rename", 2, 2),  # the second checkpoint is written, but not in place
    ],
)
def test_killed_and_resumed_is_bit_exact(uninterrupted, tmp_path, where, count, resumed_from):
    folder = tmp_path / "run"
    killed(folder, where, count)
    assert not (folder / "model").exists()
    assert resume(pantry_run(), folder) == resumed_from
    for name in ("metrics.jsonl", "episodes.jsonl"):
        assert (folder / name).read_text() == (uninterrupted / name).read_text()
    ours = load_file(folder / "model" / "model.safetensors")
    theirs = load_file(uninterrupted / "model" / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(ours[key].equal(theirs[key]) for key in ours)


def test_the_uninterrupted_run_is_worth_comparing_with(uninterrupted):
    lines = [json.loads(line) for line in (uninterrupted / "metrics.jsonl").open()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4]
    assert ["val/success_rate" in line for line in lines] == [True, False, True, False, True]
    assert all(line["actor/grad_norm"] > 0 for line in lines[1:])
    assert not any(key.startswith("seconds") for line in lines for key in line)
    assert [p.name for p in (uninterrupted / "checkpoints").iterdir()] == ["step-000004"]


def test_a_folder_that_holds_a_run_is_left_alone(uninterrupted):
    with pytest.raises(FileExistsError, match="agentgym-train resume"):
        train(pantry_run(), uninterrupted)
