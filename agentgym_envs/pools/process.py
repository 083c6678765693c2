"""A worker that is a local process, spoken to through a pipe."""

import multiprocessing
import pickle
import signal
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from agentgym_envs.pools.guard import demand_guard
from agentgym_envs.pools.worker import Shard, WorkerDied
from agentgym_envs.vector import Call

_GRACE = 1.0  # seconds between asking a process to end, ending it, and killing it


class _Raised(NamedTuple):
    """An error on its way home."""

    error: Exception


class ProcessWorker:
    """See `Worker`. Processes are spawned, so a script that makes a pool at its top level needs
    `if __name__ == "__main__":` around that; without it, RuntimeError.
    """

    def __init__(self, env_type: str, settings: Mapping[str, Any], places: range) -> None:
        demand_guard()
        context = multiprocessing.get_context("spawn")
        self._places = places
        self._pipe, other = context.Pipe()
        self._process = context.Process(
            target=_work,
            args=(other, env_type, dict(settings), len(places)),
            name=f"environments {places[0]} to {places[-1]}",
            daemon=True,
        )
        self._process.start()
        other.close()  # else the pipe stays open when the process is gone
        self._owed = True

    def send(self, calls: Sequence[tuple[int, Call]]) -> None:
        if self._owed:
            self._answer()  # a step that was interrupted; nobody waits for it any more
        try:
            self._pipe.send(list(calls))
        except OSError:
            raise self._death() from None
        self._owed = True

    def receive(self) -> Any:
        answer = self._answer()
        if isinstance(answer, _Raised):
            raise answer.error
        return answer

    def release(self) -> None:
        self._pipe.close()  # it reads the end of the file, and ends

    def end(self, seconds: float) -> None:
        self._process.join(seconds)
        for harder in (self._process.terminate, self._process.kill):
            if self._process.is_alive():
                harder()
                self._process.join(_GRACE)

    def _answer(self) -> Any:
        try:
            wait([self._pipe, self._process.sentinel])
            if not self._pipe.poll():
                raise EOFError
            answer = self._pipe.recv()
        except (EOFError, OSError):
            raise self._death() from None
        self._owed = False
        return answer

    def _death(self) -> WorkerDied:
        self._process.join(_GRACE)
        code = self._process.exitcode
        if code is not None and code < 0:
            return WorkerDied(self._places, f"killed by {signal.Signals(-code).name}")
        why = (
            f"exit code {code}; what it said last is above (a script needs "
            "`if __name__ == '__main__':` around what makes a pool)"
        )
        return WorkerDied(self._places, why)


def _work(pipe: Connection, env_type: str, settings: dict[str, Any], count: int) -> None:
    """What the process does until the pipe's other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes
    shard = Shard()
    try:
        pipe.send(_tried(shard.make, env_type, settings, count))
        while True:
            pipe.send(_tried(shard.call, pipe.recv()))
    except (EOFError, OSError):
        shard.close()


def _tried(method: Any, *args: Any) -> Any:
    """The result, or what was raised: whatever that is, it belongs to the one who asked."""
    try:
        return method(*args)
    except Exception as error:
        return _Raised(_portable(error))


def _portable(error: Exception) -> Exception:
    """The error itself where it survives the journey, else its words."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
