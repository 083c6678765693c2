"""Writing games in the official folder layout, so that upstream ALFWorld plays them."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from agentgym_envs.alfworld.game import GAME_FILE, RECORD_FILE, Game
from agentgym_envs.alfworld.library import Library

PROBLEM_FILE = "initial_state.pddl"


def write_games(
    library: Library,
    folder: str | Path,
    splits: Iterable[str],
    on_game: Callable[[], None] | None = None,
) -> int:
    """Write every game of these splits below `folder` and return how many there were.

    Layout: <folder>/<split>/<task folder>/<trial>/ with game.tw-pddl, traj_data.json and
    initial_state.pddl. A file appears whole or not at all. on_game: called after each game.
    Raises FileExistsError where a game's folder is already there with other content.
    """
    root, count = Path(folder), 0
    for split in splits:
        for id in library.ids(split):
            _write_game(library.game(id), root / id)
            count += 1
            if on_game is not None:
                on_game()
    return count


def trajectory_record(game: Game) -> dict[str, Any]:
    """The ALFRED record of a game, with the keys of the official one.

    Nothing was simulated, filmed or described, so poses, images, low-level actions and annotations
    are empty; the plan holds the walkthrough's commands.
    """
    _, folder, trial = game.id.split("/")
    _, thing, movable, receptacle, scene = folder.split("-")
    is_look = game.task_type == "look_at_obj_in_light"
    steps = [
        {"discrete_action": {"action": command, "args": []}, "high_idx": index}
        for index, command in enumerate(game.walkthrough)
    ]
    return {
        "images": [],
        "pddl_params": {
            "mrecep_target": "" if movable == "None" else movable,
            "object_sliced": False,
            "object_target": thing,
            "parent_target": "" if is_look else receptacle,
            "toggle_target": receptacle if is_look else "",
        },
        "plan": {"high_pddl": steps, "low_actions": []},
        "scene": {
            "dirty_and_empty": False,
            "floor_plan": f"FloorPlan{scene}",
            "init_action": {},
            "object_poses": [],
            "object_toggles": [],
            "random_seed": 0,
            "scene_num": int(scene),
        },
        "task_id": trial,
        "task_type": game.task_type,
        "turk_annotations": {"anns": []},
    }


def _write_game(game: Game, folder: Path) -> None:
    texts = {
        GAME_FILE: game.file_text(),
        RECORD_FILE: json.dumps(trajectory_record(game)),
        PROBLEM_FILE: game.problem,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        path = folder / name
        if path.exists():
            if path.read_text(encoding="utf-8") == text:
                continue
            raise FileExistsError(f"{path} is there with other content; choose an empty folder")
        _write_whole(path, text)


def _write_whole(path: Path, text: str) -> None:
    """Write beside the target and rename, so that no reader ever sees half a file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    os.replace(name, path)
