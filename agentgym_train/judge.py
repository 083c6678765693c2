"""Stored episodes judged again, by any verifier and without an environment."""

import inspect
import json
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from agentgym_envs.episodes import from_record, judge
from agentgym_envs.registration import importable
from agentgym_envs.statistics import Rate, summarise
from agentgym_envs.types import Episode, Verdict
from agentgym_train.files import numbered_lines, write_text

Verifier = Callable[[Episode], Verdict]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """An episode whose two verdicts differ. line: where it stands in its file, from 1."""

    line: int
    task: str
    before: Verdict
    after: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Success of the episodes played at one time. before: by the verdicts on file; None: there are
    episodes without one."""

    before: Rate | None
    after: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What judging again changed.

    gained, lost: episodes that are successes now, or no longer. rescored: as successful as before
    with another score. unjudged: without a verdict before; they are in no other count.
    phases: "train", and each evaluation by itself, as "evaluation, step 10"; "all" where the file
    has no phases.
    disagreements: where success or score differ, in the file's order. out: the file written.
    """

    episodes: int
    gained: int
    lost: int
    rescored: int
    unjudged: int
    phases: dict[str, Phase]
    disagreements: list[Disagreement]
    out: Path | None = None


def judge_file(path: Path, verifier: Verifier, out: Path | None = None) -> Judged:
    """Judge the episodes of a file, or of a run's folder.

    out: a file for the same lines with the new verdicts, replaced in one go; may be `path` itself.
    Raises FileNotFoundError where there are no episodes, ValueError naming the line of a broken
    one, TypeError where the verifier gives no Verdict.
    """
    source = path / "episodes.jsonl" if path.is_dir() else path
    if not source.exists():
        raise FileNotFoundError(f"there are no episodes at {source}")
    records = list(numbered_lines(source))
    if not records:
        raise ValueError(f"{source} holds no episode")
    episodes = [_episode(source, line, record) for line, record in records]
    verdicts = [verdict for _, verdict in judge(episodes, verifier)]
    for episode, verdict in zip(episodes, verdicts, strict=True):
        if not isinstance(verdict, Verdict):
            raise TypeError(
                f"the verifier gave {type(verdict).__name__}, not a Verdict, for task "
                f"{episode.task.id!r}"
            )
    if out is not None:
        new = zip(records, verdicts, strict=True)
        lines = [json.dumps({**record, "verdict": asdict(v)}) + "\n" for (_, record), v in new]
        write_text(out, "".join(lines))
    return _compared(source, records, episodes, verdicts, out)


def verifier_of(env_id: str) -> Verifier:
    """The verifier of an environment's class; no environment is made.

    Raises TypeError where it is no static method, so that it needs an environment.
    """
    entry_point = gym.spec(importable(env_id)).entry_point
    kind = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    verify = inspect.getattr_static(kind, "verify", None)
    if not isinstance(verify, staticmethod):
        raise TypeError(f"{env_id} has no static method `verify` that judges an episode alone")
    return verify.__func__


def find_verifier(address: str) -> Verifier:
    """A verifier by address: "package.module:function".

    Raises ValueError for what is no address, ImportError where it leads nowhere, TypeError where
    it leads to something that cannot be called.
    """
    module, colon, name = address.partition(":")
    if not (module and colon and name):
        raise ValueError(f"a verifier is named 'package.module:function', got {address!r}")
    found = getattr(import_module(module), name, None)
    if found is None:
        raise ImportError(f"module {module} has no {name!r}")
    if not callable(found):
        raise TypeError(f"{address} is {found!r}, not a function of an episode")
    return cast(Verifier, found)


def env_of(path: Path) -> str:
    """The environment of a run's folder, or of the run that a file of episodes lies in.

    Raises FileNotFoundError where there is nothing, ValueError where no run.toml tells.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is nothing at {path}: give a run's folder or its episodes")
    settings = (path if path.is_dir() else path.parent) / "run.toml"
    if not settings.is_file():
        raise ValueError(f"there is no {settings}: say --env ID or --verifier module:function")
    return tomllib.loads(settings.read_text(encoding="utf-8"))["env"]["id"]


def _episode(path: Path, line: int, record: dict[str, Any]) -> Episode:
    try:
        return from_record(record)
    except ValueError as error:
        raise ValueError(f"{path}, line {line}: {error}") from error


def _compared(
    path: Path,
    records: Sequence[tuple[int, dict[str, Any]]],
    episodes: Sequence[Episode],
    verdicts: Sequence[Verdict],
    out: Path | None,
) -> Judged:
    old = [_verdict(path, line, record) for line, record in records]
    differ = [
        Disagreement(line=line, task=episode.task.id, before=before, after=after)
        for (line, _), episode, before, after in zip(records, episodes, old, verdicts, strict=True)
        if before is not None and (before.success, before.score) != (after.success, after.score)
    ]
    members: dict[str, list[int]] = {}
    for i, (_, record) in enumerate(records):
        members.setdefault(_phase(record), []).append(i)
    gained = sum(one.after.success and not one.before.success for one in differ)
    lost = sum(one.before.success and not one.after.success for one in differ)
    return Judged(
        episodes=len(records),
        gained=gained,
        lost=lost,
        rescored=len(differ) - gained - lost,
        unjudged=sum(verdict is None for verdict in old),
        phases={
            name: Phase(before=_rate(episodes, old, some), after=_sure(episodes, verdicts, some))
            for name, some in members.items()
        },
        disagreements=differ,
        out=out,
    )


def _phase(record: dict[str, Any]) -> str:
    """The policy is another one at each evaluation; training episodes are too few of a step."""
    phase = record.get("phase", "")
    if phase == "train" or "step" not in record:
        return phase or "all"
    return f"{phase or 'all'}, step {record['step']}"


def _rate(
    episodes: Sequence[Episode], verdicts: Sequence[Verdict | None], some: Sequence[int]
) -> Rate | None:
    known = [verdict for i in some if (verdict := verdicts[i]) is not None]
    if len(known) < len(some):
        return None
    return summarise([(episodes[i], v) for i, v in zip(some, known, strict=True)]).overall


def _sure(episodes: Sequence[Episode], verdicts: Sequence[Verdict], some: Sequence[int]) -> Rate:
    return summarise([(episodes[i], verdicts[i]) for i in some]).overall


def _verdict(path: Path, line: int, record: dict[str, Any]) -> Verdict | None:
    """The verdict on file; None where there is none."""
    if record.get("verdict") is None:
        return None
    try:
        return Verdict(**record["verdict"])
    except TypeError as error:
        raise ValueError(f"{path}, line {line}: its verdict is none: {error}") from error
