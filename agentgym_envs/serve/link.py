"""One connection to an environment server."""

import contextlib
import json
import os
import socket
from typing import Any
from urllib.parse import urlsplit

from gymnasium.error import ResetNeeded

from agentgym_envs.endpoint import is_loopback, needed

_MOST = 256 * 2**20  # bytes of an answer: pages, with the info and all admissible actions
_RAISED = {kind.__name__: kind for kind in (KeyError, ValueError, TypeError, ResetNeeded)}
_TOO_LARGE = 1009  # why a WebSocket is closed, by RFC 6455
_PASSING = ("CAPACITY_REACHED", "SESSION_ERROR")  # errors that another session may not meet


class RemoteError(ConnectionError):
    """An environment server cannot be reached, fails, or does not play as it did."""


class Lost(Exception):
    """The connection or its session is gone, or none was to be had; another may be, later.
    nobody: no server was there at all."""

    def __init__(self, said: str, nobody: bool = False) -> None:
        super().__init__(said)
        self.nobody = nobody


class Link:
    """A WebSocket to a server and so a session of its own.

    Raises Lost where the server cannot be reached now, PermissionError where it wants another
    token, RemoteError where there is no environment server at `url`.
    """

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        client = needed("websockets.sync.client", "a remote environment")
        self._open = contextlib.ExitStack()  # as the library wants to be used from 17.1 on
        self._closed = needed("websockets.exceptions").ConnectionClosed
        self._url, self._timeout, self._process = url, timeout, os.getpid()
        self._ended = False
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        local = is_loopback(urlsplit(url).hostname or "")
        trouble = needed("websockets.exceptions")
        try:
            connecting = client.connect(
                url,
                additional_headers=headers,
                compression=None,
                max_size=_MOST,
                close_timeout=2,
                proxy=None if local else True,
            )
            self._socket = self._open.enter_context(connecting)
        except trouble.InvalidStatus as refused:
            raise _refusal(url, refused.response) from refused
        except trouble.InvalidURI as error:
            raise ValueError(
                f"a server's address is as ws://127.0.0.1:8765, got {url!r}"
            ) from error
        except (OSError, trouble.InvalidHandshake) as error:
            nobody = isinstance(error, ConnectionRefusedError | socket.gaierror)
            raise Lost(f"{type(error).__name__}: {error}", nobody) from error

    @property
    def usable(self) -> bool:
        """False once it has ended, and in a forked process: the socket is the parent's."""
        return not self._ended and self._process == os.getpid()

    def ask(self, kind: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """The data of the server's answer.

        Raises what the environment raised where that is a KeyError, ValueError, TypeError or
        ResetNeeded; RemoteError for other errors and without an answer in time; Lost.
        """
        message = json.dumps({"type": kind} if data is None else {"type": kind, "data": data})
        try:
            answered, content = self._exchanged(message)
        except BaseException:
            self.close()  # an answer that still comes would be taken for the next message's
            raise
        if answered == "error":
            raise self._error(content)
        return content

    def _exchanged(self, message: str) -> tuple[str, dict[str, Any]]:
        """Type and data of the answer."""
        try:
            with contextlib.suppress(self._closed):  # why, may have been said before
                self._socket.send(message)
            answer = json.loads(self._socket.recv(timeout=self._timeout))
            return answer["type"], dict(answer["data"])
        except self._closed as closed:
            if closed.rcvd is not None and closed.rcvd.code == _TOO_LARGE:
                raise ValueError(
                    f"{self._url} takes no message of {len(message)} characters"
                ) from None
            raise Lost(f"the connection ended ({closed})") from closed
        except TimeoutError:
            raise RemoteError(f"{self._url} gave no answer in {self._timeout:g} s") from None
        except (ValueError, KeyError, TypeError) as error:
            raise RemoteError(f"{self._url} speaks another language: {error!r}") from error

    def close(self) -> None:
        """Hang up. In a forked process: only let go of the parent's socket."""
        self._ended = True
        if self._process == os.getpid():
            self._open.close()
        else:
            self._socket.socket.close()

    def _error(self, data: dict[str, Any]) -> Exception:
        code, said, kind = data.get("code"), str(data.get("message")), data.get("kind")
        if code in _PASSING:
            return Lost(said)
        if code == "EXECUTION_ERROR" and kind in _RAISED:
            return _RAISED[kind](said)
        if code == "VALIDATION_ERROR":
            return ValueError(f"{self._url}: {said}")
        name = f"{kind}: " if kind else ""
        return RemoteError(f"{self._url} reports {code}: {name}{said}")


def _refusal(url: str, response: Any) -> Exception:
    """What a server's answer to the first request means."""
    text = (response.body or b"").decode("utf-8", "replace")
    with contextlib.suppress(ValueError, KeyError, TypeError):  # else it is shown as it is
        text = json.loads(text)["detail"]
    said = f"{url} answers {response.status_code}: {str(text)[:300]}"
    if response.status_code in (401, 403):
        return PermissionError(said)
    return Lost(said) if response.status_code >= 500 else RemoteError(said)
