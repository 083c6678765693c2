"""A model behind an endpoint by command: `agentgym-envs evaluate ID --endpoint URL --model M`."""

import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from envs.drivers.seeker import IDS, PANTRY, lines, seeker
from integrations.parity import CASES, answers, scripted
from pantry.env import CUPBOARDS, PantryEnv
from scripted_endpoint import Refused, Reply, ScriptedEndpoint
from typer.testing import CliRunner

from agentgym_envs.cli import app
from agentgym_envs.order import subset
from agentgym_envs.statistics import Rate

pytest.importorskip("openai", reason="needs the extra [openai]")

ENV = PANTRY.env_id
EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "openai_endpoint.py"


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")


def evaluate(*words, env_id=ENV):
    return CliRunner().invoke(app, ["evaluate", env_id, *map(str, words)])


def replies(tasks):
    """How many the seeker gives: one for each cupboard up to the right one, and one more."""
    return sum(CUPBOARDS.index(id.split("/")[1]) + 2 for id in subset(IDS, tasks))


def test_the_table_is_that_of_the_scripted_policy_and_the_cost_stands_below(tmp_path):
    target = tmp_path / "t.jsonl"
    asked = ("--temperature", 0.5, "--max-tokens", 9, "--request", "top_k=4", "--concurrency", 2)
    with ScriptedEndpoint(lambda said: Reply(seeker(said), "length")) as server:
        words = ("--endpoint", server.url, "--model", "small", "--out", target, *asked)
        shown = evaluate(*words, "--tasks", 2, "--seed", 3)
        assert shown.exit_code == 0, shown.output
        assert server.most_at_once <= 2
        for body in server.requests:
            assert (body["model"], body["top_k"]) == ("small", 4)
            assert (body["temperature"], body["max_tokens"]) == (0.5, 9)
        server.requests.clear()
        again = evaluate(*words, "--tasks", 3, "--seed", 3)  # goes on: the third task is new
        assert len(server.requests) == replies(3) - replies(2)
    assert shown.stdout.startswith("pantry:Pantry/Honey-v0, split train, small\n")
    assert "1.000 [0.342, 1.000] (2/2)" in shown.stdout
    assert f"{replies(2)} replies, " in shown.stdout
    assert f"{replies(2)} cut at the token limit; ends: 2 done" in shown.stdout
    assert "(3/3)" in again.stdout and f"{replies(3)} replies, " in again.stdout
    assert {line["task"]["id"] for line in lines(target)} == set(subset(IDS, 3))
    expert, ours = evaluate("--tasks", 2).stdout, shown.stdout
    assert [row.split()[:5] for row in expert.splitlines()[1:]] == [
        row.split()[:5] for row in ours.splitlines()[1:-1]
    ]  # but for the title, the turns that it took, and the costs


def test_refusals_and_the_environments_own_averages_are_told(monkeypatch):
    rate = Rate(2, 3, 2.0, 0.5)
    monkeypatch.setattr(PantryEnv, "aggregates", staticmethod(lambda judged: {"own": rate}))

    def policy(messages):
        jam = "Find the jam" in messages[0]["content"] and len(messages) > 3
        return Refused(400, "flagged by [policy] 7") if jam else seeker(messages)

    with ScriptedEndpoint(policy) as server:
        shown = evaluate("--endpoint", server.url, "--model", "m")
    assert shown.exit_code == 0, shown.output
    assert "0.667 [0.208, 0.939] (2/3)" in shown.stdout
    assert "ends: 5 done, 3 refused" in shown.stdout
    assert "3 refused, such as pantry/" in shown.stdout and "flagged by [policy] 7" in shown.stdout


@pytest.mark.parametrize("layout", ["chat", "turns"])
def test_style_and_layout_are_asked_for(layout):
    """WebShop's other style, whose prompts are quite different."""
    setup = replace(CASES[1], prompt="compact", layout=layout)
    (task_id,) = subset(setup.make().tasks.ids, 1)
    plays = [scripted(setup, task_id, seed=0, policy="expert")]
    settings = [f"--set={key}={value}" for key, value in setup.settings.items()]
    with ScriptedEndpoint(answers(plays)) as server:
        words = ("--endpoint", server.url, "--model", "m", "--tasks", 1, *settings)
        styled = ("--prompt", "compact", "--layout", layout)
        shown = evaluate(*words, *styled, env_id=setup.env_id)
    assert shown.exit_code == 0, shown.output
    assert "(1/1)" in shown.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--endpoint", "http://x/v1"], "--endpoint needs --model"),
        (["--endpoint", "x", "--model", "m", "--policy", "random"], "takes no --policy"),
        (["--model", "m"], "an --endpoint has settings of this kind: model"),
        (["--layout", "turns", "--temperature", "1"], "of this kind: layout, temperature"),
        (["--out", "x.jsonl"], "of this kind: transcript"),
        (["--endpoint", "x", "--model", "m", "--layout", "tree"], "layout is 'chat' or 'turns'"),
        (["--endpoint", "x", "--model", "m", "--prompt", "odd"], "no prompt style 'odd'"),
        (["--endpoint", "x", "--model", "m", "--request", "top_k"], "--request takes key=value"),
        (["--endpoint", "x", "--model", "m", "--concurrency", "0"], "must be at least 1, got 0"),
    ],
)
def test_options_that_do_not_go_together(words, message):
    failed = evaluate(*words)
    assert message in str(failed.exception)
    assert isinstance(failed.exception, ValueError)


def test_a_dead_endpoint_is_one_line_and_exit_code_3(tmp_path):
    with ScriptedEndpoint(seeker, lambda number: "401") as server:
        code = "import sys; sys.path.insert(0, sys.argv.pop(1)); "
        code += "from agentgym_envs.cli import main; main()"
        wrong = subprocess.run(
            [
                *(sys.executable, "-c", code, str(EXAMPLE.parents[2] / "tests"), "evaluate", ENV),
                *("--endpoint", server.url, "--model", "m", "--out", str(tmp_path / "t.jsonl")),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    assert wrong.returncode == 3
    (line,) = [line for line in wrong.stderr.splitlines() if "error:" in line]
    assert f"error: {server.url}/ answers 401" in line
    assert "0 of 8 episodes are in" in line and "Traceback" not in wrong.stderr


def test_the_example_runs(tmp_path, capsys):
    with ScriptedEndpoint(lambda messages: "<think>hm</think><action>look</action>") as server:
        words = ["--base-url", server.url, "--model", "m", "--tasks", "2"]
        example = runpy.run_path(str(EXAMPLE))
        example["main"]([*words, "--transcript", str(tmp_path / "t.jsonl")])
    shown = capsys.readouterr().out
    assert "[assistant] <think>hm</think><action>look</action>" in shown
    assert "2/2\nsuccess 0.000 [0.000, 0.658] (0/2); 40 replies, " in shown
