"""Queries of many callers, answered together.

While a search runs, the queries that come in wait and make the next batch. Where nobody else is
about, a query is searched at once; after a batch of several it waits, at most for the window, for
as many others as there were last time, since agents that were answered together ask together.

A batch that fails is searched again in halves, so that a query no engine can take fails those who
asked for it and nobody else.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter

from agentgym_envs.retrieval.serve.dialects import Answer

# Answers of a list of queries, the best k each. Called in a worker thread.
Search = Callable[[list[str], int], list[Answer]]


class QueueFull(Exception):
    """No room for more queries; `retry_after` is about when there will be, in whole seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TimedOut(Exception):
    """A caller waited as long as it was willing to."""


@dataclass(slots=True, eq=False)
class _Call:
    """Somebody who waits for the answers of several queries."""

    answered: asyncio.Future[None]
    missing: int

    def one_more(self) -> None:
        self.missing -= 1
        if not self.missing and not self.answered.done():
            self.answered.set_result(None)

    def fail(self, error: BaseException) -> None:
        if not self.answered.done():
            self.answered.set_exception(error)


@dataclass(slots=True, eq=False)
class _Asked:
    """A query that waits or is being searched, and who wants its answer."""

    calls: set[_Call] = field(default_factory=set)
    answer: Answer | None = None


class Batcher:
    """Belongs to one event loop: everything but `search` runs in it."""

    def __init__(
        self,
        search: Search,
        *,
        window: float = 0.001,
        batch: int = 256,
        queue: int = 16_384,
        threads: int = 1,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        """window: seconds; batch: most queries of a search; queue: most queries that wait.

        threads: searches at a time. on_batch: told the size of each batch and how long it took.
        Raises ValueError for a window below 0, or a batch, queue or threads below 1.
        """
        if window < 0:
            raise ValueError(f"window must not be below 0, got {window}")
        for name, size in (("batch", batch), ("queue", queue), ("threads", threads)):
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        self._search, self._on_batch = search, on_batch
        self._window, self._batch, self._queue = window, batch, queue
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="retrieve")
        self._free = threads
        self._waiting: dict[int, dict[str, _Asked]] = {}  # k -> query -> who wants it
        self._searched: dict[tuple[str, int], _Asked] = {}
        self._failed: deque[tuple[dict[str, _Asked], int]] = deque()  # halves, to be searched again
        self._timer: asyncio.Handle | None = None
        self._crowd = 1  # size of the last batch
        self._pace = 0.0  # seconds that a query of the last batch took
        self.queued = 0

    async def ask(self, queries: Sequence[str], k: int, timeout: float) -> list[Answer]:
        """An answer for each query. Equal queries, of any callers, are searched once.

        Raises QueueFull, TimedOut, and what the search raised.
        """
        if not queries:
            return []
        loop = asyncio.get_running_loop()
        distinct = dict.fromkeys(queries)
        call = _Call(loop.create_future(), len(distinct))
        wanted = self._enqueue(distinct, k, call)
        expiry = loop.call_later(timeout, call.fail, TimedOut(f"no answer within {timeout:g} s"))
        try:
            await call.answered
        finally:
            expiry.cancel()
            for one in wanted.values():
                one.calls.discard(call)
        answers = (wanted[query].answer for query in queries)
        return [answer for answer in answers if answer is not None]

    def close(self) -> None:
        """Let the worker threads go. Searches under way are finished first."""
        self._pool.shutdown()

    def _enqueue(self, queries: dict[str, None], k: int, call: _Call) -> dict[str, _Asked]:
        waiting = self._waiting.get(k, {})
        known = {
            query: found
            for query in queries
            if (found := waiting.get(query) or self._searched.get((query, k))) is not None
        }
        fresh = len(queries) - len(known)
        if self.queued + fresh > self._queue:
            seconds = max(1, min(60, math.ceil(self.queued * self._pace)))
            raise QueueFull(
                f"{self.queued} queries wait and {fresh} more do not fit: the queue holds "
                f"{self._queue}",
                seconds,
            )
        wanted = {query: known.get(query) or _Asked() for query in queries}
        for query, one in wanted.items():
            one.calls.add(call)
            if query not in known:
                self._waiting.setdefault(k, {})[query] = one
        self.queued += fresh
        if fresh:
            self._plan()
        return wanted

    def _plan(self) -> None:
        """Begin a batch, now or when the window ends."""
        if not self._free or not self.queued:
            return
        loop = asyncio.get_running_loop()
        if self._timer is None:
            # Even "now" is after the requests that have arrived already.
            alone = self._crowd <= 1 or not self._window
            self._timer = (
                loop.call_soon(self._begin)
                if alone or self.queued >= self._crowd
                else loop.call_later(self._window, self._begin)
            )
        elif isinstance(self._timer, asyncio.TimerHandle) and self.queued >= self._crowd:
            self._timer.cancel()
            self._timer = loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._timer = None
        taken, k = self._take()
        if not taken:
            return
        self._free -= 1
        self._searched.update({(query, k): one for query, one in taken.items()})
        began = perf_counter()
        loop = asyncio.get_running_loop()
        # Less on the way than by run_in_executor, which goes through a future of asyncio's.
        self._pool.submit(self._search, list(taken), k).add_done_callback(
            lambda done: loop.call_soon_threadsafe(self._finish, taken, k, began, done)
        )
        self._plan()

    def _take(self) -> tuple[dict[str, _Asked], int]:
        """The queries of the next batch, all of one k: top 3 of 10 need not be top 3 of 3.

        Ks take turns, after what failed. Queries whose callers have all gone are dropped.
        """
        taken: dict[str, _Asked] = {}
        k = 0
        while self._failed and not taken:
            half, k = self._failed.popleft()
            self.queued -= len(half)
            for query, one in half.items():
                if one.calls:
                    taken[query] = one
                else:
                    del self._searched[query, k]
        while self._waiting and not taken:
            k = next(iter(self._waiting))
            waiting = self._waiting.pop(k)
            first = list(islice(waiting, self._batch))
            self.queued -= len(first)
            for query in first:
                one = waiting.pop(query)
                if one.calls:
                    taken[query] = one
            if waiting:
                self._waiting[k] = waiting
        return taken, k

    def _finish(
        self,
        taken: dict[str, _Asked],
        k: int,
        began: float,
        done: Future[list[Answer]],
    ) -> None:
        seconds = perf_counter() - began
        self._free += 1
        self._crowd, self._pace = len(taken), seconds / len(taken)
        error = done.exception()
        if error is None and len(done.result()) != len(taken):
            error = RuntimeError(f"{len(taken)} queries got {len(done.result())} answers")
        if error is not None and len(taken) > 1:
            self._halve(taken, k)
        else:
            self._tell(taken, k, done, error)
        self._on_batch(len(taken), seconds)
        self._plan()

    def _halve(self, taken: dict[str, _Asked], k: int) -> None:
        """Put a batch that failed back, in two; who asks for its queries meanwhile joins in."""
        waiting = list(taken.items())
        middle = len(waiting) // 2
        self._failed += [(dict(waiting[:middle]), k), (dict(waiting[middle:]), k)]
        self.queued += len(waiting)

    def _tell(
        self,
        taken: dict[str, _Asked],
        k: int,
        done: Future[list[Answer]],
        error: BaseException | None,
    ) -> None:
        for query in taken:
            del self._searched[query, k]
        for place, one in enumerate(taken.values()):
            if error is None:
                one.answer = done.result()[place]
            for call in one.calls:
                if error is None:
                    call.one_more()
                else:
                    call.fail(error)
