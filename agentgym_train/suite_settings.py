"""A suite: environments x algorithms x seeds, read from one TOML file and resolved to whole runs.

    seeds = [0, 1]
    algorithms = ["grpo", "atod", "atod_plain"]

    [shared]                                  # put over every arm's settings
    steps = 40

    [arms.atod_plain]                         # an arm made from another one's settings
    like = "atod"
    algorithm = { turn_weight = { granularity = "none" } }

    [environments.games]
    base = "../runs/alfworld_tiny"            # a folder with <algorithm>.toml, read from this file
    student = { warmup = "../runs/alfworld_tiny/student.toml" }
    teacher = { warmup = "../runs/alfworld_tiny/teacher.toml", change = { steps = 900 } }
    baseline = "grpo"                         # the report holds the others against it alone
    run = { evaluation = { tasks = 128 } }    # put over every arm of this environment

Tables are merged, later over earlier: the file in `base`, `[shared]`, `[arms.<name>]`, the
environment's `run`, its own `arms.<name>`. `record` writes a suite as such a file that needs no
other, and it reads back equal.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import tomli_w

from agentgym_train import algorithms
from agentgym_train.settings import Run, SettingsError, Warmup, build, dump, override
from agentgym_train.suite_rules import check_arms, check_unchanged, merged

NAMES = "letters, digits, '_', '.' or '-'"


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """Where a student or a teacher comes from.

    model: its settings in every run; with `name`, it is given. warmup: made by warm-up, as this
    file or table says, with `change` put over it. arm: the model that another arm of the suite
    ends with, as "environment/name-seed".
    """

    model: dict[str, Any] = field(default_factory=dict)
    warmup: str | dict[str, Any] | None = None
    change: dict[str, Any] = field(default_factory=dict)
    arm: str = ""

    def __post_init__(self) -> None:
        ways = ("name" in self.model) + (self.warmup is not None) + bool(self.arm)
        if ways > 1:
            raise ValueError("give one of model.name, warmup and arm")
        if self.change and self.warmup is None:
            raise ValueError("`change` goes with `warmup`")


@dataclass(frozen=True, kw_only=True)
class EnvironmentFile:
    """What a suite says of one environment. Before it is read, `like` put it over another one's
    table."""

    base: str = ""
    student: SourceFile = SourceFile()
    teacher: SourceFile = SourceFile()
    run: dict[str, Any] = field(default_factory=dict)
    arms: dict[str, dict[str, Any]] = field(default_factory=dict)
    algorithms: tuple[str, ...] = ()  # these instead of the suite's
    seeds: tuple[int, ...] = ()
    baseline: str = ""


@dataclass(frozen=True, kw_only=True)
class SuiteFile:
    """What a suite file holds."""

    title: str = ""
    seeds: tuple[int, ...] = (0,)
    algorithms: tuple[str, ...] = ()
    differ: tuple[str, ...] = ()  # settings besides the algorithm's own in which arms may differ
    baseline: str = ""  # the arm that the others are held against; none: every two are compared
    shared: dict[str, Any] = field(default_factory=dict)
    arms: dict[str, dict[str, Any]] = field(default_factory=dict)
    environments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A student or a teacher that the suite itself makes: by warm-up, or as another arm's model.

    home: its folder inside the suite's.
    """

    home: str
    warmup: Warmup | None = None
    arm: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Models that the arms of an environment share; None where they are given by name. baseline:
    the arm that the others are held against."""

    student: Source | None = None
    teacher: Source | None = None
    baseline: str = ""

    @property
    def sources(self) -> dict[str, Source]:
        both = {"student": self.student, "teacher": self.teacher}
        return {role: source for role, source in both.items() if source is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One run of the suite. Models that the suite makes are named by their folder inside it."""

    env: str
    name: str
    seed: int
    run: Run

    @property
    def id(self) -> str:
        return f"{self.env}/{self.name}-{self.seed}"

    def placed(self, folder: Path, environment: Environment) -> Run:
        """The run with its models where they lie once `folder` is the suite's."""
        run = self.run
        student, teacher = environment.student, environment.teacher
        if student is not None and run.model.name == student.home:
            name = str(folder / student.home)
            run = replace(run, model=replace(run.model, name=name))
        if teacher is not None and run.teacher is not None and run.teacher.name == teacher.home:
            name = str(folder / teacher.home)
            run = replace(run, teacher=replace(run.teacher, name=name))
        return run


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A comparison, resolved: every arm is a whole run. Arms come in the order they are played."""

    title: str
    environments: dict[str, Environment]
    arms: tuple[Arm, ...]
    differ: tuple[str, ...] = ()

    def matching(self, patterns: Sequence[str]) -> tuple[Arm, ...]:
        """Arms whose id, as "alfworld/atod-0", fits a shell pattern. Raises SettingsError."""
        for pattern in patterns:
            if not any(fnmatchcase(arm.id, pattern) for arm in self.arms):
                some = ", ".join(arm.id for arm in self.arms[:6])
                raise SettingsError(f"no arm is called {pattern!r}; arms: {some}, ...")
        return tuple(a for a in self.arms if any(fnmatchcase(a.id, one) for one in patterns))

    def of(self, env: str) -> tuple[Arm, ...]:
        """The arms of an environment."""
        return tuple(arm for arm in self.arms if arm.env == env)


def load_suite(path: Path | str, overrides: Sequence[str] = ()) -> Suite:
    """A suite file, resolved; overrides are `a.b=value` on the file's own keys.

    Raises SettingsError for a key that is unknown, an arm that lacks what its algorithm needs, or
    arms that differ in more than their algorithm.
    """
    path = Path(path)
    data = override(_table(path), overrides)
    return _resolved(build(SuiteFile, data), path.parent)


def record(suite: Suite) -> str:
    """The suite as TOML that needs no other file: `load_suite` gives the same suite back."""
    told: dict[str, Any] = {}
    for name, environment in suite.environments.items():
        arms: dict[str, Any] = {}
        table: dict[str, Any] = {"baseline": environment.baseline, "arms": arms}
        for arm in suite.of(name):
            run = tomllib.loads(dump(arm.run))
            for role, key in (("student", "model"), ("teacher", "teacher")):
                if key in run:
                    model = _source_table(environment.sources.get(role), run[key])
                    if table.setdefault(role, model) == model:
                        del run[key]
            del run["seed"]
            arms.setdefault(arm.name, {**run, "seeds": []})["seeds"].append(arm.seed)
        told[name] = table
    head = {"title": suite.title, "differ": list(suite.differ)}
    return tomli_w.dumps({**head, "environments": told})


def joined(known: Suite, added: Suite, begun: Collection[str]) -> Suite:
    """A suite that has begun, with the arms of another one added.

    begun: ids of arms and homes of models that there is something of. They stay as they are; the
    others are as the added suite says, or forgotten where it does not have them.

    Raises SettingsError where the two disagree on what has begun, or arms of both differ in more
    than their algorithm.
    """
    environments = dict(added.environments)
    for name, before in known.environments.items():
        kept = {role: one for role, one in before.sources.items() if one.home in begun}
        now = environments.get(name, before)
        for role in kept.keys() & now.sources.keys():
            if kept[role] != now.sources[role]:
                raise SettingsError(
                    f"environments.{name}: the {role} was made otherwise when this comparison "
                    "began: put its settings back, or compare in another folder"
                )
        environments[name] = replace(now, **kept)
    fresh = {arm.id: arm for arm in added.arms}
    arms = {arm.id: fresh.get(arm.id, arm) for arm in known.arms if arm.id in {*begun, *fresh}}
    arms |= fresh
    for arm in known.arms:
        if arm.id in begun:
            check_unchanged(arm.run, arms[arm.id].run, arm.id)
    present = {arm.env for arm in arms.values()}
    differ = tuple(sorted({*known.differ, *added.differ}))
    return _checked(
        Suite(
            title=added.title or known.title,
            environments={name: one for name, one in environments.items() if name in present},
            arms=tuple(arms.values()),
            differ=differ,
        )
    )


def _resolved(file: SuiteFile, folder: Path) -> Suite:
    tables = {name: _environment(name, file.environments) for name in file.environments}
    if not tables:
        raise SettingsError("a suite compares in environments: add [environments.<name>]")
    _check_arm_names(file, tables)
    environments = {}
    arms = []
    for env, table in tables.items():
        environments[env] = Environment(
            student=_source(env, "student", table.student, folder),
            teacher=_source(env, "teacher", table.teacher, folder),
            baseline=table.baseline or file.baseline,
        )
        for name in _names(env, table, file):
            arms += _arms(env, name, table, environments[env], file, folder)
    title = file.title
    return _checked(
        Suite(title=title, environments=environments, arms=tuple(arms), differ=file.differ)
    )


def _checked(suite: Suite) -> Suite:
    """Suite-wide laws; arms in the order of play, teachers kept only where someone needs them."""
    used = {
        env: made if any(arm.run.teacher for arm in suite.of(env)) else replace(made, teacher=None)
        for env, made in suite.environments.items()
    }
    ids = {arm.id for arm in suite.arms}
    for env, made in used.items():
        for role, source in made.sources.items():
            if source.arm and source.arm not in ids:
                raise SettingsError(
                    f"environments.{env}.{role}.arm: the suite has no arm {source.arm!r}"
                )
        names = {arm.name for arm in suite.of(env)}
        if made.baseline and made.baseline not in names:
            raise SettingsError(
                f"environments.{env}: its baseline {made.baseline!r} is no arm of it"
            )
        runs = {arm.id: arm.run for arm in suite.of(env)}
        check_arms(runs, suite.differ, f"environments.{env}")
    return replace(suite, environments=used, arms=tuple(_by_seed(suite.arms)))


def _by_seed(arms: Iterable[Arm]) -> Iterator[Arm]:
    """The first seed of every environment and algorithm, then the second of each, and so on."""
    places: dict[tuple[str, str], int] = {}
    ranked = []
    for arm in arms:
        place = places[arm.env, arm.name] = places.get((arm.env, arm.name), -1) + 1
        ranked.append((place, arm))
    yield from (arm for _, arm in sorted(ranked, key=lambda pair: pair[0]))


def _environment(name: str, tables: dict[str, Any]) -> EnvironmentFile:
    _check_name(name, f"environments.{name}")
    try:
        return build(EnvironmentFile, _liked(name, tables, ()))
    except SettingsError as error:
        raise SettingsError(f"environments.{name}: {error}") from error


def _liked(name: str, tables: dict[str, Any], seen: tuple[str, ...]) -> dict[str, Any]:
    """An environment's table over those that it is like; student and teacher are not mixed."""
    if name not in tables or name in seen:
        raise SettingsError(f"like: there is no environment {name!r} to start from")
    own = dict(tables[name])
    other = own.pop("like", "")
    if not other:
        return own
    under = _liked(other, tables, (*seen, name))
    kept = {key: v for key, v in under.items() if key not in {"student", "teacher"} & own.keys()}
    return merged(kept, own)


def _names(env: str, table: EnvironmentFile, file: SuiteFile) -> tuple[str, ...]:
    names = table.algorithms or file.algorithms or tuple(table.arms) or tuple(file.arms)
    if not names:
        raise SettingsError(f"environments.{env} has no arms: set `algorithms` to their names")
    if len(set(names)) < len(names):
        raise SettingsError(f"environments.{env}: an algorithm is named twice in {list(names)}")
    for name in names:
        _check_name(name, "algorithms")
    return names


def _check_arm_names(file: SuiteFile, tables: dict[str, EnvironmentFile]) -> None:
    """A table for an arm that nobody can mean is a misspelt one."""
    known = {*algorithms.BUILT_IN, *file.algorithms}
    for table in tables.values():
        known |= {*table.algorithms, *(table.arms if not file.algorithms else ())}
    if not file.algorithms and not any(t.algorithms or t.arms for t in tables.values()):
        known |= {*file.arms}
    for arms in (file.arms, *(table.arms for table in tables.values())):
        for name, own in arms.items():
            if name not in known and "like" not in own:
                near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
                hint = f"did you mean arms.{near[0]}?" if near else "add it to `algorithms`"
                raise SettingsError(f"arms.{name}: no arm is called so; {hint}")


def _arms(
    env: str,
    name: str,
    table: EnvironmentFile,
    environment: Environment,
    file: SuiteFile,
    folder: Path,
) -> list[Arm]:
    general, own = dict(file.arms.get(name, {})), dict(table.arms.get(name, {}))
    like = [own.pop("like", None), general.pop("like", None), name]
    seeds = [own.pop("seeds", None), general.pop("seeds", None), table.seeds or file.seeds]
    data = {}
    if table.base:
        base = next(one for one in like if one)
        data = _table(folder / table.base / f"{base}.toml")
    _put_models(data, table, environment)
    for over in (file.shared, general, table.run, own):
        data = merged(data, over)
    try:
        kind = algorithms.find(data.get("algorithm", {}).get("name", ""))
    except (KeyError, ImportError, AttributeError, TypeError) as error:
        raise SettingsError(f"{env}/{name}: algorithm.name: {error.args[0]}") from error
    if kind.teacher != "model":
        data.pop("teacher", None)
    chosen = next(one for one in seeds if one)
    if len(set(chosen)) < len(chosen):
        raise SettingsError(f"{env}/{name}: a seed is named twice in {list(chosen)}")
    try:
        first = build(Run, {**data, "seed": chosen[0]})
    except SettingsError as error:
        raise SettingsError(f"{env}/{name}: {error}") from error
    return [Arm(env=env, name=name, seed=seed, run=replace(first, seed=seed)) for seed in chosen]


def _put_models(data: dict[str, Any], table: EnvironmentFile, environment: Environment) -> None:
    """The environment's student and teacher, in place, over what the arm's file says of them."""
    for role, key in (("student", "model"), ("teacher", "teacher")):
        wanted, made = getattr(table, role), getattr(environment, role)
        model = merged(data.get(key, {}), wanted.model)
        if made is not None:
            model["name"] = made.home
        if model:
            data[key] = model


def _source(env: str, role: str, wanted: SourceFile, folder: Path) -> Source | None:
    if wanted.arm:
        return Source(home=f"arms/{wanted.arm}/model", arm=wanted.arm)
    if wanted.warmup is None:
        return None
    told = wanted.warmup
    table = _table(folder / told) if isinstance(told, str) else told
    try:
        warmup = build(Warmup, merged(table, wanted.change))
    except SettingsError as error:
        raise SettingsError(f"environments.{env}.{role}.warmup: {error}") from error
    return Source(home=f"warm/{env}/{role}/model", warmup=warmup)


def _source_table(source: Source | None, model: dict[str, Any]) -> dict[str, Any]:
    if source is None or model["name"] != source.home:
        return {"model": model}
    told: dict[str, Any] = {"model": {k: v for k, v in model.items() if k != "name"}}
    if source.arm:
        return told | {"arm": source.arm}
    return told | {"warmup": tomllib.loads(dump(source.warmup))}


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"there is no settings file {path}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: {error}") from error


def _check_name(name: str, where: str) -> None:
    if not name.replace("_", "").replace(".", "").replace("-", "").isalnum() or name[0] == ".":
        raise SettingsError(f"{where}: {name!r} becomes a folder: use {NAMES}")
