"""Building a BM25 index in a folder: chunk by chunk, so that it can stop and go on.

    folder/building/settings.json     what is being built
    folder/building/0000000000/       the chunk whose first document is number 0, and so on

When all chunks are there they are merged into `folder` and `building` is removed.
"""

import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from agentgym_envs.retrieval.bm25.analysis import ANALYSER
from agentgym_envs.retrieval.bm25.chunks import CHUNK_CHARACTERS, Chunk, chunk_of, in_chunks
from agentgym_envs.retrieval.bm25.files import (
    MANIFEST,
    VERSION,
    read_arrays,
    write_arrays,
    write_whole,
)
from agentgym_envs.retrieval.bm25.merge import merged
from agentgym_envs.retrieval.bm25.postings import Array, Postings

# Called now and then with the documents done.
Progress = Callable[[int], None]


def write_postings(
    texts: Iterable[str],
    folder: Path,
    *,
    corpus: str,
    k1: float,
    b: float,
    processes: int = 1,
    progress: Progress | None = None,
    characters: int = CHUNK_CHARACTERS,
) -> Postings:
    """Index texts into a folder, all but its manifest. Goes on with an interrupted build.

    processes: how many analyse chunks at once. characters: to a chunk.

    Raises ValueError where another build was interrupted in that folder.
    """
    (folder / MANIFEST).unlink(missing_ok=True)
    building = folder / "building"
    _claim(building, {"version": VERSION, "analyser": ANALYSER, "corpus": corpus,
                      "characters": characters})  # fmt: skip
    done = _documents_of(_chunk_folders(building))
    tell = progress or (lambda documents: None)
    runs = in_chunks(islice(texts, done, None), characters)
    for documents in _write_chunks(runs, building, done, processes):
        tell(documents)
    chunks = [_read_chunk(path) for path in _chunk_folders(building)]
    postings = merged(chunks, k1, b, room=room_in(folder))
    write_arrays(_small(postings), folder)
    del chunks
    shutil.rmtree(building)
    return postings


def _claim(building: Path, settings: dict) -> None:
    path = building / "settings.json"
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found != settings:
            raise ValueError(
                f"{building} holds an unfinished build of something else ({found}, not "
                f"{settings}): delete that folder, or build in another one"
            )
    building.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(settings))


def _chunk_folders(building: Path) -> list[Path]:
    """Those of finished chunks, in order, up to the first gap."""
    found: list[Path] = []
    expected = 0
    for path in sorted(path for path in building.iterdir() if path.name.isdecimal()):
        if int(path.name) != expected:
            break
        found.append(path)
        expected += len(np.load(path / "lengths.npy", mmap_mode="r"))
    return found


def _documents_of(folders: Sequence[Path]) -> int:
    if not folders:
        return 0
    return int(folders[-1].name) + len(np.load(folders[-1] / "lengths.npy", mmap_mode="r"))


def _write_chunks(
    runs: Iterable[Sequence[str]], building: Path, first: int, processes: int
) -> Iterator[int]:
    """Write a chunk a run; yields how many documents are done after each."""
    if processes == 1:
        for run in runs:
            _write_chunk(run, building, first)
            first += len(run)
            yield first
        return
    pool: Executor = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    waiting: deque[tuple[int, Future[None]]] = deque()
    with pool:
        for run in runs:
            job = pool.submit(_write_chunk, run, building, first)
            first += len(run)
            waiting.append((first, job))
            # One more than can be worked on: no worker waits, and few texts are held.
            if len(waiting) > processes:
                yield _finished(waiting)
        while waiting:
            yield _finished(waiting)


def _finished(waiting: deque[tuple[int, Future[None]]]) -> int:
    documents, job = waiting.popleft()
    job.result()
    return documents


def _write_chunk(run: Sequence[str], building: Path, first: int) -> None:
    """A chunk appears under its name only when it is whole."""
    draft, final = building / f"{first:010}.draft", building / f"{first:010}"
    for stale in (draft, final):
        shutil.rmtree(stale, ignore_errors=True)
    write_arrays(chunk_of(run).arrays(), draft)
    os.rename(draft, final)


def _read_chunk(path: Path) -> Chunk:
    arrays: dict = read_arrays(path)
    return Chunk(**arrays)


def room_in(folder: Path) -> Callable[[str, int, DTypeLike], Array]:
    """Makes the large arrays as files."""

    def room(name: str, size: int, kind: DTypeLike) -> Array:
        path = folder / f"{name}.npy"
        if not size:
            np.save(path, np.empty(0, kind))
            return np.empty(0, kind)
        return np.lib.format.open_memmap(path, "w+", np.dtype(kind), (size,))

    return room


def _small(postings: Postings) -> dict[str, Array]:
    """The arrays that are not yet files; those that are get written out."""
    arrays = postings.arrays()
    for name in ("documents", "counts"):
        array = arrays.pop(name)
        if isinstance(array, np.memmap):
            array.flush()
    return arrays
