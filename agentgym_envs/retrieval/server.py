"""A retriever as a service, for agents in other processes and on other machines.

    POST /retrieve   both dialects (see `dialects`)
    GET  /health     {"status", "fingerprint", "requests", "queries", "queued"}
    GET  /metrics    Prometheus' text format
    GET  /docs       the same as OpenAPI

Needs fastapi and uvicorn (`pip install "agentgym-envs[serve]"`).
"""

import contextlib
import gc
import hmac
import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from typing import Any

from agentgym_envs.retrieval.dialects import Limits
from agentgym_envs.retrieval.endpoint import (
    Receive,
    RetrieveEndpoint,
    Scope,
    Send,
    Service,
    refuse,
)
from agentgym_envs.retrieval.openapi import describe
from agentgym_envs.retrieval.types import Retriever

_BACKLOG = 2048  # connections that wait to be accepted: a whole fleet may come at once
_KEEP_ALIVE = 75  # seconds that an idle connection stays; agents think between their searches


def serve(
    retriever: Retriever,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    *,
    limits: Limits | None = None,
    service: Service | None = None,
    on_ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until the process is told to stop (SIGINT, SIGTERM).

    Requests that were taken are answered first. port 0: any free one. on_ready: told the address
    once connections are taken. token: what clients send as `Authorization: Bearer ...`.
    Raises ValueError for a host that others can reach without a token, ModuleNotFoundError without
    fastapi or uvicorn, OSError where the port cannot be had, and what a first search raises.
    """
    if token is None and not is_loopback(host):
        raise ValueError(
            f"{host} can be reached from other machines: set a token, or serve on 127.0.0.1"
        )
    uvicorn = _needed("uvicorn")
    app = make_app(retriever, token=token, limits=limits, service=service)
    with _listening(host, port) as listener:
        retriever.search(["a first query"], 1)  # what is loaded on first use is loaded before it
        at = f"[{host}]" if ":" in host else host
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE,
        )
        on_ready(f"http://{at}:{listener.getsockname()[1]}")
        # What is loaded by now stays, so that it need not be looked through for garbage again and
        # again: that would stop all answers for a tenth of a second now and then.
        gc.collect()
        gc.freeze()
        try:
            with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again when it is done
                uvicorn.Server(config).run(sockets=[listener])
        finally:
            gc.unfreeze()


def make_app(
    retriever: Retriever,
    *,
    token: str | None = None,
    limits: Limits | None = None,
    service: Service | None = None,
) -> Any:
    """The FastAPI application, for a server of your own. It belongs to one event loop.

    Raises ValueError for an empty token or one that is not ASCII.
    """
    fastapi = _needed("fastapi")
    endpoint = RetrieveEndpoint(retriever, limits or Limits(), service or Service())

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        yield
        endpoint.batcher.close()

    app = fastapi.FastAPI(title="Retrieval", lifespan=lifespan)
    if token is not None:
        app.add_middleware(BearerToken, token=token)
    # A plain route, looked at first: FastAPI's own way there costs as much as a search.
    route = import_module("starlette.routing").Route
    app.router.routes.insert(0, route("/retrieve", endpoint, methods=["POST"]))

    @app.get("/health")
    async def health() -> dict[str, str | int]:
        return {
            "status": "ok",
            "fingerprint": endpoint.fingerprint,
            "requests": endpoint.metrics.requests.total(),
            "queries": endpoint.metrics.queries,
            "queued": endpoint.batcher.queued,
        }

    @app.get("/metrics", response_class=fastapi.Response)
    async def metrics() -> Any:
        text = endpoint.metrics.text(
            queued=endpoint.batcher.queued,
            cached=len(endpoint.answers),
            cache_hits=endpoint.answers.hits,
            cache_misses=endpoint.answers.misses,
        )
        return fastapi.Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    described = app.openapi

    def openapi() -> dict[str, Any]:
        schema = described()
        schema.setdefault("paths", {})["/retrieve"] = describe(endpoint.limits)
        return schema

    app.openapi = openapi
    return app


class BearerToken:
    """Lets requests through that carry the token, and answers 401 to all others."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Any], token: str) -> None:
        if not token or not token.isascii() or token != token.strip():
            raise ValueError("a token is one or more ASCII characters, without blanks around it")
        self._app, self._expected = app, b"Bearer " + token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._carried(scope):
            await self._app(scope, receive, send)
            return
        message = "this server wants a token: send the header `Authorization: Bearer TOKEN`"
        await refuse(send, 401, message, (b"www-authenticate", b"Bearer"))

    def _carried(self, scope: Scope) -> bool:
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(sent) == 1 and hmac.compare_digest(sent[0], self._expected)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server on that host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listening(host: str, port: int) -> socket.socket:
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


def _needed(module: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ModuleNotFoundError(
            f"{module} is not installed and a retrieval server needs it: "
            'pip install "agentgym-envs[serve]"',
            name=module,
        ) from error
