"""Everything that a report is of: the arms of suites and runs, under names that tell them apart."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from agentgym_train.report.apart import source_names, told_apart
from agentgym_train.report.runs import (
    Arm,
    ReportError,
    Shared,
    Suite,
    Yardstick,
    read_arm,
    read_suite,
    runs_in,
)

Named = TypeVar("Named", Yardstick, Shared)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """All arms of a report, in the order they are shown, and what they are measured against.

    By environment: yardsticks; pinned: split -> hashes of its task lists; shared: what the arms of
    a suite share; baselines: the algorithm that the others are held against.
    """

    arms: tuple[Arm, ...]
    title: str = ""
    yardsticks: Mapping[str, tuple[Yardstick, ...]] = field(default_factory=dict)
    pinned: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    shared: Mapping[str, tuple[Shared, ...]] = field(default_factory=dict)
    baselines: Mapping[str, str] = field(default_factory=dict)

    @property
    def envs(self) -> list[str]:
        return list(dict.fromkeys(arm.env for arm in self.arms))

    def algorithms(self, env: str | None = None) -> list[str]:
        return list(dict.fromkeys(a.algorithm for a in self.arms if env in (None, a.env)))

    def of(self, env: str, algorithm: str) -> list[Arm]:
        return [a for a in self.arms if a.env == env and a.algorithm == algorithm]


def read_study(folders: Sequence[Path], order: Sequence[str] = ()) -> Study:
    """Everything under these folders. `order`: algorithms that come first, in this order.

    Raises ReportError where a folder holds no run, or a file in one cannot be read.
    """
    homes = list(dict.fromkeys(folder.resolve() for folder in folders))
    suites = [home for home in homes if (home / "arms").is_dir()]
    plain = [run for home in homes if home not in suites for run in runs_in(home)]
    if not suites and not plain:
        raise ReportError(f"no run in {', '.join(str(f) for f in folders) or 'no folder at all'}")
    names = dict(zip([*suites, *plain], source_names([*suites, *plain]), strict=True))
    read = [read_suite(suite, names[suite]) for suite in suites]
    begun = [arm for _, arms in read for arm in arms]
    begun += [read_arm(run, names[run]) for run in dict.fromkeys(plain)]
    if not begun:
        raise ReportError(f"no arm has begun in {', '.join(str(suite) for suite in suites)}")
    arms = told_apart(begun)
    place = {name: i for i, name in enumerate(order)}
    envs = list(dict.fromkeys(arm.env for arm in arms))
    # What became of a suite's name for an environment.
    called = {(old.source, old.env): new.env for old, new in zip(begun, arms, strict=True)}
    told = _Told(called)
    for suite, _ in read:
        told.add(suite)
    return Study(
        arms=tuple(
            sorted(
                arms,
                key=lambda a: (envs.index(a.env), place.get(a.kind, 99), a.algorithm, a.seed),
            )
        ),
        title=" and ".join(suite.title for suite, _ in read if suite.title),
        yardsticks={env: tuple(some.values()) for env, some in told.yardsticks.items()},
        pinned=told.pinned,
        shared={env: tuple(some.values()) for env, some in told.shared.items()},
        baselines=told.baselines,
    )


class _Told:
    """What suites say of their environments, put together under the names of the report."""

    def __init__(self, called: Mapping[tuple[str, str], str]) -> None:
        self._called = called
        self.yardsticks: dict[str, dict[str, Yardstick]] = {}
        self.shared: dict[str, dict[str, Shared]] = {}
        self.pinned: dict[str, dict[str, tuple[str, ...]]] = {}
        self.baselines: dict[str, str] = {}

    def add(self, suite: Suite) -> None:
        """What another suite says otherwise stands beside it, with the suite's name."""
        for env, some in suite.yardsticks.items():
            _put(self.yardsticks.setdefault(self._env(suite, env), {}), some, suite)
        for env, some in suite.shared.items():
            _put(self.shared.setdefault(self._env(suite, env), {}), some, suite)
        for env, splits in suite.pinned.items():
            here = self.pinned.setdefault(self._env(suite, env), {})
            for split, told in splits.items():
                here[split] = tuple(dict.fromkeys((*here.get(split, ()), told)))
        for env, name in suite.baselines.items():
            self.baselines.setdefault(self._env(suite, env), name)

    def _env(self, suite: Suite, env: str) -> str:
        return self._called.get((suite.source, env), env)


def _put(known: dict[str, Named], some: Iterable[Named], suite: Suite) -> None:
    for one in some:
        if known.setdefault(one.name, one) != one:
            name = f"{one.name} ({suite.source})"
            known[name] = replace(one, name=name)
