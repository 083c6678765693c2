"""A remote environment plays as the environment itself, whatever becomes of the server."""

import json
import multiprocessing
import os
import pickle
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import gymnasium as gym
import pytest
from env_servers import running, served
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils.env_checker import check_env
from integrations.parity import CASES, POLICIES, case_name, scripted, task_ids
from typer.testing import CliRunner

from agentgym_envs.cli import app
from agentgym_envs.core import INFO_TYPES
from agentgym_envs.drivers import Setup
from agentgym_envs.drivers.setup import make_text_env
from agentgym_envs.episodes import to_record
from agentgym_envs.evaluate import ExpertPolicy, evaluate
from agentgym_envs.pools import make_pool
from agentgym_envs.serve.client import RemoteEnv
from agentgym_envs.serve.lasting import TOKEN_VARIABLE
from agentgym_envs.serve.link import RemoteError
from agentgym_envs.serve.server import Limits

pytest.importorskip("uvicorn", reason="needs the extra [serve]")
sync_server = pytest.importorskip("websockets.sync.server", reason="needs the extra [serve]")

PANTRY = "pantry:Pantry/Honey-v0"
ALFWORLD = CASES[0]
GARBAGE = (
    "",
    " ",
    "\x00\x1b[2J",
    "\ud800 lone surrogate",
    "動作 🙂 \u202e",
    "{0} %s",
    "a" * 100_000,
)


def plain(value):
    return json.loads(json.dumps(value))


def port_of(url):
    return int(url.rpartition(":")[2])


@pytest.fixture(scope="module")
def url():
    with served(PANTRY) as url:
        yield url


@pytest.fixture
def env(url):
    env = RemoteEnv(url)
    yield env
    env.close()


# As the environment itself


@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_remote_and_local_episodes_are_the_same(setup):
    settings = {"parser": setup.style.parser, **setup.settings}
    with served(setup.env_id, settings) as url:
        local, remote = (
            make_text_env(setup.env_id, settings),
            gym.make("AgentGym/Remote-v0", url=url),
        )
        assert remote.unwrapped.served == setup.env_id
        for task_id in task_ids(setup, 2):
            for policy in POLICIES:
                expected = scripted(setup, task_id, seed=3, policy=policy)
                started = {"seed": 3, "options": {"task_id": task_id}}
                assert plain(remote.reset(**started)) == plain(local.reset(**started))
                for response in expected.responses:
                    assert plain(remote.step(response)) == plain(local.step(response))
                with pytest.raises(ResetNeeded):
                    remote.step("more")
        for seed in (7, None, None, 8):
            assert plain(remote.reset(seed=seed)) == plain(local.reset(seed=seed))
        remote.close()


def test_dictionary_observations_lie_in_their_space():
    with served(PANTRY, {"observation_mode": "dict"}) as url:
        env, local = RemoteEnv(url), make_text_env(PANTRY, {"observation_mode": "dict"})
        assert env.observation_space == local.observation_space
        for shown, expected in (
            (env.reset(seed=1)[0], local.reset(seed=1)[0]),
            (env.step("open red")[0], local.step("open red")[0]),
        ):
            assert shown == expected
            assert shown in env.observation_space
        env.close()


def test_gymnasiums_checker_has_no_complaint(url, recwarn):
    env = gym.make("AgentGym/Remote-v0", url=url)
    check_env(env.unwrapped)
    assert not recwarn.list
    assert env.action_space == make_text_env(PANTRY, {}).action_space
    env.close()


def test_its_spec_makes_it_again(url):
    env = gym.make("AgentGym/Remote-v0", url=url)
    again = gym.make(type(env.spec).from_json(env.spec.to_json()))
    assert again.reset(seed=3)[0] == env.reset(seed=3)[0]
    env.close()
    again.close()


@pytest.mark.parametrize("layout", ["chat", "turns"])
@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_drivers_play_there_as_here(setup, layout):
    style = f"{setup.make().prompt_folder}/default"
    settings = {"parser": setup.style.parser, **setup.settings}
    with served(setup.env_id, settings) as url:
        there = Setup(
            env_id="AgentGym/Remote-v0", settings={"url": url}, prompt=style, layout=layout
        )
        assert [row["task_id"] for row in there.rows(3)] == task_ids(setup)
        talk, other = there.conversation(), replace(setup, layout=layout).conversation()
        for task_id in task_ids(setup, 2):
            expected = scripted(setup, task_id, seed=3, policy="garbled")
            assert talk.begin(task_id=task_id, seed=3) == other.begin(task_id=task_id, seed=3)
            for response in expected.responses:
                assert talk.take(response) == other.take(response)
                assert talk.verdict == other.verdict
            ours, theirs = to_record(talk.episode), plain(to_record(other.episode))
            assert plain(ours["turns"]) == theirs["turns"]
            assert (ours["outcome"], ours["stop_reason"]) == (
                theirs["outcome"],
                theirs["stop_reason"],
            )
            assert plain(talk.summary) == plain(other.summary)
            assert talk.episode.task == replace(other.episode.task, answer=None, expert=())
        talk.env.close()


def test_commands_play_there_and_check_where_it_lives(url):
    words = ["AgentGym/Remote-v0", "--set", f"url={url}"]
    played = CliRunner().invoke(app, ["evaluate", *words, "--policy", "random", "--tasks", "2"])
    assert played.exit_code == 0 and "/2)" in played.stdout
    refused = CliRunner().invoke(app, ["check", *words]).exception
    assert f"check {PANTRY} where it is served" in str(refused)


def test_what_is_secret_of_a_task_stays_there(url):
    env = RemoteEnv(url)
    env.reset(seed=0)
    assert (env.task.answer, env.task.expert) == (None, ())
    with pytest.raises(ValueError, match="info_level=debug"):
        env.advise()
    with pytest.raises(KeyError, match="no task 'attic'; the first of 8"):
        env.tasks.task("attic")
    env.close()
    with served(PANTRY, {"info_level": "debug"}) as other:
        env = RemoteEnv(other)
        assert evaluate(env, ExpertPolicy()).overall.successes == 8
        env.close()


def test_only_the_episode_being_played_is_judged(env):
    env.reset(seed=0, options={"task_id": "pantry/red/honey"})
    before = env.episode
    assert env.verify(before).reason == "honey never taken"
    env.step("open red")
    env.step("take honey")
    assert (env.verify(env.episode).success, env.verify(env.episode).reason) == (
        True,
        "honey taken",
    )
    with pytest.raises(ValueError, match="judges the episode that is played there only"):
        env.verify(before)


def test_a_style_that_wants_another_parser_is_told_how_to_serve(url):
    with pytest.raises(ValueError, match="by the parser 'text'.*serve with --set parser=arrow"):
        RemoteEnv(url, parser="arrow")
    RemoteEnv(url, parser="text").close()


def test_the_transcript_is_rendered_here(url, capsys):
    local = make_text_env(PANTRY, {"render_mode": "ansi"})
    env = RemoteEnv(url, render_mode="ansi")
    for one in (env, local):
        one.reset(seed=2)
        one.step("open red")
    assert env.render() == local.render()
    assert env.restore(local.snapshot())[0] == local.scene.text and env.render() == local.render()
    env.close()


def test_a_vector_and_a_pool_of_sessions(url):
    def trace(envs):
        seen = [envs.reset(seed=5)]
        seen += [envs.step([f"open {colour}"] * 3) for colour in ("red", "green", "blue")]
        envs.close()
        return [list(one[0]) for one in seen], seen[-1][4]["turn"].tolist()

    expected = trace(gym.make_vec(PANTRY, 3))
    assert trace(gym.make_vec("AgentGym/Remote-v0", 3, url=url)) == expected
    assert trace(make_pool("AgentGym/Remote-v0", 3, workers=2, url=url)) == expected


def test_gymnasiums_own_vector_environment_takes_it(url):
    envs = gym.make_vec("AgentGym/Remote-v0", 2, vectorization_mode="sync", url=url)
    locals_ = [make_text_env(PANTRY, {}) for _ in range(2)]
    shown, _ = envs.reset(seed=[3, 4])
    assert shown == tuple(env.reset(seed=3 + i)[0] for i, env in enumerate(locals_))
    shown, rewards, *_ = envs.step(("open red", "mumble"))
    played = [env.step(action) for env, action in zip(locals_, ("open red", "mumble"), strict=True)]
    assert shown == tuple(turn[0] for turn in played)
    assert rewards.tolist() == [turn[1] for turn in played]
    envs.close()


def test_the_info_is_whole_and_json(env):
    _, info = env.reset(seed=1)
    assert set(info) >= set(INFO_TYPES)
    assert plain(info) == info


def test_any_string_is_a_turn(url):
    with served(PANTRY, {"max_turns": 20}) as url:
        env = RemoteEnv(url)
        env.reset(seed=0)
        for count, action in enumerate(GARBAGE, start=1):
            _, _, terminated, truncated, info = env.step(action)
            assert (info["turn"], terminated, truncated) == (count, False, False)
        env.close()


@pytest.mark.parametrize("length", [1200, 5000])
def test_an_action_that_is_too_large_is_an_error_and_the_episode_goes_on(length):
    with served(PANTRY, limits=Limits(message=1000)) as url:
        env = RemoteEnv(url)
        env.reset(seed=0)
        env.step("open red")
        with pytest.raises(ValueError, match="characters"):
            env.step("a" * length)
        assert env.step("open green")[4]["turn"] == 2
        env.close()


def test_errors_are_those_of_the_environment(env):
    with pytest.raises(ResetNeeded):
        env.step("open red")
    with pytest.raises(ResetNeeded):
        env.snapshot()
    env.reset(seed=0)
    with pytest.raises(TypeError, match="an action is a str"):
        env.step(None)
    with pytest.raises(KeyError, match="pantry/none"):
        env.reset(options={"task_id": "pantry/none"})
    with pytest.raises(ValueError, match="unknown reset option"):
        env.reset(options={"misspelt": 1})
    with pytest.raises(ValueError, match="snapshot"):
        env.restore(b'{"format": 99}')
    with pytest.raises(ResetNeeded):
        env.step("open red")


def test_a_closed_one_stays_closed(url):
    env = RemoteEnv(url)
    env.reset(seed=0)
    env.close()
    env.close()
    with pytest.raises(ClosedEnvironmentError):
        env.reset()


def test_snapshots_go_back_and_forth_between_here_and_there(env):
    local = make_text_env(PANTRY, {})
    env.reset(seed=2)
    env.step("open red")
    shown = local.restore(env.snapshot())
    assert plain(env.restore(local.snapshot())) == plain(shown)
    for action in ("open green", "mumble"):
        assert plain(env.step(action)) == plain(local.step(action))
    assert plain(env.reset()) == plain(local.reset())
    saved = local.snapshot()
    assert plain(env.restore(saved)) == plain(local.restore(saved))


def test_many_at_once_each_have_their_own_episode(url):
    count = 64
    together = threading.Barrier(count)

    def trace(env, seed, wait=lambda: None):
        found = [env.reset(seed=seed)]
        wait()
        found += [env.step(f"open {colour}") for colour in ("red", "green", "blue", "white")]
        return plain(found)

    def remote(seed):
        env = RemoteEnv(url)
        try:
            return trace(env, seed, together.wait)
        finally:
            env.close()

    with ThreadPoolExecutor(count) as pool:
        found = list(pool.map(remote, range(count)))
    assert found == [trace(make_text_env(PANTRY, {}), seed) for seed in range(count)]


# Lost connections


def test_it_pickles_in_the_middle_of_an_episode(env):
    env.reset(seed=4)
    env.step("open red")
    copy = pickle.loads(pickle.dumps(env))
    assert copy.step("open green") == env.step("open green")
    assert copy.reset() == env.reset()
    copy.close()


def _forked(env, answers):
    answers.put(plain(env.step("open green")))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_one_goes_on_by_itself(env):
    env.reset(seed=4)
    env.step("open red")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_forked, args=(env, answers))
    child.start()
    there = answers.get(timeout=60)
    child.join()
    assert plain(env.step("open green")) == there


def test_an_expired_session_goes_on():
    with served(PANTRY, limits=Limits(idle=0.2)) as url:
        env, local = RemoteEnv(url), make_text_env(PANTRY, {})
        assert plain(env.reset(seed=6)) == plain(local.reset(seed=6))
        for action in ("open red", "open green"):
            assert plain(env.step(action)) == plain(local.step(action))
            env._session._link._socket.recv_events_thread.join(30)  # until the server has hung up
        assert plain(env.reset()) == plain(local.reset())
        env.close()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_was_killed_and_started_again_goes_on_with_the_episode(end):
    local = make_text_env(ALFWORLD.env_id, ALFWORLD.settings)
    with running(ALFWORLD.env_id, ALFWORLD.settings, "--port", "0") as (process, url):
        env = RemoteEnv(url)
        assert plain(env.reset(seed=9)) == plain(local.reset(seed=9))
        actions = local.unwrapped.task.expert
        assert plain(env.step(actions[0])) == plain(local.step(actions[0]))
        process.send_signal(end)
        process.wait(30)
    with running(ALFWORLD.env_id, ALFWORLD.settings, "--port", str(port_of(url))):
        for action in actions[1:]:
            assert plain(env.step(action)) == plain(local.step(action))
        assert plain(env.reset()) == plain(local.reset())
        env.close()


def test_another_environment_at_the_address_is_an_error():
    with served(PANTRY) as url:
        env = RemoteEnv(url)
        env.reset(seed=0)
    with (
        served(ALFWORLD.env_id, ALFWORLD.settings, port=port_of(url)),
        pytest.raises(RemoteError, match=r"serves .*ALFWorld.* now; it was .*Pantry"),
    ):
        env.step("open red")


def test_a_server_that_reads_replies_in_another_way_is_an_error():
    with served(PANTRY, {"parser": "text"}) as url:
        env = RemoteEnv(url)
        env.reset(seed=0)
        env.step("open red")
    with served(PANTRY, {"parser": "action"}, port=port_of(url)):
        for _ in range(2):  # and stays one
            with pytest.raises(RemoteError, match="'parser': 'action'.* now; it was .*'text'"):
                env.step("open green")
        with pytest.raises(RemoteError):
            env.reset()


def test_a_server_with_other_tasks_is_an_error():
    few = {**ALFWORLD.settings, "games": {"train": 3}}
    with served(ALFWORLD.env_id, ALFWORLD.settings) as url:
        env = RemoteEnv(url)
        env.reset(seed=0)
    with (
        served(ALFWORLD.env_id, few, port=port_of(url)),
        pytest.raises(RemoteError, match="'tasks': 3.* now; it was .*'tasks': 4"),
    ):
        env.step("look")


def test_an_episode_that_is_not_played_as_before_is_an_error():
    """As many tasks, of another seed: the snapshot's task is not there, or is another one."""
    with served(ALFWORLD.env_id, ALFWORLD.settings) as url:
        env = RemoteEnv(url)
        env.reset(seed=0)
    with served(ALFWORLD.env_id, {**ALFWORLD.settings, "game_seed": 1}, port=port_of(url)):
        for _ in range(2):  # and stays one
            with pytest.raises(RemoteError, match="cannot restore the episode: "):
                env.step("look")


def test_an_interrupted_call_is_as_if_it_had_not_been_made(env, monkeypatch):
    """Ctrl-C comes after the message went out: its answer is nobody's any more."""
    local = make_text_env(PANTRY, {})
    assert plain(env.reset(seed=4)) == plain(local.reset(seed=4))

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    for call in (lambda: env.step("open white"), env.reset, env.snapshot):
        monkeypatch.setattr(env._session._link._socket, "recv", interrupted)
        with pytest.raises(KeyboardInterrupt):
            call()
        action = ("open red", "open green", "open blue")[len(local.episode.turns)]
        assert plain(env.step(action)) == plain(local.step(action))
    assert to_record(env.episode)["turns"] == to_record(local.episode)["turns"]
    monkeypatch.setattr(env._session._link._socket, "recv", interrupted)
    with pytest.raises(KeyboardInterrupt):
        env.restore(local.snapshot())
    with pytest.raises(ResetNeeded):
        env.step("open white")
    assert plain(env.reset(seed=5)) == plain(local.reset(seed=5))


# No server, or a wrong one


def test_without_a_server_it_says_so_after_its_patience(capsys):
    with served(PANTRY) as url:
        pass
    with pytest.raises(RemoteError, match=r"no session at ws://127.0.0.1:\d+/ws after 0.3 s"):
        RemoteEnv(url, patience=0.3)
    assert capsys.readouterr().err == f"waiting for {url}/ws (0.3 s)\n"


def test_without_patience_a_server_that_is_not_there_is_not_waited_for(capsys):
    with served(PANTRY) as url:
        pass
    begun = time.monotonic()
    with pytest.raises(RemoteError, match=r"no server at ws://.*/ws: .* set patience=60 to wait"):
        RemoteEnv(url)
    assert time.monotonic() - begun < 5 and capsys.readouterr().err == ""


def test_a_full_server_is_waited_for():
    with served(PANTRY, limits=Limits(sessions=1)) as url:
        first = RemoteEnv(url)
        with pytest.raises(RemoteError, match="all 1 sessions"):
            RemoteEnv(url, patience=0.2)
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(RemoteEnv, url)
            first.close()
            env = second.result(30)
        assert "Cupboards" in env.reset(seed=0)[0]
        env.close()


def test_the_token_is_an_argument_or_from_the_environment(monkeypatch):
    with served(PANTRY, token="pantry-key") as url:
        with pytest.raises(PermissionError, match="401: this server wants a token"):
            RemoteEnv(url)
        with pytest.raises(PermissionError):
            RemoteEnv(url, token="other")
        RemoteEnv(url, token="pantry-key").close()
        monkeypatch.setenv(TOKEN_VARIABLE, "pantry-key")
        RemoteEnv(url).close()


@pytest.mark.parametrize("url", ["", "ftp://127.0.0.1", "ws://", "127.0.0.1:port"])
def test_what_is_no_address_is_said(url):
    with pytest.raises(ValueError, match="address|port"):
        RemoteEnv(url, patience=0.1)


def test_addresses_may_be_written_in_several_ways(url):
    for way in (url, url.replace("ws", "http"), url.removeprefix("ws://"), url + "/", url + "/ws"):
        RemoteEnv(way).close()


@contextmanager
def scripted_server(*answers):
    """Answers every connection's messages with these, in order."""

    def talk(socket):
        for answer, _ in zip(answers, socket, strict=False):
            socket.send(answer if isinstance(answer, str) else json.dumps(answer))

    with sync_server.serve(talk, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


STATE = {
    "type": "state",
    "data": {
        **{"episode_id": None, "step_count": 0, "task_id": None, "env_id": "a", "env_version": "0"},
        **{"observation_mode": "text", "max_turns": 2, "max_length": 100},
    },
}
ABOUT = {"type": "about", "data": {"parser": "text", "tasks": 3}}
SNAPSHOT = {"type": "snapshot", "data": {"snapshot": "e30="}}


@pytest.mark.parametrize(
    "observation", [None, {}, {"text": ""}, {"text": "", "turn": 0, "info": {}}, "text"]
)
def test_half_an_observation_is_an_error(observation):
    shown = {"observation": observation, "reward": None, "done": False}
    with scripted_server(STATE, ABOUT, {"type": "observation", "data": shown}, SNAPSHOT) as url:
        env = RemoteEnv(url)
        with pytest.raises(RemoteError, match="without a whole observation"):
            env.reset()
        env.close()


@pytest.mark.parametrize("answer", ["hello", "[]", "{}", '{"type": "state"}', "3"])
def test_a_server_of_another_kind_is_an_error(answer):
    with scripted_server(answer) as url, pytest.raises(RemoteError, match="another language"):
        RemoteEnv(url)


def test_an_error_within_the_environment_is_told():
    failed = {"message": "the engine has died", "code": "EXECUTION_ERROR", "kind": "EngineError"}
    with scripted_server(STATE, ABOUT, {"type": "error", "data": failed}) as url:
        env = RemoteEnv(url)
        with pytest.raises(RemoteError, match="EngineError: the engine has died"):
            env.reset()
        env.close()


def test_no_answer_in_time_is_an_error():
    with scripted_server(STATE, ABOUT) as url:
        env = RemoteEnv(url)
        env._session._link._timeout = 0.2
        with pytest.raises(RemoteError, match=r"no answer in 0.2 s|lost 3"):
            env.reset()
        env.close()
