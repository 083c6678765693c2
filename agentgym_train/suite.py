"""Compare algorithms side by side: every arm of a suite, a few at a time, safe to stop.

A suite's folder:

suite.toml           the suite as it was resolved, complete: itself a suite file
tasks.json           environment -> split -> ids and content hashes of the tasks every arm plays
pins.json            environment -> the students, teachers and skill banks that arms share, by hash
warm/, arms/, jobs/  models, runs, and what their commands said (see `suite_jobs`)
yardsticks.json      environment -> policy -> how it does on the held-out tasks
status.json          arm -> waiting, running, done or broken, since when, and why
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agentgym_train.files import write_text
from agentgym_train.settings import Run, load
from agentgym_train.suite_jobs import ArmJob, Job, YardstickJob, jobs_of, log_of
from agentgym_train.suite_pins import Pins, folder_hash, pinned_bank, pinned_model, pinned_tasks
from agentgym_train.suite_rules import check_unchanged
from agentgym_train.suite_settings import Arm, Suite, joined, load_suite, record
from agentgym_train.workers import Workers, locked

__all__ = ["Now", "Outcome", "Running", "Suite", "compare", "load_suite"]

_LOOK, _TELL = 0.1, 1.0  # seconds between looks at the children, and between reports


@dataclass(frozen=True, slots=True)
class Running:
    """A job at work. step: -1 before the first evaluation is on disk; steps: 0 where the job is
    no arm. held_out: success on held-out tasks when last played."""

    name: str
    step: int = -1
    steps: int = 0
    held_out: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """How a comparison stands. Counts are of arms. ended: jobs over since the last report, each
    with its error or "". seconds_left: at the pace so far; None before there is one."""

    running: tuple[Running, ...]
    waiting: int
    done: int
    broken: int
    ended: tuple[tuple[str, str], ...]
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a comparison ended. done: ids of arms. broken: jobs and their last words."""

    folder: Path
    done: tuple[str, ...]
    broken: dict[str, str]


def compare(
    suite: Suite,
    folder: Path,
    *,
    workers: int = 1,
    gpus: Sequence[str] = (),
    only: Sequence[str] = (),
    on_progress: Callable[[Now], None] = lambda now: None,
) -> Outcome:
    """Play every arm of a suite that is not finished yet, `workers` at a time.

    Arms that were stopped go on from their checkpoints; a broken one is recorded and tried again
    by the next call. A folder that holds a comparison already takes the suite's arms in: what has
    begun there keeps its settings, but for an arm that broke or has nothing to show yet, which
    takes new ones and starts afresh; arms that the suite does not have stay, and are not played.
    only: shell patterns of arm ids, as "alfworld/atod-*". gpus: given to the workers in turn.

    Raises SettingsError or ChangedError where the folder's comparison is another one, what the
    environments, models and banks raise where something is missing, all before any work;
    BlockingIOError while somebody else works in the folder. KeyboardInterrupt, by Ctrl-C or
    SIGTERM, after the children have ended.
    """
    with locked(folder) as lock, _terminable():
        record_path = folder / "suite.toml"
        wanted = suite.matching(only) if only else suite.arms
        begun: set[str] = set()
        if record_path.exists():
            known = load_suite(record_path)
            begun = _begun(known, folder)
            suite = joined(known, suite, begun)
        ids = {arm.id for arm in wanted}
        jobs = jobs_of(suite, [arm for arm in suite.arms if arm.id in ids])
        shared = _Shared(suite, folder, begun)
        shared.check(jobs)
        write_text(record_path, record(suite))
        for job in jobs:
            if shared.starts_afresh(job):
                job.put_aside(folder)
        cores = os.cpu_count() or 1
        team = Workers(workers, max(1, cores // workers), lock, gpus)
        return _Comparison(suite, folder, jobs, team, shared, on_progress).play()


def _begun(suite: Suite, folder: Path) -> set[str]:
    """Ids of arms with something to show that did not break; homes of the models that are made."""
    states = _states(folder / "status.json")
    arms = {
        arm.id
        for arm in suite.arms
        if states.get(arm.id, {}).get("state") != "broken"
        and ArmJob(arm, suite.environments[arm.env]).step(folder)[0] >= 0
    }
    sources = (one for made in suite.environments.values() for one in made.sources.values())
    return arms | {source.home for source in sources if (folder / source.home).exists()}


class _Shared:
    """What the arms share, checked before any work and whenever a model is made."""

    def __init__(self, suite: Suite, folder: Path, begun: Collection[str]) -> None:
        self._suite, self._folder, self._begun = suite, folder, begun
        self._envs = {
            name
            for name, made in suite.environments.items()
            if any(arm.id in begun for arm in suite.of(name))
            or any(source.home in begun for source in made.sources.values())
        }
        self._tasks = Pins(folder / "tasks.json", self._envs)
        self._pins = Pins(folder / "pins.json", self._envs)

    def starts_afresh(self, job: Job) -> bool:
        """Does nothing bind this job to what it was before?"""
        if isinstance(job, YardstickJob):
            return job.arm.env not in self._envs
        return job.name not in self._begun

    def check(self, jobs: Sequence[Job]) -> None:
        """Everything that these jobs need and the suite does not make is there, unchanged."""
        arms = [job.arm for job in jobs if isinstance(job, ArmJob)]
        tasks, pins = {}, {}
        for arm in arms:
            run = arm.placed(self._folder, self._suite.environments[arm.env])
            if arm.id in self._begun:
                _check_begun(arm, run, self._folder / "arms" / arm.id / "run.toml")
            found = pins.setdefault(arm.env, {})
            if run.skills:
                found[f"skill bank {run.skills.bank}"] = pinned_bank(run)
            if arm.env not in tasks:
                tasks[arm.env] = pinned_tasks(run)
            found |= self._models(arm, run, found)
        self._tasks.check(tasks)
        self._pins.check(pins)
        self._tasks.add(tasks)
        self._pins.add(pins)

    def made(self, job: Job) -> None:
        """A job is done: what it made is what it made before, or is written down."""
        for env, environment in self._suite.environments.items():
            for role, source in environment.sources.items():
                if job.name in (source.arm, f"warm/{env}/{role}"):
                    found = {env: {role: folder_hash(self._folder / source.home)}}
                    self._pins.check(found)
                    self._pins.add(found)

    def _models(self, arm: Arm, run: Run, known: dict[str, Any]) -> dict[str, str]:
        """Hashes of an arm's models, as far as they are there or must be."""
        sources = self._suite.environments[arm.env].sources
        told = {}
        for role, model in (("student", run.model), ("teacher", run.teacher)):
            if model is None or role in known:
                continue
            if role not in sources:
                told[role] = pinned_model(model)
            elif Path(model.name).exists():
                told[role] = folder_hash(Path(model.name))
        return told


class _Comparison:
    """The jobs while they are played."""

    def __init__(
        self,
        suite: Suite,
        folder: Path,
        jobs: Sequence[Job],
        team: Workers,
        shared: _Shared,
        on_progress: Callable[[Now], None],
    ) -> None:
        self._suite, self._folder, self._team, self._shared = suite, folder, team, shared
        self._jobs = {job.name: job for job in jobs}
        self._tell = on_progress
        self._done = {job.name for job in jobs if job.finished(folder)}
        self._broken: dict[str, str] = {}
        self._ended: list[tuple[str, str]] = []
        self._status = _Status(folder / "status.json", suite)
        self._start = time.monotonic()
        self._before = {name: self._step(name, job) for name, job in self._arms().items()}

    def play(self) -> Outcome:
        """Until nothing is left that can be played."""
        told = 0.0
        for name in self._done:
            self._status.put(name, "done")
        self._publish()
        try:
            while self._team.running or self._ready():
                self._fill()
                time.sleep(_LOOK)
                for name, error in ((one.name, one.error) for one in self._team.ended()):
                    self._end(name, error)
                if time.monotonic() - told > _TELL:
                    self._tell(self._now())
                    told = time.monotonic()
        finally:
            self._team.stop()
            self._status.settle()
        self._publish()
        self._tell(self._now())
        done = tuple(name for name in self._arms() if name in self._done)
        return Outcome(self._folder, done, dict(self._broken))

    def _fill(self) -> None:
        for job in self._ready()[: self._team.free]:
            module, words = job.command(self._folder, self._team.threads)
            self._team.start(job.name, module, words, log_of(job, self._folder))
            self._status.put(job.name, "running")

    def _ready(self) -> list[Job]:
        """Waiting jobs whose needs are met, in order; those whose needs broke are broken too."""
        ready = []
        for job in self._waiting():
            lost = next((name for name in job.after if name in self._broken), None)
            if lost is not None:
                self._end(job.name, f"{lost} is broken, and this needs its model")
            elif self._done.issuperset(job.after):
                ready.append(job)
        return ready

    def _waiting(self) -> list[Job]:
        over = {*self._done, *self._broken, *self._team.running}
        return [job for job in self._jobs.values() if job.name not in over]

    def _end(self, name: str, error: str) -> None:
        """What counts is the work: a command that broke after it has done it."""
        job = self._jobs[name]
        if job.finished(self._folder):
            error = ""
        elif not error:
            error = "the command ended without an error, and without its work done"
        if error:
            self._broken[name] = error
        else:
            self._done.add(name)
            self._shared.made(job)
        self._status.put(name, "broken" if error else "done", error)
        self._ended.append((name, error))
        if isinstance(job, YardstickJob):
            self._publish()

    def _publish(self) -> None:
        """All yardsticks in one file, with those of environments that are not played now."""
        path = self._folder / "yardsticks.json"
        told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for job in self._jobs.values():
            if isinstance(job, YardstickJob) and (found := job.found(self._folder)):
                told[job.arm.env] = found
        write_text(path, json.dumps(told, indent=1) + "\n")

    def _arms(self) -> dict[str, ArmJob]:
        return {name: job for name, job in self._jobs.items() if isinstance(job, ArmJob)}

    def _now(self) -> Now:
        arms = self._arms()
        ended, self._ended = tuple(self._ended), []
        return Now(
            running=tuple(self._running(name) for name in self._team.running),
            waiting=sum(job.name in arms for job in self._waiting()),
            done=sum(name in self._done for name in arms),
            broken=sum(name in self._broken for name in arms),
            ended=ended,
            seconds=time.monotonic() - self._start,
            seconds_left=self._left(),
        )

    def _running(self, name: str) -> Running:
        job = self._jobs[name]
        if not isinstance(job, ArmJob):
            return Running(name)
        step, held_out = job.step(self._folder)
        return Running(name, step, job.arm.run.steps, held_out)

    def _left(self) -> float | None:
        """Seconds until the last step, at the pace of the steps since we began; without what broke
        on the way."""
        done, before, total = 0, 0, 0
        for name, job in self._arms().items():
            if name not in self._broken:
                done += self._step(name, job)
                before += self._before[name]
                total += job.arm.run.steps
        if done <= before:
            return None
        return (time.monotonic() - self._start) * (total - done) / (done - before)

    def _step(self, name: str, job: ArmJob) -> int:
        return job.arm.run.steps if name in self._done else max(0, job.step(self._folder)[0])


class _Status:
    """status.json: how every arm of the suite stands."""

    def __init__(self, path: Path, suite: Suite) -> None:
        self._path = path
        known = _states(path)
        self._arms: dict[str, dict[str, Any]] = {
            arm.id: known.get(arm.id, {"state": "waiting"}) for arm in suite.arms
        }
        self.settle()

    def put(self, name: str, state: str, error: str = "") -> None:
        """Record an arm's state; jobs that are no arms have none here."""
        if name not in self._arms or self._arms[name]["state"] == state == "done":
            return
        told = {key: v for key, v in self._arms[name].items() if key == "started"}
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        if state == "running":
            told.setdefault("started", now)
        else:
            told["finished"] = now
        self._arms[name] = {"state": state, **told, **({"error": error} if error else {})}
        self._write()

    def settle(self) -> None:
        """Nothing runs: what did is waiting again."""
        for told in self._arms.values():
            if told["state"] == "running":
                told["state"] = "waiting"
        self._write()

    def _write(self) -> None:
        write_text(self._path, json.dumps(self._arms, indent=1) + "\n")


def _states(path: Path) -> dict[str, dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _check_begun(arm: Arm, now: Run, path: Path) -> None:
    """An arm that has begun has these settings, wherever its models lay then."""
    before = load(path, Run)
    before = replace(before, model=replace(before.model, name=now.model.name))
    if before.teacher is not None and now.teacher is not None:
        before = replace(before, teacher=replace(before.teacher, name=now.teacher.name))
    check_unchanged(before, now, arm.id)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends what is inside as Ctrl-C does. Only the main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
