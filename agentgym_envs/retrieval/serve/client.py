"""A retriever somewhere else: ours or a published one, over either `/retrieve` dialect."""

import contextlib
import hashlib
import itertools
import json
import os
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any

from agentgym_envs.retrieval.serve.connections import Connections, NoAnswer, Reply
from agentgym_envs.retrieval.serve.dialects import DIALECTS, Dialect, read_response, write_request
from agentgym_envs.retrieval.types import Hit, RetrievalError

TOKEN_VARIABLE = "AGENTGYM_RETRIEVE_TOKEN"
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # statuses of trouble that may be over soon
_UNREADABLE = (ValueError, KeyError, TypeError, RecursionError)  # a body that is not as expected


class HTTPRetriever:
    """Asks one or several servers in turn. Safe to share between threads, and over a fork.

    A failed request is made again, on another server where there is one that works, else after a
    pause that doubles each time, longer where the server says so (Retry-After). With the defaults
    a server may be away for half a minute before anybody notices.

    Standard library only (http.client): no extra is needed to use a server, and one exchange costs
    a third of what httpx takes.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        dialect: Dialect = "search_r1",
        token: str | None = None,
        timeout: float = 60.0,
        attempts: int = 10,
        first_pause: float = 0.25,
        longest_pause: float = 10.0,
        per_request: int = 1024,
        concurrency: int = 32,
    ) -> None:
        """url: of servers that answer alike, with or without `/retrieve`.

        dialect: search_r1 sends all queries of a call together, at most `per_request` a request;
        verl_agent one a request, `concurrency` at a time.
        token: a bearer token; None: the environment variable AGENTGYM_RETRIEVE_TOKEN, if set.
        timeout: seconds of silence after which an attempt has failed. attempts: in all, of one
        request. Pauses in seconds; each is shortened at random by up to a half.
        Raises ValueError for a setting that cannot be.
        """
        urls = (url,) if isinstance(url, str) else tuple(url)
        if not urls:
            raise ValueError("a retriever over HTTP needs the address of a server: set url")
        if dialect not in DIALECTS:
            raise ValueError(f"no dialect {dialect!r}; there are: {', '.join(DIALECTS)}")
        for name, size in (
            ("attempts", attempts), ("per_request", per_request), ("concurrency", concurrency),
        ):  # fmt: skip
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if timeout <= 0 or not 0 <= first_pause <= longest_pause:
            raise ValueError(
                "timeout must be above 0, and first_pause from 0 to longest_pause, got "
                f"{timeout}, {first_pause} and {longest_pause}"
            )
        self._settings = {
            "url": urls, "dialect": dialect, "token": token, "timeout": timeout,
            "attempts": attempts, "first_pause": first_pause, "longest_pause": longest_pause,
            "per_request": per_request, "concurrency": concurrency,
        }  # fmt: skip
        self._dialect: Dialect = dialect
        self._timeout, self._attempts = timeout, attempts
        self._first_pause, self._longest_pause = first_pause, longest_pause
        self._per_request, self._concurrency = per_request, concurrency
        self._headers = {"Content-Type": "application/json"}
        token = token or os.environ.get(TOKEN_VARIABLE)
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._servers = [_Server(Connections(one, timeout)) for one in urls]
        self._turns = itertools.count()
        self._dice = random.SystemRandom()  # of the system: forked processes must not agree
        self._fingerprint: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self._settings,)

    @property
    def fingerprint(self) -> str:
        """What the servers' `/health` names; of their addresses where they have no such page.

        Asked for once. Raises RetrievalError where no server answers, or two name different ones.
        """
        if self._fingerprint is None:
            named = self._named()
            if len(set(named.values())) > 1:
                said = ", ".join(f"{url}: {name[:12]}" for url, name in named.items())
                raise RetrievalError(f"the servers do not answer alike ({said})")
            self._fingerprint = next(iter(named.values()))
        return self._fingerprint

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best `k` passages of each query. No query: nothing is asked.

        Raises RetrievalError naming the server, the attempts and what went wrong last, also for an
        answer of another shape than the dialect's; ValueError for k < 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        size = self._per_request if self._dialect == "search_r1" else 1
        parts = [queries[at : at + size] for at in range(0, len(queries), size)]
        if len(parts) <= 1 or self._dialect == "search_r1":
            answers = [self._ask(part, k) for part in parts]
        else:
            with ThreadPoolExecutor(min(len(parts), self._concurrency)) as pool:
                answers = list(pool.map(lambda part: self._ask(part, k), parts))
        return [hits for answer in answers for hits in answer]

    def close(self) -> None:
        """Close idle connections; a later search opens new ones."""
        for server in self._servers:
            server.connections.close()

    def _ask(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        body = write_request(queries, k, self._dialect)
        for attempt in range(1, self._attempts + 1):
            server = self._chosen()
            try:
                reply = self._tried(server, body)
            except _Passing as trouble:
                if attempt == self._attempts:
                    raise _failure(server.url, attempt, str(trouble)) from trouble
                self._pause(server, attempt, trouble)
                continue
            if reply.status != 200:
                raise _failure(server.url, attempt, _told(reply))
            try:
                return read_response(reply.body, len(queries), k)
            except ValueError as error:
                raise _failure(server.url, attempt, str(error)) from error
        raise AssertionError("the last attempt returns or raises")

    def _tried(self, server: "_Server", body: bytes) -> Reply:
        """Raises _Passing for trouble that another attempt may not meet."""
        try:
            reply = server.connections.post("/retrieve", body, self._headers)
        except NoAnswer as error:
            raise _Passing(str(error), None) from error
        if reply.status in _PASSING:
            raise _Passing(_told(reply), reply.retry_after)
        return reply

    def _chosen(self) -> "_Server":
        """The next server that is not resting; where all are, the one that is rested first."""
        first = next(self._turns) % len(self._servers)
        in_turn = self._servers[first:] + self._servers[:first]
        now = monotonic()
        for server in in_turn:
            if server.rests_until <= now:
                return server
        return min(in_turn, key=lambda server: server.rests_until)

    def _pause(self, server: "_Server", attempt: int, trouble: "_Passing") -> None:
        """Let the server rest; wait only where no other one can be asked meanwhile."""
        told = trouble.retry_after or 0.0
        if told > self._timeout:
            raise _failure(
                server.url,
                attempt,
                f"{trouble}; it asks for {told:.0f} s of patience and timeout is "
                f"{self._timeout:g} s",
            ) from trouble
        pause = min(self._longest_pause, self._first_pause * 2 ** min(attempt - 1, 60))
        pause = max(told, pause * self._dice.uniform(0.5, 1.0))
        now = monotonic()
        server.rests_until = now + pause
        wait = min(one.rests_until for one in self._servers) - now
        if wait > 0:
            sleep(wait)

    def _named(self) -> dict[str, str]:
        """What each server that answers is called."""
        named: dict[str, str] = {}
        trouble = ""
        for server in self._servers:
            try:
                reply = server.connections.get("/health", self._headers)
            except NoAnswer as error:
                trouble = f"{server.url}: {error}"
                continue
            if reply.status in (401, 403) or reply.status >= 500:
                trouble = f"{server.url}: {_told(reply)}"
                continue
            named[server.url] = _fingerprint(reply) or self._of_addresses()
        if not named:
            raise RetrievalError(f"no server says what it serves; {trouble}")
        return named

    def _of_addresses(self) -> str:
        addresses = sorted(server.url for server in self._servers)
        return hashlib.sha256(repr(("http", *addresses)).encode()).hexdigest()


@dataclass(slots=True)
class _Server:
    connections: Connections
    rests_until: float = field(default=0.0)  # of the monotonic clock

    @property
    def url(self) -> str:
        return self.connections.url


class _Passing(Exception):
    """Trouble that may be over soon."""

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def _made(settings: dict[str, Any]) -> HTTPRetriever:
    return HTTPRetriever(**settings)


def _failure(url: str, attempts: int, message: str) -> RetrievalError:
    counted = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    return RetrievalError(f"{url}/retrieve gave no answer in {counted}: {message}")


def _told(reply: Reply) -> str:
    """Status and what the body says about it."""
    text = reply.body[:300].decode("utf-8", "replace")
    with contextlib.suppress(*_UNREADABLE):  # then it is shown as it is
        text = str(json.loads(reply.body)["detail"])[:300]
    return f"status {reply.status}, {text}"


def _fingerprint(reply: Reply) -> str | None:
    try:
        named = json.loads(reply.body)["fingerprint"]
    except _UNREADABLE:
        return None
    return named if isinstance(named, str) and reply.status == 200 else None
