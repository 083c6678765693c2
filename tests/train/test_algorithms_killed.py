"""Each of the 14 algorithms, run by the command on ALFWorld, killed with SIGKILL and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file
from train.small_runs import bank, scratch, small_run

from agentgym_train.algorithms import BUILT_IN
from agentgym_train.runlog import read_metrics
from agentgym_train.settings import dump

# Settings under which what follows the student matters before and after the kill.
MOVING = {
    "stepopsd": {"algorithm": {"name": "stepopsd", "weights": {"kind": "stale", "refresh": 2}}},
    "hint_sd": {
        "algorithm": {"name": "hint_sd", "weights": {"kind": "ema", "decay": 0.5}},
        "notes": {"source": "expert"},
    },
    "tcod": {"algorithm": {"name": "tcod", "depth": {"start": 1, "every": 2}}},
}


def command(*words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "agentgym_train", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(process: subprocess.Popen) -> None:
    _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told


def kill_after(process: subprocess.Popen, folder: Path, step: int) -> None:
    """SIGKILL as soon as that step is on disk."""
    while process.poll() is None:
        if any(line["step"] >= step for line in read_metrics(folder)):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    _, told = process.communicate()
    assert process.returncode == -signal.SIGKILL, told


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT_IN)
def test_killed_by_the_system_and_resumed_is_bit_exact(name):
    tables = dict(MOVING.get(name, {}))
    if BUILT_IN[name].skills:
        tables["skills"] = {"bank": str(bank("put", "heat")), "retrieval": "ucb"}
    logs = {"checkpoint_every": 2, "keep": 1, "episodes": 6}
    run = small_run(name, "alfworld", steps=8, log=logs, evaluation={"every": 3}, **tables)
    home = scratch()
    settings = home / "settings.toml"
    settings.write_text(dump(run), encoding="utf-8")
    whole, torn = home / "whole", home / "torn"
    done(command("run", str(settings), "--out", str(whole)))
    kill_after(command("run", str(settings), "--out", str(torn)), torn, step=3)
    assert not (torn / "model").exists(), "it ended before it was killed"
    assert (torn / "checkpoints").exists()
    done(command("resume", str(torn)))
    for file in ("metrics.jsonl", "episodes.jsonl"):
        assert (torn / file).read_text() == (whole / file).read_text()
    ours, theirs = (load_file(f / "model" / "model.safetensors") for f in (torn, whole))
    assert ours.keys() == theirs.keys()
    assert all(ours[key].equal(theirs[key]) for key in ours)
    assert [json.loads(line)["step"] for line in (whole / "metrics.jsonl").open()] == [*range(9)]
