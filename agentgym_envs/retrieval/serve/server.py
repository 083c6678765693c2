"""A retriever as a service, for agents in other processes and on other machines.

    POST /retrieve   both dialects (see `dialects`)
    GET  /health     {"status", "fingerprint", "requests", "queries", "queued"}
    GET  /metrics    Prometheus' text format
    GET  /docs       the same as OpenAPI

Needs fastapi and uvicorn: the extra `serve`.
"""

import contextlib
import math
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from typing import Any

from agentgym_envs.endpoint import (
    BearerToken,
    OwnPagesOnly,
    address,
    checked_token,
    demand_token,
    listening,
    needed,
    run,
)
from agentgym_envs.retrieval.serve.dialects import Limits
from agentgym_envs.retrieval.serve.endpoint import RetrieveEndpoint, Service
from agentgym_envs.retrieval.serve.openapi import describe
from agentgym_envs.retrieval.types import Retriever

_USER = "a retrieval server"
_LINGER = 5  # seconds that a stopping server gives, beyond the longest wait, for answers to be sent


def check(host: str, token: str | None) -> None:
    """Raise what `serve` would for these settings and for packages that are not installed, before
    a retriever is opened."""
    demand_token(host, token)
    if token is not None:
        checked_token(token)
    for package in ("uvicorn", "fastapi"):
        needed(package, _USER)


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

    Requests that were taken are answered first; one that is never sent whole is given up. port 0:
    any free one. on_ready: told the address once connections are taken. token: what clients send as
    `Authorization: Bearer ...`.
    Raises ValueError for a host that others can reach without a token, ModuleNotFoundError without
    fastapi or uvicorn, OSError where the port cannot be had, and what a first search raises.
    """
    check(host, token)
    limits = limits or Limits()
    app = make_app(retriever, token=token, limits=limits, service=service)
    with listening(host, port) as listener:
        retriever.search(["a first query"], 1)  # what is loaded on first use is loaded before it
        on_ready(address("http", host, listener))
        run(app, listener, {"timeout_graceful_shutdown": math.ceil(limits.timeout) + _LINGER})


def make_app(
    retriever: Retriever,
    *,
    token: str | None = None,
    limits: Limits | None = None,
    service: Service | None = None,
) -> Any:
    """The FastAPI application, for a server of your own. It belongs to one event loop.

    Without a token it answers to this machine's own names only, and never to other sites' pages.
    Raises ValueError for a token that no header can carry.
    """
    fastapi = needed("fastapi", _USER)
    endpoint = RetrieveEndpoint(retriever, limits or Limits(), service or Service())

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        yield
        endpoint.batcher.close()

    app = fastapi.FastAPI(title="Retrieval", lifespan=lifespan)
    if token is not None:
        app.add_middleware(BearerToken, token=checked_token(token))
    app.add_middleware(OwnPagesOnly, any_host=token is not None)
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
