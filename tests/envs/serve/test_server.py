import json
import time
import urllib.error
import urllib.request

import pytest
from env_servers import served
from hypothesis import HealthCheck, given, settings
from likely_messages import JSON, LIKELY

pytest.importorskip("fastapi", reason="needs the extra [serve]")
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from agentgym_envs.serve.server import Limits, make_app, serve

PANTRY = "pantry:Pantry/Honey-v0"


def local(app):
    """A client on the server's own machine."""
    return TestClient(app, headers={"Host": "127.0.0.1:8765"})


ERRORS = {"INVALID_JSON", "UNKNOWN_TYPE", "VALIDATION_ERROR", "EXECUTION_ERROR"}


@pytest.fixture(scope="module")
def client():
    with local(make_app(PANTRY)) as client:
        yield client


def asked(socket, kind, data=None):
    """The answer's type and data."""
    socket.send_text(json.dumps({"type": kind, "data": data or {}}))
    answer = json.loads(socket.receive_text())
    return answer["type"], answer["data"]


def begun(socket, **data):
    kind, shown = asked(socket, "reset", data)
    assert kind == "observation"
    return shown


def played(socket, *texts):
    shown = {}
    for text in texts:
        kind, shown = asked(socket, "step", {"text": text})
        assert kind == "observation"
    return shown


# WebSocket


def test_an_episode(client):
    with client.websocket_connect("/ws") as socket:
        first = begun(socket, task_id="pantry/red/jam", seed=1, episode_id="mine")
        assert (first["reward"], first["done"]) == (None, False)
        assert first["observation"]["text"] == "Find the jam. Cupboards, all closed."
        last = played(socket, "mumble", "open red", "take jam")
        assert (last["reward"], last["done"]) == (1.0, True)
        seen = last["observation"]
        facts = [seen[name] for name in ("turn", "terminated", "truncated", "success")]
        assert facts == [3, True, False, True]
        assert seen["info"]["stop_reason"] == "done"
        assert seen["info"]["holding"] == "jam"
        state = asked(socket, "state")[1]
        assert (state["episode_id"], state["step_count"]) == ("mine", 3)
        assert state["task_id"] == "pantry/red/jam"


def test_running_out_of_turns_is_neither_an_end_nor_a_success(client):
    with client.websocket_connect("/ws") as socket:
        begun(socket, seed=1)
        seen = played(socket, *["mumble"] * 6)["observation"]
        facts = [seen[name] for name in ("terminated", "truncated", "success")]
        assert facts == [False, True, False]


def test_a_dictionary_observation_is_its_text_and_the_info_has_the_rest():
    with (
        local(make_app(PANTRY, {"observation_mode": "dict"})) as client,
        client.websocket_connect("/ws") as socket,
    ):
        seen = begun(socket, task_id="pantry/red/jam")["observation"]
        assert seen["text"] == "Find the jam. Cupboards, all closed."
        assert "open red" in seen["info"]["admissible_actions"]
        assert asked(socket, "state")[1]["observation_mode"] == "dict"


def test_sessions_do_not_see_each_other(client):
    with client.websocket_connect("/ws") as one, client.websocket_connect("/ws") as other:
        begun(one, task_id="pantry/red/jam")
        begun(other, task_id="pantry/red/jam")
        played(one, "open red")
        assert "take jam" in played(one, "x")["observation"]["info"]["admissible_actions"]
        assert "take jam" not in played(other, "x")["observation"]["info"]["admissible_actions"]
        assert client.get("/health").json()["sessions"] == 2
    assert client.get("/health").json()["sessions"] == 0


def test_a_snapshot_goes_on_in_another_session(client):
    with client.websocket_connect("/ws") as one:
        begun(one, seed=5)
        played(one, "open green", "open red")
        kind, snapshot = asked(one, "snapshot")
        assert kind == "snapshot"
        rest = [played(one, action) for action in ("open blue", "open white")]
        after = begun(one)
    with client.websocket_connect("/ws") as other:
        kind, shown = asked(other, "restore", {**snapshot, "episode_id": "again"})
        assert kind == "observation"
        assert (shown["reward"], shown["observation"]["turn"]) == (None, 2)
        assert asked(other, "state")[1]["episode_id"] == "again"
        assert [played(other, action) for action in ("open blue", "open white")] == rest
        assert begun(other) == after, "the next task is another one"


def test_a_snapshot_of_an_ended_episode_has_ended(client):
    with client.websocket_connect("/ws") as socket:
        begun(socket, task_id="pantry/red/jam")
        played(socket, "open red", "take jam")
        snapshot = asked(socket, "snapshot")[1]
        begun(socket)
        shown = asked(socket, "restore", snapshot)[1]
        assert shown["done"] is shown["observation"]["terminated"] is True


@pytest.mark.parametrize("snapshot", ["", "e30=", "bnVsbA==", "eyJmb3JtYXQiOiAxfQ==", "AP8="])
def test_what_is_no_snapshot_leaves_no_episode_behind(client, snapshot):
    with client.websocket_connect("/ws") as socket:
        begun(socket, seed=1)
        kind, error = asked(socket, "restore", {"snapshot": snapshot})
        assert (kind, error["code"]) == ("error", "EXECUTION_ERROR")
        kind, error = asked(socket, "step", {"text": "open red"})
        assert (kind, error["kind"]) == ("error", "ResetNeeded")
        assert begun(socket, seed=1)["observation"]["turn"] == 0


@pytest.mark.parametrize(
    ("kind", "data", "raised", "said"),
    [
        ("step", {"text": "open red"}, "ResetNeeded", "call reset"),
        ("snapshot", {}, "ResetNeeded", "call reset"),
        ("reset", {"task_id": "pantry/none"}, "KeyError", "pantry/none"),
        ("reset", {"tusk_id": "a"}, "ValueError", "unknown reset option 'tusk_id'"),
    ],
)
def test_what_the_environment_refuses_is_told_with_its_error(client, kind, data, raised, said):
    with client.websocket_connect("/ws") as socket:
        answer, error = asked(socket, kind, data)
        assert (answer, error["code"], error["kind"]) == ("error", "EXECUTION_ERROR", raised)
        assert said in error["message"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(message=LIKELY | JSON)
def test_whatever_is_sent_is_answered_and_the_session_lives(client, message):
    with client.websocket_connect("/ws") as socket:
        socket.send_text(json.dumps(message))
        if message != {"type": "close"} and message != {"type": "close", "data": {}}:
            answer = json.loads(socket.receive_text())
            assert answer["type"] in ("observation", "state", "error")
            assert answer["type"] != "error" or answer["data"]["code"] in ERRORS
            assert begun(socket, seed=1)["observation"]["turn"] == 0


def test_bytes_are_refused_and_the_session_lives(client):
    with client.websocket_connect("/ws") as socket:
        socket.send_bytes(b'{"type": "state"}')
        assert json.loads(socket.receive_text())["data"]["code"] == "INVALID_JSON"
        begun(socket)


def test_a_large_message_is_refused_and_the_session_lives():
    limits = Limits(message=1000)
    with (
        local(make_app(PANTRY, limits=limits)) as client,
        client.websocket_connect("/ws") as socket,
    ):
        begun(socket)
        kind, error = asked(socket, "step", {"text": "a" * 1000})
        assert (kind, error["code"]) == ("error", "VALIDATION_ERROR")
        assert "this server takes 1000" in error["message"]
        assert played(socket, "a" * 900)["observation"]["turn"] == 1


def test_a_close_ends_the_session(client):
    with client.websocket_connect("/ws") as socket:
        socket.send_text('{"type": "close"}')
        with pytest.raises(WebSocketDisconnect):
            socket.receive_text()
        assert client.get("/health").json()["sessions"] == 0


def test_one_session_too_many_is_told_and_closed():
    with local(make_app(PANTRY, limits=Limits(sessions=1))) as client:
        with client.websocket_connect("/ws") as socket:
            begun(socket)
            with client.websocket_connect("/ws") as other:
                error = json.loads(other.receive_text())["data"]
                assert error["code"] == "CAPACITY_REACHED"
                with pytest.raises(WebSocketDisconnect):
                    other.receive_text()
        with client.websocket_connect("/ws") as socket:
            begun(socket)


def test_an_unused_connection_is_told_and_closed():
    limits = Limits(idle=0.05)
    with (
        local(make_app(PANTRY, limits=limits)) as client,
        client.websocket_connect("/ws") as socket,
    ):
        error = json.loads(socket.receive_text())["data"]
        assert (error["code"], error["message"]) == (
            "SESSION_ERROR",
            "the session was unused for 0.05 s",
        )
        with pytest.raises(WebSocketDisconnect):
            socket.receive_text()
        assert client.get("/health").json()["sessions"] == 0


# Who may come in


def test_without_the_token_nothing_is_answered():
    with local(make_app(PANTRY, token="pantry-key")) as client:
        for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "pantry-key"}):
            answer = client.get("/health", headers=headers)
            assert (answer.status_code, "wants a token" in answer.text) == (401, True)
            assert client.post("/reset", json={}, headers=headers).status_code == 401
            with (
                pytest.raises(WebSocketDenialResponse) as refused,
                client.websocket_connect("/ws", headers=headers),
            ):
                pass
            assert refused.value.status_code == 401
        right = {"Authorization": "Bearer pantry-key"}
        assert client.get("/health", headers=right).status_code == 200
        with client.websocket_connect("/ws", headers=right) as socket:
            begun(socket)


def test_another_sites_page_gets_nothing(client):
    foreign = {"Origin": "http://example.org"}
    assert client.get("/health", headers=foreign).status_code == 403
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect("/ws", headers=foreign),
    ):
        pass
    assert refused.value.status_code == 403
    assert client.get("/health", headers={"Origin": "http://127.0.0.1:8765"}).status_code == 200


def test_a_name_that_was_made_to_lead_here_gets_nothing(client):
    """As another site's page has it once its name is this machine's address: all in one origin."""
    for name in ("example.org:8765", "example.org", "127.0.0.1.example.org:8765"):
        there = {"Host": name, "Origin": f"http://{name}"}
        for headers in (there, {"Host": name}):
            answer = client.post("/reset", json={}, headers=headers)
            assert (answer.status_code, "localhost only" in answer.text) == (403, True)
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            client.websocket_connect("/ws", headers=there),
        ):
            pass
        assert refused.value.status_code == 403
    for name in ("localhost", "localhost:1", "[::1]:8765", "127.0.0.2"):
        assert client.get("/health", headers={"Host": name}).status_code == 200
    with TestClient(make_app(PANTRY, token="pantry-key")) as other:  # a token may come from afar
        headers = {"Authorization": "Bearer pantry-key", "Host": "example.org"}
        assert other.get("/health", headers=headers).status_code == 200


def test_a_body_that_is_too_large_is_told_so_over_a_real_connection():
    """Whoever still sends when the answer comes and the connection ends could not read it."""
    with served(PANTRY, limits=Limits(message=1000)) as url:
        asked = urllib.request.Request(
            url.replace("ws://", "http://") + "/step", data=b" " * 20_000_000
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked, timeout=30)
        assert refused.value.code == 413
        assert "larger than 1000 bytes" in json.load(refused.value)["detail"]


def test_unused_sessions_end_although_nobody_asks_again():
    with local(make_app(PANTRY, limits=Limits(idle=0.2))) as client:
        posted(client, "/reset")
        assert client.get("/health").json()["sessions"] == 1
        until = time.monotonic() + 20
        while client.get("/health").json()["sessions"] and time.monotonic() < until:
            time.sleep(0.05)
        assert client.get("/health").json()["sessions"] == 0


def test_a_host_that_others_reach_needs_a_token():
    with pytest.raises(ValueError, match="set a token, or serve on 127.0.0.1"):
        serve(PANTRY, host="0.0.0.0")
    with pytest.raises(ValueError, match="ASCII"):
        make_app(PANTRY, token="schlüssel")


def test_wrong_settings_are_told_before_anything_is_served():
    with pytest.raises(TypeError, match="max_truns"):
        make_app(PANTRY, {"max_truns": 3})
    with pytest.raises(ValueError, match="above 0"):
        Limits(sessions=0)


# HTTP


def posted(client, path, status=200, **body):
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_an_episode_without_websockets(client):
    first = posted(client, "/reset", task_id="pantry/red/jam", episode_id="e")
    session = first["metadata"]["session_id"]
    assert (first["reward"], first["done"]) == (None, False)
    posted(client, "/step", session_id=session, action={"text": "open red"})
    snapshot = posted(client, "/snapshot", session_id=session)["snapshot"]
    last = posted(client, "/step", session_id=session, action={"text": "take jam"})
    assert (last["reward"], last["done"]) == (1.0, True)
    assert last["metadata"] == {"session_id": session}
    state = client.get("/state", params={"session_id": session}).json()
    assert (state["episode_id"], state["step_count"]) == ("e", 2)
    detail = posted(client, "/step", 409, session_id=session, action={"text": "x"})["detail"]
    assert "ResetNeeded" in detail
    other = posted(client, "/restore", snapshot=snapshot)
    assert other["observation"]["turn"] == 1
    assert other["metadata"]["session_id"] != session
    again = posted(client, "/reset", session_id=session)
    assert again["metadata"]["session_id"] == session
    for name in (session, other["metadata"]["session_id"]):
        posted(client, "/close", session_id=name)
        assert (
            "no session"
            in posted(client, "/step", 404, session_id=name, action={"text": ""})["detail"]
        )


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/reset", b"{", 400, "not JSON"),
        ("/reset", b'{"seed": "a"}', 422, "whole number"),
        ("/reset", b'{"task_id": "pantry/none"}', 400, "KeyError: no task 'pantry/none'"),
        ("/reset", b'{"session_id": 3}', 422, "session_id is the text"),
        ("/reset", b" " * 2001, 413, "larger than 2000 bytes"),
        ("/step", b"{}", 422, "a step is"),
        ("/step", b'{"action": {"text": "a"}}', 422, "session_id is the text"),
        ("/step", b'{"action": {"text": 1}, "session_id": "a"}', 422, "got text int"),
        ("/step", b'{"action": {"text": "a"}, "session_id": "a"}', 404, "no session 'a'"),
        ("/restore", b'{"snapshot": "e30="}', 400, "snapshot format None"),
        ("/snapshot", b'{"session_id": "a"}', 404, "no session 'a'"),
        ("/nowhere", b"{}", 404, "Not Found"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(path, body, status, said):
    with local(make_app(PANTRY, limits=Limits(message=2000))) as client:
        answer = client.post(path, content=body)
        assert answer.status_code == status
        assert said in answer.json()["detail"]
        assert client.get("/health").json()["sessions"] == 0, "the refused left a session behind"


def test_a_full_server_says_so_over_http():
    with local(make_app(PANTRY, limits=Limits(sessions=1))) as client:
        posted(client, "/reset")
        answer = client.post("/reset", json={})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_the_pages_that_openenv_asks_for(client):
    assert client.get("/health").json()["status"] == "healthy"
    metadata = client.get("/metadata").json()
    assert metadata["name"] == PANTRY
    assert metadata["description"].startswith("Closed cupboards.")
    schema = client.get("/schema").json()
    assert set(schema) == {"action", "observation", "state"}
    assert {"/reset", "/step", "/state"} <= set(client.get("/openapi.json").json()["paths"])
    assert client.post("/mcp", json={}).json()["jsonrpc"] == "2.0"


def test_what_is_shown_has_the_fields_of_the_schema(client):
    schema = client.get("/schema").json()
    with client.websocket_connect("/ws") as socket:
        shown = begun(socket)
        sent = {**shown["observation"], "reward": shown["reward"], "done": shown["done"]}
        assert set(sent) == set(schema["observation"]["properties"])
        assert set(asked(socket, "state")[1]) == set(schema["state"]["properties"])
