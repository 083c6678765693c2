"""Sessions: an environment each, in a thread each, so that none waits for another's."""

import asyncio
import json
import logging
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from gymnasium.error import ResetNeeded

from agentgym_envs.serve.hosted import Hosted
from agentgym_envs.serve.messages import Request

_log = logging.getLogger("agentgym_envs.serve")
# What a client can set right: told to it, and not worth a line in the server's log.
MISTAKES = (ValueError, KeyError, TypeError, ResetNeeded)


_WATCH_EVERY = 60.0  # seconds


class Full(RuntimeError):
    """As many sessions are open as the server allows."""


class UnknownSession(KeyError):
    """No session of that name: it was closed, has expired, or never was."""


class Failed(RuntimeError):
    """An environment raised an error, which is the cause; `kind` is its name."""

    def __init__(self, error: BaseException) -> None:
        said = error.args[0] if isinstance(error, KeyError) and error.args else error
        super().__init__(str(said))
        self.kind = type(error).__name__
        self.mistake = isinstance(error, MISTAKES)


class Worker:
    """Runs calls one after the other in a thread of its own.

    A daemon: an environment that hangs does not keep the server from stopping.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._stopped = False
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def run(self, call: Callable[[], Any]) -> Any:
        """The call's result. Raises Failed where it raised, UnknownSession after `stop`."""
        if self._stopped:
            raise UnknownSession("this session is closed")
        future: Future[Any] = Future()
        self._calls.put((future, call))
        result, error = await asyncio.wrap_future(future)
        if error is None:
            return result
        failed = Failed(error)
        if not failed.mistake:
            _log.error("an environment failed", exc_info=error)
        raise failed from error

    def stop(self, last: Callable[[], Any]) -> None:
        """End the thread after what was asked so far and this last call."""
        if not self._stopped:
            self._stopped = True
            future: Future[Any] = Future()
            future.add_done_callback(_log_failure)
            self._calls.put((future, last))
            self._calls.put(None)

    def _run(self) -> None:
        while (asked := self._calls.get()) is not None:
            future, call = asked
            if not future.set_running_or_notify_cancel():
                continue
            try:
                outcome = call(), None
            except BaseException as error:  # whatever it is, it is for those who asked
                outcome = None, error
            future.set_result(outcome)


def _log_failure(future: Future[Any]) -> None:
    _, error = future.result()
    if error is not None:
        _log.error("an environment could not be closed", exc_info=error)


class Session:
    """One client's environment. attached: a connection stands for it and closes it."""

    def __init__(self, hosted: Hosted, worker: Worker, attached: bool, now: float) -> None:
        self.id = secrets.token_urlsafe(16)
        self.attached, self.used, self.busy = attached, now, 0
        self._hosted, self._worker = hosted, worker

    async def answer(self, request: Request) -> bytes:
        """The answer to a message, as JSON. Raises Failed and UnknownSession."""
        return await self._worker.run(lambda: json.dumps(self._hosted.answer(request)).encode())

    def end(self) -> None:
        self._worker.stop(self._hosted.close)


class Sessions:
    """All sessions of a server, at most `limit`; unused ones end after `idle` seconds.

    Those without a connection are looked through whenever one is opened or asked for, and while
    `watch` runs. Belongs to one event loop.
    """

    def __init__(
        self,
        opened: Callable[[], Hosted],
        *,
        limit: int,
        idle: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if limit < 1 or idle <= 0:
            raise ValueError(f"sessions should be 1 or more and idle above 0, got {limit}, {idle}")
        self.limit, self.idle = limit, idle
        self._opened, self._clock = opened, clock
        self._sessions: dict[str, Session] = {}
        self._opening = 0

    def __len__(self) -> int:
        return len(self._sessions) + self._opening

    async def open(self, attached: bool = False) -> Session:
        """A new session. Raises Full, and Failed where its environment cannot be made."""
        self._expire()
        if len(self) >= self.limit:
            raise Full(f"all {self.limit} sessions of this server are in use; try again later")
        worker = Worker("agentgym-session")
        self._opening += 1
        try:
            hosted = await worker.run(self._opened)
        except (Failed, asyncio.CancelledError):
            worker.stop(lambda: None)
            raise
        finally:
            self._opening -= 1
        session = Session(hosted, worker, attached, self._clock())
        self._sessions[session.id] = session
        return session

    async def answer(self, session: Session, request: Request) -> bytes:
        """The session's answer; it counts as used until then."""
        session.busy += 1
        try:
            return await session.answer(request)
        finally:
            session.busy -= 1
            session.used = self._clock()

    def find(self, name: str) -> Session:
        """The session of that name that has no connection. Raises UnknownSession."""
        self._expire()
        session = self._sessions.get(name)
        if session is None or session.attached:
            raise UnknownSession(
                f"no session {name[:40]!r}: it was closed, or unused for {self.idle:g} s"
            )
        return session

    def close(self, session: Session) -> None:
        """End a session; what it is asked already is done first."""
        if self._sessions.pop(session.id, None) is not None:
            session.end()

    async def watch(self) -> None:
        """End unused sessions although nobody asks for one, until this is cancelled."""
        while True:
            await asyncio.sleep(min(self.idle / 4, _WATCH_EVERY))
            self._expire()

    def close_all(self) -> None:
        for session in list(self._sessions.values()):
            self.close(session)

    def _expire(self) -> None:
        now = self._clock()
        for session in list(self._sessions.values()):
            if not session.attached and not session.busy and now - session.used > self.idle:
                self.close(session)
