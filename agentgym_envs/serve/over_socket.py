"""One WebSocket, which is one session."""

import asyncio
import json
from collections.abc import MutableMapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from agentgym_envs.serve.messages import Close, Refused, error_message, read_message
from agentgym_envs.serve.sessions import Failed, Full, Session, Sessions

if TYPE_CHECKING:
    from fastapi import WebSocket

_GOING_AWAY, _TRY_LATER = 1001, 1013  # why a WebSocket is closed, by RFC 6455 and its registry


async def converse(socket: "WebSocket", sessions: Sessions, most: int) -> None:
    """Answer a connection's messages, of at most `most` characters, until it ends.

    Malformed messages are answered and change nothing. A session without a message for
    `sessions.idle` seconds is told so and ended.
    """
    disconnected = import_module("starlette.websockets").WebSocketDisconnect
    await socket.accept()
    try:
        session = await sessions.open(attached=True)
    except Full as full:
        await _end(socket, "CAPACITY_REACHED", str(full), _TRY_LATER)
        return
    except Failed as failed:
        await _end(socket, "FACTORY_ERROR", str(failed), _TRY_LATER)
        return
    try:
        await _answer_all(socket, sessions, session, most)
    except disconnected:
        pass  # it is the client's right
    finally:
        sessions.close(session)


async def _answer_all(socket: "WebSocket", sessions: Sessions, session: Session, most: int) -> None:
    while True:
        try:
            message = await asyncio.wait_for(socket.receive(), sessions.idle)
        except TimeoutError:
            idle = f"the session was unused for {sessions.idle:g} s"
            await _end(socket, "SESSION_ERROR", idle, _GOING_AWAY)
            return
        if message["type"] == "websocket.disconnect":
            return
        try:
            request = read_message(_text(message, most))
            if isinstance(request, Close):
                await socket.close()
                return
            answer = (await sessions.answer(session, request)).decode()
        except Refused as refused:
            answer = json.dumps(error_message(refused.code, str(refused)))
        except Failed as failed:
            answer = json.dumps(error_message("EXECUTION_ERROR", str(failed), failed.kind))
        await socket.send_text(answer)


def _text(message: MutableMapping[str, Any], most: int) -> str:
    text = message.get("text")
    if text is None:
        raise Refused("INVALID_JSON", "messages are text, not bytes")
    if len(text) > most:
        raise Refused(
            "VALIDATION_ERROR", f"the message has {len(text)} characters; this server takes {most}"
        )
    return text


async def _end(socket: "WebSocket", code: str, message: str, close: int) -> None:
    await socket.send_text(json.dumps(error_message(code, message)))
    await socket.close(close)
