import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.request import urlopen

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from retrieval_servers import COUNT, free_port, running, small_retriever

from agentgym_envs.endpoint import is_loopback, listening
from agentgym_envs.extras import install
from agentgym_envs.retrieval.serve.client import HTTPRetriever
from agentgym_envs.retrieval.serve.dialects import FINGERPRINT_HEADER, Limits
from agentgym_envs.retrieval.serve.endpoint import Service
from agentgym_envs.retrieval.serve.server import make_app, serve
from agentgym_envs.retrieval.types import RetrievalError

pytest.importorskip("fastapi", reason=install("serve"))
pytest.importorskip("uvicorn", reason=install("serve"))
pytest.importorskip("httpx2", reason="FastAPI's test client needs it: pip install httpx2")

from fastapi.testclient import TestClient

QUERIES = ("name3 honey", "name5", "nothing of the kind is zzz")
HELD = 30  # seconds after which a test that hangs has failed


@pytest.fixture(scope="module")
def retriever():
    return small_retriever()


def app_client(app) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1")


@pytest.fixture(scope="module")
def client(retriever):
    with app_client(make_app(retriever)) as client:
        yield client


class Slow:
    """Answers when it is let go, or not at all."""

    fingerprint = "slow"

    def __init__(self, error: Exception | None = None):
        self.error = error
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def search(self, queries, k):
        self.asked.set()
        assert self.may_answer.wait(HELD)
        if self.error:
            raise self.error
        return [[] for _ in queries]


def hits_of(retriever, query: str, k: int, *, scored: bool) -> list[dict]:
    """As the contract has them."""
    found = retriever.search([query], k)[0]
    documents = [{"id": hit.passage.id, "contents": hit.passage.contents} for hit in found]
    if not scored:
        return documents
    return [
        {"document": document, "score": hit.score}
        for document, hit in zip(documents, found, strict=True)
    ]


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_the_search_r1_dialect(client, retriever, count, scored):
    asked = {"queries": list(QUERIES[:count]), "topk": 2, "return_scores": scored}
    answered = client.post("/retrieve", json=asked)
    assert answered.status_code == 200
    assert answered.headers["content-type"] == "application/json"
    assert answered.json() == {
        "result": [hits_of(retriever, query, 2, scored=scored) for query in QUERIES[:count]]
    }


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("query", QUERIES)
def test_the_verl_agent_dialect(client, retriever, query, scored):
    asked = {"query": query, "topk": 2, "return_scores": scored}
    answered = client.post("/retrieve", json=asked)
    assert answered.status_code == 200
    assert answered.json() == {"result": [hits_of(retriever, query, 2, scored=scored)]}


def test_three_bare_passages_are_the_default(client, retriever):
    answered = client.post("/retrieve", json={"query": "honey"})
    assert answered.json() == {"result": [hits_of(retriever, "honey", 3, scored=False)]}


def test_equal_queries_of_a_request_are_all_answered(client, retriever):
    answered = client.post("/retrieve", json={"queries": ["name1", "name2", "name1"], "topk": 1})
    ids = [[document["id"] for document in hits] for hits in answered.json()["result"]]
    assert ids == [["1"], ["2"], ["1"]]


def test_a_second_asking_is_answered_from_the_cache(retriever):
    with app_client(make_app(retriever)) as client:
        asked = {"query": "name9", "topk": 1}
        first, second = (client.post("/retrieve", json=asked) for _ in range(2))
        assert first.content == second.content
        metrics = client.get("/metrics").text
    assert "agentgym_retrieve_cache_hits_total 1\n" in metrics
    assert "agentgym_retrieve_batch_queries_count 1\n" in metrics


def test_without_room_nothing_is_remembered(retriever):
    service = Service(answers=0, documents=0)
    with app_client(make_app(retriever, service=service)) as client:
        asked = {"query": "name9", "topk": 1}
        assert len({client.post("/retrieve", json=asked).content for _ in range(2)}) == 1
        assert "agentgym_retrieve_batch_queries_count 2\n" in client.get("/metrics").text


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (b"no json", 400, "not JSON"),
        (b'{"queries": "a text"}', 422, "queries should be a list"),
        (b'{"query": "a", "topk": -1}', 422, "topk should be from 1 to 100"),
        (b'{"query": "' + b"a" * 9000 + b'"}', 422, "query has 9000 characters"),
        (b" " * (17 * 2**20), 413, "larger than 16777216 bytes"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(client, sent, status, said):
    answered = client.post("/retrieve", content=sent)
    assert answered.status_code == status
    assert said in answered.json()["detail"]


def test_a_body_without_a_length_is_bounded_too(client):
    answered = client.post("/retrieve", content=iter([b" " * 2**20] * 17))
    assert answered.status_code == 413


def test_other_paths_and_methods_are_not_there(client):
    assert client.post("/retrieve_all").status_code == 404
    assert client.get("/retrieve").status_code == 405


def test_health_says_what_is_served(retriever):
    with app_client(make_app(retriever)) as client:
        client.post("/retrieve", json={"queries": ["name1", "name2"]})
        assert client.get("/health").json() == {
            "status": "ok",
            "fingerprint": retriever.fingerprint,
            "requests": 1,
            "queries": 2,
            "queued": 0,
        }


def test_metrics_count_requests_errors_and_batches(retriever):
    with app_client(make_app(retriever)) as client:
        client.post("/retrieve", json={"queries": ["name1", "name2", "name3"]})
        client.post("/retrieve", json={"queries": 1})
        answered = client.get("/metrics")
    assert answered.headers["content-type"].startswith("text/plain; version=0.0.4")
    values = dict(
        line.rsplit(" ", 1) for line in answered.text.splitlines() if not line.startswith("#")
    )
    prefix = "agentgym_retrieve_"
    assert values[prefix + 'requests_total{status="200"}'] == "1"
    assert values[prefix + 'requests_total{status="422"}'] == "1"
    assert values[prefix + "errors_total"] == "1"
    assert values[prefix + "queries_total"] == "3"
    assert values[prefix + 'batch_queries_bucket{le="2"}'] == "0"
    assert values[prefix + 'batch_queries_bucket{le="4"}'] == "1"
    assert values[prefix + 'request_seconds_bucket{le="+Inf"}'] == "2"
    assert values[prefix + "request_seconds_count"] == "2"


def test_the_api_describes_both_dialects(client):
    schema = client.get("/openapi.json").json()
    asked = schema["paths"]["/retrieve"]["post"]["requestBody"]["content"]["application/json"]
    assert [one["title"] for one in asked["schema"]["oneOf"]] == ["search_r1", "verl_agent"]
    assert {"/health", "/metrics", "/retrieve"} <= set(schema["paths"])
    assert client.get("/docs").status_code == 200


def test_a_token_opens_every_path_and_nothing_else_does(retriever):
    with app_client(make_app(retriever, token="s3cret")) as client:
        for sent in ({}, {"Authorization": "Bearer other"}, {"Authorization": "s3cret"}):
            for path in ("/health", "/metrics", "/docs", "/nowhere"):
                assert client.get(path, headers=sent).status_code == 401
            refused = client.post("/retrieve", json={"query": "name1"}, headers=sent)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert "token" in refused.json()["detail"]
        sent = {"Authorization": "Bearer s3cret"}
        assert client.post("/retrieve", json={"query": "name1"}, headers=sent).status_code == 200
        assert client.get("/health", headers=sent).status_code == 200


def test_other_sites_pages_get_nothing(client, retriever):
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "rebound.example"},
        {"Host": "["},
    ):
        answer = client.post("/retrieve", json={"query": "name1"}, headers=headers)
        assert answer.status_code == 403
        assert "server" in answer.json()["detail"]
    with app_client(make_app(retriever, token="s3cret")) as other:
        sent = {"Authorization": "Bearer s3cret", "Host": "gpu7.example"}
        assert other.post("/retrieve", json={"query": "name1"}, headers=sent).status_code == 200


def test_a_retriever_that_fails_is_not_an_empty_answer():
    slow = Slow(RetrievalError("index away"))
    slow.may_answer.set()
    with app_client(make_app(slow)) as client:
        answered = client.post("/retrieve", json={"query": "a"})
        assert answered.status_code == 502
        assert "index away" in answered.json()["detail"]
        assert client.get("/health").json()["queries"] == 0


def test_every_answer_names_its_retriever(client, retriever):
    answered = client.post("/retrieve", json={"query": "name1"})
    assert answered.headers[FINGERPRINT_HEADER] == retriever.fingerprint


def test_who_waits_too_long_is_told():
    slow = Slow()
    with app_client(make_app(slow, limits=Limits(timeout=0.05))) as client:
        answered = client.post("/retrieve", json={"query": "a"})
        slow.may_answer.set()
    assert answered.status_code == 504
    assert "0.05 s" in answered.json()["detail"]


def test_a_full_queue_says_when_to_come_back():
    slow = Slow()
    limits = Limits(queries=2, queue=2)
    with (
        app_client(make_app(slow, limits=limits)) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        first = pool.submit(client.post, "/retrieve", json={"query": "first"})
        assert slow.asked.wait(HELD)
        waiting = pool.submit(client.post, "/retrieve", json={"queries": ["a", "b"]})
        while client.get("/health").json()["queued"] < 2:
            time.sleep(0.001)
        refused = client.post("/retrieve", json={"query": "c"})
        slow.may_answer.set()
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert first.result().status_code == waiting.result().status_code == 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
near_requests = st.dictionaries(
    st.sampled_from(["queries", "query", "topk", "return_scores", "top_k"]),
    json_values | st.lists(st.text(max_size=10), max_size=4) | st.text() | st.integers(-2, 120),
    max_size=4,
)


@given(st.one_of(json_values, near_requests, near_requests).map(json.dumps) | st.binary())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_body_breaks_the_server(client, sent):
    answered = client.post("/retrieve", content=sent)
    assert answered.status_code in (200, 400, 422)
    if answered.status_code == 200:
        assert isinstance(answered.json()["result"], list)
    else:
        assert answered.json()["detail"]


# -- where it listens


def test_others_reach_it_with_a_token_only(retriever):
    with pytest.raises(ValueError, match="set a token"):
        serve(retriever, "0.0.0.0")


def test_a_port_that_is_taken_is_named(retriever):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            serve(retriever, port=port)


def test_small_answers_leave_at_once():
    """asyncio sets TCP_NODELAY on connections whose listener names its protocol, on no others."""
    with listening("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_loopback_is_this_machine():
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "")))


@pytest.mark.parametrize("token", ["", "ü", " blank ", "two\nlines"])
def test_a_token_that_no_header_carries_is_refused(retriever, token):
    with (
        pytest.raises(ValueError, match="a token is"),
        app_client(make_app(retriever, token=token)),
    ):
        pass


# -- a real server

HALF = b'POST /retrieve HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"que'


def test_who_never_sends_a_request_whole_is_told_and_let_go():
    port = free_port()
    with running(port, reading=0.2), socket.create_connection(("127.0.0.1", port)) as half:
        half.sendall(HALF)
        half.settimeout(HELD)
        told = b""
        while received := half.recv(4096):  # until the server closes
            told += received
    assert told.startswith(b"HTTP/1.1 408 ")
    assert b"not sent whole within 0.2 s" in told


def test_half_a_request_does_not_keep_a_server_from_stopping():
    port = free_port()
    with (
        running(port, reading=1) as server,
        socket.create_connection(("127.0.0.1", port)) as half,
        socket.create_connection(("127.0.0.1", port)) as less,
    ):
        half.sendall(HALF)
        less.sendall(HALF[:30])
        time.sleep(0.3)
        server.terminate()
        server.wait(HELD)


@pytest.mark.parametrize("requests", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_64_agents_all_get_their_own_answers(requests):
    """Passage i is the only one with `name{i}`; every third question is asked by others too."""
    port = free_port()
    with running(port) as server:
        remote = HTTPRetriever(f"http://127.0.0.1:{port}", attempts=1)

        def agent(number: int) -> int:
            right = 0
            for turn in range(number, requests, 64):
                wanted = turn % COUNT if turn % 3 else turn % 7
                (hits,) = remote.search([f"name{wanted} other{turn % 50}"], 1)
                right += [hit.passage.id for hit in hits] == [str(wanted)]
            return right

        with ThreadPoolExecutor(64) as pool:
            assert sum(pool.map(agent, range(64))) == requests
        with urlopen(f"http://127.0.0.1:{port}/health") as answer:
            health = json.load(answer)
        assert health["queries"] == health["requests"] == requests
        remote.close()
        server.terminate()
        server.wait(HELD)
