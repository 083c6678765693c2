"""A package that `agentgym-envs new` wrote trains with every algorithm, and compares."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentgym_envs.new import named, write_package
from agentgym_train.algorithms import BUILT_IN
from agentgym_train.runlog import read_metrics
from agentgym_train.settings import Run, load
from agentgym_train.train import train

ROOT = Path(__file__).parents[2]
SHORT = ("steps=2", "rollout.groups=2", "rollout.group_size=3", "evaluation.tasks=6")
WEAK = ("episodes=40", "steps=20")


def words(pairs: tuple[str, ...]) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


def python(folder: Path, *said: str) -> str:
    """What a fresh Python says in the package's folder; the package is not installed."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, *said], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def agentgym_train(folder: Path, *said: str) -> str:
    return python(folder, "-m", "agentgym_train", *said)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lab") / "my_maze"
    write_package(folder, named(folder, "MyLab/Maze-v0"))
    return folder


@pytest.fixture(scope="module")
def models(package: Path) -> Path:
    """The package's folder, with a student and a teacher that have learnt next to nothing."""
    for name in ("student", "teacher"):
        agentgym_train(package, "warmup", f"runs/{name}.toml", "--out", f"out/{name}", *words(WEAK))
    return package


def test_there_is_a_run_of_every_algorithm(package):
    runs = {path.stem for path in package.joinpath("runs").glob("*.toml")}
    assert runs == {*BUILT_IN, "student", "teacher"}
    for name, kind in BUILT_IN.items():
        assert type(load(package / "runs" / f"{name}.toml", Run).algorithm) is kind


def test_the_runs_differ_in_their_algorithm_and_what_that_needs_only(package):
    plain = load(package / "runs" / "grpo.toml", Run)
    for name in BUILT_IN:
        run = load(package / "runs" / f"{name}.toml", Run)
        for part in ("env", "model", "rollout", "learning", "evaluation", "log", "steps"):
            assert getattr(run, part) == getattr(plain, part), f"{name}: {part}"


@pytest.mark.slow
def test_its_own_tests_of_settings_and_skills_pass(package):
    told = python(package, "-m", "pytest", "-q", "tests/test_runs.py")
    assert " passed" in told and "skipped" not in told


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT_IN)
def test_it_trains_with_every_algorithm(models, name, monkeypatch):
    monkeypatch.chdir(models)
    monkeypatch.syspath_prepend(models)
    train(load(f"runs/{name}.toml", Run, SHORT), models / "out" / name, lambda *_: None)
    told = read_metrics(models / "out" / name)
    assert [one["step"] for one in told] == [0, 1, 2]
    assert "val/success_rate" in told[-1]
    assert models.joinpath("out", name, "model", "model.safetensors").is_file()


@pytest.mark.slow
def test_its_suite_compares_and_is_reported(package):
    short = [f"shared.{pair}" for pair in SHORT]
    weak = [f"environments.my_maze.{who}.change.{pair}" for who in ("student", "teacher")
            for pair in WEAK]  # fmt: skip
    out = ("--out", "out/compare", "--workers", "1")
    agentgym_train(package, "compare", "suite.toml", *out, *words((*short, *weak)))
    agentgym_train(package, "report", "out/compare")
    page = package / "out" / "compare" / "report"
    assert "my_maze" in next(page.glob("*.html")).read_text(encoding="utf-8")
