"""The compiled engine against the official stack, command by command."""

import random
import sys
from dataclasses import replace

import pytest
from official_stack import needs_official_stack

from agentgym_envs.alfworld.data import GameLibrary, pack
from agentgym_envs.alfworld.game import Game, make_game, read_game
from agentgym_envs.alfworld.textworld_engine import TextWorldEngine
from agentgym_envs.alfworld.world import compile_world

GOING = ("go to", "look", "inventory", "help", "examine")


def nonsense(rng: random.Random, command: str, names: list[str]) -> str:
    """A command that is malformed, misspelt, padded, impossible here, or plain noise."""
    one, two = rng.choice(names), rng.choice(names)
    return rng.choice(
        [
            f"  {command}\t\n",
            command.upper(),
            command.replace(" ", "  "),
            command.replace(" ", "\t", 1),
            command + " please",
            command + " 7",
            "",
            " ",
            "xyzzy",
            "take",
            "go to",
            "go to nowhere 1",
            "move  to ",
            "look around",
            "öffne den Kühlschrank 1",
            "\u00a0look\u2003",
            "取る",
            f"go to {one}",
            f"open {one}",
            f"close {one}",
            f"examine {one}",
            f"use {one}",
            f"take {one} from {two}",
            f"move {one} to {two}",
            f"put {one} in/on {two}",
            f"clean {one} with {two}",
            f"heat {one} with {two}",
            f"cool {one} with {two}",
            f"slice {one} with {two}",
        ]
    )


def compare(game: Game, official: TextWorldEngine, turns: int, seed: int) -> dict[str, int]:
    """Play the same commands in both engines and assert equality of all they say.

    A third of the walk follows the published walkthrough, interrupted; about half of the other
    commands handle objects, an eighth are nonsense.
    """
    rng = random.Random(seed)
    world = compile_world(game)
    state = world.start()
    names = [*world.receptacles, *world.objects]
    assert official.start(game) == world.intro
    assert official.admissible() == state.admissible()
    script = list(game.walkthrough) if seed % 3 == 0 else []
    counts = {"turns": 0, "won": 0, "nothing": 0}
    for turn in range(turns):
        options = state.admissible()
        handling = [option for option in options if not option.startswith(GOING)]
        dice = rng.random()
        if dice < 0.13:
            command = nonsense(rng, rng.choice(options), names)
        elif script and dice < 0.7:
            command = script.pop(0)
        elif handling and dice < 0.6:
            command = rng.choice(handling)
        else:
            command = rng.choice(options)
        where = f"{game.id}, turn {turn}: {command!r}"
        said = state.act(command)
        assert said == official.act(command), where
        assert state.admissible() == official.admissible(), where
        assert state.won == official.won, where
        assert state.goal_conditions() == official.goal_conditions(), where
        counts["turns"] += 1
        counts["won"] += state.won
        counts["nothing"] += said == "Nothing happens."
    return counts


@needs_official_stack
def test_sampled_games_play_alike_in_both_engines(game_files, official):
    for seed, path in enumerate(random.Random(5).sample(game_files, 3)):
        assert compare(read_game(path), official, turns=25, seed=seed)["turns"] == 25


@needs_official_stack
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_game_plays_alike_in_both_engines(game_files, official):
    total = {"turns": 0, "won": 0, "nothing": 0}
    for seed, path in enumerate(game_files):
        for key, count in compare(read_game(path), official, turns=50, seed=seed).items():
            total[key] += count
    print(f"\n{len(game_files)} games compared: {total}")
    assert total["turns"] >= 50 * len(game_files)
    assert total["won"] > 0


@needs_official_stack
def test_the_old_wording_plays_alike_in_both_engines(game_files, official):
    """A real game reworded as files before data release 2.1.3 are."""
    game = read_game(game_files[-1])
    wording = {
        "move {o} to {r}": "put {o} in/on {r}",
        "You move the {o.name} to the {r.name}.": "You put the {o.name} in/on the {r.name}.",
        "You arrive at {r.name}.": "You arrive at {lend.name}.",
    }
    text = game.file_text()
    for new, before in wording.items():
        assert new in text
        text = text.replace(new, before)
    old = make_game(text, id=game.id, task_type=game.task_type)
    assert old.dialect.name == "put"
    commands = tuple(
        command.replace("move ", "put ").replace(" to ", " in/on ")
        if command.startswith("move ")
        else command
        for command in game.walkthrough
    )
    assert compare(replace(old, walkthrough=commands), official, turns=25, seed=0)["turns"] == 25


@needs_official_stack
def test_the_official_stack_leaves_the_process_as_it_was(game_files, official, capfd):
    argv, stdout, dice = list(sys.argv), sys.stdout, random.getstate()
    game = read_game(game_files[0])
    official.start(game)
    official.act("look")
    assert sys.argv == argv
    assert sys.stdout is stdout
    assert random.getstate() == dice
    assert capfd.readouterr().out == ""


@needs_official_stack
def test_a_game_from_a_pack_plays_in_the_official_stack(game_files, tmp_path, official):
    pack(game_files[0].parents[3], tmp_path / "games")
    library = GameLibrary(tmp_path / "games")
    game = library.game(library.ids(library.splits[0])[0])
    assert game.path is None
    assert official.start(game) == library.world(game.id).intro


def test_an_engine_not_started_says_so():
    with pytest.raises(RuntimeError, match="call start"):
        TextWorldEngine().act("look")


def test_a_missing_official_stack_names_the_extra(game_files, monkeypatch):
    monkeypatch.setitem(sys.modules, "textworld", None)
    with pytest.raises(ImportError, match=r"pip install -e '\.\[alfworld\]'"):
        TextWorldEngine().start(read_game(game_files[0]))
