"""Any registered environment as a service, for agents in other processes and on other machines.

    WebSocket /ws    one session a connection; messages as in `messages`
    POST /reset /step /restore /snapshot /close, GET /state
                     the same with a `session_id`, for clients without WebSockets
    GET  /health     {"status", "sessions", "most_sessions"}
    GET  /metadata, /schema, /docs

OpenEnv's clients and checks work with it. Needs the extra [serve]: fastapi, uvicorn and websockets.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agentgym_envs.core import TextEnv
from agentgym_envs.drivers.setup import make_text_env
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
from agentgym_envs.registration import summary_of
from agentgym_envs.serve.hosted import Hosted
from agentgym_envs.serve.over_http import add_routes
from agentgym_envs.serve.over_socket import converse
from agentgym_envs.serve.sessions import Sessions

_USER = "an environment server"
# A client is asked for a sign of life, and has time: its policy may be at work.
_PING_EVERY, _PONG_WITHIN = 60.0, 600.0
_STOP_WITHIN = 10  # seconds for requests that were taken
_API_VERSION = "1.0"  # of the pages, as OpenEnv counts them


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server takes.

    sessions: open at once. idle: seconds until an unused session ends. message: bytes of a
    request; an action of a million characters fits into the default in any language.
    """

    sessions: int = 64
    idle: float = 1800.0
    message: int = 16 * 2**20

    def __post_init__(self) -> None:
        if self.sessions < 1 or self.idle <= 0 or self.message < 1:
            raise ValueError(f"limits should all be above 0, got {self}")


def serve(
    env_id: str,
    settings: Mapping[str, Any] | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    token: str | None = None,
    limits: Limits | None = None,
    on_ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the environment until the process is told to stop (SIGINT, SIGTERM).

    Each session gets an environment of its own, made with `settings`. When told to stop, requests
    over HTTP are answered first, and WebSockets are closed as for a restart (1012): our client goes
    on with its episode at the next server. port 0: any free one. on_ready: told the address once
    connections are taken. token: what clients send as `Authorization: Bearer ...`.

    Raises ValueError for a host that others can reach without a token, ModuleNotFoundError without
    fastapi, uvicorn or websockets, OSError where the port cannot be had, and whatever is wrong
    with the environment or its settings.
    """
    demand_token(host, token)
    for module in ("uvicorn", "websockets"):
        needed(module, _USER)
    limits = limits or Limits()
    app = make_app(env_id, settings, token=token, limits=limits)
    with listening(host, port) as listener:
        on_ready(address("ws", host, listener))
        run(app, listener, uvicorn_settings(limits))


def uvicorn_settings(limits: Limits) -> dict[str, Any]:
    """How uvicorn is to run the application."""
    return {
        "ws_max_size": 2 * limits.message,  # up to here it is told to be too large, beyond cut off
        "ws_ping_interval": _PING_EVERY,
        "ws_ping_timeout": _PONG_WITHIN,
        "ws_per_message_deflate": False,
        "timeout_graceful_shutdown": _STOP_WITHIN,
    }


def make_app(
    env_id: str,
    settings: Mapping[str, Any] | None = None,
    *,
    token: str | None = None,
    limits: Limits | None = None,
) -> Any:
    """The FastAPI application, for a server of your own. It belongs to one event loop. Without a
    token it answers to this machine's own names only.

    The environment is made once to see that it can be. Raises what that raises, and ValueError for
    an empty token or one that is not ASCII.
    """
    needed("fastapi", _USER)
    from fastapi import FastAPI, WebSocket

    limits = limits or Limits()
    settings = dict(settings or {})

    def made() -> TextEnv:
        return make_text_env(env_id, settings)

    first = made()
    metadata = describe(first, env_id)
    first.close()
    sessions = Sessions(lambda: Hosted(made, env_id), limit=limits.sessions, idle=limits.idle)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watch = asyncio.create_task(sessions.watch())
        yield
        watch.cancel()
        sessions.close_all()

    app = FastAPI(title=env_id, version=_API_VERSION, lifespan=lifespan)
    app.state.sessions = sessions
    if token is not None:
        app.add_middleware(BearerToken, token=checked_token(token))
    app.add_middleware(OwnPagesOnly, any_host=token is not None)
    add_routes(app, sessions, metadata, limits.message)

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await converse(socket, sessions, limits.message)

    return app


def describe(env: TextEnv, env_id: str) -> dict[str, Any]:
    """What OpenEnv's `/metadata` tells of an environment."""
    return {
        **{"name": env_id, "description": summary_of(env_id), "version": env.version},
        **dict.fromkeys(("readme_content", "author", "documentation_url")),
    }
