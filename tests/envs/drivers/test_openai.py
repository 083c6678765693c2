"""Episodes by a model behind an endpoint: parity, concurrency, faults, and going on after a stop.

The endpoint is scripted (tests/scripted_endpoint.py); the client and all that is between are real.
"""

import asyncio
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from envs.drivers.seeker import IDS, PANTRY, lines, seeker
from integrations.parity import CASES, POLICIES, answers, case_name, scripted, task_ids
from scripted_endpoint import Refused, Reply, ScriptedEndpoint

from agentgym_envs.drivers import openai_episode, play_openai
from agentgym_envs.drivers.asking import EndpointError, Usage, _Pace
from agentgym_envs.drivers.transcript import Transcript
from agentgym_envs.episodes import read_episodes

pytest.importorskip("openai", reason="needs the extra [openai]")


def play(server, setup=PANTRY, ids=None, **options):
    return play_openai(setup, ids, base_url=server.url, model="m", **options)


def once(setup, policy, **options):
    """One episode of the pantry's first task."""

    async def episode(url):
        from openai import AsyncOpenAI

        async with AsyncOpenAI(base_url=url, api_key="none") as client:
            return await openai_episode(
                setup.conversation(), client, "m", task_id=IDS[0], seed=0, **options
            )

    with ScriptedEndpoint(policy) as server:
        return asyncio.run(episode(server.url)), server


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("layout", ["chat", "turns"])
@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_an_endpoint_plays_as_gymnasium_does(setup, layout, policy, tmp_path):
    """The scripted model knows no other prompts than those that plain Gymnasium leads to."""
    setup = replace(setup, layout=layout)
    expected = {id: scripted(setup, id, seed=3, policy=policy) for id in task_ids(setup)}
    with ScriptedEndpoint(answers(expected.values())) as server:
        told = play(server, setup, list(expected), seed=3, transcript=tmp_path / "t.jsonl")
    assert told.overall.successes == sum(one.success for one in expected.values())
    assert told.usage.replies == sum(len(one.turns) for one in expected.values())
    records = lines(tmp_path / "t.jsonl")
    assert len(records) == len(expected)
    for record in records:
        one = expected[record["task"]["id"]]
        assert [turn["response"] for turn in record["turns"]] == one.responses
        assert record["outcome"] == one.turns[-1].observation
        assert record["rewards"] == one.rewards
        assert (record["terminated"], record["truncated"]) == (one.terminated, one.truncated)
        assert record["stop_reason"] == one.stop_reason
        assert record["verdict"]["score"] == one.score
        last = {"role": "assistant", "content": one.responses[-1]}
        assert record["chats"][-1] == [*one.prompts[-1], last]
        assert len(record["chats"]) == (1 if layout == "chat" else len(one.turns))


@pytest.mark.parametrize("layout", ["chat", "turns"])
def test_one_episode_has_its_messages_rewards_and_cost(layout):
    setup = replace(PANTRY, layout=layout)
    played, server = once(setup, seeker, temperature=0.5, extra_body={"top_k": 3})
    assert (played.terminated, played.truncated, played.stop_reason) == (True, False, "done")
    assert (played.rewards, played.reward, played.verdict.success) == ((0.0, 1.0), 1.0, True)
    assert [body["messages"] for body in server.requests] == [
        list(chat[:-1]) for chat in (played.chats if layout == "turns" else _both(played))
    ]
    for body in server.requests:
        assert (body["model"], body["temperature"], body["top_k"]) == ("m", 0.5, 3)
    assert played.usage.replies == len(played.seconds) == 2
    assert played.usage.completion_tokens == 6  # "> open red", "> take honey": words
    if layout == "turns":
        with pytest.raises(ValueError, match="has 2 chats.*use the layout 'chat'"):
            _ = played.messages


def _both(played):
    """The prompts of a chat of two turns, each with its reply."""
    return played.messages[:2], played.messages


def test_how_many_at_once_changes_no_episode(tmp_path):
    def played(concurrency):
        path = tmp_path / f"{concurrency}.jsonl"
        with ScriptedEndpoint(seeker, delay=0.01) as server:
            told = play(server, concurrency=concurrency, transcript=path)
        records = sorted(lines(path), key=lambda record: record["task"]["id"])
        return told, [{**record, "seconds": None} for record in records], server.most_at_once

    one, four = played(1), played(4)
    assert one[:2] == four[:2]
    assert one[0].overall.successes == len(IDS) == 8
    assert one[2] == 1 and 1 < four[2] <= 4


@pytest.mark.parametrize("fault", ["500", "429", "503", "drop", "garbage", "empty"])
def test_what_fails_on_the_way_is_tried_again(fault):
    def faults(number):
        return fault if number in (0, 3) else None

    with ScriptedEndpoint(seeker, faults) as server:
        told = play(server, ids=IDS[:2], concurrency=1, patience=5)
    assert server.met[fault] == 2
    assert told.overall.successes == 2
    assert told.usage.replies == 4 and len(server.requests) == 6


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("500", "answers 500: .*injected 500"),
        ("garbage", "cannot be read"),
        ("empty", "cannot be read.*no message in"),
        ("page", "cannot be read.*end in /v1.*Welcome!"),
        ("drop", "no answer from http://127.0.0.1:.* is the server up"),
        ("401", "answers 401: .*OPENAI_API_KEY"),
        ("404", "answers 404: .*end in /v1, and is 'm' served there"),
        ("400", "answers 400: .*injected 400"),
    ],
)
def test_what_goes_on_failing_is_an_error_that_names_the_endpoint(fault, message):
    with (
        ScriptedEndpoint(seeker, lambda number: fault) as server,
        pytest.raises(EndpointError, match=message) as failed,
    ):
        play(server, ids=IDS[:1], patience=0.6 if fault == "garbage" else 0)
    assert server.url in str(failed.value)
    assert "name a transcript" in str(failed.value)
    assert len(server.requests) == (2 if fault == "garbage" else 1)  # after half a second


def test_a_dead_endpoint_keeps_what_was_played_and_the_rest_goes_on(tmp_path):
    path = tmp_path / "deep" / "t.jsonl"
    with ScriptedEndpoint(seeker, lambda number: "drop" if number >= 7 else None) as server:
        with pytest.raises(EndpointError) as stopped:
            play(server, concurrency=1, patience=0, transcript=path)
        assert f"3 of 8 episodes are in {path}" in str(stopped.value)
    before = path.read_bytes()
    assert [episode.task.id for episode in read_episodes(path)] == list(IDS[:3])
    seen = []
    with ScriptedEndpoint(seeker) as server:
        told = play(server, transcript=path, on_episode=lambda *counts: seen.append(counts))
    assert len(server.requests) == 3 + 4 + 4 + 5 + 5
    assert path.read_bytes().startswith(before) and len(lines(path)) == 8
    assert seen == [(done, 8) for done in range(3, 9)]
    with ScriptedEndpoint(seeker) as server:
        assert play(server, transcript=path) == told == play(server, transcript=path)
        assert server.requests == []
        assert play(server, ids=IDS[:2], transcript=path).overall.episodes == 2
        fresh = play(server)
    assert fresh == told


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path):
    path = tmp_path / "t.jsonl"
    code = (
        "import sys; from envs.drivers.seeker import PANTRY; "
        "from agentgym_envs.drivers import play_openai; "
        "play_openai(PANTRY, base_url=sys.argv[1], model='m', concurrency=2, "
        "transcript=sys.argv[2])"
    )
    tests = str(Path(__file__).parents[2])
    with ScriptedEndpoint(seeker, delay=0.3) as slow:
        words = [sys.executable, "-c", code, slow.url, str(path)]
        with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": tests}) as run:
            while run.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < 3):
                time.sleep(0.01)
            run.kill()
    assert run.returncode != 0
    assert 3 <= path.read_bytes().count(b"\n") < 8
    with ScriptedEndpoint(seeker) as server:
        assert play(server, transcript=path) == play(server)
    assert len(lines(path)) == 8


def test_nobody_there_at_all():
    with ScriptedEndpoint(seeker) as server:
        url = server.url
    with pytest.raises(EndpointError, match=f"no answer from {url}/"):
        play_openai(PANTRY, IDS[:1], base_url=url, model="m", patience=0)


def test_a_line_that_was_not_written_whole_is_played_again(tmp_path):
    path = tmp_path / "t.jsonl"
    with ScriptedEndpoint(seeker) as server:
        told = play(server, transcript=path, concurrency=1)
        whole = path.read_bytes()
        for cut in (1, len(whole.splitlines()[-1]) - 5):
            path.write_bytes(whole[:-cut])
            server.requests.clear()
            assert play(server, transcript=path) == told
            assert len(server.requests) == 5
            assert sorted(record["task"]["id"] for record in lines(path)) == sorted(IDS)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"temperature": 0.1}, "request is .*0.5.* there and .*0.1.* now"),
        ({"max_tokens": 9}, "request is "),
        ({"extra": {"top_p": 0.9}}, "request is .*top_p.* now"),
        ({"seed": 1}, "seed is 0 there and 1 now"),
        ({"model": "other"}, "model is 'm' there and 'other' now"),
        ({"setup": replace(PANTRY, layout="turns")}, "layout is 'chat' there"),
        ({"setup": replace(PANTRY, settings={"max_turns": 9})}, "settings is "),
    ],
)
def test_a_transcript_of_other_settings_is_refused(changed, message, tmp_path):
    path = tmp_path / "t.jsonl"
    settings = {"setup": PANTRY, "model": "m", "temperature": 0.5}
    with ScriptedEndpoint(seeker) as server:
        given = {"task_ids": IDS[:1], "base_url": server.url, "transcript": path}
        play_openai(**given, **settings)
        before, asked = path.read_bytes(), len(server.requests)
        with pytest.raises(ValueError, match=rf"t.jsonl, line 1: .*other settings: {message}"):
            play_openai(**given, **{**settings, **changed})
        assert (path.read_bytes(), len(server.requests)) == (before, asked)


@pytest.mark.parametrize("content", [b"dear diary", b"dear\ndiary\n", b'{"task": {}}\n'])
def test_another_file_is_no_transcript_and_stays_as_it_is(content, tmp_path):
    path = tmp_path / "diary"
    path.write_bytes(content)
    with ScriptedEndpoint(seeker) as server, pytest.raises(ValueError, match="no line of a"):
        play(server, transcript=path)
    assert path.read_bytes() == content


def test_a_task_twice_in_a_transcript(tmp_path):
    """The same is no harm (two runs may have played it); something else is nobody's result."""
    path = tmp_path / "t.jsonl"
    with ScriptedEndpoint(seeker) as server:
        told = play(server, ids=IDS[:1], transcript=path)
        path.write_bytes(path.read_bytes() * 2)
        assert play(server, ids=IDS[:1], transcript=path) == told
        other = path.read_bytes().splitlines(keepends=True)[0].replace(b"open red", b"open blue")
        path.write_bytes(path.read_bytes() + other)
        with pytest.raises(ValueError, match=f"line 3: task '{IDS[0]}' is there twice, with other"):
            play(server, transcript=path)


def test_a_transcript_is_written_by_one_run_at_a_time(tmp_path):
    path = tmp_path / "t.jsonl"
    with ScriptedEndpoint(seeker) as server:
        with (
            Transcript(path, {}),
            pytest.raises(BlockingIOError, match="being written by another run"),
        ):
            play(server, transcript=path)
        assert server.requests == []
        play(server, ids=IDS[:1], transcript=path)


def refusing(task_id, answer):
    """The seeker, whose endpoint says something else where a task's jar has been found."""
    _, place, jar = task_id.split("/")

    def asked(messages):
        there = f"Find the {jar}" in messages[0]["content"]
        found = f"The {place} cupboard holds {jar}." in messages[-1]["content"]
        return answer if there and found else seeker(messages)

    return asked


@pytest.mark.parametrize("bad", [0, 3])
def test_what_is_refused_ends_one_episode_and_is_asked_again_next_time(bad, tmp_path):
    path, seen = tmp_path / "t.jsonl", []
    flagged = refusing(IDS[bad], Refused(400, "Your prompt was flagged", code="invalid_prompt"))
    with ScriptedEndpoint(flagged) as server:
        for asked in (28, bad // 2 + 2):  # all prompts; then those of the one task again
            server.requests.clear()
            told = play(
                *(server, PANTRY),
                concurrency=1,
                transcript=path,
                on_episode=lambda *counts: seen.append(counts),
            )
            assert len(server.requests) == asked
            assert (told.overall.successes, told.overall.episodes) == (7, 8)
            assert told.stop_reasons == {"done": 7, "refused": 1}
            assert list(told.refused) == [IDS[bad]] and "was flagged" in told.refused[IDS[bad]]
            assert sorted({*IDS} - {IDS[bad]}) == sorted(one["task"]["id"] for one in lines(path))
            assert seen[-1] == (8, 8)
    with ScriptedEndpoint(seeker) as server:
        told = play(server, transcript=path)
        assert (told.overall.successes, told.refused, len(lines(path))) == (8, {}, 8)


def test_where_everything_is_refused_the_endpoint_is_to_blame():
    wrong = Refused(400, "Unrecognized request argument supplied: top_k")
    with ScriptedEndpoint(lambda messages: wrong) as server:
        with pytest.raises(EndpointError, match="answers 400: .*top_k"):
            play(server)
        assert len(server.requests) == 8
        server.requests.clear()
        many = replace(CASES[0], settings={**CASES[0].settings, "games": {"train": 99}})
        with pytest.raises(EndpointError, match="answers 400: .*so are all requests"):
            play(server, many, concurrency=1)
        assert len(server.requests) == 16


@pytest.mark.parametrize("answer", ["500", "timeout"])
def test_a_request_that_always_fails_while_others_are_answered_is_refused(answer):
    class Slow(str):
        """A reply that takes too long."""

    def policy(messages):
        said = asked(messages)
        if isinstance(said, Slow):
            time.sleep(0.4)
        return said

    asked = refusing(IDS[0], Refused(500, "boom") if answer == "500" else Slow("> look"))
    with ScriptedEndpoint(policy, delay=0.02) as server:
        told = play(server, concurrency=2, patience=0.5, timeout=0.3)
    assert told.stop_reasons == {"done": 7, "refused": 1}
    assert "others are answered" in told.refused[IDS[0]]


def test_when_the_endpoint_is_gone_those_that_it_answered_are_kept(tmp_path):
    """One player's key is refused; the others finish the episodes that they are in."""
    path, begun, expired = tmp_path / "t.jsonl", threading.Barrier(4), threading.Event()
    told = refusing(IDS[0], Refused(401, "the key has expired"))

    def policy(messages):
        if len(messages) == 1:
            begun.wait(20)  # four episodes are under way
        said = told(messages)
        if isinstance(said, Refused):
            expired.set()
        elif len(messages) == 3:
            expired.wait(20)
        return said

    with (
        ScriptedEndpoint(policy) as server,
        pytest.raises(EndpointError, match="answers 401: .*; 3 of 8 episodes are in"),
    ):
        play(server, concurrency=4, transcript=path, patience=1)
    assert sorted(line["task"]["id"] for line in lines(path)) == sorted(IDS[1:4])


def test_one_that_is_told_to_wait_waits_for_all():
    """Of four at once the first four requests are too many; nobody asks before it is time."""
    with ScriptedEndpoint(seeker, lambda number: "429" if number < 4 else None) as server:
        told = play(server, concurrency=4)
    assert told.overall.successes == 8
    assert server.met["429"] == 4 and len(server.requests) == 4 + 28


def test_the_pauses_grow_by_waves_and_not_by_requests(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("agentgym_envs.drivers.asking.time.monotonic", lambda: now[0])
    pace = _Pace()
    pauses = []
    for _ in range(8):
        sent = now[0]
        for _ in range(16):  # all sent at once, and all in vain
            pace.slow(sent, 0.0)
        pauses.append(pace.until - now[0])
        now[0] = pace.until
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    pace.slow(now[0], 60.0)
    assert pace.until - now[0] == 60.0
    pace.well()
    now[0] = pace.until
    pace.slow(now[0], 0.0)
    assert pace.until - now[0] == 0.5


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({}, Usage(replies=5, untold=5)),
        (
            {"prompt_tokens": 3, "completion_tokens": None},
            Usage(replies=5, untold=5, prompt_tokens=15),
        ),
    ],
)
def test_counts_that_are_not_told_are_no_mistake(usage, counted):
    played, _ = once(PANTRY, lambda messages: Reply("> look", usage=usage))
    assert played.usage == counted


@pytest.mark.parametrize(
    "said",
    [
        None,
        "",
        Reply(None, refusal="I cannot help with that."),
        Reply(None, finish_reason="content_filter"),
        Refused(400, "the response was filtered", code="content_filter"),
    ],
)
def test_a_reply_without_text_is_a_turn(said):
    played, _ = once(PANTRY, lambda messages: said)
    assert [turn.response for turn in played.episode.turns] == [""] * 5
    assert (played.truncated, played.stop_reason, played.usage.replies) == (True, "max_turns", 5)


def test_replies_cut_at_the_token_limit_are_counted():
    said = iter(["length", "stop", "length", "stop", "stop"])
    played, _ = once(PANTRY, lambda messages: Reply("> look", finish_reason=next(said)))
    assert played.usage.cut == 2


def test_half_a_surrogate_pair_can_be_sent_again():
    played, server = once(PANTRY, lambda messages: "a\ud800b")
    assert [turn.response for turn in played.episode.turns] == ["a?b"] * 5
    assert server.requests[-1]["messages"][1]["content"] == "a?b"


TOO_LONG = {
    "OpenAI": Refused(400, "Too many tokens.", code="context_length_exceeded"),
    "vLLM": Refused(400, "This model's maximum context length is 64 tokens.", code=400),
    "vLLM's engine": Refused(
        400, "The decoder prompt (length 99) is longer than the maximum model length of 64."
    ),
    "SGLang": Refused(400, "The input (99 tokens) is longer than the model's context length (64)."),
    "TGI": Refused(
        422,
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 64. "
        "Given: 60 `inputs` tokens and 9 `max_new_tokens`",
    ),
    "Together": Refused(422, "Input validation error: `inputs` must have less than 64 tokens."),
    "Anthropic": Refused(400, "prompt is too long: 210000 tokens > 200000 maximum"),
    "Gemini": Refused(
        400, "The input token count (99) exceeds the maximum number of tokens allowed (64)."
    ),
    "llama.cpp": Refused(400, "the request exceeds the available context size"),
    "LMDeploy": Refused(400, "The input token length exceeds max session len"),
    "Mistral": Refused(
        400, "Prompt contains 99 tokens, too large for model with 64 maximum context length"
    ),
}


@pytest.mark.parametrize("refused", TOO_LONG.values(), ids=TOO_LONG)
def test_a_chat_longer_than_the_models_context_is_truncated(refused):
    def forgetful(messages):
        return refused if len(messages) > 3 else "> open red"

    played, _ = once(PANTRY, forgetful)
    assert (played.terminated, played.truncated, played.stop_reason) == (False, True, "length")
    assert (len(played.episode.turns), played.rewards) == (2, (0.0, 0.0))
    assert len(played.messages) == 4 and not played.verdict.success and not played.refusal
    played, _ = once(PANTRY, lambda messages: refused)  # nothing can be played at all
    assert (played.stop_reason, played.episode.turns) == ("refused", ())


def test_other_words_about_tokens_are_no_long_chat():
    other = Refused(400, "max_tokens must be at least 1, got 0")
    played, _ = once(PANTRY, lambda messages: other if len(messages) > 3 else "> open red")
    assert (played.stop_reason, len(played.episode.turns)) == ("refused", 2)
    assert "max_tokens must be at least 1" in played.refusal


def test_the_key_is_optional_and_taken_from_the_environment(monkeypatch):
    def sent(**options):
        with ScriptedEndpoint(seeker) as server:
            play(server, ids=IDS[:1], **options)
        return set(server.authorizations)

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert sent() == {"Bearer none"}
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    assert sent() == {"Bearer secret"}
    assert sent(api_key="other") == {"Bearer other"}


def test_what_is_asked_is_what_is_sent(tmp_path):
    with ScriptedEndpoint(seeker) as server:
        play(server, ids=IDS[:1])
        assert set(server.requests[0]) == {"messages", "model"}  # the rest is the endpoint's
        server.requests.clear()
        asked = {"temperature": 0.0, "max_tokens": 7}
        play(server, ids=IDS[:1], **asked, extra={"top_k": 2}, transcript=tmp_path / "t.jsonl")
        assert server.requests[0].items() >= {**asked, "top_k": 2}.items()
    (line,) = lines(tmp_path / "t.jsonl")
    assert line["run"]["request"] == {**asked, "top_k": 2}


def test_mistakes_are_told_before_anything_is_asked():
    with ScriptedEndpoint(seeker) as server:
        with pytest.raises(KeyError, match="no task 'x'; the first of 8: 'pantry/red/honey'"):
            play(server, ids=[IDS[0], "x"])
        with pytest.raises(ValueError, match=f"{IDS[1]!r} is named twice"):
            play(server, ids=[*IDS[:2], IDS[1]])
        with pytest.raises(ValueError, match="concurrency must be at least 1, got 0"):
            play(server, concurrency=0)
    assert server.requests == []


def test_costs_add_up_and_say_what_was_not_told():
    one = Usage(replies=2, prompt_tokens=1000, completion_tokens=30, cut=1)
    assert str(one + one) == (
        "4 replies, 2,000 prompt and 60 reply tokens, 2 cut at the token limit"
    )
    assert "(without 1 replies that told none)" in str(one + Usage(replies=1, untold=1))


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e '\.\[openai\]'"):
        play_openai(PANTRY, base_url="http://127.0.0.1:9/v1", model="m")
