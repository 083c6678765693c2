"""The command `agentgym-envs`, verb by verb."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pantry import env as pantry
from pantry.env import PantryEnv
from typer.testing import CliRunner

from agentgym_envs.alfworld.data import GameLibrary
from agentgym_envs.alfworld.generate import GeneratedLibrary, write_games
from agentgym_envs.cli import app, main

ALFWORLD = "AgentGym/ALFWorld-v0"
PANTRY = "pantry:Pantry/Honey-v0"
REMOTE = "AgentGym/Remote-v0"
TINY = ("--set", "difficulty=tiny", "--set", 'games={"train": 6}')


def run(*words: str, says: str | None = None):
    """The result of a command that is expected to work."""
    result = CliRunner().invoke(app, list(words), input=says)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def game():
    library = GeneratedLibrary("tiny", games={"train": 6})
    return library.game(library.ids("train")[0])


def listed(*modules):
    """What `list` says of each environment."""
    done = run("list", *modules)
    return dict(line.split(None, 1) for line in done.stdout.splitlines()), done.stderr


def test_list_names_each_environment_and_says_what_it_is():
    told, _ = listed()
    ours = {"ALFWorld", "WebShop", "SearchQA", "Remote"}
    assert {f"AgentGym/{name}-v0" for name in ours} <= set(told)
    assert told[ALFWORLD].startswith("Find, carry, clean,")
    assert not any("CartPole" in env_id for env_id in told)


def test_list_names_those_of_other_modules_as_they_are_made():
    told, _ = listed("pantry")
    assert told[PANTRY].startswith("Closed cupboards.")
    assert isinstance(CliRunner().invoke(app, ["list", "nowhere_at_all"]).exception, ImportError)


def test_list_finds_those_of_installed_packages(tmp_path, monkeypatch):
    """A package says in its metadata which module registers its environments."""
    home = tmp_path / "attic-1.0.dist-info"
    home.mkdir()
    home.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: attic\nVersion: 1.0\n")
    home.joinpath("entry_points.txt").write_text(
        "[agentgym_envs.environments]\nattic = attic\nbroken = attic_broken\n"
    )
    tmp_path.joinpath("attic.py").write_text(
        "from agentgym_envs import register_text_env\n"
        "from pantry.env import PantryEnv\n"
        "class AtticEnv(PantryEnv):\n"
        "    'A box under the roof.'\n"
        "register_text_env('Attic/Box-v0', 'attic:AtticEnv', 'pantry.env:PantryVectorEnv')\n"
    )
    tmp_path.joinpath("attic_broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    told, complaints = listed()
    assert told["attic:Attic/Box-v0"] == "A box under the roof."
    assert "attic: attic_broken cannot be imported: ZeroDivisionError" in complaints


def test_a_person_wins_a_generated_game(game):
    played = run(
        "play", ALFWORLD, *TINY, "--task", game.id, says="\n".join([*game.walkthrough, ""])
    ).stdout
    assert game.id in played and f"Your task is to: {game.goal}" in played
    assert f"goal reached after {len(game.walkthrough)} turns, score 1" in played


def test_a_question_mark_lists_the_commands_and_the_end_of_input_stops(game):
    played = run("play", ALFWORLD, *TINY, "--task", game.id, says="?\nfly\n").stdout
    assert "\n  inventory\n" in played
    assert "Nothing happens." in played
    assert played.endswith("stopped\n")


def test_a_game_out_of_turns_says_that_the_goal_was_not_reached():
    settings = ("--set", "max_turns=2")
    played = run("play", ALFWORLD, *TINY, *settings, "--seed", "3", says="look\nlook\n").stdout
    assert "goal not reached after 2 turns, score 0" in played


def test_check_shows_every_promise():
    shown = run("check", ALFWORLD, *TINY, "--episodes", "2").stdout
    assert shown.count("\nkept  ") >= 15 and "broken" not in shown
    assert f"{ALFWORLD} keeps all 21 promises" in shown


def test_a_broken_promise_is_exit_code_4(monkeypatch):
    monkeypatch.setattr(PantryEnv, "advise", lambda self: None)
    result = CliRunner().invoke(app, ["check", PANTRY])
    assert result.exit_code == 4
    assert "broken  the expert solves its tasks" in result.stdout
    assert result.stdout.endswith("breaks 1 of 21 promises\n")


def test_lines_of_the_kit_are_not_wrapped_in_a_pipe(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    shown = run("check", PANTRY, "--episodes", "2").stdout.splitlines()
    assert len(shown) == 22
    assert all(line.startswith("kept    ") for line in shown[:-1])


def test_a_table_says_which_split_was_played():
    shown = run("evaluate", ALFWORLD, *TINY, "--set", "split=train", "--policy", "random").stdout
    assert shown.startswith(f"{ALFWORLD}, split train, random policy\n")
    shown = run("evaluate", PANTRY).stdout
    assert shown.startswith(f"{PANTRY}, split train, expert policy\n")


def test_an_environment_without_an_expert_says_so(monkeypatch):
    def plain():
        return [replace(task, expert=()) for task in pantry.tasks()]

    pantry_tasks = plain()
    monkeypatch.setattr(pantry, "tasks", lambda: pantry_tasks)
    failed = CliRunner().invoke(app, ["evaluate", PANTRY, "--policy", "expert"])
    assert isinstance(failed.exception, ValueError)
    assert str(failed.exception) == (
        "PantryEnv has no policy 'expert' (no expert: give `advise` or `Task.expert`); "
        "it has: random"
    )
    assert "(0/8)" in run("evaluate", PANTRY, "--policy", "random", "--set", "max_turns=1").stdout
    shown = run("check", PANTRY).stdout
    assert "skipped the expert solves its tasks" in shown
    assert "\n        no expert: give `advise` or `Task.expert`\n" in shown
    assert shown.endswith("keeps all 20 promises; 1 skipped\n")


def test_evaluate_plays_every_game_once_and_shows_intervals():
    shown = run("evaluate", ALFWORLD, *TINY).stdout
    assert "(6/6)" in shown and "1.000 [0.610, 1.000]" in shown
    assert "pick_clean_then_place_in_recep" in shown
    shown = run("evaluate", ALFWORLD, *TINY, "--policy", "random", "--set", "max_turns=1").stdout
    assert "(0/6)" in shown


def test_generated_games_are_written_packed_and_evaluated(tmp_path):
    folder, packed = tmp_path / "games", tmp_path / "games.alfworld"
    chosen = ("--difficulty", "tiny", "--games", "4", "--split", "train", "--split", "valid_seen")
    made = run("generate", "alfworld", str(folder), *chosen, "--seed", "5").stdout
    assert made == f"8 games in {folder} (difficulty tiny, seed 5)\n"
    assert GameLibrary(folder).splits == ("train", "valid_seen")
    assert run("pack", "alfworld", str(folder), str(packed)).stdout.startswith(
        f"8 games in {packed} ("
    )
    tables = [
        run("evaluate", ALFWORLD, "--set", f"data={source}", "--set", "split=seen").stdout
        for source in (folder, packed)
    ]
    assert "(4/4)" in tables[0]
    assert tables[0] == tables[1]


def test_a_setting_is_json_or_else_text(game, tmp_path):
    write_games(GeneratedLibrary("tiny", games={"train": 6}), tmp_path / "123", ["train"])
    kinds = json.dumps([game.task_type])
    data = f"data={tmp_path / '123'}"
    shown = run("evaluate", ALFWORLD, "--set", data, "--set", f"task_types={kinds}").stdout
    assert game.task_type in shown and "pick_heat" not in shown


def test_a_generated_shop_is_written_packed_and_played(tmp_path):
    folder, store = tmp_path / "shop", tmp_path / "shop.store"
    options = ("--difficulty", "tiny", "--products", "40")
    assert run("generate", "webshop", str(folder), *options).stdout.startswith("40 products in")
    assert run("pack", "webshop", str(folder), str(store)).stdout.startswith("40 products in")
    for data in (folder, store):
        settings = ("--set", f"data={data}", "--set", "splits=all")
        told = run("evaluate", "AgentGym/WebShop-v0", *settings, "--tasks", "5").stdout
        assert "1.000" in told and "(5/5)" in told


def test_a_generated_world_is_written_and_searched(tmp_path):
    folder = tmp_path / "world"
    assert "200 passages" in run("generate", "searchqa", str(folder), "--preset", "nano").stdout
    settings = ("--set", f"data={folder}", "--set", "split=test")
    told = run("evaluate", "AgentGym/SearchQA-v0", *settings, "--tasks", "5").stdout
    assert "1.000" in told and "(5/5)" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate", "AgentGym/Nope-v0"], "Nope"),
        (["check", "AgentGym/Nope-v0"], "Nope"),
        (["check", "Lab/Lock-v0"], "needs its package in front, as in my_package:Lab/Lock-v0"),
        (["check", "pantry:Lab/Lock-v0"], "Importing pantry registers no Lab/Lock-v0: call"),
        (["check", ALFWORLD, "--set", "max_turns=0"], "max_turns must be at least 1, got 0"),
        (["evaluate", "CartPole-v1"], "not a TextEnv"),
        (["evaluate", ALFWORLD, "--set", "split"], "--set takes key=value, got 'split'"),
        (["evaluate", ALFWORLD, "--set", "splitt=train"], "did you mean 'split'?"),
        (["play", ALFWORLD, "--set", "zzz=1"], "takes no argument 'zzz'; it takes data, split, "),
        (["check", REMOTE], "AgentGym/Remote-v0 needs a value for 'url'"),
        (["evaluate", ALFWORLD, "--set", "split=test"], "there are: train, valid_seen"),
        (["evaluate", ALFWORLD, "--policy", "wise"], "no policy 'wise'; it has: random, expert"),
        (["play", ALFWORLD, "--task", "[red]"], "no game '[red]'"),
        (["evaluate", ALFWORLD, "--set", "max_turns=few"], "'max_turns' is of type int, got 'few'"),
        (["check", ALFWORLD, "--set", "split=3"], "'split' is of type str, got 3"),
        (["evaluate", ALFWORLD, "--set", 'games={"train": "x"}'], "'games' is of type"),
        (["generate", "webshop", "shop", "--difficulty", "absurd"], "there are: tiny"),
        (["generate", "searchqa", "world", "--preset", "absurd"], "nano"),
        (["generate", "alfworld", "games", "--difficulty", "absurd"], "there are: tiny"),
        (["generate", "alfworld", "games", "--split", "test"], "no split 'test'"),
        (["generate", "alfworld", "games", "--games", "-1"], "0 or more"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert message in failing(words, 2, monkeypatch, capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["play", "nowhere_at_all:Some/Env-v0"],
            "no module 'nowhere_at_all', which the id 'nowhere_at_all:Some/Env-v0' names",
        ),
        (
            ["evaluate", PANTRY, "--set", "parser=nowhere.parsing:last"],
            "no module 'nowhere', which the parser 'nowhere.parsing:last' names",
        ),
        (["evaluate", ALFWORLD, "--set", "data=no/such"], "no ALFWorld games"),
        (["play", REMOTE, "--set", "url=127.0.0.1:9"], "no server at ws://127.0.0.1:9/ws: "),
        (["play", REMOTE, "--set", "url=127.0.0.1:9", "--set", "patience=0"], "no session at"),
        (["pack", "alfworld", "no/such/folder", "games.alfworld"], "no ALFWorld games"),
        (["pack", "webshop", "no/such/folder", "shop.store"], "no WebShop catalogue"),
    ],
)
def test_what_is_missing_is_one_line_and_exit_code_3(words, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert message in failing(words, 3, monkeypatch, capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_python_takes_for_a_package_is_named(monkeypatch, capsys, tmp_path):
    """As when a command is run beside a project's folder and not in it."""
    tmp_path.joinpath("my_attic", "my_attic").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    line = failing(["check", "my_attic:Lab/Attic-v0"], 3, monkeypatch, capsys)
    assert "'my_attic', which the id 'my_attic:Lab/Attic-v0' names, was found as a folder" in line
    assert line.endswith("cd into it, or pip install -e it")


@pytest.mark.parametrize("error", [NameError("name 'x' is not defined"), KeyError("x"), OSError(7)])
@pytest.mark.parametrize("verb", ["evaluate", "play"])
def test_an_error_of_somebodys_environment_is_one_line_too(error, verb, monkeypatch, capsys):
    def act(self, action):
        raise error

    monkeypatch.setattr(pantry.PantryEnv, "act", act)
    monkeypatch.setattr(sys, "stdin", io.StringIO("open red\n"))
    line = failing([verb, PANTRY], 3 if isinstance(error, OSError) else 4, monkeypatch, capsys)
    said = f"{type(error).__name__}: {error.args[0]}"
    place = f"{Path(__file__).relative_to(Path.cwd())}:{act.__code__.co_firstlineno + 1}, in act"
    assert line == f"error: {said} ({place}); AGENTGYM_TRACEBACK=1 shows all"


def test_check_says_where_an_environment_fails_and_shows_all_when_asked(monkeypatch):
    def act(self, action):
        return 1 / 0

    monkeypatch.setattr(pantry.PantryEnv, "act", act)
    result = CliRunner().invoke(app, ["check", PANTRY])
    assert result.exit_code == 4
    assert f"{act.__code__.co_firstlineno + 1}, in act); AGENTGYM_TRACEBACK=1" in result.stdout
    assert result.stdout.count("division by zero") == 1
    monkeypatch.setenv("AGENTGYM_TRACEBACK", "1")
    assert "Traceback (most recent" in CliRunner().invoke(app, ["check", PANTRY]).stdout


def failing(words, code, monkeypatch, capsys):
    """The line that a command ends with, and nothing else in the way of errors."""
    monkeypatch.setattr(sys, "argv", ["agentgym-envs", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == code
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    return line


@pytest.mark.parametrize("kind", ["alfworld", "webshop", "searchqa"])
def test_nothing_is_generated_into_a_folder_that_holds_something(
    kind, monkeypatch, capsys, tmp_path
):
    tmp_path.joinpath("thesis.txt").write_text("mine")
    line = failing(["generate", kind, str(tmp_path)], 2, monkeypatch, capsys)
    assert line == f"error: {tmp_path} is not empty: name a new folder"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "words",
    [
        ["dance"],
        ["play"],
        ["check", ALFWORLD, "--episodes", "few"],
        ["check", ALFWORLD, "--episodes", "0"],
        ["evaluate", ALFWORLD, "--tasks", "-1"],
    ],
)
def test_a_command_that_does_not_exist_is_exit_code_2(words):
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "Usage" in result.stderr


def test_the_installed_command_shows_no_traceback(tmp_path):
    command = [sys.executable, "-c", "from agentgym_envs.cli import main; main()"]
    wrong = subprocess.run(
        [*command, "evaluate", ALFWORLD, "--set", f"data={tmp_path}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr
    assert wrong.stderr.startswith(f"error: no ALFWorld games in {tmp_path}")


def test_without_typer_the_command_says_what_to_install(monkeypatch, capsys):
    import agentgym_envs.__main__ as entry

    monkeypatch.setitem(sys.modules, "typer", None)
    monkeypatch.delitem(sys.modules, "agentgym_envs.cli", raising=False)
    with pytest.raises(SystemExit) as stopped:
        entry.main()
    assert stopped.value.code == 3
    assert "typer is not installed: in a checkout" in capsys.readouterr().err
