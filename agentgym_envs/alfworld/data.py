"""Where games come from: an official folder, or one pack file made from it."""

import os
import re
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from agentgym_envs.alfworld.game import (
    GAME_FILE,
    Game,
    folder_task_type,
    read_game,
    read_task_type,
)
from agentgym_envs.alfworld.library import WorldCache, ids_of
from agentgym_envs.alfworld.pack import Pack, write_pack
from agentgym_envs.alfworld.world import World, compile_world

SPLIT_ALIASES: dict[str, str] = {
    "eval_in_distribution": "valid_seen",
    "eval_out_of_distribution": "valid_unseen",
    "seen": "valid_seen",
    "unseen": "valid_unseen",
}
_DATA_FOLDER = "json_2.1.1"
_USUAL_SPLITS = ("train", "valid_seen", "valid_unseen", "valid_train")
_SOLVABLE = re.compile(rb'"solvable"\s*:\s*(true|false)')
_TAIL = 4096  # bytes; the flag stands before the walkthrough at the end of a game file


def split_name(split: str) -> str:
    """The folder name of a split, given that or an alias; other names come back as they are."""
    return SPLIT_ALIASES.get(split, split)


class Source(Protocol):
    """What a `GameLibrary` reads: split names, an index per split, the games."""

    def splits(self) -> tuple[str, ...]: ...

    def index(self, split: str) -> tuple[tuple[str, str], ...]: ...

    def read(self, id: str, task_type: str) -> Game: ...


class Folder:
    """Games in the official layout, `<root>/<split>/<task folder>/<trial>/game.tw-pddl`.

    As the official loader does, it skips folders whose path names "movable" or "Sliced", trials
    without a game file and games that are not marked solvable.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def splits(self) -> tuple[str, ...]:
        return tuple(sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir()))

    def index(self, split: str) -> tuple[tuple[str, str], ...]:
        """(id, task type) of each playable game, sorted by id. Reads no game file whole."""
        found = []
        for path in (self.root / split).glob(f"*/*/{GAME_FILE}"):
            trial = path.parent
            id = f"{split}/{trial.parent.name}/{trial.name}"
            if "movable" in id or "Sliced" in id or not _is_solvable(path):
                continue
            found.append((id, folder_task_type(trial.parent.name) or read_task_type(trial)))
        return tuple(sorted(found))

    def read(self, id: str, task_type: str) -> Game:
        return read_game(self.root / id / GAME_FILE)


class GameLibrary:
    """The games of an official folder or of a pack file.

    path: the folder `json_2.1.1`, the folder around it, or a file made by `pack.pack`. A split is
    indexed when first asked for and kept; games are read one by one; the `keep` most recently used
    worlds stay compiled. Safe to share between threads; pickles as its path.
    Raises FileNotFoundError or ValueError when there are no games at path.
    """

    def __init__(self, path: str | Path, *, keep: int = 256) -> None:
        self.path = Path(path).expanduser().absolute()
        self._source: Source = _open_source(self.path)
        self._lock = threading.RLock()
        self._index: dict[str, dict[str, str]] = {}  # split -> id -> task type
        self.keep = keep
        self._worlds = WorldCache(keep)

    def __reduce__(self):
        return _reopen, (self.path, self.keep)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits there are."""
        return self._source.splits()

    def ids(self, split: str, task_types: Sequence[str | int] | None = None) -> tuple[str, ...]:
        """Ids of a split's games, sorted; only of the given task types where some are given.

        split: a folder name or one of `SPLIT_ALIASES`. task_types: names or numbers 1 to 6.
        Raises ValueError naming the known splits or task types.
        """
        return ids_of(self._split(split_name(split)), task_types)

    def game(self, id: str) -> Game:
        """Read one game. Raises KeyError for an unknown id, ValueError for a malformed file."""
        split = id.partition("/")[0]
        kind = self._split(split).get(id) if split in self.splits else None
        if kind is None:
            raise KeyError(f"no game {id!r} in {self.path}; splits: {', '.join(self.splits)}")
        return self._source.read(id, kind)

    def world(self, id: str) -> World:
        """One game compiled, from memory where it was used recently."""
        return self._worlds.get(id, lambda: compile_world(self.game(id)))

    def _split(self, split: str) -> dict[str, str]:
        with self._lock:
            if split not in self._index:
                if split not in self.splits:
                    aliases = ", ".join(f"{new} = {old}" for new, old in SPLIT_ALIASES.items())
                    raise ValueError(
                        f"no split {split!r} in {self.path}; there are: {', '.join(self.splits)}"
                        f" (and aliases: {aliases})"
                    )
                self._index[split] = dict(self._source.index(split))
            return self._index[split]


def _reopen(path: Path, keep: int) -> GameLibrary:
    return GameLibrary(path, keep=keep)


def _open_source(path: Path) -> Source:
    if path.is_file():
        return Pack(path)
    if not path.is_dir():
        raise FileNotFoundError(f"no ALFWorld games: {path} does not exist")
    for root in (path, path / _DATA_FOLDER):
        folder = Folder(root)
        if root.is_dir() and _holds_games(root, folder.splits()):
            return folder
    raise ValueError(
        f"no ALFWorld games in {path}: expected <split>/<task folder>/<trial>/{GAME_FILE} there or "
        f"in {_DATA_FOLDER}/ (splits are called {', '.join(_USUAL_SPLITS)})"
    )


def _holds_games(root: Path, splits: Collection[str]) -> bool:
    return any(next((root / split).glob(f"*/*/{GAME_FILE}"), None) for split in splits)


def _is_solvable(path: Path) -> bool:
    """The flag of a game file; a game without it counts as unsolvable, as it does officially."""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _TAIL))
        found = _SOLVABLE.findall(file.read()) or _SOLVABLE.findall(path.read_bytes())
    return found[-1:] == [b"true"]


def pack(
    folder: str | Path,
    out: str | Path,
    *,
    on_game: Callable[[int, int], None] | None = None,
) -> int:
    """Pack the playable games of an official folder into one file; returns how many there are.

    The file appears whole or not at all. on_game: told (games done, games in all) as it goes.
    Raises ValueError naming the game that is malformed, FileNotFoundError where folder or out's
    folder is missing.
    """
    source = _open_source(Path(folder).expanduser().absolute())
    if not isinstance(source, Folder):
        raise ValueError(f"{folder} is a file; give the official folder to pack")
    out = Path(out).expanduser().absolute()
    if not out.parent.is_dir():
        raise FileNotFoundError(f"no folder {out.parent} to write the pack in")
    games = [game for split in source.splits() for game in source.index(split)]

    def files() -> Iterator[tuple[str, str, bytes]]:
        for done, (id, kind) in enumerate(games, start=1):
            yield id, kind, (source.root / id / GAME_FILE).read_bytes()
            if on_game is not None:
                on_game(done, len(games))

    return write_pack(out, files())
