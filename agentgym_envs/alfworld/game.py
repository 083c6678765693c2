"""One ALFWorld game as it was published: a problem, a goal sentence, a walkthrough, a wording."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentgym_envs.alfworld.grammar import Dialect, read_dialect, split_goal
from agentgym_envs.alfworld.pddl import read_domain

GAME_FILE = "game.tw-pddl"
RECORD_FILE = "traj_data.json"

TASK_TYPES: dict[int, str] = {
    1: "pick_and_place_simple",
    2: "look_at_obj_in_light",
    3: "pick_clean_then_place_in_recep",
    4: "pick_heat_then_place_in_recep",
    5: "pick_cool_then_place_in_recep",
    6: "pick_two_obj_and_place",
}

_KEYS = {
    "pddl_domain": str,
    "grammar": str,
    "pddl_problem": str,
    "solvable": bool,
    "walkthrough": list,
}
_RECORDED_TYPE = re.compile(r'"task_type"\s*:\s*"([^"]*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Game:
    """A game and everything needed to play it in either engine.

    id: "<split>/<task folder>/<trial>". task_type: one of `TASK_TYPES`. goal: the goal sentence,
    with its full stop. problem, domain, grammar: the texts of the file. path: the file it was read
    from, None for a game from a pack or a generator.
    """

    id: str
    split: str
    task_type: str
    goal: str
    problem: str
    walkthrough: tuple[str, ...]
    dialect: Dialect
    solvable: bool
    domain: str
    grammar: str
    path: Path | None = None

    def file_text(self) -> str:
        """The text of a game.tw-pddl file of this game, as the official generator writes it."""
        return json.dumps(
            {
                "pddl_domain": self.domain,
                "grammar": self.grammar,
                "pddl_problem": self.problem,
                "solvable": self.solvable,
                "walkthrough": list(self.walkthrough),
            }
        )


def find_task_type(name: int | str) -> str:
    """An official task type by number (1 to 6) or by name. Raises ValueError listing them."""
    for number, kind in TASK_TYPES.items():
        if name in (number, kind):
            return kind
    known = ", ".join(f"{number} = {kind}" for number, kind in TASK_TYPES.items())
    raise ValueError(f"no task type {name!r}; known: {known}")


def folder_task_type(folder: str) -> str | None:
    """The task type that a task folder's name starts with, None where there is none."""
    kind = folder.partition("-")[0]
    return kind if kind in TASK_TYPES.values() else None


def make_game(text: str, *, id: str, task_type: str, path: Path | None = None) -> Game:
    """A game from the text of a game.tw-pddl file.

    Raises ValueError naming the file (or the id) and the key that is missing or malformed, and
    when domain or grammar are not ones the native engine was written for.
    """
    where = str(path or id)
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON: {error}") from error
    _check_keys(data, where)
    try:
        blank, goal = split_goal(data["grammar"])
        domain = read_domain(data["pddl_domain"])
        dialect = read_dialect(domain.text, blank)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return Game(
        id=id,
        split=id.partition("/")[0],
        task_type=find_task_type(task_type),
        goal=goal,
        problem=data["pddl_problem"],
        walkthrough=tuple(data["walkthrough"]),
        dialect=dialect,
        solvable=data["solvable"],
        domain=domain.text,  # one string shared by all games of a domain
        grammar=data["grammar"],
        path=path,
    )


def read_game(path: str | Path) -> Game:
    """The game in `<split>/<task folder>/<trial>/game.tw-pddl` (or in that trial folder).

    The task type comes from traj_data.json where there is one, else from the task folder's name.
    Raises FileNotFoundError, or ValueError naming the file and what is wrong in it.
    """
    path = Path(path)
    if path.is_dir():
        path = path / GAME_FILE
    path = path.absolute()
    if not path.is_file():
        raise FileNotFoundError(f"no game file {path}")
    *_, split, folder, trial = path.parent.parts
    kind = read_task_type(path.parent)
    id = f"{split}/{folder}/{trial}"
    return make_game(read_text(path), id=id, task_type=kind, path=path)


def read_text(path: Path) -> str:
    """A file as UTF-8 with its line ends untouched. Raises ValueError naming it when it is not."""
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error}") from error


def read_task_type(trial: Path) -> str:
    """The task type of a trial folder, from its record or else its task folder's name."""
    named = folder_task_type(trial.parent.name)
    record = trial / RECORD_FILE
    if not record.is_file():
        if named is None:
            raise ValueError(
                f"{trial}: no {RECORD_FILE}, and no known task type starts {trial.parent.name!r}"
            )
        return named
    found = _RECORDED_TYPE.search(read_text(record))
    if found is None:
        raise ValueError(f"{record}: key 'task_type' is missing")
    if named not in (None, found[1]):
        raise ValueError(f"{record}: task_type is {found[1]!r} but the folder says {named!r}")
    return found[1]


def _check_keys(data: Any, where: str) -> None:
    if not isinstance(data, dict):
        raise ValueError(f"{where}: expected a JSON object, found {type(data).__name__}")
    for key, kind in _KEYS.items():
        if key not in data:
            raise ValueError(f"{where}: key {key!r} is missing")
        if not isinstance(data[key], kind):
            raise ValueError(f"{where}: key {key!r} should be {kind.__name__}")
    if not all(isinstance(command, str) for command in data["walkthrough"]):
        raise ValueError(f"{where}: key 'walkthrough' should hold strings only")
