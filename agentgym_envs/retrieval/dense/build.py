"""Making a folder of vectors: chunk by chunk, going on where it was stopped."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Protocol

import numpy as np

from agentgym_envs.retrieval.corpus import Corpus, Progress
from agentgym_envs.retrieval.dense.vectors import (
    FORMS,
    MANIFEST,
    Manifest,
    Vectors,
    checked_forms,
    checksum,
    read_manifest,
    to_form,
    write_json,
)

_LOG = "building.jsonl"  # the plan, then the checksums of every chunk that is written


class PassageEncoder(Protocol):
    """What makes vectors of passages: `encoder.Encoder`, or anything with these three."""

    @property
    def dimension(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray: ...


def build_vectors(
    corpus: Corpus,
    encoder: PassageEncoder,
    folder: str | PathLike[str],
    *,
    forms: Sequence[str] = ("float32",),
    chunk: int = 1024,
    progress: Progress | None = None,
) -> Vectors:
    """Encode every passage's contents into a folder, or finish what was begun there.

    forms: which to store; without "float32" there is nothing exact to rescore with. chunk: rows
    between two points from which a stopped build goes on. progress: told the passages done and all.
    Raises ValueError where the folder holds the vectors of something else.
    """
    plan = Manifest(
        count=len(corpus),
        dimension=encoder.dimension,
        forms=checked_forms(forms),
        encoder=encoder.fingerprint,
        corpus=corpus.fingerprint,
        chunk=chunk,
    )

    def chunks(first: int) -> Iterable[np.ndarray]:
        passages = (corpus.passage(number) for number in range(first, len(corpus)))
        while some := [passage.contents for passage in islice(passages, chunk)]:
            yield encoder.encode_passages(some)

    return write_vectors(folder, plan, chunks, progress)


class Chunks(Protocol):
    """Gives float32 rows from a row on: `plan.chunk` at a time, the last time what is left."""

    def __call__(self, first: int, /) -> Iterable[np.ndarray]: ...


def write_vectors(
    folder: str | PathLike[str], plan: Manifest, chunks: Chunks, progress: Progress | None = None
) -> Vectors:
    """Write what `chunks` gives in all forms of the plan; a folder that is finished is opened.

    The plan is a manifest without checksums. With `outside` set, the float32 rows are checksummed
    and not written. Raises ValueError where the folder holds other vectors, whole or begun.
    """
    folder = Path(folder)
    if (folder / MANIFEST).is_file():
        found = replace(read_manifest(folder), checksums={})
        if found != plan:
            raise ValueError(f"{folder} already holds other vectors: {_difference(found, plan)}")
        return Vectors.open(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = _begun(folder, plan)
    files = {form: folder / f"{form}.bin" for form in plan.forms}
    if plan.outside is not None:
        files.pop("float32", None)
    for path in (*files.values(), *_scales(folder, plan)):
        path.touch()
    for rows in chunks(len(written) * plan.chunk):
        first = len(written) * plan.chunk
        wanted = (min(plan.chunk, plan.count - first), plan.dimension)
        if rows.shape != wanted:
            raise ValueError(f"rows {first} on should have the shape {wanted}, got {rows.shape}")
        written.append(_write_chunk(folder, plan, files, first, rows))
        with (folder / _LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(written[-1]) + "\n")
        if progress is not None:
            progress(first + len(rows), plan.count)
    if len(written) != -(-plan.count // plan.chunk):
        raise ValueError(f"only {len(written)} chunks of {plan.chunk} rows came")
    sums = {form: [chunk[form] for chunk in written] for form in plan.forms}
    write_json(folder / MANIFEST, asdict(replace(plan, checksums=sums)))
    (folder / _LOG).unlink()
    return Vectors.open(folder)


def _write_chunk(
    folder: Path, plan: Manifest, files: dict[str, Path], first: int, rows: np.ndarray
) -> dict[str, str]:
    """Write one chunk in every form; its checksums."""
    sums = {}
    for form in plan.forms:
        try:
            stored, scales = to_form(rows, form)
        except ValueError as error:
            raise ValueError(f"rows {first} to {first + len(rows)}: {error}") from error
        sums[form] = checksum(stored, scales)
        if form in files:
            width = plan.dimension * np.dtype(FORMS[form]).itemsize
            _put(files[form], first * width, stored)
        if scales is not None:
            _put(folder / "int8.scales.bin", first * 4, scales)
    return sums


def _put(path: Path, at: int, rows: np.ndarray) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(np.ascontiguousarray(rows).data)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())  # the log must not speak of rows that a power cut can take


def _scales(folder: Path, plan: Manifest) -> list[Path]:
    return [folder / "int8.scales.bin"] if "int8" in plan.forms else []


def _begun(folder: Path, plan: Manifest) -> list[dict[str, str]]:
    """Checksums of the chunks that an earlier build of the same plan has written."""
    log, first = folder / _LOG, json.dumps(asdict(plan), sort_keys=True)
    if not log.is_file():
        log.write_text(first + "\n", encoding="utf-8")
        return []
    # A line cut short by a crash has no newline, and its chunk is made again.
    lines = log.read_text(encoding="utf-8").split("\n")[:-1]
    if not lines or lines[0] != first:
        raise ValueError(
            f"{folder} holds an unfinished build of other vectors: finish it as it was begun, or "
            "remove the folder"
        )
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [json.loads(line) for line in lines[1:]]


def _difference(found: Manifest, plan: Manifest) -> str:
    old, new = asdict(found), asdict(plan)
    return ", ".join(
        f"{name} {old[name]}, not {new[name]}" for name in old if old[name] != new[name]
    )
