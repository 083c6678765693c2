import json
import signal
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

pytest.importorskip("uvicorn", reason="needs the extra [serve]")
from env_servers import running
from typer.testing import CliRunner

from agentgym_envs import cli
from agentgym_envs.serve import server
from agentgym_envs.serve.client import RemoteEnv
from agentgym_envs.serve.lasting import TOKEN_VARIABLE

ROOT = Path(__file__).parents[3]
PANTRY = "pantry:Pantry/Honey-v0"


@pytest.fixture
def called(monkeypatch):
    """What `serve` was called with."""
    calls = []
    monkeypatch.setattr(server, "serve", lambda *given, **named: calls.append((given, named)))
    return calls


def test_the_settings_of_the_command_are_the_servers(called):
    line = ["serve", PANTRY, "--set", "max_turns=3", "--port", "0", "--sessions", "2"]
    assert CliRunner().invoke(cli.app, [*line, "--idle", "60", "--token", "key"]).exit_code == 0
    (given, named) = called[0]
    assert given == (PANTRY, {"max_turns": 3})
    assert named["limits"] == server.Limits(sessions=2, idle=60)
    assert (named["host"], named["port"], named["token"]) == ("127.0.0.1", 0, "key")


def test_the_token_may_come_from_the_environment(called):
    CliRunner(env={TOKEN_VARIABLE: "key"}).invoke(cli.app, ["serve", PANTRY])
    assert called[0][1]["token"] == "key"


def test_a_server_plays_answers_and_stops_with_sessions_open():
    settings = {"difficulty": "tiny", "games": {"train": 2}}
    options = ("--port", "0", "--token", "key", "--sessions", "1")
    with running("AgentGym/ALFWorld-v0", settings, *options) as (process, url):
        env = RemoteEnv(url, token="key")
        assert "Your task is to" in env.reset(seed=0)[0]
        page = url.replace("ws", "http") + "/health"
        with pytest.raises(HTTPError, match="401"):
            urlopen(page)
        with urlopen(Request(page, headers={"Authorization": "Bearer key"})) as answer:
            assert json.load(answer) == {"status": "healthy", "sessions": 1, "most_sessions": 1}
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (0, 130, -signal.SIGINT)
        env.close()


def test_the_example_runs():
    source = ROOT / "docs/examples/remote.py"
    ran = subprocess.run([sys.executable, source], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith("reward: 1.0, success: True, truncated: False\n")
