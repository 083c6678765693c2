"""One file instead of thousands of folders: an SQLite file with every game, read one at a time.

The bytes of each game.tw-pddl come back exactly as they were. What is the same in all of them
(domain, grammar but for the goal sentence) is stored once: a NUL byte and a number stand in its
place, as JSON text holds no NUL. What remains is compressed against the first game. Every game is
checked against its SHA-256 whenever it is read.

    pack   (key, value)                          version 1: dictionary, digest of both tables
    common (number, text)                        what NUL + number stands for
    games  (id, task_type, sha256, body)
"""

import contextlib
import hashlib
import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from agentgym_envs.alfworld.game import Game, make_game

APPLICATION_ID = 0x41475746
VERSION = 1
_MOST_COMMON = 255  # numbered from 1 with one byte
_WINDOW = 32768  # bytes of dictionary that zlib can use
_SENTENCE = "Your task is to: "


class Pack:
    """A pack file opened for reading. Raises ValueError where it is none, or is damaged.

    Holds no open file: each read opens and closes it, so threads and forks need no care.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as file:
            self._dictionary = _value(file, "dictionary")
            common = file.execute("SELECT number, text FROM common ORDER BY number").fetchall()
            rows = file.execute("SELECT id, task_type, sha256 FROM games ORDER BY id").fetchall()
            digest = _value(file, "digest")
        if _digest(rows, common) != digest:
            raise ValueError(f"{path}: damaged: its tables do not match their digest")
        self._common = {b"\0" + bytes([number]): text for number, text in common}
        self._games = {id: (kind, sum) for id, kind, sum in rows}

    def splits(self) -> tuple[str, ...]:
        """Names of the splits, sorted."""
        return tuple(sorted({id.partition("/")[0] for id in self._games}))

    def index(self, split: str) -> tuple[tuple[str, str], ...]:
        """(id, task type) of each game of a split, sorted by id."""
        prefix = f"{split}/"
        return tuple((id, kind) for id, (kind, _) in self._games.items() if id.startswith(prefix))

    def read(self, id: str, task_type: str) -> Game:
        """One game."""
        return make_game(self.raw(id).decode(), id=id, task_type=task_type)

    def raw(self, id: str) -> bytes:
        """The game.tw-pddl file of a game, byte for byte. Raises ValueError when damaged."""
        with self._open() as file:
            (body,) = file.execute("SELECT body FROM games WHERE id = ?", (id,)).fetchone()
        try:
            inflate = zlib.decompressobj(zdict=self._dictionary)
            text = inflate.decompress(body) + inflate.flush()
        except zlib.error as error:
            raise ValueError(f"{self.path}: game {id} is damaged: {error}") from error
        text = _fill(text, self._common)
        if hashlib.sha256(text).hexdigest() != self._games[id][1]:
            raise ValueError(f"{self.path}: game {id} is damaged: wrong checksum")
        return text

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            address = f"{self.path.as_uri()}?mode=ro&immutable=1"
            with contextlib.closing(sqlite3.connect(address, uri=True)) as file:
                (application,) = file.execute("PRAGMA application_id").fetchone()
                (version,) = file.execute("PRAGMA user_version").fetchone()
                if (application, version) != (APPLICATION_ID, VERSION):
                    raise ValueError(
                        f"{self.path}: not an ALFWorld pack of version {VERSION}; make it anew "
                        "from the official folder"
                    )
                yield file
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{self.path}: not a readable ALFWorld pack: {error}") from error


def write_pack(out: Path, games: Iterable[tuple[str, str, bytes]]) -> int:
    """Write (id, task type, file bytes) of every game to a pack and return how many there were.

    The file appears whole or not at all. Raises ValueError naming the first malformed game.
    """
    draft = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with contextlib.closing(sqlite3.connect(draft)) as file:
            count = _fill_file(file, games)
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(out.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return count


def _fill_file(file: sqlite3.Connection, games: Iterable[tuple[str, str, bytes]]) -> int:
    file.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    file.execute(f"PRAGMA user_version = {VERSION}")
    file.execute("CREATE TABLE pack (key TEXT PRIMARY KEY, value BLOB)")
    file.execute("CREATE TABLE common (number INTEGER PRIMARY KEY, text BLOB)")
    file.execute("CREATE TABLE games (id TEXT PRIMARY KEY, task_type TEXT, sha256 TEXT, body BLOB)")
    common: dict[bytes, bytes] = {}
    dictionary = b""
    rows = []
    for id, kind, raw in games:
        if b"\0" in raw:
            raise ValueError(f"{id}: a NUL byte, which JSON text cannot hold")
        body = _blank(raw, make_game(raw.decode(), id=id, task_type=kind), common)
        dictionary = dictionary or body[-_WINDOW:]
        deflate = zlib.compressobj(9, zdict=dictionary)
        packed = deflate.compress(body) + deflate.flush()
        rows.append((id, kind, hashlib.sha256(raw).hexdigest()))
        file.execute("INSERT INTO games VALUES (?, ?, ?, ?)", (*rows[-1], packed))
    numbered = [(marker[1], text) for text, marker in common.items()]
    file.executemany("INSERT INTO common VALUES (?, ?)", numbered)
    values = [("dictionary", dictionary), ("digest", _digest(sorted(rows), numbered))]
    file.executemany("INSERT INTO pack VALUES (?, ?)", values)
    file.commit()
    return len(rows)


def _blank(raw: bytes, game: Game, common: dict[bytes, bytes]) -> bytes:
    """The file with its common parts replaced by markers; new common parts get a marker."""
    grammar = json.dumps(game.grammar)[1:-1]
    before, sentence, after = grammar.partition(_SENTENCE)
    parts = [json.dumps(game.domain)[1:-1], before + sentence, after[after.find('\\"') :]]
    body = raw
    for part in (text.encode() for text in parts):
        if part not in common and len(common) < _MOST_COMMON:
            common[part] = b"\0" + bytes([len(common) + 1])
        if part in common:
            body = body.replace(part, common[part])
    if _fill(body, {marker: part for part, marker in common.items()}) != raw:
        raise ValueError(f"{game.id}: cannot be packed without loss")
    return body


def _fill(body: bytes, common: dict[bytes, bytes]) -> bytes:
    first, *pieces = body.split(b"\0")
    return first + b"".join([common[b"\0" + piece[:1]] + piece[1:] for piece in pieces])


def _digest(rows: list[tuple[str, str, str]], common: list[tuple[int, bytes]]) -> bytes:
    sums = [(number, hashlib.sha256(text).hexdigest()) for number, text in common]
    return hashlib.sha256(json.dumps([rows, sums]).encode()).digest()


def _value(file: sqlite3.Connection, key: str) -> bytes:
    (value,) = file.execute("SELECT value FROM pack WHERE key = ?", (key,)).fetchone()
    return value
