"""Episodes on disk: one JSON object a line, readable by anything, judged again at any time."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agentgym_envs.types import Episode, Task, Turn, Verdict


def to_record(episode: Episode, verdict: Verdict | None = None) -> dict[str, Any]:
    """The episode as plain JSON values, with its verdict when there is one."""
    task = {name: _plain(getattr(episode.task, name)) for name in Task.__dataclass_fields__}
    turns = [
        {name: _plain(getattr(turn, name)) for name in Turn.__dataclass_fields__}
        for turn in episode.turns
    ]
    record: dict[str, Any] = {
        "task": task,
        "turns": turns,
        "outcome": episode.outcome,
        "stop_reason": episode.stop_reason,
    }
    if verdict is not None:
        record["verdict"] = asdict(verdict)
    return record


def from_record(record: dict[str, Any]) -> Episode:
    """The episode of a record. Raises ValueError naming the field that is missing or unknown."""
    try:
        task = record["task"]
        return Episode(
            task=Task(**{**task, "expert": tuple(task["expert"])}),
            turns=tuple(map(turn_of, record["turns"])),
            outcome=record["outcome"],
            stop_reason=record["stop_reason"],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an episode record: {error}") from error


def turn_of(record: dict[str, Any]) -> Turn:
    """A turn of a record."""
    return Turn(**{**record, "admissible": tuple(record["admissible"])})


def read_episodes(path: Path | str) -> Iterator[Episode]:
    """Every episode of a `.jsonl` file. Raises ValueError with the line number of a broken one."""
    with Path(path).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield from_record(json.loads(line))
                except ValueError as error:
                    raise ValueError(f"{path}, line {number}: {error}") from error


def judge(
    episodes: Iterable[Episode], verify: Callable[[Episode], Verdict]
) -> Iterator[tuple[Episode, Verdict]]:
    """Each episode with a fresh verdict; needs no environment."""
    for episode in episodes:
        yield episode, verify(episode)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "items"):
        return {key: _plain(item) for key, item in value.items()}
    return value
