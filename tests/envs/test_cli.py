"""The command `agentgym-envs`, verb by verb."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
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
    assert f"{ALFWORLD} keeps all 17 promises" in shown


def test_a_broken_promise_has_an_exit_code_of_its_own(monkeypatch):
    from pantry.env import PantryEnv

    monkeypatch.setattr(PantryEnv, "advise", lambda self: None)
    result = CliRunner().invoke(app, ["check", PANTRY])
    assert result.exit_code == 3
    assert "broken the expert solves its tasks" in result.stdout
    assert result.stdout.endswith("breaks 1 of 17 promises\n")


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
        (["check", ALFWORLD, "--set", "max_turns=0"], "max_turns must be at least 1, got 0"),
        (["evaluate", "CartPole-v1"], "not a TextEnv"),
        (["play", "nowhere_at_all:Some/Env-v0"], "No module named 'nowhere_at_all'"),
        (["evaluate", ALFWORLD, "--set", "split"], "--set takes key=value, got 'split'"),
        (["evaluate", ALFWORLD, "--set", "misspelt=1"], "misspelt"),
        (["evaluate", ALFWORLD, "--set", "split=test"], "there are: train, valid_seen"),
        (["evaluate", ALFWORLD, "--set", "data=no/such"], "no ALFWorld games"),
        (["evaluate", ALFWORLD, "--policy", "wise"], "no policy 'wise'; it has: random, expert"),
        (["play", ALFWORLD, "--task", "[red]"], "no game '[red]'"),
        (["evaluate", ALFWORLD, "--set", "max_turns=few"], "'max_turns' is of type int, got 'few'"),
        (["check", ALFWORLD, "--set", "split=3"], "'split' is of type str, got 3"),
        (["evaluate", ALFWORLD, "--set", 'games={"train": "x"}'], "'games' is of type"),
        (["play", REMOTE, "--set", "url=127.0.0.1:9", "--set", "patience=0"], "no session at"),
        (["pack", "alfworld", "no/such/folder", "games.alfworld"], "no ALFWorld games"),
        (["pack", "webshop", "no/such/folder", "shop.store"], "no WebShop catalogue"),
        (["generate", "webshop", "shop", "--difficulty", "absurd"], "there are: tiny"),
        (["generate", "searchqa", "world", "--preset", "absurd"], "nano"),
        (["generate", "alfworld", "games", "--difficulty", "absurd"], "there are: tiny"),
        (["generate", "alfworld", "games", "--split", "test"], "no split 'test'"),
        (["generate", "alfworld", "games", "--games", "-1"], "0 or more"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["agentgym-envs", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_somebodys_own_module_says_what_and_where(monkeypatch, capsys):
    """It is a bug of theirs and looks like a mistake in the command."""
    from pantry import env as pantry

    def act(self, action):
        return {}["cupboard"]

    monkeypatch.setattr(pantry.PantryEnv, "act", act)
    monkeypatch.setattr(sys, "argv", ["agentgym-envs", "evaluate", PANTRY])
    with pytest.raises(SystemExit):
        main()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    place = f"{__file__}:{act.__code__.co_firstlineno + 1}"
    assert f"KeyError: cupboard ({place}; AGENTGYM_TRACEBACK=1 shows all)" in line


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


def test_without_typer_the_command_says_what_to_install(monkeypatch):
    import agentgym_envs.__main__ as entry

    monkeypatch.setitem(sys.modules, "typer", None)
    monkeypatch.delitem(sys.modules, "agentgym_envs.cli", raising=False)
    with pytest.raises(SystemExit, match=r"typer is not installed: in a checkout"):
        entry.main()
