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
from agentgym_envs.retrieval.serve.dialects import (
    DIALECTS,
    Dialect,
    Limits,
    read_response,
    write_request,
)
from agentgym_envs.retrieval.types import Hit, RetrievalError

TOKEN_VARIABLE = "AGENTGYM_RETRIEVE_TOKEN"
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # statuses of trouble that may be over soon
_UNREADABLE = (ValueError, KeyError, TypeError, RecursionError)  # a body that is not as expected


class HTTPRetriever:
    """Asks one or several servers in turn. Safe to share between threads, and over a fork.

    A failed request is made again, on another server where there is one that works, else after a
    pause that doubles each time, longer where the server says so (Retry-After). With the defaults
    a server may be away for half a minute before anybody notices.

    Our servers name their retriever with every answer: one that answers by another than before, or
    than its neighbours, is an error. Published servers name none, and are taken at their word.

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

        dialect: search_r1 sends all queries of a call together, at most `per_request` a request and
        not so many that our servers would refuse the passages; verl_agent one a request,
        `concurrency` at a time.
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
            if not (token.isascii() and token.isprintable() and token == token.strip()):
                raise ValueError(  # which does not show it
                    "the token should be ASCII characters without line breaks or blanks around it"
                )
            self._headers["Authorization"] = f"Bearer {token}"
        self._servers = [_Server(Connections(one, timeout)) for one in urls]
        self._turns = itertools.count()
        self._dice = random.SystemRandom()  # of the system: forked processes must not agree
        self._served: str | None = None  # the fingerprint that servers have told
        self._fingerprint: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self._settings,)

    @property
    def fingerprint(self) -> str:
        """What the servers' `/health` names; of their addresses where they have no such page.

        Asked for once, with as much patience as a search has. Raises RetrievalError where no server
        answers, or two name different ones.
        """
        if self._fingerprint is None:
            self._fingerprint = self._asked()
        return self._fingerprint

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best `k` passages of each query. No query: nothing is asked.

        Raises RetrievalError naming the server, the attempts and what went wrong last, also for an
        answer of another shape than the dialect's; ValueError for k < 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        most = max(1, min(self._per_request, Limits().passages // k))
        size = most if self._dialect == "search_r1" else 1
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
        server, attempt, reply = self._persist("/retrieve", body)
        if reply.status != 200:
            raise _failure(server, "/retrieve", attempt, _told(reply))
        self._compare(server, reply.fingerprint)
        try:
            return read_response(reply.body, len(queries), k)
        except ValueError as error:
            raise _failure(server, "/retrieve", attempt, str(error)) from error

    def _persist(self, path: str, body: bytes | None = None) -> "tuple[_Server, int, Reply]":
        """Who replied, at which attempt, and what. Raises RetrievalError after the last attempt."""
        for attempt in range(1, self._attempts + 1):
            server = self._chosen()
            try:
                return server, attempt, self._tried(server, path, body)
            except _Passing as trouble:
                if attempt == self._attempts:
                    raise _failure(server, path, attempt, str(trouble)) from trouble
                self._pause(server, path, attempt, trouble)
        raise AssertionError("the last attempt returns or raises")

    def _tried(self, server: "_Server", path: str, body: bytes | None) -> Reply:
        """Raises _Passing for trouble that another attempt may not meet."""
        try:
            if body is None:
                reply = server.connections.get(path, self._headers)
            else:
                reply = server.connections.post(path, body, self._headers)
        except NoAnswer as error:
            raise _Passing(str(error), None) from error
        if reply.status in _PASSING:
            raise _Passing(_told(reply), reply.retry_after)
        return reply

    def _compare(self, server: "_Server", named: str | None) -> None:
        """Raises RetrievalError where a server answers by another retriever than is known."""
        if named is None:
            return
        if self._served is None:
            self._served = named
        if named != self._served:
            raise RetrievalError(
                f"the servers do not answer alike: {server.url} answers by {named[:12]}, and by "
                f"{self._served[:12]} another did, or itself before it was started anew"
            )

    def _chosen(self) -> "_Server":
        """The next server that is not resting; where all are, the one that is rested first."""
        first = next(self._turns) % len(self._servers)
        in_turn = self._servers[first:] + self._servers[:first]
        now = monotonic()
        for server in in_turn:
            if server.rests_until <= now:
                return server
        return min(in_turn, key=lambda server: server.rests_until)

    def _pause(self, server: "_Server", path: str, attempt: int, trouble: "_Passing") -> None:
        """Let the server rest; wait only where no other one can be asked meanwhile."""
        told = trouble.retry_after or 0.0
        if told > self._timeout:
            raise _failure(
                server,
                path,
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

    def _asked(self) -> str:
        """What the servers that answer name; at least one must answer."""
        first, _, reply = self._persist("/health")
        named = {first.url: _fingerprint(first, reply)}
        for server in self._servers:
            if server is not first:
                with contextlib.suppress(_Passing):  # it is compared when it answers
                    named[server.url] = _fingerprint(server, self._tried(server, "/health", None))
        if len(set(named.values())) > 1:
            said = ", ".join(f"{url}: {(name or 'none')[:12]}" for url, name in named.items())
            raise RetrievalError(f"the servers do not answer alike ({said})")
        self._compare(first, named[first.url])
        return named[first.url] or self._of_addresses()

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


def _failure(server: _Server, path: str, attempts: int, message: str) -> RetrievalError:
    counted = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    return RetrievalError(f"{server.url}{path} gave no answer in {counted}: {message}")


def _told(reply: Reply) -> str:
    """Status and what the body says about it."""
    text = reply.body[:300].decode("utf-8", "replace")
    with contextlib.suppress(*_UNREADABLE):  # then it is shown as it is
        text = str(json.loads(reply.body)["detail"])[:300]
    return f"status {reply.status}, {text}"


def _fingerprint(server: _Server, reply: Reply) -> str | None:
    """What a reply of `/health` names; None of a server that has no such page."""
    if reply.status in (401, 403):
        raise RetrievalError(f"{server.url} does not say what it serves: {_told(reply)}")
    try:
        named = json.loads(reply.body)["fingerprint"]
    except _UNREADABLE:
        return None
    return named if isinstance(named, str) and reply.status == 200 else None
