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
from agentgym_train.files import read_lines

_HEAD = re.compile(r'\{"step": (\d+), "phase": "evaluation", ')
_SEED_AT_END = re.compile(r"-\d+$")
# Settings in which runs of one arm may differ without being another arm.
_OF_THE_RUN = ("seed", "threads", "model.device", "teacher.model.device")


_FEW = 2  # differing settings that fit into a name


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
    """Held-out tasks after a training step. `outcomes` are kept of the first, best and last one."""

    step: int
    rate: float
    low: float
    high: float
    episodes: int
    turns: float
    score: float
    invalid: float
    outcomes: tuple[Outcome, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One run: an algorithm on an environment with a seed.

    env and algorithm: what they are called in tables; `family` ("ALFWorld") and `kind` ("grpo") are
    the names behind them. settings: flat,
    dotted keys. metrics and seconds: the lines of the logs. state: "done", "running", "waiting" or
    "broken"; `trouble` says what broke it.
    """

    folder: Path
    env: str
    family: str
    algorithm: str
    kind: str
    seed: int
    steps: int
    state: str
    trouble: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, float]] = ()
    seconds: Sequence[Mapping[str, float]] = ()
    evaluations: Sequence[Evaluation] = ()

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
        return _best(self.evaluations)


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
class Study:
    """All arms of a report, in the order they are shown, and what they are measured against."""

    arms: tuple[Arm, ...]
    title: str = ""
    yardsticks: Mapping[str, tuple[Yardstick, ...]] = field(default_factory=dict)
    pinned: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # env -> split -> hash

    @property
    def envs(self) -> list[str]:
        return list(dict.fromkeys(arm.env for arm in self.arms))

    def algorithms(self, env: str | None = None) -> list[str]:
        return list(dict.fromkeys(a.algorithm for a in self.arms if env in (None, a.env)))

    def of(self, env: str, algorithm: str) -> list[Arm]:
        return [a for a in self.arms if a.env == env and a.algorithm == algorithm]


def read_study(folders: Sequence[Path], order: Sequence[str] = ()) -> Study:
    """Everything under these folders. `order`: algorithms that come first, in this order.

    Raises ReportError where a folder holds no run, or where two runs claim one place.
    """
    suites = [folder for folder in folders if (folder / "arms").is_dir()]
    arms = [arm for suite in suites for arm in _suite_arms(suite)]
    plain = [run for folder in folders if folder not in suites for run in _runs_in(folder)]
    arms += _told_apart([read_arm(run) for run in plain])
    if not arms:
        raise ReportError(f"no run in {', '.join(str(f) for f in folders) or 'no folder at all'}")
    _refuse_doubles(arms)
    place = {name: i for i, name in enumerate(order)}
    envs = list(dict.fromkeys(arm.env for arm in arms))
    arms.sort(key=lambda a: (envs.index(a.env), place.get(a.kind, 99), a.algorithm, a.seed))
    yardsticks: dict[str, tuple[Yardstick, ...]] = {}
    pinned: dict[str, Mapping[str, str]] = {}
    for suite in suites:
        yardsticks |= _yardsticks(suite / "yardsticks.json")
        pinned |= _pinned(suite / "tasks.json")
    titles = [title for suite in suites if (title := _title(suite / "suite.toml"))]
    title = " and ".join(titles)
    return Study(arms=tuple(arms), title=title, yardsticks=yardsticks, pinned=pinned)


def read_arm(folder: Path) -> Arm:
    """One run's folder. Raises ReportError where its files are not what a run writes."""
    try:
        settings = tomllib.loads((folder / "run.toml").read_text(encoding="utf-8"))
        metrics = read_lines(folder / "metrics.jsonl")
        seconds = read_lines(folder / "timings.jsonl")
        machine = _json(folder / "machine.json")
        evaluations = [_evaluation(record) for record in metrics if "val/success_rate" in record]
        wanted = {one.step for one in (*evaluations[:1], *evaluations[-1:])}
        best = _best(evaluations)
        wanted |= {best.step} if best else set()
        played = _outcomes(folder / "episodes.jsonl", wanted)
        kind, steps = str(settings["algorithm"]["name"]), int(settings["steps"])
        last = int(metrics[-1]["step"]) if metrics else -1
        return Arm(
            folder=folder,
            env=_short(str(settings["env"]["id"])),
            family=_short(str(settings["env"]["id"])),
            algorithm=kind.rpartition(":")[2],
            kind=kind,
            seed=int(settings.get("seed", 0)),
            steps=steps,
            state="done" if last == steps else "running",
            settings=flat(settings),
            machine=machine,
            metrics=metrics,
            seconds=seconds,
            evaluations=[
                replace(one, outcomes=tuple(played.get(one.step, ()))) for one in evaluations
            ],
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ReportError(f"{folder} is no run folder that can be read: {error!r}") from error


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


def _short(env_id: str) -> str:
    """ "ALFWorld" of "AgentGym/ALFWorld-v0"."""
    return re.sub(r"-v\d+$", "", env_id.rpartition("/")[2])


def _best(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    trained = [one for one in evaluations if one.step > 0]
    return max(trained, key=lambda one: (one.rate, -one.step), default=None)


def _evaluation(record: Mapping[str, float]) -> Evaluation:
    return Evaluation(
        step=int(record["step"]),
        rate=record["val/success_rate"],
        low=record["val/success_low"],
        high=record["val/success_high"],
        episodes=int(record["val/episodes"]),
        turns=record["val/turns"],
        score=record.get("val/score", float("nan")),
        invalid=record.get("val/invalid_share", float("nan")),
    )


def _outcomes(path: Path, steps: set[int]) -> dict[int, list[Outcome]]:
    """Held-out episodes by step. Only lines of these steps are decoded: the files are long."""
    found: dict[int, list[Outcome]] = {}
    if not path.exists():
        return found
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            head = _HEAD.match(line)
            if head and int(head[1]) in steps and line.endswith("\n"):
                record = json.loads(line)
                task = record["task"]
                success = bool(record["verdict"]["success"])
                told = Outcome(task["id"], task["hash"], task["kind"], success)
                found.setdefault(int(head[1]), []).append(told)
    return found


# -- folders


def _runs_in(folder: Path) -> list[Path]:
    if (folder / "run.toml").exists():
        return [folder]
    inside = sorted(path.parent for path in folder.glob("*/run.toml"))
    if not inside:
        raise ReportError(f"{folder} holds no run: there is no run.toml in it or one level below")
    return inside


def _suite_arms(suite: Path) -> Iterator[Arm]:
    """Each folder arms/<env>/<algorithm>-<seed>; those that only the status knows come as well."""
    states = _states(suite)
    seen: set[str] = set()
    for path in sorted((suite / "arms").glob("*/*/run.toml")):
        key = f"{path.parent.parent.name}/{path.parent.name}"
        seen.add(key)
        arm = read_arm(path.parent)
        label = _SEED_AT_END.sub("", path.parent.name)
        state, trouble = states.get(key, (arm.state, ""))
        known = state in ("waiting", "running", "broken") and not arm.done
        yield replace(
            arm,
            env=path.parent.parent.name,
            algorithm=label,
            state=state if known else arm.state,
            trouble=trouble,
        )
    for key, (state, trouble) in states.items():
        env, _, name = key.rpartition("/")
        seed = _SEED_AT_END.search(name)
        if key not in seen and env and seed:
            label = _SEED_AT_END.sub("", name)
            yield Arm(
                folder=suite / "arms" / key,
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
    """arm -> (state, what went wrong), as status.json has it."""
    return {
        name: (str(about.get("state", "waiting")), str(about.get("error", "")))
        for name, about in _json(suite / "status.json").items()
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


def _pinned(path: Path) -> dict[str, dict[str, str]]:
    return {
        env: {split: str(about["hash"]) for split, about in splits.items()}
        for env, splits in _json(path).items()
    }


def _title(path: Path) -> str:
    if not path.exists():
        return ""
    try:
        return str(tomllib.loads(path.read_text(encoding="utf-8")).get("title", ""))
    except tomllib.TOMLDecodeError as error:
        raise ReportError(f"{path} is broken: {error}") from error


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ReportError(f"{path} is broken: {error}") from error


# -- telling arms apart


def _told_apart(arms: Sequence[Arm]) -> list[Arm]:
    """Runs of one environment or algorithm with other settings are named after what differs, or
    where that is much, after the first folder with these settings."""
    by_env = _named(arms, "env", lambda arm: arm.env, ("env.common.", "env.evaluation."))
    everything = ("",)
    return _named(by_env, "algorithm", lambda arm: f"{arm.env}/{arm.algorithm}", everything)


def _named(arms: Sequence[Arm], what: str, place: Any, prefixes: tuple[str, ...]) -> list[Arm]:
    groups: dict[str, list[Arm]] = {}
    for arm in arms:
        groups.setdefault(place(arm), []).append(arm)
    names: dict[int, str] = {}
    for group in groups.values():
        differing = [
            key
            for key in dict.fromkeys(key for arm in group for key in arm.settings)
            if key.startswith(prefixes)
            and key not in _OF_THE_RUN
            and len({_value(arm, key) for arm in group}) > 1
        ]
        folders: dict[tuple[str, ...], str] = {}
        for arm in group:
            first = folders.setdefault(
                tuple(_value(arm, key) for key in differing), arm.folder.resolve().name
            )
            said = ", ".join(f"{key.rpartition('.')[2]} {_value(arm, key)}" for key in differing)
            plain = str(getattr(arm, what))
            told = said if len(differing) <= _FEW else first
            names[id(arm)] = f"{plain} ({told})" if differing else plain
    return [replace(arm, **{what: names[id(arm)]}) for arm in arms]


def _value(arm: Arm, key: str) -> str:
    value = arm.settings.get(key, "–")
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _refuse_doubles(arms: Sequence[Arm]) -> None:
    seen: dict[tuple[str, str, int], Path] = {}
    for arm in arms:
        other = seen.setdefault((arm.env, arm.algorithm, arm.seed), arm.folder)
        if other != arm.folder:
            raise ReportError(
                f"{other} and {arm.folder} are the same arm twice: {arm.env}, {arm.name}; "
                "name only one of them"
            )
