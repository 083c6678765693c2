"""What was played, on disk at once: one JSON object a line, so that a run can go on after a stop.

A line is an episode's record with the settings it was played under; `read_episodes` reads it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Record = dict[str, Any]
_BEGINS = b'{"task": '


class Transcript:
    """The episodes of one run by task id, those of an earlier call included.

    path: the file, or None to keep them in memory only. run: the settings, as JSON values; every
    line carries them under "run".

    Raises ValueError where the file holds a line of other settings, one that is no record, or a
    task twice. A last line that was not written whole is dropped from the file.
    """

    def __init__(self, path: Path | str | None, run: Mapping[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        self.run = json.loads(json.dumps(dict(run)))
        self.records: dict[str, Record] = {}
        if self.path is not None and self.path.exists():
            self._read(self.path)

    def add(self, task_id: str, record: Mapping[str, Any]) -> None:
        """Keep an episode: in the file, whole, before this returns."""
        line = json.dumps({**record, "run": self.run})
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(f"{line}\n".encode())
        self.records[task_id] = json.loads(line)

    def _read(self, path: Path) -> None:
        whole, newline, torn = path.read_bytes().rpartition(b"\n")
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                record = json.loads(line)
                task_id = record["task"]["id"]
                played = record["run"]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: no line of a transcript") from error
            self._compare(f"{path}, line {number}", played)
            if task_id in self.records:
                raise ValueError(f"{path}, line {number}: task {task_id!r} is there twice")
            self.records[task_id] = record
        if torn and not torn.startswith(_BEGINS[: len(torn)]):
            raise ValueError(f"{path}: the last line is no line of a transcript")
        if torn:
            with path.open("r+b") as file:
                file.truncate(len(whole) + len(newline))

    def _compare(self, where: str, played: Mapping[str, Any]) -> None:
        for name in sorted({*self.run, *played}):
            there, here = played.get(name), self.run.get(name)
            if there != here:
                raise ValueError(
                    f"{where}: this transcript is of other settings: {name} is {there!r} there "
                    f"and {here!r} now; name another file"
                )
