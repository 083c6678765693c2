"""The server's pages: sessions without WebSockets, and what OpenEnv asks of a server."""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from agentgym_envs.endpoint import BodyTooLarge, read_body
from agentgym_envs.serve import schemas
from agentgym_envs.serve.messages import Refused, Request, read_json, read_request
from agentgym_envs.serve.sessions import Failed, Full, Session, Sessions, UnknownSession

if TYPE_CHECKING:
    from fastapi import FastAPI

_STATUS = {"INVALID_JSON": 400, "VALIDATION_ERROR": 422}
_BODIES = {
    "reset": ("Begin an episode, in a new session or in an open one.", schemas.RESET),
    "step": ("Play one turn.", schemas.STEP),
    "restore": ("Go back to where a snapshot was taken.", schemas.RESTORE),
    "snapshot": ("All it takes to go on from here.", schemas.OF_A_SESSION),
    "close": ("End a session.", schemas.OF_A_SESSION),
}
_OPENS = ("reset", "restore")  # where there is no session yet


class _Problem(Exception):
    """What a request is answered instead."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def add_routes(app: "FastAPI", sessions: Sessions, metadata: dict[str, Any], most: int) -> None:
    """Add all pages to the application. most: bytes of a request's body."""
    from fastapi import Request as HTTPRequest
    from fastapi import Response
    from fastapi.responses import JSONResponse

    async def answered(call: Awaitable[bytes]) -> Any:
        try:
            return Response(await call, media_type="application/json")
        except _Problem as problem:
            wait = {"Retry-After": "1"} if problem.status == 503 else None
            return JSONResponse({"detail": str(problem)}, problem.status, headers=wait)

    def add(kind: str) -> None:
        summary, schema = _BODIES[kind]

        async def post(request: HTTPRequest) -> Any:
            return await answered(_post(sessions, kind, request, most))

        described = {"requestBody": {"content": {"application/json": {"schema": schema}}}}
        app.add_api_route(
            *(f"/{kind}", post), methods=["POST"], summary=summary, openapi_extra=described
        )

    for kind in _BODIES:
        add(kind)

    @app.get("/state", summary="Where a session stands.")
    async def state(session_id: str) -> Any:
        return await answered(_state(sessions, session_id))

    @app.get("/health")
    async def health() -> dict[str, str | int]:
        counts = {"sessions": len(sessions), "most_sessions": sessions.limit}
        return {"status": "healthy", **counts}

    @app.get("/metadata")
    async def about() -> dict[str, Any]:
        return metadata

    @app.get("/schema")
    async def schema() -> dict[str, Any]:
        names = ("action", "observation", "state")
        return dict(zip(names, (schemas.ACTION, schemas.OBSERVATION, schemas.STATE), strict=True))

    @app.post("/mcp", summary="OpenEnv asks for it; there are no tools here.")
    async def mcp() -> dict[str, Any]:
        error = {"code": -32601, "message": "this server has no MCP tools: use /ws"}
        return {"jsonrpc": "2.0", "id": None, "error": error}


async def _post(sessions: Sessions, kind: str, request: Any, most: int) -> bytes:
    """The answer's body. Raises _Problem."""
    try:
        body = await read_body(request.scope, request.receive, most)
    except BodyTooLarge as error:
        raise _Problem(413, str(error)) from None
    data = _understood(read_json, body or b"{}")
    name = data.pop("session_id", None)
    if kind == "step":
        data = _action(data)
    asked = _understood(read_request, kind, data)
    session, opened = await _session(sessions, kind, name)
    if kind == "close":
        sessions.close(session)
        return b"{}"
    try:
        answer = await _answer(sessions, session, asked)
    except _Problem:
        if opened:
            sessions.close(session)
        raise
    if kind == "snapshot":
        return json.dumps(answer["data"]).encode()
    return json.dumps({**answer["data"], "metadata": {"session_id": session.id}}).encode()


async def _state(sessions: Sessions, name: str) -> bytes:
    session, _ = await _session(sessions, "state", name)
    asked = read_request("state", {})
    return json.dumps((await _answer(sessions, session, asked))["data"]).encode()


def _understood(read: Callable[..., Any], *given: Any) -> Any:
    try:
        return read(*given)
    except Refused as refused:
        raise _Problem(_STATUS[refused.code], str(refused)) from None


def _action(data: dict[str, Any]) -> Any:
    if set(data) != {"action"}:
        raise _Problem(422, "a step is {'session_id': ..., 'action': {'text': ...}}")
    return data["action"]


async def _session(sessions: Sessions, kind: str, name: Any) -> tuple[Session, bool]:
    """The session that is meant, and whether it was opened for this."""
    try:
        if name is None and kind in _OPENS:
            return await sessions.open(), True
        if not isinstance(name, str):
            raise _Problem(422, "session_id is the text that /reset answered in its metadata")
        return sessions.find(name), False
    except UnknownSession as unknown:
        raise _Problem(404, unknown.args[0]) from None
    except Full as full:
        raise _Problem(503, str(full)) from None
    except Failed as failed:
        raise _Problem(500, f"the environment cannot be made: {failed}") from None


async def _answer(sessions: Sessions, session: Session, request: Request) -> dict[str, Any]:
    try:
        return json.loads(await sessions.answer(session, request))
    except UnknownSession as unknown:
        raise _Problem(404, unknown.args[0]) from None
    except Failed as failed:
        status = 409 if failed.kind == "ResetNeeded" else 400 if failed.mistake else 500
        raise _Problem(status, f"{failed.kind}: {failed}") from None
