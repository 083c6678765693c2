"""Commands in processes of their own, a few at a time, none of which outlives this process.

Every child watches a pipe whose other end only this process holds: when this process goes, however
it goes, the pipe closes and the child ends at once. Children also hold the folder's lock, so that
nobody works in a folder before the last of them is gone.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TAIL = 2000  # characters of a broken command's last words
_PATIENCE = 15.0  # seconds that children have to end when asked to
_WATCHED = (
    "import sys; from agentgym_train.workers import watched; watched(sys.argv[1], sys.argv[2:])"
)


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that is over. error: "" where it did what it should, or why it did not in a line,
    and its last words in those that follow."""

    name: str
    error: str


@dataclass(frozen=True, slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    slot: int
    log: Path


class Workers:
    """At most `count` commands at a time, each with its share of the cores, or a GPU.

    lock: a file handle that children are to hold. gpus: what CUDA_VISIBLE_DEVICES says to each.
    """

    def __init__(self, count: int, threads: int, lock: int, gpus: Sequence[str] = ()) -> None:
        if count < 1:
            raise ValueError(f"at least one worker is needed, got {count}")
        self._count, self.threads, self._lock, self._gpus = count, threads, lock, gpus
        self._children: dict[str, _Child] = {}

    @property
    def running(self) -> tuple[str, ...]:
        return tuple(self._children)

    @property
    def free(self) -> int:
        return self._count - len(self._children)

    def start(self, name: str, module: str, words: Sequence[str], log: Path) -> None:
        """Run `python -m module words...`; what it says goes to `log`."""
        slot = min(set(range(self._count)) - {child.slot for child in self._children.values()})
        with log.open("wb") as told:
            process = subprocess.Popen(
                [sys.executable, "-c", _WATCHED, module, *words],
                stdin=subprocess.PIPE,
                stdout=told,
                stderr=subprocess.STDOUT,
                env=self._environment(slot),
                pass_fds=(self._lock,),
                start_new_session=True,  # Ctrl-C is for this process, which then asks them
            )
        self._children[name] = _Child(process, slot, log)

    def ended(self) -> list[Ended]:
        """The commands that are over since the last call."""
        over = [name for name, child in self._children.items() if child.process.poll() is not None]
        return [_last_words(name, self._children.pop(name)) for name in over]

    def stop(self) -> None:
        """End every command, gently first; what they had written stays."""
        for child in self._children.values():
            child.process.terminate()
        deadline = time.monotonic() + _PATIENCE
        for child in self._children.values():
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
        self._children.clear()

    def _environment(self, slot: int) -> Mapping[str, str]:
        own = {"OMP_NUM_THREADS": str(self.threads), "TOKENIZERS_PARALLELISM": "false"}
        if self._gpus:
            own["CUDA_VISIBLE_DEVICES"] = self._gpus[slot % len(self._gpus)]
        return {**os.environ, **own}


@contextmanager
def locked(folder: Path, patience: float = 20.0) -> Iterator[int]:
    """Hold a folder's lock; gives the handle. The kernel lets go of it, whatever happens to us.

    Waits a while, since children of a process that was killed need a moment to end. Raises
    BlockingIOError where somebody still works there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    who = os.pread(handle, 100, 0).decode(errors="replace").strip()
                    raise BlockingIOError(
                        f"{folder} is in use by another command (process {who}): wait for it, "
                        "or stop it"
                    ) from None
                time.sleep(0.1)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield handle
    finally:
        os.close(handle)


def in_use(folder: Path) -> bool:
    """Does somebody hold a folder's lock?"""
    try:
        handle = os.open(folder / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def watched(module: str, words: Sequence[str]) -> None:
    """In the child: run `module` as a command, and end when the parent is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import runpy

    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def _last_words(name: str, child: _Child) -> Ended:
    code = child.process.returncode
    if child.process.stdin is not None:
        child.process.stdin.close()
    if code == 0:
        return Ended(name, "")
    told = child.log.read_text(encoding="utf-8", errors="replace").strip()[-_TAIL:]
    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    reason = _reason(told) if code > 0 else ""
    return Ended(
        name, "\n".join(one for one in (f"{how}: {reason}" if reason else how, told) if one)
    )


def _reason(told: str) -> str:
    """The line that says why: the last that begins with "error:", or the last of all."""
    lines = told.splitlines()
    errors = [line.removeprefix("error:").strip() for line in lines if line.startswith("error:")]
    return (errors or lines or [""])[-1]
