"""Building a BM25 index in a folder: chunk by chunk, so that it can stop at any point and go on.

    folder/building/settings.json     what is being built
    folder/building/0000000000/       the chunk whose first document is number 0, and so on
    folder/.lock                      there while a process builds; others wait

When all chunks are there they are merged into `folder`. The manifest makes it an index, and only
then `building` is removed.
"""

import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, fields
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from agentgym_envs.retrieval.bm25.analysis import ANALYSER
from agentgym_envs.retrieval.bm25.chunks import CHUNK_CHARACTERS, Chunk, chunk_of, in_chunks
from agentgym_envs.retrieval.bm25.files import MANIFEST, VERSION, read_arrays, write_arrays
from agentgym_envs.retrieval.bm25.merge import merged
from agentgym_envs.retrieval.bm25.postings import Array, Postings
from agentgym_envs.retrieval.disk import Seal, put, write_whole

# Called now and then with the documents done.
Progress = Callable[[int], None]
# The number of a chunk's first document, and the chunk's texts.
_Run = tuple[int, Sequence[str]]

LOCK, _BUILDING, _SEALS = ".lock", "building", "seals.json"


def is_finished(folder: Path) -> bool:
    """Whether a folder holds an index, or something else with a manifest."""
    return (folder / MANIFEST).is_file()


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
    """Index texts into a folder, all but its manifest. Goes on with an interrupted build: a chunk
    that is there and whole is not made again.

    processes: how many analyse chunks at once. characters: to a chunk.

    Raises FileExistsError where the folder holds other things, ValueError where it holds another
    interrupted build.
    """
    building = folder / _BUILDING
    _check_own(folder)
    _claim(building, {"version": VERSION, "analyser": ANALYSER, "corpus": corpus,
                      "characters": characters})  # fmt: skip
    tell = progress or (lambda documents: None)
    whole = _whole_chunks(building)
    for documents in _write_chunks(_missing(iter(texts), whole, characters), building, processes):
        tell(documents)
    postings = merged(_read_chunks(building), k1, b, room=room_in(folder))
    write_arrays(_small(postings), folder)
    return postings


def discard_chunks(folder: Path) -> None:
    """Remove what an index that is finished was made from."""
    shutil.rmtree(folder / _BUILDING, ignore_errors=True)


def _check_own(folder: Path) -> None:
    """Raises FileExistsError where a folder holds what no build leaves in it."""
    ours = {LOCK, _BUILDING, *(f"{field.name}.npy" for field in fields(Postings))}
    if other := sorted(set(os.listdir(folder)) - ours - {f"{MANIFEST}.draft"}):
        raise FileExistsError(f"{folder} holds {other[0]}: an index needs a folder of its own")


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


def _whole_chunks(building: Path) -> dict[int, int]:
    """First document -> number of documents, of chunks that are as they were written."""
    found = {}
    for path in building.iterdir():
        if not path.name.isdecimal():
            continue
        try:
            seals = json.loads((path / _SEALS).read_text(encoding="utf-8"))
            for name, seal in seals.items():
                Seal(**seal).check(path / f"{name}.npy", whole=True)
        except (OSError, ValueError):
            continue  # it is made again
        found[int(path.name)] = len(np.load(path / "lengths.npy", mmap_mode="r"))
    return found


def _missing(texts: Iterator[str], whole: dict[int, int], characters: int) -> Iterator[_Run]:
    """The runs of texts whose chunks are not there."""
    first = 0
    while True:
        if first in whole:
            first += sum(1 for _ in islice(texts, whole[first]))
            continue
        run = next(iter(in_chunks(texts, characters)), None)
        if run is None:
            return
        yield first, run
        first += len(run)


def _write_chunks(runs: Iterable[_Run], building: Path, processes: int) -> Iterator[int]:
    """Write a chunk a run; yields how many documents are done after each."""
    if processes == 1:
        for first, run in runs:
            _write_chunk(run, building, first)
            yield first + len(run)
        return
    waiting: deque[tuple[int, Future[None]]] = deque()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for first, run in runs:
            waiting.append((first + len(run), pool.submit(_write_chunk, run, building, first)))
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
    arrays = chunk_of(run).arrays()
    write_arrays(arrays, draft)
    seals = {name: asdict(Seal.of(draft / f"{name}.npy")) for name in arrays}
    write_whole(draft / _SEALS, json.dumps(seals))
    put(draft, final)


def _read_chunks(building: Path) -> list[Chunk]:
    """All of them, in order, memory-mapped."""
    chunks: list[Chunk] = []
    first = 0
    while (path := building / f"{first:010}").is_dir():
        arrays: dict = read_arrays(path)
        chunks.append(Chunk(**arrays))
        first += len(chunks[-1].lengths)
    return chunks


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
