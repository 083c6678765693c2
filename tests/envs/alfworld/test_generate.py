"""Generated games: made from a seed, solvable, split without overlap, officially playable."""

import importlib.util
import json
import pickle
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from envs.alfworld.test_differential import compare
from hypothesis import given, settings
from hypothesis import strategies as st
from official_stack import needs_official_stack

from agentgym_envs.alfworld import pddl_text
from agentgym_envs.alfworld.briefs import brief
from agentgym_envs.alfworld.data import GameLibrary
from agentgym_envs.alfworld.export import trajectory_record
from agentgym_envs.alfworld.game import TASK_TYPES, read_game
from agentgym_envs.alfworld.generate import SPLITS, GeneratedLibrary, generate_game, write_games
from agentgym_envs.alfworld.grammar import read_dialect, split_goal
from agentgym_envs.alfworld.rooms import DIFFICULTIES, Difficulty, furnish
from agentgym_envs.alfworld.tables import CLOSABLE, FITS, LIES, ROOM_KINDS
from agentgym_envs.alfworld.world import compile_world

ALL = tuple(TASK_TYPES.values())
PRESETS = tuple(DIFFICULTIES)
presets = st.sampled_from(PRESETS)
splits = st.sampled_from(tuple(SPLITS))
seeds = st.integers(0, 10**9)


def layout(game):
    """What a player can tell games apart by, but for the numbers in names."""
    world = compile_world(game)
    inside = [
        (kind, closable, tuple(sorted(world.object_types[thing] for thing in things)))
        for kind, closable, things in zip(
            world.receptacle_types, world.openable, world.first.contents, strict=True
        )
    ]
    return (game.task_type, world.goal.object_type, world.goal.receptacle_type, *sorted(inside))


@given(seeds, presets, splits, st.integers(0, 10_000))
@settings(max_examples=60)
def test_every_game_is_won_by_its_walkthrough_and_not_before(seed, preset, split, index):
    game = generate_game(seed, preset, split, index)
    state = compile_world(game).start()
    for command in game.walkthrough:
        assert not state.won
        assert command in state.admissible()
        state.act(command)
    assert state.won


@given(seeds, presets, splits, st.integers(0, 10_000))
@settings(max_examples=40)
def test_no_target_starts_in_a_goal_receptacle_and_all_things_lie_where_they_fit(
    seed, preset, split, index
):
    world = compile_world(generate_game(seed, preset, split, index))
    for receptacle, things in enumerate(world.first.contents):
        for thing in things:
            if receptacle in world.goal_receptacles:
                assert not world.of_type >> thing & 1
            if world.fitting[thing]:
                assert receptacle in world.fitting[thing]


@pytest.mark.parametrize("task_type", ALL)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_makes_every_type_of_task_in_every_split(preset, task_type):
    level = replace(DIFFICULTIES[preset], task_types=(task_type,))
    for split in SPLITS:
        games = [generate_game(3, level, split, index) for index in range(8)]
        assert {game.task_type for game in games} == {task_type}
        assert len({layout(game) for game in games}) > 1


def test_a_game_is_the_same_text_in_a_fresh_process():
    code = (
        "from agentgym_envs.alfworld.generate import generate_game as g;"
        "print(g(7, 'full', 'valid_seen', 11).file_text())"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert there.strip() == generate_game(7, "full", "valid_seen", 11).file_text()


def test_seed_difficulty_split_and_index_each_change_the_game():
    texts = {
        generate_game(*which).problem
        for which in [
            (0, "small", "train", 0),
            (1, "small", "train", 0),
            (0, "medium", "train", 0),
            (0, "small", "valid_seen", 0),
            (0, "small", "train", 6),
        ]
    }
    assert len(texts) == 5


@pytest.mark.parametrize("preset", PRESETS)
def test_splits_share_no_game_and_unseen_rooms_are_unseen(preset):
    library = GeneratedLibrary(preset, games={"train": 150, "valid_seen": 60, "valid_unseen": 60})
    layouts = {
        split: {layout(library.game(id)) for id in library.ids(split)} for split in library.splits
    }
    scenes = {
        split: {int(id.split("/")[1].rpartition("-")[2]) for id in library.ids(split)}
        for split in library.splits
    }
    assert layouts["train"].isdisjoint(layouts["valid_seen"])
    assert layouts["valid_unseen"].isdisjoint(layouts["train"] | layouts["valid_seen"])
    assert scenes["valid_unseen"].isdisjoint(scenes["train"] | scenes["valid_seen"])
    assert all(scene % 10 in (0, 9) for scene in scenes["valid_unseen"])


def test_ids_are_known_before_any_game_is_made_and_task_types_take_turns():
    library = GeneratedLibrary("small", games={"train": 60})
    ids = library.ids("train")
    assert len(set(ids)) == 60
    assert not library._worlds
    for index, id in enumerate(ids):
        assert brief(0, "small", "train", index).id == id == library.game(id).id
        assert library.game(id).task_type == ALL[index % 6]
    assert library.ids("train", [1, "pick_two_obj_and_place"]) == tuple(
        id for index, id in enumerate(ids) if index % 6 in (0, 5)
    )


def test_a_library_keeps_few_worlds_and_pickles_as_its_arguments():
    library = GeneratedLibrary("tiny", seed=4, games={"train": 20}, keep=3)
    for id in library.ids("train"):
        library.world(id)
    assert len(library._worlds) == 3
    twin = pickle.loads(pickle.dumps(library))
    assert twin.ids("train") == library.ids("train")
    assert twin.game(twin.ids("train")[5]) == library.game(library.ids("train")[5])


def test_what_does_not_exist_is_refused_by_name():
    library = GeneratedLibrary("tiny", games={"train": 4})
    with pytest.raises(KeyError, match="no generated game 'train/x'"):
        library.game("train/x")
    with pytest.raises(ValueError, match="valid_seen"):
        library.ids("valid_seen")
    with pytest.raises(KeyError, match="there are: tiny"):
        GeneratedLibrary("enormous")
    with pytest.raises(ValueError, match="no split 'test'"):
        GeneratedLibrary("tiny", games={"test": 3})
    with pytest.raises(ValueError, match="0 or more"):
        GeneratedLibrary("tiny", games={"train": -1})
    with pytest.raises(ValueError, match="kinds of room"):
        Difficulty(name="x", kinds=("cellar",))
    with pytest.raises(ValueError, match="no seen room allows pick_heat"):
        generate_game(0, Difficulty(name="x", task_types=(ALL[3],), kinds=("bedroom",)), "train", 0)
    with pytest.raises(ValueError, match="no scene 99"):
        furnish(99, DIFFICULTIES["tiny"])


def test_tiny_rooms_are_tiny():
    """The sizes a model of 0.4 million parameters can learn from."""
    library = GeneratedLibrary("tiny", games={"train": 200})
    for id in library.ids("train"):
        world = library.world(id)
        doors = sum(world.openable)
        assert doors in (1, 2)
        assert len(world.receptacles) - doors == 2
        assert 4 <= len(world.objects) <= 6
        assert len(world.game.walkthrough) <= 9


def test_full_rooms_are_about_as_large_as_real_ones():
    library = GeneratedLibrary("full", games={"train": 150})
    worlds = [library.world(id) for id in library.ids("train")]
    assert max(len(world.receptacles) for world in worlds) > 25
    assert 25 < sum(len(world.pickupable) for world in worlds) / len(worlds) < 60


def test_difficulty_shares_are_respected():
    """With every spot shared and every cabinet doorless there is one spot and no closed cabinet."""
    level = replace(DIFFICULTIES["full"], name="huddled", shared_spots=1.0, doorless=1.0)
    room = furnish(7, level)
    assert len({fixture.spot for fixture in room.fixtures}) == 1
    assert {f.type for f in room.fixtures if f.closable}.isdisjoint({"Cabinet", "Drawer"})


def test_the_tables_agree_with_each_other():
    for kind in ROOM_KINDS.values():
        types = {often.type for often in kind.receptacles}
        assert set(kind.core) <= types <= set(FITS)
        assert all(0 < often.share <= 1 <= often.mean <= often.most for often in kind.objects)
    assert set(FITS) >= CLOSABLE
    assert all(set(places) <= set(FITS) for places in LIES.values())


def test_goal_sentences_name_the_goal():
    for index in range(12):
        task = brief(0, "medium", "train", index)
        goal = generate_game(0, "medium", "train", index).goal
        words = re.findall(r"\w+", goal)
        assert task.object.lower() in words
        assert task.receptacle.lower() in words
        assert goal.endswith(".")


def test_our_rules_are_the_ones_the_engine_knows():
    blank, goal = split_goal(pddl_text.grammar("put a mug in desk."))
    dialect = read_dialect(pddl_text.DOMAIN, blank)
    assert goal == "put a mug in desk."
    assert dialect.name == "move"
    assert dialect.help is not None
    assert dialect.help.startswith("Available commands:")


def test_written_games_are_read_back_unchanged(tmp_path):
    made = GeneratedLibrary("small", seed=2, games={"train": 8, "valid_unseen": 4})
    done = []
    count = write_games(made, tmp_path, made.splits, on_game=lambda: done.append(1))
    assert count == len(done) == 12
    found = GameLibrary(tmp_path)
    for split in made.splits:
        assert sorted(found.ids(split)) == sorted(made.ids(split))
        for id in made.ids(split):
            assert replace(found.game(id), path=None) == made.game(id)
            assert compile_world(read_game(tmp_path / id)).intro == made.world(id).intro
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"game.tw-pddl", "traj_data.json", "initial_state.pddl"}


def test_writing_again_is_harmless_but_never_overwrites_other_games(tmp_path):
    one = GeneratedLibrary("tiny", games={"train": 2})
    write_games(one, tmp_path, ["train"])
    write_games(one, tmp_path, ["train"])
    victim = next(tmp_path.rglob("game.tw-pddl"))
    victim.write_text("mine")
    with pytest.raises(FileExistsError, match="other content"):
        write_games(one, tmp_path, ["train"])
    assert victim.read_text() == "mine"


def test_records_have_the_shape_of_official_ones(real_data):
    """Every key that we write is one that ALFRED writes, nested ones included."""
    official = json.loads(next((real_data / "alfworld").rglob("traj_data.json")).read_text())
    record = trajectory_record(generate_game(0, "small", "train", 1))
    assert set(record) - {"images"} <= set(official)
    for part in ("pddl_params", "scene"):
        assert set(record[part]) <= set(official[part])
    assert record["pddl_params"]["toggle_target"] == "DeskLamp"
    assert record["pddl_params"]["parent_target"] == ""


@needs_official_stack
def test_generated_games_play_alike_in_both_engines(official):
    for seed, (preset, index) in enumerate([("tiny", 2), ("small", 1), ("medium", 5)]):
        game = generate_game(seed, preset, "train", index)
        assert compare(game, official, turns=20, seed=seed)["turns"] == 20


@needs_official_stack
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("preset", PRESETS)
def test_many_generated_games_play_alike_in_both_engines(official, preset):
    won = 0
    for index in range(6):
        level = replace(DIFFICULTIES[preset], task_types=(ALL[index],))
        game = generate_game(9, level, "valid_unseen", index)
        won += compare(game, official, turns=50, seed=3 * index)["won"]
    assert won > 0


@pytest.mark.skipif(importlib.util.find_spec("alfworld") is None, reason="alfworld not installed")
def test_the_official_environment_collects_what_was_written(tmp_path, capsys):
    from alfworld.agents.environment.alfred_tw_env import AlfredTWEnv

    made = GeneratedLibrary("small", games={"train": 6})
    write_games(made, tmp_path, ["train"])
    config = {
        "env": {"goal_desc_human_anns_prob": 0, "task_types": [1, 2, 3, 4, 5, 6]},
        "dataset": {"data_path": str(tmp_path / "train"), "num_train_games": -1},
    }
    found = AlfredTWEnv(config, train_eval="train").game_files
    assert sorted(found) == sorted(str(tmp_path / id / "game.tw-pddl") for id in made.ids("train"))
