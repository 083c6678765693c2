"""Play WebShop in a browser: a small server, for this machine unless it is given a token.

Every button is an action of the environment, played through `env.step`. No scripts, and nothing is
loaded from anywhere.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

import gymnasium as gym

from agentgym_envs.endpoint import address, demand_token, is_loopback, listening, needed, run
from agentgym_envs.registration import importable
from agentgym_envs.webshop.env import WebShopEnv
from agentgym_envs.webshop.web_page import problem_page
from agentgym_envs.webshop.web_visits import DEEDS, ShopFull, Visit, Visits

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

VISITS = 32  # at once
IDLE_S = 1800.0  # until a visit is forgotten
MAX_BODY = 8192  # bytes of a form
MIN_TOKEN = 16  # characters
VISIT, PASS = "agentgym_visit", "agentgym_pass"  # names of cookies
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",  # the back button asks again, and gets the present page
}
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:@/\\\[\]]+)(:\d{1,5})?")
_PLACE = re.compile(r"\d{1,9}\.\d{1,9}", re.ASCII)


def serve(
    env_id: str,
    settings: Mapping[str, Any],
    seed: int = 0,
    task: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    *,
    on_start: Callable[[str], None] = print,
) -> None:
    """Serve the environment until Ctrl-C; each browser gets one of its own.

    Every visit begins with `task`, or the first of `seed`. port 0: any free one. token: what
    visitors must bring, in the address; demanded of every host but loopback. on_start is called
    with the address once the port is open.

    Raises ImportError without fastapi and uvicorn, TypeError for an environment that is not a
    WebShop, ValueError for an open host without a token and for settings that no browser can
    play, KeyError for an unknown task, OSError for a port that is taken.
    """
    demand_token(host, token)
    needed("uvicorn", "playing in a browser")

    def opened() -> Visit:
        return Visit(_made(env_id, settings), seed=seed, task=task)

    opened()  # whatever is wrong with the settings or the task is said now
    app = shop_app(opened, token=token, any_host=not is_loopback(host))
    with listening(host, port) as door:
        asked = f"?token={quote(token, safe='')}" if token else ""
        on_start(f"{address('http', host, door)}/{asked}")
        quiet = {"proxy_headers": False, "lifespan": "off", "ws": "none"}
        run(app, door, {**quiet, "limit_concurrency": 2 * VISITS})


def shop_app(
    opened: Callable[[], Visit],
    *,
    token: str | None = None,
    any_host: bool = False,
    limit: int = VISITS,
    idle_s: float = IDLE_S,
    clock: Callable[[], float] = time.monotonic,
) -> "FastAPI":
    """The server's application: GET /, and POST /click, /search, /again and /next.

    opened: makes a visit. token: demanded where given. any_host: take requests whose Host is not
    this machine (without it, a foreign name that resolves to 127.0.0.1 gets nothing). limit,
    idle_s, clock: see `Visits`. Raises ImportError without fastapi, ValueError for a short token.
    """
    needed("fastapi", "playing in a browser")
    from fastapi import FastAPI, HTTPException, Request
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import HTMLResponse, RedirectResponse, Response
    from starlette.exceptions import HTTPException as AnyHTTPException

    if token is not None and len(token) < MIN_TOKEN:
        raise ValueError(f"a token has at least {MIN_TOKEN} characters, this one has {len(token)}")

    visits = Visits(opened, limit=limit, idle_s=idle_s, clock=clock)
    badge = hashlib.sha256(token.encode()).hexdigest() if token is not None else None
    app = FastAPI(title="WebShop", docs_url=None, redoc_url=None, openapi_url=None)

    def problem(status: int, text: str) -> Response:
        return HTMLResponse(problem_page(status, text), status)

    def admitted(request: Request) -> Response | None:
        """None for a request that may come in."""
        if not any_host and not _names_this_machine(request.headers.get("host", "")):
            return problem(403, "This shop answers to 127.0.0.1 and localhost only.")
        if _from_elsewhere(request):
            return problem(403, "This shop cannot be put into another site's page.")
        if badge is None or hmac.compare_digest(
            request.cookies.get(PASS, "").encode(), badge.encode()
        ):
            return None
        brought = hashlib.sha256(request.query_params.get("token", "").encode()).hexdigest()
        if request.method == "GET" and hmac.compare_digest(brought, badge):
            response = RedirectResponse("/", 303)
            response.set_cookie(PASS, badge, httponly=True, samesite="lax")
            return response
        return problem(401, "This shop asks for its token: open its address with ?token=… behind.")

    @app.middleware("http")
    async def at_the_door(request: Request, proceed: Callable[[Request], Any]) -> Response:
        response = admitted(request) or await proceed(request)
        response.headers.update(HEADERS)
        return response

    @app.exception_handler(AnyHTTPException)
    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, AnyHTTPException)
        return problem(error.status_code, error.detail)

    @app.get("/")
    def look(request: Request) -> Response:
        visit, key = visits.find(request.cookies.get(VISIT, "")), None
        if visit is None:
            try:
                key, visit = visits.open()
            except ShopFull as full:
                raise HTTPException(503, f"{full}; try again later.") from None
        response = HTMLResponse(visit.page(request.query_params.get("notice", "")))
        if key is not None:
            response.set_cookie(VISIT, key, httponly=True, samesite="lax")
        return response

    async def do(request: Request) -> Response:
        deed = request.url.path.removeprefix("/")
        visit = visits.find(request.cookies.get(VISIT, ""))
        if visit is None:
            minutes = f"{visits.idle_s / 60:g}"
            raise HTTPException(
                403,
                f"This visit is over: unused for {minutes} minutes, or the server is a new one.",
            )
        try:
            said = read_form(request.headers.get("content-type", ""), await _body(request))
            if not visit.owns(said["token"]):
                raise HTTPException(403, "This form is not from a page of your visit.")
            notice = await run_in_threadpool(visit.do, deed, said["place"], said["what"])
        except _TooLarge:
            raise HTTPException(413, f"A form has at most {MAX_BODY} bytes.") from None
        except ValueError as wrong:
            raise HTTPException(400, f"Malformed form: {wrong}.") from None
        return RedirectResponse(f"/?notice={notice}" if notice else "/", 303)

    for deed in DEEDS:
        app.post(f"/{deed}")(do)
    return app


def read_form(content_type: str, body: bytes) -> dict[str, str]:
    """The fields `token`, `place` and `what` ("" where there is none) of a sent form.

    Raises ValueError saying what is wrong with it.
    """
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise ValueError("it is not application/x-www-form-urlencoded")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=3,
        )
    except ValueError:
        raise ValueError("its fields cannot be read") from None
    said = dict(pairs)
    if len(said) < len(pairs) or not {"token", "place"} <= set(said) <= {"token", "place", "what"}:
        raise ValueError("its fields are token, place and what, each once")
    if not _PLACE.fullmatch(said["place"]):
        raise ValueError("place is `episode.turn`")
    return {"what": "", **said}


class _TooLarge(Exception):
    """A body beyond MAX_BODY."""


async def _body(request: "Request") -> bytes:
    """Stops reading where it is too long."""
    read = bytearray()
    async for piece in request.stream():
        read += piece
        if len(read) > MAX_BODY:
            raise _TooLarge
    return bytes(read)


def _names_this_machine(header: str) -> bool:
    """Whether a Host header is loopback, on any port (one may have been forwarded)."""
    match = _HOST.fullmatch(header)
    return match is not None and is_loopback(match[1])


def _from_elsewhere(request: "Request") -> bool:
    """A picture or frame on another site's page, as browsers say; links may lead here."""
    said = request.headers
    site, mode = said.get("sec-fetch-site", "none"), said.get("sec-fetch-mode", "navigate")
    return site == "cross-site" and (mode != "navigate" or said.get("sec-fetch-dest") == "iframe")


def _made(env_id: str, settings: Mapping[str, Any]) -> WebShopEnv:
    env = gym.make(importable(env_id), **settings).unwrapped
    if not isinstance(env, WebShopEnv):
        raise TypeError(f"{env_id} is a {type(env).__name__}; only WebShop can be played on a page")
    if settings.get("parser", "text") != "text":
        raise ValueError(
            f"parser={settings['parser']!r}: buttons send plain actions, so leave the parser out"
        )
    return env
