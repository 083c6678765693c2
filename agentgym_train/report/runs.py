"""Run folders and suite folders, read into plain values. Nothing is played and nothing is loaded.

A folder counts as a run where it holds `run.toml`, as a suite where it holds `arms/`; any other is
searched for runs one level down. What has not been written yet is simply not there: an arm that is
still training is shown as such.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agentgym_envs.types import content_hash
from agentgym_train.files import numbered_lines, read_lines
from agentgym_train.workers import in_use

_HEAD = re.compile(r'\{"step": (\d+), "phase": "evaluation", ')
_SEED_AT_END = re.compile(r"-\d+$")


class ReportError(ValueError):
    """The folders cannot be reported on; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One held-out episode: its task, and how it ended."""

    task: str
    hash: str
    kind: str
    success: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Held-out tasks after a training step. kinds: success of each kind of task. `outcomes` are
    kept of the first, best and last one."""

    step: int
    rate: float
    low: float
    high: float
    episodes: int
    turns: float
    score: float
    invalid: float
    kinds: Mapping[str, float] = field(default_factory=dict)
    outcomes: tuple[Outcome, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One run: an algorithm on an environment with a seed.

    env and algorithm: what they are called in tables; `family` ("ALFWorld") and `kind` ("grpo") are
    the names behind them. source: the name of its suite's folder, or of its own. settings: flat,
    dotted keys. pins: hashes of what its suite's arms share. metrics and seconds: the lines of the
    logs. helped: evaluations with skills in the student's prompt. state: "done", "running",
    "stopped", or in a suite "waiting" or "broken"; `trouble` says what broke it.
    """

    folder: Path
    source: str
    env: str
    family: str
    algorithm: str
    kind: str
    seed: int
    steps: int
    state: str
    trouble: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    pins: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, float]] = ()
    seconds: Sequence[Mapping[str, float]] = ()
    evaluations: Sequence[Evaluation] = ()
    helped: Sequence[Evaluation] = ()

    @property
    def name(self) -> str:
        return f"{self.algorithm}, seed {self.seed}"

    @property
    def done(self) -> bool:
        return self.state == "done"

    @property
    def reached(self) -> int:
        """The last step that was logged."""
        return int(self.metrics[-1]["step"]) if self.metrics else 0

    @property
    def first(self) -> Evaluation | None:
        """Before training."""
        untrained = bool(self.evaluations) and self.evaluations[0].step == 0
        return self.evaluations[0] if untrained else None

    @property
    def final(self) -> Evaluation | None:
        """After the last step; None while the run is not done."""
        return self.evaluations[-1] if self.done and self.evaluations else None

    @property
    def best(self) -> Evaluation | None:
        """The highest success rate of all evaluations after step 0, the earliest of equals."""
        return best_of(self.evaluations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Yardstick:
    """What a policy that is not trained here reaches on an environment's held-out tasks."""

    name: str
    successes: int
    episodes: int
    turns: float
    score: float

    @property
    def rate(self) -> float:
        return self.successes / self.episodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Something that an environment's arms share: "student", "teacher", a skill bank, by hash.

    origin: how the suite came by it: its recipe, another arm, or a name.
    """

    name: str
    origin: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A suite's folder, besides its arms; each by environment. pinned: split -> hash of its tasks.
    baselines: the algorithm that the others are held against."""

    source: str
    title: str
    yardsticks: Mapping[str, tuple[Yardstick, ...]]
    pinned: Mapping[str, Mapping[str, str]]
    shared: Mapping[str, tuple[Shared, ...]]
    baselines: Mapping[str, str]


def read_arm(folder: Path, source: str = "") -> Arm:
    """One run's folder. Raises ReportError where its files are not what a run writes."""
    try:
        settings = tomllib.loads((folder / "run.toml").read_text(encoding="utf-8"))
        metrics = read_lines(folder / "metrics.jsonl")
        evaluations = _evaluations(metrics, "val")
        kept = (*evaluations[:1], best_of(evaluations), *evaluations[-1:])
        wanted = {one.step for one in kept if one is not None}
        played = _outcomes(folder / "episodes.jsonl", wanted)
        kind, steps = str(settings["algorithm"]["name"]), int(settings["steps"])
        last = int(metrics[-1]["step"]) if metrics else -1
        going = "running" if in_use(folder) else "stopped"
        return Arm(
            folder=folder,
            source=source or folder.resolve().name,
            env=_short(str(settings["env"]["id"])),
            family=_short(str(settings["env"]["id"])),
            algorithm=kind.rpartition(":")[2],
            kind=kind,
            seed=int(settings.get("seed", 0)),
            steps=steps,
            state="done" if last == steps else going,
            settings=flat(settings),
            machine=_json(folder / "machine.json"),
            metrics=metrics,
            seconds=read_lines(folder / "timings.jsonl"),
            evaluations=[
                replace(one, outcomes=tuple(played.get(one.step, ()))) for one in evaluations
            ],
            helped=_evaluations(metrics, "val_with_skill"),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ReportError(f"{folder} is no run folder that can be read: {error!r}") from error


def read_suite(folder: Path, source: str) -> tuple[Suite, list[Arm]]:
    """A suite's folder. Raises ReportError where a file in it is broken."""
    pinned = {
        env: {split: str(about["hash"]) for split, about in splits.items()}
        for env, splits in _json(folder / "tasks.json").items()
    }
    pins = _json(folder / "pins.json")
    record = _toml(folder / "suite.toml")
    tables = record.get("environments", {})
    suite = Suite(
        source=source,
        title=str(record.get("title", "")),
        yardsticks=_yardsticks(folder / "yardsticks.json"),
        pinned=pinned,
        shared={env: _shared(tables.get(env, {}), about) for env, about in pins.items()},
        baselines={env: told for env, table in tables.items() if (told := table.get("baseline"))},
    )
    tasks = {env: {"tasks": splits["train"]} for env, splits in pinned.items() if "train" in splits}
    arms = [
        replace(arm, pins={**pins.get(arm.env, {}), **tasks.get(arm.env, {})})
        for arm in _suite_arms(folder, source)
    ]
    return suite, arms


def runs_in(folder: Path) -> list[Path]:
    """The folder itself where it holds a run, or the runs one level down.

    Raises ReportError where there is none.
    """
    if (folder / "run.toml").exists():
        return [folder]
    inside = sorted(path.parent for path in folder.glob("*/run.toml"))
    if not inside:
        raise ReportError(f"{folder} holds no run: there is no run.toml in it or one level below")
    return inside


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def task_hash(outcomes: Sequence[Outcome]) -> str:
    """Sixteen hexadecimal digits that name a list of tasks and their content, as in tasks.json."""
    ids, hashes = [one.task for one in outcomes], [one.hash for one in outcomes]
    return content_hash(json.dumps([ids, hashes]))


def best_of(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """The highest success rate after step 0, the earliest of equals."""
    trained = [one for one in evaluations if one.step > 0]
    return max(trained, key=lambda one: (one.rate, -one.step), default=None)


def _short(env_id: str) -> str:
    """ "ALFWorld" of "AgentGym/ALFWorld-v0"."""
    return re.sub(r"-v\d+$", "", env_id.rpartition("/")[2])


def _evaluations(metrics: Sequence[Mapping[str, float]], family: str) -> list[Evaluation]:
    rate, kind = f"{family}/success_rate", re.compile(rf"{family}/(.+)_success_rate")
    return [
        Evaluation(
            step=int(record["step"]),
            rate=record[rate],
            low=record[f"{family}/success_low"],
            high=record[f"{family}/success_high"],
            episodes=int(record[f"{family}/episodes"]),
            turns=record[f"{family}/turns"],
            score=record.get(f"{family}/score", float("nan")),
            invalid=record.get(f"{family}/invalid_share", float("nan")),
            kinds={found[1]: v for name, v in record.items() if (found := kind.fullmatch(name))},
        )
        for record in metrics
        if rate in record
    ]


def _outcomes(path: Path, steps: set[int]) -> dict[int, list[Outcome]]:
    """Held-out episodes by step. Only lines of these steps are decoded: the files are long."""
    found: dict[int, list[Outcome]] = {}
    if not path.exists():
        return found

    def wanted(line: str) -> bool:
        head = _HEAD.match(line)
        return bool(head) and int(head[1]) in steps

    for _, record in numbered_lines(path, wanted):
        task = record["task"]
        success = bool(record["verdict"]["success"])
        told = Outcome(task["id"], task["hash"], task["kind"], success)
        found.setdefault(record["step"], []).append(told)
    return found


# -- suites


def _suite_arms(suite: Path, source: str) -> Iterator[Arm]:
    """Each folder arms/<env>/<algorithm>-<seed>; those that only the status knows come as well."""
    states = _states(suite)
    seen: set[str] = set()
    for path in sorted((suite / "arms").glob("*/*/run.toml")):
        key = f"{path.parent.parent.name}/{path.parent.name}"
        seen.add(key)
        arm = read_arm(path.parent, source)
        state, trouble = states.get(key, (arm.state, ""))
        yield replace(
            arm,
            env=path.parent.parent.name,
            algorithm=_SEED_AT_END.sub("", path.parent.name),
            state="done" if arm.done else state if state != "done" else "waiting",
            trouble="" if arm.done else trouble,
        )
    for key, (state, trouble) in states.items():
        env, _, name = key.rpartition("/")
        seed = _SEED_AT_END.search(name)
        if key not in seen and env and seed:
            label = _SEED_AT_END.sub("", name)
            yield Arm(
                folder=suite / "arms" / key,
                source=source,
                env=env,
                family="",
                algorithm=label,
                kind=label,
                seed=int(seed[0][1:]),
                steps=0,
                state=state if state != "done" else "waiting",
                trouble=trouble,
            )


def _states(suite: Path) -> dict[str, tuple[str, str]]:
    """arm -> (state, what went wrong), as status.json has it; nothing runs that nobody runs."""
    told = {
        name: (str(about.get("state", "waiting")), str(about.get("error", "")))
        for name, about in _json(suite / "status.json").items()
    }
    if in_use(suite):
        return told
    return {
        name: ("waiting" if state == "running" else state, trouble)
        for name, (state, trouble) in told.items()
    }


def _yardsticks(path: Path) -> dict[str, tuple[Yardstick, ...]]:
    return {
        env: tuple(
            Yardstick(
                name=name,
                successes=int(told["successes"]),
                episodes=int(told["episodes"]),
                turns=float(told["mean_turns"]),
                score=float(told["mean_score"]),
            )
            for name, told in policies.items()
        )
        for env, policies in _json(path).items()
    }


def _shared(table: Mapping[str, Any], pins: Mapping[str, Any]) -> tuple[Shared, ...]:
    """What is pinned of an environment, with how the suite's record says it came about."""
    return tuple(
        Shared(name=name, origin=_origin(table.get(name, {})), hash=str(told))
        for name, told in pins.items()
    )


def _origin(source: Mapping[str, Any]) -> str:
    """In a line: a warm-up's recipe, an arm, or a model's name."""
    if "arm" in source:
        return f"what {source['arm']} ends with"
    recipe = source.get("warmup")
    if not recipe:
        return str(source.get("model", {}).get("name", ""))
    model = recipe["model"]
    shape = model.get("tiny", {}) if model["name"] == "tiny" else {}
    parts = [
        f"{recipe['episodes']:,} episodes of the expert",
        f"{recipe['noise']:.0%} of their turns random",
        f"{recipe['steps']:,} steps of {recipe['batch']} rows at learning rate {recipe['lr']:g}",
        f"seed {recipe['seed']}",
        f"model {model['name']}",
        *(f"{key} {shape[key]}" for key in ("width", "layers", "vocabulary") if key in shape),
    ]
    return f"warm-up: {', '.join(parts)}"


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except tomllib.TOMLDecodeError as error:
        raise ReportError(f"{path} is broken: {error}") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except json.JSONDecodeError as error:
        raise ReportError(f"{path} is broken: {error}") from error
