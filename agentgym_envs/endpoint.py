"""What the servers of this package share: who may come in, what a body may be, how they run."""

import contextlib
import gc
import hmac
import ipaddress
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import lru_cache
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from agentgym_envs.extras import install

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Any]

_JSON = (b"content-type", b"application/json")
_BACKLOG = 2048  # connections that wait to be accepted: a whole fleet may come at once
_HEARD = 2**26  # bytes of a body that are read although it is too large
_KEEP_ALIVE = 75  # seconds that an idle connection stays; agents think between their requests


class BodyTooLarge(ValueError):
    """A request's body is larger than the server takes."""


async def respond(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Send a whole answer in JSON."""
    await _respond(send, "http.response", status, body, *headers)


async def refuse(send: Send, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
    """Send an error as FastAPI words it: {"detail": message}."""
    await respond(send, status, _detail(message), *headers)


async def read_body(scope: Scope, receive: Receive, most: int) -> bytes | None:
    """The body; None where the client went away. Raises BodyTooLarge above `most` bytes.

    One that is too large is heard to its end, if that is not too far away: who still sends cannot
    read the answer.
    """
    too_large = BodyTooLarge(f"the body is larger than {most} bytes")
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > most + _HEARD:
            raise too_large
    kept: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= most:
            kept.append(chunk)
        elif size > most + _HEARD:
            raise too_large
        if not message.get("more_body"):
            break
    if size > most:
        raise too_large
    return b"".join(kept)


class BearerToken:
    """Lets requests and WebSockets through that carry the token, and answers 401 to all others."""

    def __init__(self, app: App, token: str) -> None:
        self._app, self._expected = app, b"Bearer " + checked_token(token).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._carried(scope):
            await self._app(scope, receive, send)
            return
        message = "this server wants a token: send the header `Authorization: Bearer TOKEN`"
        await turn_away(scope, send, 401, message, (b"www-authenticate", b"Bearer"))

    def _carried(self, scope: Scope) -> bool:
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(sent) == 1 and hmac.compare_digest(sent[0], self._expected)


class OwnPagesOnly:
    """Answers 403 to what another site's page sends from a browser on this machine.

    Browsers open WebSockets to anywhere, and name the page that asks as `Origin`. A page's own name
    can be made to lead here, and then it is `Host` as well: unless `any_host`, that must be this
    machine's own.
    """

    def __init__(self, app: App, any_host: bool = False) -> None:
        self._app, self._any_host = app, any_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = None if scope["type"] == "lifespan" else self._problem(scope)
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await turn_away(scope, send, 403, problem)

    def _problem(self, scope: Scope) -> str | None:
        headers = dict(scope["headers"])
        host, origin = headers.get(b"host", b""), headers.get(b"origin")
        if origin is not None and (not host or origin.partition(b"://")[2] != host):
            return "this server takes nothing from other sites' pages"
        if not self._any_host and not _is_own(host):
            return "without a token this server answers to 127.0.0.1 and localhost only"
        return None


@lru_cache(maxsize=64)
def _is_own(host: bytes) -> bool:
    """Whether a request's Host is this machine's own name, or none at all."""
    try:
        name = urlsplit(b"//" + host).hostname
    except ValueError:  # half an IPv6 address
        return False
    return not name or is_loopback(name.decode("latin-1"))


async def turn_away(
    scope: Scope, send: Send, status: int, message: str, *headers: tuple[bytes, bytes]
) -> None:
    """Refuse a request, or a WebSocket before it is opened."""
    if scope["type"] == "http":
        await refuse(send, status, message, *headers)
    elif "websocket.http.response" in scope.get("extensions", {}):
        await _respond(send, "websocket.http.response", status, _detail(message), *headers)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": message})


def is_loopback(host: str) -> bool:
    """Whether a host's name or number is this machine's own, which no other can reach."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def checked_token(token: str) -> str:
    """The token. Raises ValueError for one that no header can carry."""
    if not token or not (token.isascii() and token.isprintable()) or token != token.strip():
        raise ValueError(
            "a token is one or more printable ASCII characters, without blanks around it"
        )
    return token


def demand_token(host: str, token: str | None) -> None:
    """Raise ValueError for a host that others can reach without a token."""
    if token is None and not is_loopback(host):
        raise ValueError(
            f"{host} can be reached from other machines: set a token, or serve on 127.0.0.1"
        )


def listening(host: str, port: int) -> socket.socket:
    """A socket that takes connections (port 0: any free one). Raises OSError saying where not."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns off the delaying of small packets only where the protocol is named, and with it
    # an answer takes 40 ms longer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from None
    return listener


def address(scheme: str, host: str, listener: socket.socket) -> str:
    """Where clients find the server."""
    at = f"[{host}]" if ":" in host else host
    return f"{scheme}://{at}:{listener.getsockname()[1]}"


def run(app: App, listener: socket.socket, settings: Mapping[str, Any] | None = None) -> None:
    """Serve with uvicorn until the process is told to stop (SIGINT, SIGTERM).

    settings: see `uvicorn_server`. What is loaded by now stays, so that it need not be looked
    through for garbage again and again: that would stop all answers for a tenth of a second now
    and then.
    """
    server = uvicorn_server(app, settings)
    gc.collect()
    gc.freeze()
    try:
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again when it is done
            server.run(sockets=[listener])
    finally:
        gc.unfreeze()


def uvicorn_server(app: App, settings: Mapping[str, Any] | None = None) -> Any:
    """A uvicorn server as all of ours are. settings: further ones of its `Config`."""
    uvicorn = needed("uvicorn")
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        **(settings or {}),
    )
    return uvicorn.Server(config)


def needed(module: str, user: str = "a server") -> Any:
    """The module. Raises ModuleNotFoundError naming the command that installs it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name != package:
            raise
        raise ModuleNotFoundError(
            f"{package} is not installed and {user} needs it: {install('serve')}",
            name=package,
        ) from error


def _detail(message: str) -> bytes:
    return json.dumps({"detail": message}).encode()


async def _respond(
    send: Send, kind: str, status: int, body: bytes, *headers: tuple[bytes, bytes]
) -> None:
    listed = [_JSON, (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": f"{kind}.start", "status": status, "headers": listed})
    await send({"type": f"{kind}.body", "body": body})
