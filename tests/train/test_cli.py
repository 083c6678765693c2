"""The command: verbs, files, exit codes; a user's mistake is one line and no traceback."""

import json
import sys
from pathlib import Path

import pytest
from pantry.env import PantryEnv
from train.pantry_run import SETTINGS, pantry_run

from agentgym_train import cli
from agentgym_train.runlog import read_metrics
from agentgym_train.settings import Warmup, build, dump

VERBS = ("run", "resume", "eval", "warmup", "compare", "report", "view", "judge")


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs `agentgym-train` with arguments in this process: exit code, stdout, stderr."""

    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["agentgym-train", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        told = capsys.readouterr()
        return int(end.value.code or 0), told.out, told.err

    return run


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with settings files: of a run of one step, and of a short warm-up."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "run.toml").write_text(dump(pantry_run(steps=1)))
    tables = {"env": SETTINGS["env"], "model": SETTINGS["model"], "threads": 1}
    short = build(Warmup, {**tables, "episodes": 4, "steps": 2})
    (folder / "warmup.toml").write_text(dump(short))
    return folder


def error_of(told: tuple[int, str, str], code: int) -> str:
    """The one line that a mistake is told in."""
    assert told[0] == code, told
    assert "Traceback" not in told[2]
    (line,) = [line for line in told[2].splitlines() if "error:" in line]
    return line


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help(command, verb):
    code, out, _ = command(*filter(None, [verb]), "--help")
    assert code == 0
    assert "Usage" in out
    assert all(one in out for one in VERBS) or verb


def test_run_then_eval_then_resume(command, home):
    folder = home / "first"
    code, out, err = command("run", home / "run.toml", "--out", folder, "--set", "seed=4")
    assert code == 0, err
    assert out.splitlines() == [
        f"metrics: {folder / 'metrics.jsonl'}",
        f"model: {folder / 'model'}",
        f"plot: {folder / 'success.png'}",
    ]
    assert all(Path(line.split(": ", 1)[1]).exists() for line in out.splitlines())
    assert "seed = 4" in (folder / "run.toml").read_text()

    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.suffix != ".png"}
    code, _, err = command("resume", folder)
    assert (code, "all 1 steps are done" in err) == (0, True)
    after = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.suffix != ".png"}
    assert before == after

    code, out, err = command("eval", folder, "--tasks", 3)
    assert code == 0, err
    assert "/3)" in out and "honey" in out
    scripted = {words[1]: words for words in map(str.split, out.splitlines()) if "(3/3)" in words}
    assert "expert" in scripted and "random" in out
    assert "/8)" in command("eval", folder, "--tasks", 0)[1]
    assert "/4)" in command("eval", folder)[1]  # as many as the run's evaluations
    other = command("eval", folder, "--model", folder / "best")[1]
    assert str(folder / "best")[:12] in other

    line = error_of(command("run", home / "run.toml", "--out", folder), 2)
    assert "already holds a run" in line and "agentgym-train resume" in line


def test_a_run_goes_on_from_where_more_steps_are_wanted(command, home):
    folder = home / "longer"
    assert command("run", home / "run.toml", "--out", folder)[0] == 0
    settings = folder / "run.toml"
    settings.write_text(settings.read_text().replace("steps = 1\n", "steps = 2\n", 1))
    code, _, err = command("resume", folder)
    assert (code, "going on from step 1" in err) == (0, True)
    assert [record["step"] for record in read_metrics(folder)] == [0, 1, 2]


def test_warmup_then_run_from_its_model(command, home):
    folder = home / "warm"
    code, out, err = command("warmup", home / "warmup.toml", "--out", folder)
    assert code == 0, err
    assert out.endswith(f"model: {folder / 'model'}\n")
    assert all(name in out for name in ("warmed up", "random", "expert"))
    line = error_of(command("warmup", home / "warmup.toml", "--out", folder), 2)
    assert "already holds a model" in line and "--out" in line
    model = f"model.name={folder / 'model'}"
    code, _, err = command("run", home / "run.toml", "--out", home / "second", "--set", model)
    assert code == 0, err
    assert json.loads((home / "second" / "metrics.jsonl").read_text().splitlines()[1])["step"] == 1


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        (["--set", "rollout.grups=2"], 2, "unknown key rollout.grups; did you mean rollout.groups"),
        (["--set", "steps"], 2, "--set takes key=value, got 'steps'"),
        (["--set", "steps=0"], 2, "steps must be at least 1, got 0"),
        (["--set", "env.id=Nowhere/None-v0"], 2, "Nowhere"),
        (["--set", "env.prompt=fancy"], 2, "no prompt style 'fancy'; built in: default"),
        (["--set", "model.name=no/such/folder"], 3, "model 'no/such/folder' cannot be loaded"),
        (["--set", "model.name=no/such/folder"], 3, "no such folder from"),
        (["--set", "env.common.max_turns=0"], 2, "max_turns must be at least 1"),
        (["--set", "env.id=no_such_lab:A/B-v0"], 3, "no_such_lab"),
    ],
)
def test_mistakes_in_settings(command, home, tmp_path, changes, code, message):
    told = command("run", home / "run.toml", "--out", tmp_path / "run", *changes)
    assert message in error_of(told, code)


def test_what_is_missing(command, home, tmp_path):
    nothing = tmp_path / "nothing.toml"
    told = command("run", nothing, "--out", tmp_path / "run")
    assert error_of(told, 2) == f"error: there is no settings file {nothing}"
    for verb in ("resume", "eval"):
        assert "is no run's folder" in error_of(command(verb, tmp_path), 3)
    (tmp_path / "warmup.toml").touch()
    assert "is a warm-up's folder" in error_of(command("eval", tmp_path), 3)
    (tmp_path / "run.toml").touch()
    assert "its run is not finished" in error_of(command("eval", tmp_path), 3)
    nothing.write_text("a file, not a folder")
    assert "Not a directory" in error_of(
        command("run", home / "run.toml", "--out", nothing / "run"), 3
    )


def test_an_error_of_somebodys_environment_is_one_line_with_its_place(
    command, home, tmp_path, monkeypatch
):
    def act(self, action):
        raise NameError("name 'cupbord' is not defined")

    monkeypatch.setattr(PantryEnv, "act", act)
    line = error_of(command("run", home / "run.toml", "--out", tmp_path / "run"), 4)
    assert line.startswith("error: NameError: name 'cupbord' is not defined (tests/train/")
    assert line.endswith(", in act); AGENTGYM_TRACEBACK=1 shows all")
    monkeypatch.setenv("AGENTGYM_TRACEBACK", "1")
    monkeypatch.setattr(
        sys, "argv", ["agentgym-train", "run", str(home / "run.toml"), "--out", str(tmp_path / "x")]
    )
    with pytest.raises(NameError):
        cli.main()


def test_arguments_that_do_not_parse(command):
    assert command("run")[0] == 2
    assert command("fly")[0] == 2


def test_an_error_may_hold_what_looks_like_markup(command, tmp_path):
    told = command("resume", tmp_path / "[bold]x")
    assert "[bold]x" in error_of(told, 3)
