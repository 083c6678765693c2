"""An OpenAI-compatible endpoint whose model is a function; standard library only.

    with ScriptedEndpoint(lambda messages: "look") as server:
        ...  # point a client at server.url

The function gets the messages and returns a text, None, or a `Reply`. `faults` says what goes
wrong, by the number of the request (from 0): "500", "429" or any other status, "drop" (the
connection is closed without an answer), or with status 200 "garbage" (broken JSON), "page" (a page
for people) or "empty" (no choices). Plain answers and server-sent events (`stream`) alike.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Message = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What the model says; content None with a refusal is how some endpoints decline. usage: None
    counts words."""

    content: str | None
    finish_reason: str = "stop"
    refusal: str | None = None
    usage: dict[str, int | None] | None = None


@dataclass(frozen=True)
class Refused:
    """An answer with an error's status: `message` and `code` as the endpoint words them."""

    status: int
    message: str
    code: str | int | None = None


Policy = Callable[[list[Message]], str | Reply | Refused | None]


class ScriptedEndpoint:
    """A server on a free loopback port, from `with` to its end.

    delay: seconds each answer takes. requests: the bodies that came, in order, those that met a
    fault included; authorizations: their headers. met: how often each fault was given.
    most_at_once: the most requests answered at one time.
    """

    def __init__(
        self,
        policy: Policy,
        faults: Callable[[int], str | None] = lambda number: None,
        *,
        delay: float = 0.0,
    ) -> None:
        self.policy, self.faults, self.delay = policy, faults, delay
        self.requests: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []
        self.met: Counter[str] = Counter()
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self)

    @property
    def url(self) -> str:
        """The base url of the API."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> "ScriptedEndpoint":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def arrived(self, body: dict[str, Any], authorization: str | None) -> str | None:
        """Note a request; returns the fault that it meets."""
        with self._lock:
            fault = self.faults(len(self.requests))
            self.requests.append(body)
            self.authorizations.append(authorization)
            if fault:
                self.met[fault] += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        return fault

    def left(self) -> None:
        """Note that a request was answered, or will not be."""
        with self._lock:
            self._at_once -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], owner: ScriptedEndpoint) -> None:
        super().__init__(address, _Handler)
        self.owner = owner


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: tests read what the server counted."""

    def do_GET(self) -> None:
        models = [{"id": "scripted", "object": "model", "created": 0, "owned_by": "tests"}]
        self._json(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        owner = self.server.owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fault = owner.arrived(body, self.headers.get("Authorization"))
        try:
            time.sleep(owner.delay)
            if not self.path.endswith("/chat/completions"):
                self._failed(Refused(404, f"no route {self.path}"))
            elif fault:
                self._fault(fault)
            else:
                self._answer(body)
        finally:
            owner.left()

    def _answer(self, body: dict[str, Any]) -> None:
        said = self.server.owner.policy(body["messages"])
        if isinstance(said, Refused):
            self._failed(said)
            return
        reply = said if isinstance(said, Reply) else Reply(said)
        usage = _usage(body["messages"], reply) if reply.usage is None else reply.usage
        if body.get("stream"):
            self._stream(body, reply, usage)
            return
        message = {"role": "assistant", "content": reply.content, "refusal": reply.refusal}
        choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
        self._json(200, _envelope("chat.completion", body, [choice], usage=usage))

    def _stream(self, body: dict[str, Any], reply: Reply, usage: dict[str, int | None]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        text = reply.content or ""
        halves = (text[: len(text) // 2], text[len(text) // 2 :])
        deltas = [{"role": "assistant", "content": ""}, *({"content": half} for half in halves), {}]
        for place, delta in enumerate(deltas):
            ended = reply.finish_reason if place == len(deltas) - 1 else None
            choice = {"index": 0, "delta": delta, "finish_reason": ended}
            self._event(_envelope("chat.completion.chunk", body, [choice]))
        if (body.get("stream_options") or {}).get("include_usage"):
            self._event(_envelope("chat.completion.chunk", body, [], usage=usage))
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, chunk: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()

    def _fault(self, fault: str) -> None:
        if fault == "drop":
            self.close_connection = True
            self.connection.close()
        elif fault == "garbage":
            self._bytes(200, b'{"id": "broken", "choices": [')
        elif fault == "page":
            self._bytes(200, b"<html>Welcome!</html>", "text/html")
        elif fault == "empty":
            self._json(200, _envelope("chat.completion", {}, []))
        else:
            self._failed(Refused(int(fault), f"injected {fault}"))

    def _failed(self, error: Refused) -> None:
        told = {"message": error.message, "type": "injected", "code": error.code}
        self._json(error.status, {"error": told})

    def _json(self, status: int, value: dict[str, Any]) -> None:
        self._bytes(status, json.dumps(value).encode())

    def _bytes(self, status: int, content: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if status in (429, 500, 503):
            self.send_header("retry-after-ms", "1")  # tests do not wait
        self.end_headers()
        self.wfile.write(content)


def _envelope(
    kind: str, body: dict[str, Any], choices: list[dict[str, Any]], **more: Any
) -> dict[str, Any]:
    model = body.get("model", "scripted")
    return {
        "id": "scripted",
        "object": kind,
        "created": 0,
        "model": model,
        "choices": choices,
        **more,
    }


def _usage(messages: list[Message], reply: Reply) -> dict[str, int | None]:
    """Words stand for tokens."""
    read = sum(len(str(message["content"]).split()) for message in messages)
    said = len((reply.content or "").split())
    return {"prompt_tokens": read, "completion_tokens": said, "total_tokens": read + said}
