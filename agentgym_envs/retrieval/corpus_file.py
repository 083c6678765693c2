"""A corpus in a jsonl file, read by memory map, with the offsets of its lines in a second file.

The second file ends in `.offsets`: a line of JSON (the header, which says what the corpus file
looked like and what it holds, and a checksum of all this) and then plain arrays: where each line
starts (int64, one more than lines), and, unless the ids are the row numbers, all ids' hashes
(uint64, sorted) and whose they are (int64).
"""

import errno
import hashlib
import json
import mmap
import os
import threading
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from agentgym_envs.retrieval.corpus import ContentHash, Corpus, Progress
from agentgym_envs.retrieval.disk import put, sample
from agentgym_envs.retrieval.types import Passage

VERSION = 2
_REPORT = 1 << 24  # bytes between two calls of progress


class FileCorpus(Corpus):
    """Passages of a jsonl file. Make it with `Corpus.open`."""

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        cache: str | PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.path = Path(path)
        self._cache = None if cache is None else Path(cache)
        if not self.path.is_file():
            raise FileNotFoundError(f"no corpus file at {self.path}")
        beside = _offsets_path(self.path, self._cache)
        header = _current(_header(beside), self.path, beside, progress)
        if header is None:
            with _placed(beside) as file:  # before the corpus is read, which can take minutes
                header, body = _index(self.path, progress)
                _write(file, header, body)
        self._header = header
        self._starts, self._hashes, self._owners = _arrays(beside, header)
        with self.path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    @property
    def fingerprint(self) -> str:
        return self._header.fingerprint

    @property
    def sha256(self) -> str:
        """Of the file's bytes."""
        return self._header.sha256

    def __len__(self) -> int:
        return self._header.count

    def passage(self, number: int) -> Passage:
        """The passage of that number. Raises IndexError, ValueError where the file has changed."""
        first, end = self._starts[self._checked(number) : number + 2].tolist()
        try:
            return parse_line(self._bytes[first:end])
        except ValueError as error:
            raise ValueError(
                f"{self.path}: bytes {first} to {end} are no longer passage {number} ({error}): "
                "the file was changed while it was open"
            ) from error

    def number_of(self, id: str) -> int:
        if self._hashes is None or self._owners is None:
            if id.isascii() and id.isdigit() and str(int(id)) == id and int(id) < len(self):
                return int(id)
        else:
            wanted = np.uint64(_hash_of(id))  # any other type would have the whole array converted
            at = int(np.searchsorted(self._hashes, wanted))
            while at < len(self) and self._hashes[at] == wanted:
                number = int(self._owners[at])
                if self.passage(number).id == id:
                    return number
                at += 1
        raise KeyError(f"no passage of {self.path.name} has the id {id!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.path, self._cache, self.fingerprint)


def parse_line(line: bytes) -> Passage:
    """The passage that a line of jsonl says. Raises ValueError saying what is wrong with it."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"not JSON in UTF-8: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"a JSON object is expected, got {type(row).__name__}")
    id, contents = row.get("id"), row.get("contents")
    if isinstance(id, bool) or not isinstance(id, str | int):
        raise ValueError(f'"id" should be a text or a whole number, got {id!r:.40}')
    if contents is None and "title" in row and "text" in row:
        title, text = row["title"], row["text"]
        if not isinstance(title, str) or not isinstance(text, str):
            raise ValueError('"title" and "text" should be texts')
        contents = f'"{title}"\n{text}'
    if not isinstance(contents, str):
        names = ", ".join(sorted(row))
        raise ValueError(f'no "contents" that is a text, nor "title" and "text"; it has {names}')
    return Passage(str(id), contents)


# -- the offsets file


@dataclass(frozen=True, slots=True)
class _Header:
    """What the corpus file looked like when its lines were found, and what they hold."""

    version: int
    size: int  # of the corpus file, bytes
    modified: int  # ns since 1970
    sample: str  # of the corpus file
    sha256: str
    fingerprint: str
    count: int
    ids_are_numbers: bool

    @property
    def line(self) -> bytes:
        """As it is written, without the checksum."""
        return json.dumps(asdict(self)).encode()


def _offsets_path(path: Path, cache: Path | None) -> Path:
    if cache is None:
        return path.with_name(path.name + ".offsets")
    # Corpora of one name from different folders may share a cache.
    place = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:12]
    return cache / f"{path.name}.{place}.offsets"


def _header(beside: Path) -> _Header | None:
    """The header of an offsets file that is whole; None where there is none to be used."""
    if not beside.is_file():
        return None
    with beside.open("rb") as file:
        try:
            fields = json.loads(file.readline())
            crc = fields.pop("crc32")
            header = _Header(**fields)
        except (ValueError, TypeError, AttributeError, KeyError):
            return None  # cut short, damaged, or of another version
        found = zlib.crc32(header.line)
        while block := file.read(1 << 20):
            found = zlib.crc32(block, found)
    return header if found == crc and header.version == VERSION else None


def _current(
    header: _Header | None, path: Path, beside: Path, progress: Progress | None
) -> _Header | None:
    """The header where it speaks of the file as it is now, else None.

    Size, time and a sample decide. Where only the time differs (a copy, a touch), the whole file
    is hashed: equal bytes keep their offsets.
    """
    if header is None:
        return None
    stat = path.stat()
    if stat.st_size != header.size or sample(path) != header.sample:
        return None
    if stat.st_mtime_ns == header.modified:
        return header
    sha = hashlib.sha256()
    for block in _blocks(path, progress):
        sha.update(block)
    if sha.hexdigest() != header.sha256:
        return None
    renewed = replace(header, modified=stat.st_mtime_ns)
    with beside.open("rb") as old, _placed(beside) as file:
        old.readline()
        _write(file, renewed, old.read())
    return renewed


def _blocks(path: Path, progress: Progress | None) -> Iterator[bytes]:
    size, done = path.stat().st_size, 0
    with path.open("rb") as file:
        while block := file.read(_REPORT):
            yield block
            done += len(block)
            if progress is not None:
                progress(done, size)


def _arrays(
    beside: Path, header: _Header
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    with beside.open("rb") as file:
        at = len(file.readline())
    count = header.count

    def mapped(dtype: type, first: int, length: int) -> np.ndarray:
        # A plain array over the map: an element of np.memmap itself takes microseconds.
        return np.asarray(np.memmap(beside, dtype, "r", at + 8 * first, (length,)))

    starts = mapped(np.int64, 0, count + 1)
    if header.ids_are_numbers:
        return starts, None, None
    hashes = mapped(np.uint64, count + 1, count)
    return starts, hashes, mapped(np.int64, 2 * count + 1, count)


# -- reading a corpus file for the first time


def _index(path: Path, progress: Progress | None) -> tuple[_Header, bytes]:
    """Read the whole file, check every line and say where each starts."""
    stat = path.stat()
    sha, contents = hashlib.sha256(), ContentHash()
    starts, hashes = array("q"), array("Q")
    at, reported, blank, ids_are_numbers = 0, 0, 0, True
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            sha.update(line)
            if line.strip():
                if blank:
                    raise ValueError(f"{path}, line {blank}: empty, and lines follow it")
                try:
                    passage = parse_line(line)
                    contents.add(passage)
                except ValueError as error:
                    raise ValueError(f"{path}, line {number}: {error}") from error
                ids_are_numbers = ids_are_numbers and passage.id == str(len(starts))
                starts.append(at)
                hashes.append(_hash_of(passage.id))
            else:
                blank = blank or number
            at += len(line)
            if progress is not None and at - reported >= _REPORT:
                reported = at
                progress(at, stat.st_size)
    if not starts:
        raise ValueError(f"{path} holds no passage")
    starts.append(at)
    body = starts.tobytes()
    if not ids_are_numbers:
        body += _id_arrays(path, starts, np.frombuffer(hashes, np.uint64))
    header = _Header(
        VERSION,
        stat.st_size,
        stat.st_mtime_ns,
        sample(path),
        sha.hexdigest(),
        contents.hexdigest(),
        len(starts) - 1,
        ids_are_numbers,
    )
    if at != stat.st_size or path.stat().st_mtime_ns != stat.st_mtime_ns:
        raise ValueError(f"{path} was changed while it was read: open it again when it is written")
    if progress is not None:
        progress(at, at)
    return header, body


def _hash_of(id: str) -> int:
    return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest(), "little")


def _id_arrays(path: Path, starts: Sequence[int], hashes: np.ndarray) -> bytes:
    """Hashes sorted, and whose they are. Raises ValueError where two lines have one id."""
    owners = np.argsort(hashes, kind="stable").astype(np.int64)
    hashes = hashes[owners]
    alike = np.flatnonzero(hashes[1:] == hashes[:-1])
    with path.open("rb") as file:

        def id_of(number: int) -> str:
            file.seek(starts[number])
            return parse_line(file.readline()).id

        for at in alike:
            first, second = int(owners[at]), int(owners[at + 1])
            if id_of(first) == id_of(second):
                raise ValueError(
                    f"{path}, line {second + 1}: its id {id_of(second)!r} is also the id of line "
                    f"{first + 1}: ids must differ"
                )
    return hashes.tobytes() + owners.tobytes()


def _write(file: BinaryIO, header: _Header, body: bytes) -> None:
    crc = zlib.crc32(body, zlib.crc32(header.line))
    line = json.dumps({**asdict(header), "crc32": crc}).encode()
    # the arrays begin at a multiple of 8 bytes
    file.write(line + b" " * (-(len(line) + 1) % 8) + b"\n" + body)


@contextmanager
def _placed(beside: Path) -> Iterator[BinaryIO]:
    """An offsets file to be written, which is there as a whole or, if anything fails, not at all.

    Raises PermissionError at once where none can be written.
    """
    draft = beside.with_name(f"{beside.name}.{os.getpid()}.{threading.get_ident()}.draft")
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        file = draft.open("wb")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise PermissionError(
            f"cannot write the offsets file {beside} ({error.strerror}): give a folder of your own "
            "as `cache`"
        ) from error
    try:
        with file:
            yield file
        put(draft, beside)
    finally:
        draft.unlink(missing_ok=True)


def _reopened(path: Path, cache: Path | None, fingerprint: str) -> FileCorpus:
    corpus = FileCorpus(path, cache=cache)
    if corpus.fingerprint != fingerprint:
        raise ValueError(f"{path} is no longer the corpus it was when it was pickled")
    return corpus
