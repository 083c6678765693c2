"""One server that is asked over HTTP: kept connections, one exchange at a time on each."""

import http.client
import os
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from urllib.parse import urlsplit

from agentgym_envs.retrieval.serve.dialects import FINGERPRINT_HEADER

_KEPT = 64  # idle connections to one server


class NoAnswer(Exception):
    """The exchange failed before there was a whole answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered.

    retry_after: seconds until it wants to be asked again. fingerprint: the retriever's, if told.
    """

    status: int
    body: bytes
    retry_after: float | None = None
    fingerprint: str | None = None


class Connections:
    """Connections to one server, shared by threads. A forked process makes its own."""

    def __init__(self, url: str, timeout: float) -> None:
        """url: the server's, with or without `/retrieve` behind it. timeout: seconds of silence.

        Raises ValueError for what is no http or https address.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the address of a server looks like http://host:8000, got {url!r}")
        if parts.username or parts.query or parts.fragment:
            raise ValueError(f"{url!r} has more than a scheme, host, port and path")
        self.root = parts.path.rstrip("/").removesuffix("/retrieve")
        self.url = f"{parts.scheme}://{parts.netloc}{self.root}"
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._timeout = timeout
        # Appending and popping are safe between threads. A process's number goes with each: one
        # that is forked has copies of them, and two that talk on one connection mix up answers.
        self._idle: deque[tuple[int, http.client.HTTPConnection]] = deque()

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Raises NoAnswer."""
        return self._exchange("POST", path, body, headers)

    def get(self, path: str, headers: Mapping[str, str]) -> Reply:
        """Raises NoAnswer."""
        return self._exchange("GET", path, None, headers)

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop()[1].close()

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Reply:
        kept = self._kept()
        if kept is not None:
            try:
                return self._on(kept, method, path, body, headers)
            except ConnectionError:
                # The server closed it while it was idle, and most likely the others too. Searching
                # twice does no harm, so the request is made again on a new one.
                self.close()
            except (OSError, http.client.HTTPException) as error:
                raise NoAnswer(_said(error)) from error
        try:
            return self._on(self._new(), method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(_said(error)) from error

    def _on(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> Reply:
        whole = False
        try:
            connection.request(method, self.root + path, body, headers=dict(headers))
            response = connection.getresponse()
            reply = Reply(
                response.status,
                response.read(),
                _seconds(response.headers.get("Retry-After")),
                response.headers.get(FINGERPRINT_HEADER),
            )
            whole = not response.will_close
        finally:
            if not whole:
                connection.close()
        if len(self._idle) < _KEPT:
            self._idle.append((os.getpid(), connection))
        else:
            connection.close()
        return reply

    def _kept(self) -> http.client.HTTPConnection | None:
        while True:
            try:
                owner, connection = self._idle.pop()
            except IndexError:
                return None
            if owner == os.getpid():
                return connection
            connection.close()

    def _new(self) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=context
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)


def _seconds(retry_after: str | None) -> float | None:
    """Of a Retry-After header: a number of seconds or a date. None where it is neither."""
    if retry_after is None:
        return None
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time())
    except ValueError:
        return None


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
