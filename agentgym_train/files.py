"""Writing files so that a crash leaves the old ones or the new ones, never half of one."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write aside, flush to disk, rename."""
    aside = _aside(path)
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    _sync_folder(path.parent)


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """`fill` a folder aside, flush every file, rename; an older folder of that name is replaced."""
    aside = _aside(path)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    fill(aside)
    for file in aside.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        else:
            _sync_folder(file)
    _sync_folder(aside)
    if path.exists():
        old = path.with_name(f".{path.name}.old.aside")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(path, old)
        os.replace(aside, path)
        shutil.rmtree(old)
    else:
        os.replace(aside, path)
    _sync_folder(path.parent)


def remove_asides(folder: Path) -> None:
    """Remove what killed writers left in a folder and below; only where no other writes there."""
    for aside in list(folder.rglob(".*.aside")):
        if aside.is_dir():
            shutil.rmtree(aside)
        else:
            aside.unlink(missing_ok=True)


def append_line(path: Path, record: dict[str, Any]) -> None:
    """One JSON object more in a `.jsonl` file, on disk when this returns."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
        file.flush()
        os.fsync(file.fileno())


def numbered_lines(
    path: Path, wanted: Callable[[str], object] = bool
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a `.jsonl` file, one at a time, each with the number of its line, from 1.

    wanted: of a line's text; other lines are not decoded. Lines end at line feeds alone; blank ones
    are passed over, and a last one that a crash cut short is left out. Raises ValueError naming
    any other line that is no JSON.
    """
    with path.open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip() or not wanted(line):
                continue
            try:
                yield number, json.loads(line)
            except ValueError as error:
                if line.endswith("\n"):
                    raise ValueError(f"{path}, line {number}: {error}") from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a `.jsonl` file; [] where there is none."""
    return [record for _, record in numbered_lines(path)] if path.exists() else []


def keep_lines(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Drop the other lines of a `.jsonl` file, atomically."""
    if path.exists():
        kept = [json.dumps(record) + "\n" for record in read_lines(path) if wanted(record)]
        write_text(path, "".join(kept))


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.aside")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
