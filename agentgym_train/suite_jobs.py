"""The pieces of work of a comparison, each one command: make a model, play an arm, hold yardsticks.

Where each writes, inside the suite's folder:

warm/<env>/student|teacher/          a model made by warm-up
arms/<env>/<algorithm>-<seed>/       one run
aside/<env>/<algorithm>-<seed>/      what a broken run left that started afresh with other settings
jobs/<name>.toml, .log, .json        what a command was given, said, and found
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from agentgym_train.files import write_text
from agentgym_train.runlog import read_metrics
from agentgym_train.settings import Run, dump, load
from agentgym_train.suite_rules import unchanged
from agentgym_train.suite_settings import Arm, Environment, Source, Suite

TRAINER = "agentgym_train"


class Job(Protocol):
    """One command. `after`: names of jobs that must be done first."""

    @property
    def name(self) -> str: ...

    @property
    def after(self) -> tuple[str, ...]: ...

    def finished(self, folder: Path) -> bool:
        """Is there nothing left to do?"""
        ...

    def command(self, folder: Path, threads: int) -> tuple[str, list[str]]:
        """The module to run and its arguments; goes on where it was stopped."""
        ...

    def put_aside(self, folder: Path) -> None:
        """Make room for a fresh start, where there is something with other settings."""
        ...


@dataclass(frozen=True, slots=True)
class WarmJob:
    """Make a student or a teacher by warm-up."""

    env: str
    role: str
    source: Source

    @property
    def name(self) -> str:
        return f"warm/{self.env}/{self.role}"

    @property
    def after(self) -> tuple[str, ...]:
        return ()

    def finished(self, folder: Path) -> bool:
        return (folder / self.source.home).exists()

    def command(self, folder: Path, threads: int) -> tuple[str, list[str]]:
        settings = self.source.warmup
        if settings is None:
            raise ValueError(f"{self.name} has no settings to warm up with")
        given = replace(settings, threads=settings.threads or threads)
        path = _written(self, folder, dump(given))
        return TRAINER, ["warmup", str(path), "--out", str(folder / self.name), "--tasks", "0"]

    def put_aside(self, folder: Path) -> None:
        """A model that is not made yet leaves nothing."""


@dataclass(frozen=True, slots=True)
class ArmJob:
    """Play an arm, from its newest checkpoint if it has begun."""

    arm: Arm
    environment: Environment

    @property
    def name(self) -> str:
        return self.arm.id

    @property
    def after(self) -> tuple[str, ...]:
        taught = self.arm.run.teacher is not None
        return _makers(self.arm.env, self.environment, ("student", "teacher")[: 1 + taught])

    def home(self, folder: Path) -> Path:
        return folder / "arms" / self.arm.id

    def finished(self, folder: Path) -> bool:
        """The last step was evaluated and the model is there."""
        home = self.home(folder)
        return (home / "model").exists() and self.step(folder)[0] == self.arm.run.steps

    def step(self, folder: Path) -> tuple[int, float | None]:
        """The newest step on disk (-1: none), and success on held-out tasks when last played."""
        lines = read_metrics(self.home(folder))
        rates = [one["val/success_rate"] for one in lines if "val/success_rate" in one]
        return (lines[-1]["step"] if lines else -1), (rates[-1] if rates else None)

    def command(self, folder: Path, threads: int) -> tuple[str, list[str]]:
        home, run = self.home(folder), self.arm.placed(folder, self.environment)
        if (home / "run.toml").exists():
            before = load(home / "run.toml", Run)
            # As many threads as before, or it is not the same run; models may lie elsewhere now,
            # and memory may be less.
            write_text(home / "run.toml", dump(replace(run, threads=before.threads)))
            return TRAINER, ["resume", str(home)]
        path = _written(self, folder, dump(replace(run, threads=run.threads or threads)))
        return TRAINER, ["run", str(path), "--out", str(home)]

    def put_aside(self, folder: Path) -> None:
        """A run that began with other settings goes to `aside/`."""
        home, run = self.home(folder), self.arm.placed(folder, self.environment)
        if not (home / "run.toml").exists() or unchanged(load(home / "run.toml", Run), run):
            return
        aside = folder / "aside" / self.arm.id
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(parents=True, exist_ok=True)
        home.rename(aside)


@dataclass(frozen=True, slots=True)
class YardstickJob:
    """Play an environment's held-out tasks with its scripted policies, student and teacher."""

    arm: Arm  # whose settings to play with; one with a teacher, where any has one
    environment: Environment

    @property
    def name(self) -> str:
        return f"yardsticks/{self.arm.env}"

    @property
    def after(self) -> tuple[str, ...]:
        return ArmJob(self.arm, self.environment).after

    def finished(self, folder: Path) -> bool:
        wanted = {"student", *(["teacher"] if self.arm.run.teacher else [])}
        return wanted <= self.found(folder).keys()

    def found(self, folder: Path) -> dict[str, dict[str, float]]:
        """Policy -> successes, episodes, mean turns and score; empty before it ran."""
        path = _result(self, folder)
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def command(self, folder: Path, threads: int) -> tuple[str, list[str]]:
        run = self.arm.placed(folder, self.environment)
        path = _written(self, folder, dump(replace(run, threads=run.threads or threads)))
        return "agentgym_train.suite_yardsticks", [str(path), str(_result(self, folder))]

    def put_aside(self, folder: Path) -> None:
        """They are soon played again."""
        _result(self, folder).unlink(missing_ok=True)


def jobs_of(suite: Suite, arms: Sequence[Arm]) -> list[Job]:
    """What these arms ask for, in the order of play: a model when it is first needed, an
    environment's yardsticks after the first seed of its arms."""
    by_id = {arm.id: arm for arm in suite.arms}
    jobs: dict[str, Job] = {}

    def add(arm: Arm) -> None:
        environment = suite.environments[arm.env]
        for role, source in environment.sources.items():
            if role == "teacher" and arm.run.teacher is None:
                continue
            if source.arm:
                add(by_id[source.arm])
            else:
                job = WarmJob(arm.env, role, source)
                jobs.setdefault(job.name, job)
        jobs.setdefault(arm.id, ArmJob(arm, environment))

    first: dict[str, int] = {arm.env: arm.seed for arm in reversed(arms)}
    for place, arm in enumerate(arms):
        add(arm)
        later = {one.env for one in arms[place + 1 :] if one.seed == first[one.env]}
        if arm.env not in later:
            own = [one for one in arms if one.env == arm.env]
            judged = next((one for one in own if one.run.teacher is not None), own[0])
            job = YardstickJob(judged, suite.environments[arm.env])
            jobs.setdefault(job.name, job)
    return list(jobs.values())


def log_of(job: Job, folder: Path) -> Path:
    """Where a job's command says what it has to say."""
    path = folder / "jobs" / f"{job.name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _written(job: Job, folder: Path, settings: str) -> Path:
    path = folder / "jobs" / f"{job.name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, settings)
    return path


def _result(job: Job, folder: Path) -> Path:
    return folder / "jobs" / f"{job.name}.json"


def _makers(env: str, environment: Environment, roles: Sequence[str]) -> tuple[str, ...]:
    """The jobs that make these models; none for those that are given."""
    sources = {role: environment.sources[role] for role in roles if role in environment.sources}
    return tuple(source.arm or f"warm/{env}/{role}" for role, source in sources.items())
