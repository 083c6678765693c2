"""verifiers plays our tasks as plain Gymnasium does: by `vf-eval`, and episode by episode."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import verifiers.v1 as vf
from integrations.parity import CASES, POLICIES, Played, case_name, scripted, task_ids
from scripted_endpoint import Refused, Reply, ScriptedEndpoint
from verifiers.v1.clients import ModelContext
from verifiers.v1.serve.client import EnvClient
from verifiers.v1.serve.server import EnvServer

from agentgym_envs.drivers.conversation import Conversation
from agentgym_envs.drivers.setup import Setup
from agentgym_envs.integrations.verifiers import (
    AgentGymConfig,
    AgentGymHarness,
    AgentGymTaskset,
    TaskRow,
)
from agentgym_envs.integrations.verifiers_package import export_package

ROOT = Path(__file__).resolve().parents[2]
SEED = 3
COMMANDS = Path(sys.executable).parent
UV = shutil.which("uv", path=str(COMMANDS))
SHOP = CASES[1]


def script(played: list[Played]):
    """The model that says what was said in the episode whose messages it is shown."""

    def reply(messages):
        episode = next(p for p in played if messages[: len(p.opening)] == list(p.opening))
        said = sum(message["role"] == "assistant" for message in messages)
        return episode.responses[said]

    return reply


def shown(played: Played) -> list[list[dict]]:
    """What the model reads, turn by turn."""
    messages, requests = list(played.opening), []
    for turn in played.turns:
        requests.append(list(messages))
        messages.append({"role": "assistant", "content": turn.response})
        messages.append({"role": "user", "content": turn.message})
    return requests


def vf_eval(setup, home: Path, url: str, *options: str, env: dict | None = None) -> list[dict]:
    """Export `setup`, run verifiers' own command on it; the episodes it wrote, by task."""
    name = export_package(setup, home / "package")
    command = [str(COMMANDS / "vf-eval"), name, "-m", "scripted", "--client.base-url", url]
    command += ["--env.taskset.seed", str(SEED), "--no-push", "--no-rich"]
    command += ["-o", str(home / "out"), "--run.dir", "run", *options]
    paths = {"HOME": str(home), "PYTHONPATH": str(home / "package")}
    done = subprocess.run(
        command, env={**os.environ, **paths, **(env or {})}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = (home / "out" / "run" / "traces.jsonl").read_text(encoding="utf-8").splitlines()
    return sorted(map(json.loads, lines), key=lambda episode: episode["task"]["data"]["idx"])


def assert_same(trace: dict, played: Played) -> None:
    """A trace says what Gymnasium said."""
    info = trace["info"]
    assert trace["task"]["key"] == info["task_id"] == played.task_id
    assert info["rewards"] == played.rewards
    assert trace["rewards"] == {"reward": {"score": played.reward, "weight": 1.0}}
    assert (info["terminated"], info["truncated"]) == (played.terminated, played.truncated)
    assert (info["success"], info["score"]) == (played.success, played.score)
    assert info["stop_reason"] == trace["stop_condition"] == played.stop_reason
    assert trace["metrics"]["turns"] == info["turn"] == len(played.turns)
    assert trace["metrics"]["success"] == float(played.success)
    assert trace["ok"]
    said = [node["message"]["content"] for node in trace["nodes"] if node.get("sampled")]
    assert said == played.responses


@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_vf_eval_plays_as_gymnasium_does(setup, tmp_path):
    pairs = zip(task_ids(setup, len(POLICIES)), POLICIES, strict=True)
    played = [scripted(setup, task_id, SEED, policy) for task_id, policy in pairs]
    with ScriptedEndpoint(script(played)) as server:
        episodes = vf_eval(setup, tmp_path, server.url, "-n", str(len(played)))
    for episode, expected in zip(episodes, played, strict=True):
        (trace,) = episode["traces"]
        assert_same(trace, expected)
    requests = [body["messages"] for body in server.requests]
    expected_requests = [messages for p in played for messages in shown(p)]
    assert sorted(map(json.dumps, requests)) == sorted(map(json.dumps, expected_requests))


@pytest.mark.skipif(UV is None, reason="verifiers' own chat program is made ready by uv")
def test_the_stock_chat_program_plays_the_same(tmp_path):
    """It streams, and starts anew each turn."""
    setup = CASES[2]
    played = scripted(setup, task_ids(setup, 1)[0], SEED, "expert")
    assert len(played.turns) > 1
    assert UV is not None
    cache = subprocess.run([UV, "cache", "dir"], capture_output=True, text=True, check=True)
    env = {"UV_CACHE_DIR": cache.stdout.strip(), "PATH": f"{COMMANDS}:{os.environ['PATH']}"}
    with ScriptedEndpoint(script([played])) as server:
        options = ("-n", "1", "--env.agent.harness.id", "null")
        (episode,) = vf_eval(setup, tmp_path, server.url, *options, env=env)
    assert_same(episode["traces"][0], played)
    assert [body["messages"] for body in server.requests] == shown(played)
    assert all(body["stream"] for body in server.requests)


def test_the_example_runs(tmp_path):
    """A shopper who searches for ever buys nothing."""
    example = ROOT / "docs" / "examples" / "verifiers_eval.py"
    reply = "<think>Look.</think><action>search[red shoes]</action>"
    with ScriptedEndpoint(lambda messages: reply) as server:
        command = [sys.executable, str(example), server.url, "scripted"]
        env = {**os.environ, "HOME": str(tmp_path), "MODEL_KEY": "sk-test"}
        done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert all(line.endswith("max_turns score 0.00") for line in lines)
    assert set(server.authorizations) == {"Bearer sk-test"}


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """Makes a setup importable here, as pip would; returns its name."""

    def export(setup: Setup) -> str:
        name = export_package(setup, tmp_path / "package")
        monkeypatch.syspath_prepend(tmp_path / "package")
        monkeypatch.delitem(sys.modules, name.replace("-", "_"), raising=False)
        return name

    return export


def play(config: dict, url: str, task_id: str) -> vf.Episode:
    """One episode in this process, as verifiers' runners play it."""

    async def run() -> vf.Episode:
        env = vf.load_environment(vf.resolve_env_config(config))
        (task,) = env.taskset.include(keys=[task_id])
        client = vf.EvalClientConfig(base_url=url)
        async with env.serving():
            return await env.run_episode(task, ModelContext(model="scripted", client=client))

    return asyncio.run(run())


def shop(name: str, agent: dict | None = None, **taskset) -> dict:
    return {"taskset": {"id": name, "seed": SEED, **taskset}, "agent": agent or {}}


def test_an_environment_server_plays_the_same(exported):
    """As prime-rl plays: the task travels to a server, the trace comes back."""
    name = exported(SHOP)
    played = scripted(SHOP, task_ids(SHOP, 1)[0], SEED, "garbled")

    async def run(url: str):
        config = vf.resolve_env_config(shop(name))
        (task,) = vf.load_taskset(config.taskset).include(keys=[played.task_id])
        server = EnvServer(config, address="tcp://127.0.0.1:0")
        serving = asyncio.create_task(server.run())
        client = EnvClient(server.address)
        sampling = vf.SamplingConfig(temperature=0.5)
        row = task.data.model_dump(mode="json")
        episode = await client.run(vf.EvalClientConfig(base_url=url), "scripted", sampling, row)
        await client.close()
        serving.cancel()
        await serving
        return episode

    with ScriptedEndpoint(script([played])) as server:
        episode = asyncio.run(run(server.url))
    assert_same(episode.traces[0].model_dump(mode="json"), played)
    assert [body["messages"] for body in server.requests] == shown(played)
    assert {body["temperature"] for body in server.requests} == {0.5}


def test_verifiers_own_turn_limit_truncates(exported):
    name = exported(SHOP)
    played = scripted(SHOP, task_ids(SHOP, 1)[0], SEED, "garbled")
    with ScriptedEndpoint(script([played])) as server:
        episode = play(shop(name, {"max_turns": 3}), server.url, played.task_id)
    (trace,) = episode.traces
    assert trace.ok
    assert trace.is_truncated
    assert (trace.info["truncated"], trace.info["terminated"]) == (True, False)
    assert trace.info["stop_reason"] == "max_turns"
    assert trace.info["turn"] == 3 < len(played.turns)
    assert trace.reward == sum(played.rewards[:3])


TOO_LONG = Refused(400, "This model's maximum context length is 100 tokens.")


def test_a_chat_that_outgrows_the_model_is_truncated(exported):
    name = exported(SHOP)
    played = scripted(SHOP, task_ids(SHOP, 1)[0], SEED, "expert")

    def reply(messages):
        return TOO_LONG if len(messages) > 3 else script([played])(messages)

    with ScriptedEndpoint(reply) as server:
        episode = play(shop(name), server.url, played.task_id)
    (trace,) = episode.traces
    assert trace.ok
    assert (trace.info["truncated"], trace.info["terminated"]) == (True, False)
    assert (trace.info["stop_reason"], trace.info["turn"]) == ("length", 2)


@pytest.mark.parametrize("refused", [Refused(401, "no such key"), TOO_LONG])
def test_an_episode_that_gets_no_reply_at_all_is_failed_and_not_scored(exported, refused):
    name = exported(SHOP)
    with ScriptedEndpoint(lambda messages: refused) as server:
        episode = play(shop(name), server.url, task_ids(SHOP, 1)[0])
    (trace,) = episode.traces
    assert not episode.ok
    assert trace.rewards == {}
    assert trace.errors[-1].type == "ProviderError"
    assert refused.message in trace.errors[-1].message


def test_faults_of_the_endpoint_change_nothing(exported):
    name = exported(SHOP)
    played = scripted(SHOP, task_ids(SHOP, 1)[0], SEED, "expert")
    with ScriptedEndpoint(script([played]), {0: "500", 2: "429"}.get) as server:
        episode = play(shop(name), server.url, played.task_id)
    assert sum(server.met.values()) == 2
    assert_same(episode.traces[0].model_dump(mode="json"), played)


def test_an_empty_reply_is_a_turn(exported):
    name = exported(SHOP)
    with ScriptedEndpoint(lambda messages: Reply(None, finish_reason="length")) as server:
        episode = play(shop(name), server.url, task_ids(SHOP, 1)[0])
    (trace,) = episode.traces
    assert trace.info["stop_reason"] == "max_turns"
    assert trace.info["invalid_turns"] == trace.info["turn"] == SHOP.settings["max_turns"]


def test_a_reply_keeps_its_margins(exported, monkeypatch):
    """What the environment judges is what the model said, to the letter."""
    name = exported(SHOP)
    played = scripted(SHOP, task_ids(SHOP, 1)[0], SEED, "expert")
    wide = [f"\n  {response} \n" for response in played.responses]
    judged = []
    take = Conversation.take
    monkeypatch.setattr(
        Conversation, "take", lambda self, text: (judged.append(text), take(self, text))[1]
    )
    with ScriptedEndpoint(lambda messages: wide[len(messages) // 2]) as server:
        episode = play(shop(name), server.url, played.task_id)
    assert judged == wide
    assert episode.traces[0].reward == played.reward


def test_a_style_s_system_prompt_is_one_that_verifiers_can_replace(exported, tmp_path):
    text = files("agentgym_envs.webshop").joinpath("prompts/default.toml").read_text()
    style = tmp_path / "style.toml"
    style.write_text('system = "You are thrifty."\n' + text, encoding="utf-8")
    other = tmp_path / "other.txt"
    other.write_text("You are lavish.", encoding="utf-8")
    setup = replace(SHOP, prompt=str(style))
    name = exported(setup)
    played = scripted(setup, task_ids(setup, 1)[0], SEED, "expert")
    assert played.opening[0] == {"role": "system", "content": "You are thrifty."}

    def reply(messages):
        return script([played])([played.opening[0], *messages[1:]])

    with ScriptedEndpoint(reply) as server:
        play(shop(name), server.url, played.task_id)
        play(shop(name, system_prompt=str(other)), server.url, played.task_id)
    turns = len(played.turns)
    assert [body["messages"] for body in server.requests[:turns]] == shown(played)
    opened = [body["messages"][0] for body in server.requests[turns:]]
    assert opened == [{"role": "system", "content": "You are lavish."}] * turns


def test_a_runtime_elsewhere_is_refused():
    class DockerRuntime:
        pass

    harness = AgentGymHarness(vf.HarnessConfig(id="agentgym"))
    with pytest.raises(ValueError, match="not in a DockerRuntime: set --env.agent.runtime.type"):
        asyncio.run(harness.setup(DockerRuntime()))


@pytest.mark.parametrize("setup", CASES, ids=case_name)
def test_tasks_are_rows_with_keys_of_their_own(setup, exported):
    config = vf.taskset_config_type(name := exported(setup))(id=name, seed=SEED)
    taskset = vf.load_taskset(config)
    tasks = list(taskset)
    assert [task.key for task in tasks] == list(setup.make().tasks.ids)
    assert len({task.key for task in tasks}) == len(tasks)
    row = tasks[-1].data
    with pytest.raises(ValueError, match="frozen"):
        row.seed = 0
    again = TaskRow.model_validate_json(row.model_dump_json())
    assert again == row
    assert Setup.of(again.model_dump()) == setup
    assert {name: getattr(row, name) for name in setup.row("", 0)} == setup.row(tasks[-1].key, SEED)
    (moved,) = taskset.shuffle(seed=1).include(keys=[tasks[-1].key])
    assert moved.data == row


def test_settings_of_a_run_go_over_those_of_the_package(exported):
    name = exported(SHOP)
    config = vf.taskset_config_type(name)(id=name, settings={"max_turns": 2})
    assert config.settings == {**SHOP.settings, "max_turns": 2}
    assert type(config)(**config.model_dump()) == config


def test_a_taskset_of_no_environment_says_what_to_set():
    taskset = AgentGymTaskset(AgentGymConfig())
    with pytest.raises(ValueError, match="set --env.taskset.env-id"):
        list(taskset)
