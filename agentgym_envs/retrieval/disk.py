"""Files that are there whole or not at all, stay what they were written as, and have one writer."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where two builds in one folder are for its user to avoid
    fcntl = None

_BLOCKS, _BLOCK = 64, 4096  # of a sample
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # some network file systems have none


@dataclass(frozen=True, slots=True)
class Seal:
    """What a file is when it is written. `sample`: sha256 of `size` and 64 blocks of it."""

    size: int  # bytes
    sample: str
    sha256: str

    @staticmethod
    def of(path: Path) -> "Seal":
        """Reads all of it."""
        return Seal(path.stat().st_size, sample(path), digest(path))

    def check(self, path: Path, *, whole: bool = False) -> None:
        """Compare size and sample, or with `whole` every byte, which takes as long as reading it.

        Raises ValueError where the file is not what was written, or is gone.
        """
        if not path.is_file():
            raise ValueError(f"{path} is missing: remove this index and build it again")
        if path.stat().st_size != self.size:
            what = f"has {path.stat().st_size:,} bytes, not the {self.size:,} that were written"
        elif sample(path) != self.sample or (whole and digest(path) != self.sha256):
            what = "is not what was written"
        else:
            return
        raise ValueError(f"{path} {what}: remove this index and build it again")


def digest(path: Path) -> str:
    """sha256 (hexadecimal) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sample(path: Path, first: int = 0) -> str:
    """sha256 (hexadecimal) of a file's size and 64 blocks of it, evenly apart from `first` on."""
    size = path.stat().st_size
    sha = hashlib.sha256(b"%d " % size)
    with path.open("rb") as file:
        for at in range(_BLOCKS):
            file.seek(first + max(size - first - _BLOCK, 0) * at // (_BLOCKS - 1))
            sha.update(file.read(_BLOCK))
    return sha.hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there entirely or not at all, also after a power cut."""
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    put(draft, path)


def put(draft: Path, path: Path) -> None:
    """Give a written file or folder its name, once it is safe on disk."""
    for file in sorted(draft.rglob("*")) if draft.is_dir() else [draft]:
        sync(file)
    os.replace(draft, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, written to the disk itself."""
    if os.name != "posix" and path.is_dir():
        return
    place = os.open(path, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process, and one thread of it, is inside at a time; the others wait.

    The lock is a file of that name, there while it is held. A process that dies lets go of it.
    """
    if fcntl is None:
        yield
        return
    while True:
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        if _is(file.fileno(), path):
            break
        file.close()  # who held it has removed it, and another of that name may be locked by now
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _is(number: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(number), path.stat())
    except FileNotFoundError:
        return False
