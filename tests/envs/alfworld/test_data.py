"""Collections of games: official folders and packs."""

import json
import pickle
import shutil
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agentgym_envs.alfworld.data import SPLIT_ALIASES, GameLibrary, pack, split_name
from agentgym_envs.alfworld.game import TASK_TYPES
from agentgym_envs.alfworld.pack import Pack


@pytest.fixture(scope="module")
def packed(alfworld_games: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pack") / "games.alfworld"
    pack(alfworld_games, path)
    return path


@pytest.fixture
def few(alfworld_games: Path, tmp_path: Path) -> Path:
    """A folder of one's own with two games of one split, to be damaged."""
    source = sorted(alfworld_games.rglob("game.tw-pddl"))[:2]
    for path in source:
        target = tmp_path / "few" / Path(*path.parts[-4:-1])
        target.mkdir(parents=True)
        shutil.copy(path, target)
    return tmp_path / "few"


def trials(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.rglob("game.tw-pddl"))


def test_a_library_has_every_game_of_its_folder_once_and_in_order(alfworld_games):
    library = GameLibrary(alfworld_games)
    listed = [id for split in library.splits for id in library.ids(split)]
    found = sorted("/".join(path.parts[-4:-1]) for path in alfworld_games.rglob("game.tw-pddl"))
    assert sorted(listed) == found
    assert len(set(listed)) == len(listed)
    for split in library.splits:
        assert list(library.ids(split)) == sorted(library.ids(split))
        assert all(id.startswith(f"{split}/") for id in library.ids(split))


def test_counts_per_split_and_type_are_those_of_the_sample(alfworld_games):
    library = GameLibrary(alfworld_games)
    readme = (alfworld_games / "README.md").read_text()
    for split in library.splits:
        counts = Counter(library.game(id).task_type for id in library.ids(split))
        for kind in TASK_TYPES.values():
            assert counts[kind] == len(library.ids(split, [kind]))
        assert set(counts) == set(TASK_TYPES.values())
        (each,) = set(counts.values())
        assert f"| {split} | {len(library.ids(split))} | {each} |" in readme


def test_the_folder_around_the_games_will_do(alfworld_games):
    inner = next(path for path in alfworld_games.iterdir() if path.is_dir())
    assert GameLibrary(inner).ids("train") == GameLibrary(alfworld_games).ids("train")


def test_types_filter_by_name_or_number(alfworld_games):
    library = GameLibrary(alfworld_games)
    assert library.ids("train", [4, "pick_two_obj_and_place"]) == tuple(
        id for id in library.ids("train") if "pick_heat" in id or "pick_two" in id
    )
    with pytest.raises(ValueError, match="known: 1 ="):
        library.ids("train", [9])
    with pytest.raises(ValueError, match="list of task types"):
        library.ids("train", "look_at_obj_in_light")


@pytest.mark.parametrize(("alias", "split"), SPLIT_ALIASES.items())
def test_aliases_name_the_same_games(alfworld_games, alias, split):
    library = GameLibrary(alfworld_games)
    assert library.ids(alias) == library.ids(split)
    assert split_name(alias) == split
    assert split_name(split) == split


def test_an_unknown_split_or_game_names_the_known_ones(alfworld_games, packed):
    for library in (GameLibrary(alfworld_games), GameLibrary(packed)):
        with pytest.raises(ValueError, match=r"no split 'test'.*train, valid_seen, valid_unseen"):
            library.ids("test")
        with pytest.raises(KeyError, match="no game 'train/nothing/here'"):
            library.game("train/nothing/here")
        with pytest.raises(KeyError, match="no game '../etc'"):
            library.game("../etc")


def test_what_the_official_loader_skips_is_skipped(few):
    one, two = trials(few)
    for name in ("pick_and_place_with_movable_recep-Mug-Bowl-Shelf-1", "a-MugSliced-None-Shelf-1"):
        shutil.copytree(one, few / "train" / name / "trial_1")
    (few / "train" / "pick_and_place_simple-Mug-None-Shelf-1" / "trial_0").mkdir(parents=True)
    data = json.loads((two / "game.tw-pddl").read_text())
    (two / "game.tw-pddl").write_text(json.dumps(data | {"solvable": False}))
    assert len(GameLibrary(few).ids("train")) == 1
    del data["solvable"]
    (two / "game.tw-pddl").write_text(json.dumps(data))
    assert len(GameLibrary(few).ids("train")) == 1
    moved = {"solvable": True} | data  # first, so that the end of the file does not say it
    (two / "game.tw-pddl").write_text(json.dumps(moved))
    assert len(GameLibrary(few).ids("train")) == 2


def test_a_place_without_games_says_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        GameLibrary(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="expected <split>/<task folder>/<trial>/game.tw-pddl"):
        GameLibrary(tmp_path)
    (tmp_path / "file").write_text("not a pack")
    with pytest.raises(ValueError, match="not a readable ALFWorld pack"):
        GameLibrary(tmp_path / "file")
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE games (id)")
    other.close()
    with pytest.raises(ValueError, match="not an ALFWorld pack of version"):
        GameLibrary(tmp_path / "other")


def test_worlds_are_kept_up_to_a_bound(alfworld_games):
    library = GameLibrary(alfworld_games, keep=2)
    one, two, three = library.ids("train")[:3]
    first = library.world(one)
    assert library.world(one) is first
    library.world(two)
    library.world(three)
    assert library.world(one) is not first
    assert library.world(one).intro == first.intro
    with pytest.raises(ValueError, match="at least 1"):
        GameLibrary(alfworld_games, keep=0)


def test_threads_share_a_library(alfworld_games):
    library = GameLibrary(alfworld_games, keep=3)
    ids = library.ids("train")[:12] * 4
    with ThreadPoolExecutor(8) as threads:
        worlds = list(threads.map(library.world, ids))
    assert [world.game.id for world in worlds] == list(ids)


def test_a_library_pickles_as_its_path(alfworld_games, packed):
    for path in (alfworld_games, packed):
        library = pickle.loads(pickle.dumps(GameLibrary(path, keep=7)))
        assert library.keep == 7
        assert library.ids("train") == GameLibrary(path).ids("train")


def test_a_pack_gives_back_every_file_byte_for_byte(alfworld_games, packed):
    library, games = GameLibrary(packed), Pack(packed)
    folder = GameLibrary(alfworld_games)
    assert library.splits == folder.splits
    for split in library.splits:
        assert library.ids(split) == folder.ids(split)
        assert library.ids(split, [6]) == folder.ids(split, [6])
        for id in library.ids(split):
            game = folder.game(id)
            assert game.path is not None
            assert games.raw(id) == game.path.read_bytes()
            assert library.game(id).file_text() == game.file_text()
            assert library.world(id).intro == folder.world(id).intro


def test_a_pack_is_one_small_file(alfworld_games, packed):
    assert [path.name for path in packed.parent.iterdir()] == [packed.name]
    whole = sum(path.stat().st_size for path in alfworld_games.rglob("game.tw-pddl"))
    assert packed.stat().st_size < whole / 10


def test_packing_twice_gives_the_same_bytes(alfworld_games, packed, tmp_path):
    assert pack(alfworld_games, tmp_path / "again") == sum(
        len(GameLibrary(packed).ids(split)) for split in GameLibrary(packed).splits
    )
    assert (tmp_path / "again").read_bytes() == packed.read_bytes()


def test_a_malformed_game_is_named_and_leaves_no_pack(few, tmp_path):
    two = trials(few)[1]
    data = json.loads((two / "game.tw-pddl").read_text())
    del data["pddl_domain"]
    (two / "game.tw-pddl").write_text(json.dumps(data))
    kept = tmp_path / "out"
    kept.write_text("what was there before")
    with pytest.raises(ValueError, match=f"{two.name}: key 'pddl_domain' is missing"):
        pack(few, kept)
    assert kept.read_text() == "what was there before"
    assert {path.name for path in tmp_path.iterdir()} == {"few", "out"}


def test_files_written_otherwise_are_packed_without_loss_too(few, tmp_path):
    one, two = (trial / "game.tw-pddl" for trial in trials(few))
    one.write_text(json.dumps(json.loads(one.read_text()), indent=1))
    two.write_text(json.dumps(json.loads(two.read_text()), ensure_ascii=False) + "\n")
    pack(few, tmp_path / "out")
    for id in GameLibrary(tmp_path / "out").ids("train"):
        assert Pack(tmp_path / "out").raw(id) == (few / id / "game.tw-pddl").read_bytes()


def test_a_damaged_pack_is_refused(packed, tmp_path):
    one = GameLibrary(packed).ids("train")[0]
    for name, change, message in [
        ("body", "UPDATE games SET body = zeroblob(50)", "is damaged"),
        ("row", "DELETE FROM games WHERE rowid = 1", "do not match their digest"),
        ("common", "UPDATE common SET text = zeroblob(9)", "do not match their digest"),
        ("version", "PRAGMA user_version = 99", "not an ALFWorld pack of version"),
    ]:
        copy = Path(shutil.copy(packed, tmp_path / name))
        file = sqlite3.connect(copy)
        file.execute(change)
        file.commit()
        file.close()
        with pytest.raises(ValueError, match=message):
            GameLibrary(copy).game(one)


def test_packing_reports_how_far_it_is(few, tmp_path):
    seen = []
    assert pack(few, tmp_path / "out", on_game=lambda done, total: seen.append((done, total))) == 2
    assert seen == [(1, 2), (2, 2)]


def test_packing_needs_a_folder_and_a_place(packed, alfworld_games, tmp_path):
    with pytest.raises(ValueError, match="give the official folder"):
        pack(packed, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no folder"):
        pack(alfworld_games, tmp_path / "missing" / "out")
