"""What was played, on disk at once: one JSON object a line, so that a run can go on after a stop.

A line is an episode's record with the settings it was played under; `read_episodes` reads it.
"""

import contextlib
import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

Record = dict[str, Any]
_BEGINS = b'{"task": '


class Transcript:
    """The episodes of one run by task id, those of an earlier call included; to be closed.

    path: the file, or None to keep them in memory only. run: the settings, as JSON values; every
    line carries them under "run".

    Raises ValueError where the file holds a line of other settings, one that is no record, or a
    task twice with other replies; BlockingIOError where another run is writing it. A last line that
    was not written whole is dropped from the file.
    """

    def __init__(self, path: Path | str | None, run: Mapping[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        self.run = json.loads(json.dumps(dict(run)))
        self.records: dict[str, Record] = {}
        self._file: BinaryIO | None = None
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
            try:
                self._lock(self.path, self._file)
                self._read(self.path)
            except BaseException:
                self._file.close()
                raise

    def __enter__(self) -> "Transcript":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, task_id: str, record: Mapping[str, Any]) -> None:
        """Keep an episode: in the file, whole, before this returns."""
        line = json.dumps({**record, "run": self.run})
        if self._file is not None:
            self._file.write(f"{line}\n".encode())
            self._file.flush()
        self.records[task_id] = json.loads(line)

    def _lock(self, path: Path, file: BinaryIO) -> None:
        """Until it is closed, or the process is gone; where the file system has locks."""
        with contextlib.suppress(ModuleNotFoundError):  # no Unix
            fcntl = import_module("fcntl")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BlockingIOError(
                    f"{path} is being written by another run: wait for it, or name another file"
                ) from None
            except OSError:
                pass

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
            known = self.records.setdefault(task_id, record)
            if {**known, "seconds": None} != {**record, "seconds": None}:
                raise ValueError(
                    f"{path}, line {number}: task {task_id!r} is there twice, with other replies: "
                    "take one of the lines out"
                )
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
