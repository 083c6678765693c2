"""OpenEnv's own clients, servers and checks with our environments, and with our server."""

import asyncio
import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import jsonschema
import pytest
from env_servers import served
from integrations.parity import CASES, POLICIES, case_name, scripted, task_ids
from openenv.cli._validation import validate_running_environment
from openenv.core.generic_client import GenericEnvClient
from openenv.validation import Level, Verdict, run_validation
from openenv.validation.graders import Subject
from openenv.validation.graders.runtime import (
    RewardWellFormedGrader,
    StateContractGrader,
)
from openenv.validation.parsers.openenv_yaml import OpenEnvYamlParser
from openenv.validation.runtime.collector import collect_runtime_evidence
from openenv.validation.runtime.contracts import RuntimePlan
from openenv.validation.types import CheckStatus
from pydantic import ValidationError

from agentgym_envs.drivers.setup import make_text_env
from agentgym_envs.endpoint import address, listening, uvicorn_server
from agentgym_envs.integrations.openenv import (
    TextAction,
    TextClient,
    TextEnvironment,
    TextObservation,
    make_app,
)
from agentgym_envs.integrations.openenv_package import export_package
from agentgym_envs.serve import schemas

ROOT = Path(__file__).parents[2]
ALFWORLD = CASES[0]
PANTRY = "pantry:Pantry/Honey-v0"
SESSIONS = 64


def plain(value):
    return json.loads(json.dumps(value))


def settings_of(setup):
    return {"parser": setup.style.parser, **setup.settings}


@contextmanager
def openenvs_server(env_id, settings=None):
    """OpenEnv's own application around our Environment."""
    with listening("127.0.0.1", 0) as listener:
        server = uvicorn_server(make_app(env_id, settings, SESSIONS))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            sleep(0.01)
        try:
            yield address("http", "127.0.0.1", listener)
        finally:
            server.should_exit = True
            thread.join()


SERVERS = {"our server": served, "openenv's server": openenvs_server}


@pytest.fixture(params=SERVERS.values(), ids=SERVERS)
def server(request):
    return request.param


@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_episodes_are_those_of_gymnasium(server, setup):
    local = make_text_env(setup.env_id, settings_of(setup))
    with (
        server(setup.env_id, settings_of(setup)) as url,
        TextClient(base_url=url).sync() as client,
    ):
        for policy in POLICIES:
            for task_id in task_ids(setup, 2):
                expected = scripted(setup, task_id, seed=3, policy=policy)
                shown = client.reset(seed=3, task_id=task_id, episode_id=policy)
                _, info = local.reset(seed=3, options={"task_id": task_id})
                assert (shown.reward, shown.done) == (None, False)
                assert shown.observation.text == expected.observation
                assert shown.observation.info == plain(info)
                for turn in expected.turns:
                    shown = client.step(TextAction(text=turn.response))
                    seen = shown.observation
                    info = local.step(turn.response)[4]
                    assert (seen.text, shown.reward) == (turn.observation, turn.reward)
                    assert (seen.terminated, seen.truncated) == (turn.terminated, turn.truncated)
                    assert shown.done == seen.done == (turn.terminated or turn.truncated)
                    assert seen.info == plain(info)
                assert seen.success == expected.success
                state = client.state()
                assert (state.episode_id, state.task_id) == (policy, task_id)
                assert state.step_count == seen.turn == len(expected.turns)


def test_both_servers_say_the_same_with_the_same_fields():
    shown = []
    for server in SERVERS.values():
        with (
            server(PANTRY, {"max_turns": 2}) as url,
            GenericEnvClient(base_url=url).sync() as client,
        ):
            first = client.reset(seed=5)
            last = [client.step({"text": "open red"}) for _ in range(2)]
            shown.append([first, *last, client.state()])
            assert set(first.observation) | {"reward", "done"} == set(
                TextObservation.model_json_schema()["properties"]
            )
    assert shown[0] == shown[1]


def test_the_schemas_are_those_of_the_models():
    ours = schemas.OBSERVATION
    theirs = TextObservation.model_json_schema()
    assert set(ours["properties"]) == set(theirs["properties"])
    assert set(ours["required"]) == set(theirs["required"])


async def _played(url, expected):
    """The turns that a client sees, told apart as `scripted` tells them."""
    async with TextClient(base_url=url) as client:
        shown = await client.reset(seed=expected.seed, task_id=expected.task_id)
        found = [shown.observation.text]
        for response in expected.responses:
            shown = await client.step(TextAction(text=response))
            seen = shown.observation
            found.append((seen.text, shown.reward, seen.terminated, seen.truncated))
        return found


@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_sixty_four_sessions_at_once_each_get_their_own_answers(server, setup):
    async def together(url, plays):
        return await asyncio.gather(*(_played(url, play) for play in plays))

    policies = ("expert", "random", "garbled", "random")
    plays = [
        scripted(setup, task_id, seed=seed, policy=policy)
        for task_id in task_ids(setup, 4)
        for seed, policy in enumerate(policies)
    ] * (SESSIONS // 16)
    assert len(plays) == SESSIONS
    with server(setup.env_id, settings_of(setup)) as url:
        found = asyncio.run(together(url, plays))
    for play, turns in zip(plays, found, strict=True):
        assert turns == [
            play.observation,
            *((one.observation, one.reward, one.terminated, one.truncated) for one in play.turns),
        ]


def test_the_65th_session_is_refused(server):
    async def crowded(url):
        clients = [TextClient(base_url=url) for _ in range(SESSIONS + 1)]
        try:
            for client in clients[:SESSIONS]:
                await client.reset(seed=0)
            with pytest.raises(RuntimeError, match="CAPACITY_REACHED"):
                await clients[-1].reset(seed=0)
        finally:
            for client in clients:
                await client.close()

    with server(PANTRY) as url:
        asyncio.run(crowded(url))


def test_a_mistake_is_told_and_the_session_lives(server):
    with server(PANTRY) as url, GenericEnvClient(base_url=url).sync() as client:
        with pytest.raises(RuntimeError, match="call reset"):
            client.step({"text": "open red"})
        with pytest.raises(RuntimeError, match="unknown reset option 'tusk_id'"):
            client.reset(tusk_id="a")
        client.reset(seed=0)
        with pytest.raises(RuntimeError, match="VALIDATION_ERROR"):
            client.step({"txt": "open red"})
        assert client.step({"text": "mumble"}).observation["turn"] == 1


def test_our_servers_token_is_a_header():
    with served(PANTRY, token="pantry-key") as url:
        with pytest.raises(ConnectionError, match="401"), TextClient(base_url=url).sync():
            pass
        headers = {"Authorization": "Bearer pantry-key"}
        with TextClient(base_url=url, headers=headers).sync() as client:
            assert client.reset(seed=0).observation.turn == 0


def test_an_action_has_a_text_and_nothing_else():
    with pytest.raises(ValidationError):
        TextAction(text=3)
    with pytest.raises(ValidationError):
        TextAction(text="a", thought="b")


def test_the_task_api_lists_what_reset_plays():
    env = TextEnvironment(ALFWORLD.env_id, ALFWORLD.settings)
    (split,) = env.list_splits()
    assert env.num_tasks(split) == len(env.list_tasks(split)) == 4
    assert env.get_task_range(split, 1, 3) == [env.get_task(split, 1), env.get_task(split, 2)]
    task = env.get_task(split, 2)
    assert env.reset(task_id=task["task_id"]).info["task_id"] == task["task_id"]
    for wrong in ((split, 4), (split, -1), ("none", 0)):
        with pytest.raises(IndexError):
            env.get_task(*wrong)
    with pytest.raises(ValueError, match="no time limit"):
        env.step(TextAction(text="look"), timeout_s=1.0)


# OpenEnv's checks


def test_openenvs_check_of_a_running_server_passes(server):
    with server(PANTRY) as url:
        report = validate_running_environment(url.replace("ws:", "http:"))
        failed = [one["id"] for one in report["criteria"] if not one["passed"]]
        assert (report["passed"], failed, report["mode"]) == (True, [], "simulation")


@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_openenvs_runtime_graders_pass(server, setup, tmp_path):
    settings = settings_of(setup)
    export_package(setup.env_id, tmp_path, settings)
    manifest = OpenEnvYamlParser().parse(tmp_path)
    (task_id,) = task_ids(setup, 1)
    plan = RuntimePlan.model_validate(
        {
            "plan_schema_version": "1",
            "reset": {"episode_id": "e", "seed": 3, "options": {"task_id": task_id}},
            "actions": [
                {"text": response}
                for response in scripted(setup, task_id, seed=3, policy="garbled").responses
            ],
        }
    )
    with server(setup.env_id, settings) as url:
        evidence = collect_runtime_evidence(url.replace("ws:", "http:"), plan, episode_timeout_s=60)
    assert evidence.failure_reason is None
    subject = Subject(
        root=tmp_path,
        manifest=manifest,
        image_ref=None,
        running=None,
        outputs_dir=tmp_path / "outputs",
        runtime_evidence=evidence,
    )
    for grader in (RewardWellFormedGrader(), StateContractGrader()):
        result = grader.run(subject)
        assert result.status is CheckStatus.PASS, result.evidence
    # What the grader of schemas checks, without the seconds that it allows for it.
    schema = json.loads(evidence.observation_schema_json)
    for exchange in evidence.exchanges:
        if exchange.operation != "state":
            data = json.loads(exchange.response_json)["data"]
            shown = {**data["observation"], "reward": data["reward"], "done": data["done"]}
            jsonschema.validate(shown, schema)


def test_openenv_validate_passes_on_the_exported_package(tmp_path):
    folder = tmp_path / "package"
    assert export_package(ALFWORLD.env_id, folder, ALFWORLD.settings) == "agentgym_alfworld_v0"
    command = [Path(sys.executable).with_name("openenv"), "validate", folder, "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = json.loads(ran.stdout)
    statuses = {one["check_id"]: one["status"] for one in report["results"]}
    assert statuses.pop("static.manifest") == "pass"
    assert set(statuses.values()) == {"skip"}, "these need an image, or OpenEnv to write them"
    static = run_validation(folder, max_level=Level.STATIC)
    assert static.verdict is Verdict.PASS
    assert static.manifest.reward.range == (-0.1, 10.0)
    assert static.manifest.capabilities.declared_task_count == {"train": 4}


def test_the_exported_server_plays(tmp_path):
    folder = tmp_path / "package"
    export_package(ALFWORLD.env_id, folder, settings_of(ALFWORLD), sessions=2)
    with listening("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "server.app", "--port", str(port)]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if "running on" in line:
                break
        (task_id,) = task_ids(ALFWORLD, 1)
        expected = scripted(ALFWORLD, task_id, seed=3, policy="expert")
        with TextClient(base_url=f"http://127.0.0.1:{port}").sync() as client:
            client.reset(seed=3, task_id=task_id)
            shown = [client.step(TextAction(text=one)) for one in expected.responses]
        assert [one.observation.text for one in shown] == [
            turn.observation for turn in expected.turns
        ]
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_the_example_runs(capsys):
    source = ROOT.joinpath("docs/examples/openenv_play.py")
    ran = subprocess.run([sys.executable, str(source)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "success: True" in ran.stdout
