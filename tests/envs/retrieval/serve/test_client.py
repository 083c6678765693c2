import json
import multiprocessing
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from agentgym_envs.retrieval.open import open_retriever
from agentgym_envs.retrieval.serve.client import TOKEN_VARIABLE, HTTPRetriever
from agentgym_envs.retrieval.serve.dialects import FINGERPRINT_HEADER, Limits
from agentgym_envs.retrieval.types import Hit, Passage, RetrievalError

# What a scripted server answers: status, body, further headers. None: it hangs up.
Answer = tuple[int, object, dict[str, str]] | None
QUICK = {"first_pause": 0.001, "longest_pause": 0.002}


class Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that hung up: what the test is about, not worth a traceback."""


class Scripted:
    """A server that answers as it is told and remembers what it was sent."""

    def __init__(self, reply: Callable[[int, str, dict], Answer]):
        self.reply = reply
        self.requests: list[tuple[str, dict, dict]] = []  # path, headers, body
        self.ports: list[int] = []  # of the client, one for each connection of its
        lock = threading.Lock()
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.answer({})

            def do_POST(self):
                length = int(self.headers["Content-Length"])
                self.answer(json.loads(self.rfile.read(length)))

            def answer(self, sent: dict):
                with lock:
                    number = len(scripted.requests)
                    scripted.requests.append((self.path, dict(self.headers), sent))
                    scripted.ports.append(self.client_address[1])
                answer = scripted.reply(number, self.path, sent)
                if answer is None:
                    self.close_connection = True
                    return
                status, body, headers = answer
                written = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(written))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(written)

            def log_message(self, *args):
                pass

        self._server = Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Scripted":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def asking(url: str | list[str], **settings) -> Iterator[HTTPRetriever]:
    retriever = HTTPRetriever(url, **{**QUICK, **settings})
    yield retriever
    retriever.close()


def hit(query: str) -> dict:
    return {"document": {"id": query, "contents": f'"{query}"\nx'}, "score": 1.0}


def found(query: str) -> list[Hit]:
    return [Hit(Passage(query, f'"{query}"\nx'), 1.0)]


def right(sent: dict) -> Answer:
    queries = sent["queries"] if "queries" in sent else [sent["query"]]
    return 200, {"result": [[hit(query)] for query in queries]}, {}


def always(number: int, path: str, sent: dict) -> Answer:
    return right(sent)


def test_all_queries_of_a_call_go_together():
    with Scripted(always) as server, asking(server.url) as retriever:
        assert retriever.search(["a", "b", "c"], 4) == [found("a"), found("b"), found("c")]
    (request,) = server.requests
    assert request[0] == "/retrieve"
    assert request[2] == {"queries": ["a", "b", "c"], "topk": 4, "return_scores": True}


def test_a_very_large_call_is_several_requests():
    with Scripted(always) as server, asking(server.url, per_request=2) as retriever:
        assert retriever.search(list("abcde"), 1) == [found(query) for query in "abcde"]
    assert [sent["queries"] for _, _, sent in server.requests] == [["a", "b"], ["c", "d"], ["e"]]


def test_verl_agent_sends_one_query_a_request():
    with Scripted(always) as server, asking(server.url, dialect="verl_agent") as retriever:
        assert retriever.search(list("abcde"), 2) == [found(query) for query in "abcde"]
    assert sorted(sent["query"] for _, _, sent in server.requests) == list("abcde")
    assert server.requests[0][2].keys() == {"query", "topk", "return_scores"}


def test_no_query_asks_nobody():
    with asking("http://127.0.0.1:9") as retriever:
        assert retriever.search([], 3) == []


@pytest.mark.parametrize("address", ["{}", "{}/", "{}/retrieve"])
def test_an_address_with_or_without_the_path(address):
    with Scripted(always) as server, asking(address.format(server.url)) as retriever:
        assert retriever.search(["a"], 1) == [found("a")]


def test_connections_are_used_again():
    with Scripted(always) as server, asking(server.url) as retriever:
        for _ in range(3):
            retriever.search(["a"], 1)
    assert len(set(server.ports)) == 1


@pytest.mark.parametrize("trouble", [None, (503, {}, {}), (500, b"<html>", {}), (429, {}, {})])
def test_passing_trouble_is_ridden_out(trouble):
    def reply(number: int, path: str, sent: dict) -> Answer:
        return trouble if number < 3 else right(sent)

    with Scripted(reply) as server, asking(server.url) as retriever:
        assert retriever.search(["a"], 1) == [found("a")]
    assert len(server.requests) == 4


def test_after_its_attempts_a_client_says_where_how_often_and_why():
    def reply(number: int, path: str, sent: dict) -> Answer:
        return 503, {"detail": "the queue is full"}, {}

    with (
        Scripted(reply) as server,
        asking(server.url, attempts=3) as retriever,
        pytest.raises(RetrievalError) as error,
    ):
        retriever.search(["a"], 1)
    assert str(error.value) == (
        f"{server.url}/retrieve gave no answer in 3 attempts: status 503, the queue is full"
    )
    assert len(server.requests) == 3


def test_a_server_that_is_not_there_is_an_error_too():
    with (
        asking("http://127.0.0.1:9", attempts=2) as retriever,
        pytest.raises(RetrievalError, match="2 attempts: ConnectionRefusedError"),
    ):
        retriever.search(["a"], 1)


def test_silence_is_an_error():
    may_answer = threading.Event()

    def reply(number: int, path: str, sent: dict) -> Answer:
        may_answer.wait(30)
        return right(sent)

    with Scripted(reply) as server, asking(server.url, attempts=1, timeout=0.05) as retriever:
        with pytest.raises(RetrievalError, match="1 attempt: TimeoutError"):
            retriever.search(["a"], 1)
        may_answer.set()


def test_a_mistake_is_not_made_twice():
    def reply(number: int, path: str, sent: dict) -> Answer:
        return 422, {"detail": "topk should be from 1 to 100"}, {}

    with (
        Scripted(reply) as server,
        asking(server.url) as retriever,
        pytest.raises(RetrievalError, match="1 attempt: status 422, topk should be from 1 to 100"),
    ):
        retriever.search(["a"], 101)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", {"result": []}, {"result": [[], []]}, {"result": [[hit("a"), hit("b")]]},
     {"result": [[{"id": "a", "contents": "x"}]]}],
)  # fmt: skip
def test_an_answer_of_another_shape_is_an_error_never_an_empty_one(body):
    with (
        Scripted(lambda number, path, sent: (200, body, {})) as server,
        asking(server.url) as retriever,
        pytest.raises(RetrievalError, match="gave no answer in 1 attempt"),
    ):
        retriever.search(["a"], 1)


def test_it_waits_as_long_as_it_is_asked_to(monkeypatch):
    waited = []
    monkeypatch.setattr("agentgym_envs.retrieval.serve.client.sleep", waited.append)

    def reply(number: int, path: str, sent: dict) -> Answer:
        return (503, {}, {"Retry-After": "7"}) if number == 0 else right(sent)

    with Scripted(reply) as server, asking(server.url) as retriever:
        assert retriever.search(["a"], 1) == [found("a")]
    assert waited == [pytest.approx(7)]


def test_it_does_not_wait_for_ever():
    def reply(number: int, path: str, sent: dict) -> Answer:
        return 503, {}, {"Retry-After": "3600"}

    with (
        Scripted(reply) as server,
        asking(server.url) as retriever,
        pytest.raises(RetrievalError, match="asks for 3600 s of patience"),
    ):
        retriever.search(["a"], 1)


def test_pauses_double_up_to_the_longest(monkeypatch):
    waited = []
    monkeypatch.setattr("agentgym_envs.retrieval.serve.client.sleep", waited.append)
    settings = {"attempts": 7, "first_pause": 1.0, "longest_pause": 8.0}
    with (
        asking("http://127.0.0.1:9", **settings) as retriever,
        pytest.raises(RetrievalError),
    ):
        retriever.search(["a"], 1)
    assert len(waited) == 6
    for pause, longest in zip(waited, [1, 2, 4, 8, 8, 8], strict=True):
        assert longest / 2 <= pause <= longest


def test_servers_take_turns():
    with Scripted(always) as one, Scripted(always) as other:
        with asking([one.url, other.url]) as retriever:
            for _ in range(6):
                retriever.search(["a"], 1)
        assert len(one.requests) == len(other.requests) == 3


def test_a_server_that_fails_rests_while_another_works(monkeypatch):
    monkeypatch.setattr(
        "agentgym_envs.retrieval.serve.client.sleep",
        lambda seconds: pytest.fail("nobody need wait"),
    )
    settings = {"first_pause": 60.0, "longest_pause": 60.0}
    with Scripted(lambda *asked: None) as broken, Scripted(always) as works:
        with asking([broken.url, works.url], **settings) as retriever:
            for _ in range(6):
                assert retriever.search(["a"], 1) == [found("a")]
        assert len(broken.requests) == 1


def test_a_connection_that_was_closed_meanwhile_is_no_trouble():
    def reply(number: int, path: str, sent: dict) -> Answer:
        return None if number == 1 else right(sent)

    with Scripted(reply) as server, asking(server.url, attempts=1) as retriever:
        assert retriever.search(["a"], 1) == retriever.search(["a"], 1) == [found("a")]


def test_the_token_is_sent(monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, "from outside")
    with Scripted(always) as server:
        for settings in ({"token": "given"}, {}):
            with asking(server.url, **settings) as retriever:
                retriever.search(["a"], 1)
    sent = [headers["Authorization"] for _, headers, _ in server.requests]
    assert sent == ["Bearer given", "Bearer from outside"]


# -- fingerprints


def healthy(name: str) -> Callable[[int, str, dict], Answer]:
    return lambda number, path, sent: (200, {"fingerprint": name}, {})


def test_the_fingerprint_is_the_servers():
    with Scripted(healthy("abc")) as server, asking(server.url) as retriever:
        assert retriever.fingerprint == retriever.fingerprint == "abc"
    assert [path for path, _, _ in server.requests] == ["/health"]


def test_a_server_without_a_fingerprint_is_known_by_its_address():
    with (
        Scripted(lambda *asked: (404, {}, {})) as one,
        Scripted(lambda *asked: (404, {}, {})) as two,
    ):
        names = []
        for urls in ([one.url, two.url], [two.url, one.url], [one.url]):
            with asking(urls) as retriever:
                names.append(retriever.fingerprint)
    assert names[0] == names[1] != names[2]


def test_servers_that_serve_different_things_are_an_error():
    with (
        Scripted(healthy("abc")) as one,
        Scripted(healthy("xyz")) as two,
        asking([one.url, two.url]) as retriever,
        pytest.raises(RetrievalError, match="do not answer alike"),
    ):
        _ = retriever.fingerprint


def test_nobody_there_is_no_fingerprint():
    with (
        asking("http://127.0.0.1:9") as retriever,
        pytest.raises(RetrievalError, match="/health gave no answer in 10 attempts"),
    ):
        _ = retriever.fingerprint


def test_a_server_that_is_starting_is_waited_for():
    def reply(number: int, path: str, sent: dict) -> Answer:
        return (503, {}, {}) if number < 3 else (200, {"fingerprint": "abc"}, {})

    with Scripted(reply) as server, asking(server.url) as retriever:
        assert retriever.fingerprint == "abc"


def answering(name: str) -> Callable[[int, str, dict], Answer]:
    """As our server does, naming its retriever with every answer."""
    return lambda number, path, sent: (
        (200, {"fingerprint": name}, {})
        if path == "/health"
        else (*right(sent)[:2], {FINGERPRINT_HEADER: name})
    )


def test_an_answer_by_another_retriever_is_an_error():
    """Of two servers; or of one that was started anew over another index."""
    with Scripted(answering("abc")) as one, Scripted(answering("xyz")) as two:
        with asking([one.url, two.url]) as retriever:
            retriever.search(["a"], 1)
            with pytest.raises(
                RetrievalError, match=f"alike: {two.url} answers by xyz, and by abc"
            ):
                retriever.search(["a"], 1)
        with asking(two.url) as retriever:
            assert retriever.fingerprint == "xyz"
            two.reply = answering("abc")
            with pytest.raises(RetrievalError, match="answers by abc, and by xyz"):
                retriever.search(["a"], 1)


# -- settings, copies


@pytest.mark.parametrize("token", ["secret\n", "sec\nret", "secrét", " secret"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(token, monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, token.replace("\0", ""))
    for settings in ({"token": token}, {}):
        with pytest.raises(ValueError, match="the token should be") as error:
            HTTPRetriever("http://host", **settings)
        assert "sec" not in str(error.value)


def test_no_more_passages_are_asked_for_at_once_than_our_servers_give():
    with Scripted(always) as server, asking(server.url) as retriever:
        retriever.search([f"q{i}" for i in range(900)], 100)
    sizes = [len(sent["queries"]) for _, _, sent in server.requests]
    assert sum(sizes) == 900 and max(sizes) * 100 <= Limits().passages


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": []}, "needs the address"),
        ({"url": "localhost:8000"}, "looks like http://host:8000"),
        ({"url": "ftp://host"}, "looks like http://host:8000"),
        ({"url": "http://host?x=1"}, "more than a scheme"),
        ({"url": "http://host", "dialect": "other"}, "there are: search_r1, verl_agent"),
        ({"url": "http://host", "attempts": 0}, "attempts must be at least 1"),
        ({"url": "http://host", "timeout": 0}, "timeout must be above 0"),
        ({"url": "http://host", "first_pause": 3, "longest_pause": 2}, "first_pause"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings, said):
    with pytest.raises(ValueError, match=said):
        HTTPRetriever(**settings)


def test_settings_open_it():
    with Scripted(always) as server:
        for settings in (server.url, {"kind": "http", "url": server.url, "dialect": "verl_agent"}):
            retriever = open_retriever(settings)
            assert retriever.search(["a"], 1) == [found("a")]
    assert [sorted(sent)[0] for _, _, sent in server.requests] == ["queries", "query"]


def test_it_pickles():
    with Scripted(always) as server, asking(server.url, per_request=1) as retriever:
        retriever.search(["a"], 1)
        copy = pickle.loads(pickle.dumps(retriever))
        assert copy.search(["a", "b"], 1) == [found("a"), found("b")]
        copy.close()
    assert len(server.requests) == 3


def test_a_forked_process_does_not_talk_on_its_parents_connections():
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system cannot fork")
    with Scripted(always) as server, asking(server.url) as retriever:
        retriever.search(["parent"], 1)
        # A process that is forked has the retriever itself; a pool would be sent a copy.
        child = multiprocessing.get_context("fork").Process(
            target=lambda: retriever.search(["child"], 1)
        )
        child.start()
        child.join(30)
        assert child.exitcode == 0
        assert retriever.search(["parent"], 1) == [found("parent")]
    assert [sent["queries"] for _, _, sent in server.requests] == [
        ["parent"],
        ["child"],
        ["parent"],
    ]
    first, other, second = server.ports
    assert first == second != other
