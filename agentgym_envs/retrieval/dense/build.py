"""Making a folder of vectors: chunk by chunk, going on where it was stopped.

`building.jsonl` holds the plan, then a line for each chunk that is safe on disk. The manifest
makes the folder one of vectors, and only then that file is removed.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
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
    longest,
    read_manifest,
    residual,
    to_form,
    write_manifest,
)
from agentgym_envs.retrieval.disk import locked, sample, write_whole

_LOG, _LOCK = "building.jsonl", ".lock"


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

    The plan is a manifest of what is called for, without what is learnt by writing. With `outside`
    set, the float32 rows are checksummed and not written. One process writes; others wait.
    Raises ValueError where the folder holds other vectors, whole or begun.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / MANIFEST).is_file():
        with locked(folder / _LOCK):
            if not (folder / MANIFEST).is_file():  # still, after waiting
                _write(folder, plan, chunks, progress)
    found = read_manifest(folder)
    called_for = replace(found, checksums={}, samples={}, residuals={}, norm=0.0)
    if called_for != plan:
        raise ValueError(f"{folder} already holds other vectors: {_difference(called_for, plan)}")
    (folder / _LOG).unlink(missing_ok=True)
    return Vectors.open(folder)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """What is known of a chunk that is written; see `Manifest`."""

    checksums: dict[str, str]
    residuals: dict[str, float]
    norm: float

    @property
    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


def _write(folder: Path, plan: Manifest, chunks: Chunks, progress: Progress | None) -> None:
    files = plan.files(folder)
    if plan.outside is not None:
        files.pop("float32", None)
    written = _begun(folder, plan)
    for path, _ in files.values():
        path.touch()
    spoilt = [i for i, chunk in enumerate(written) if not _is_whole(plan, files, i, chunk)]
    for number in spoilt:
        rows = next(iter(chunks(number * plan.chunk)))
        written[number] = _write_chunk(plan, files, number, rows)
    if spoilt:
        write_whole(folder / _LOG, _plan_line(plan) + "".join(chunk.line for chunk in written))
    for rows in chunks(len(written) * plan.chunk):
        written.append(_write_chunk(plan, files, len(written), rows))
        with (folder / _LOG).open("a", encoding="utf-8") as log:
            log.write(written[-1].line)
            log.flush()
            os.fsync(log.fileno())
        if progress is not None:
            progress(min(len(written) * plan.chunk, plan.count), plan.count)
    if len(written) != -(-plan.count // plan.chunk):
        raise ValueError(f"only {len(written)} chunks of {plan.chunk} rows came")
    for name, (path, _) in files.items():  # what an interrupted build left beyond the last row
        os.truncate(path, plan.count * _width(plan, name))
    manifest = replace(
        plan,
        checksums={form: [chunk.checksums[form] for chunk in written] for form in plan.forms},
        samples={name: sample(*place) for name, place in plan.files(folder).items()},
        residuals={form: max(chunk.residuals[form] for chunk in written) for form in plan.forms},
        norm=max(chunk.norm for chunk in written),
    )
    write_manifest(folder, manifest)


def _write_chunk(
    plan: Manifest, files: dict[str, tuple[Path, int]], number: int, rows: np.ndarray
) -> _Chunk:
    """Write one chunk in every form. Raises ValueError for rows of another shape or no numbers."""
    first = number * plan.chunk
    wanted = (min(plan.chunk, plan.count - first), plan.dimension)
    if rows.shape != wanted:
        raise ValueError(f"rows {first} on should have the shape {wanted}, got {rows.shape}")
    sums, residuals = {}, {}
    for form in plan.forms:
        try:
            stored, scales = to_form(rows, form)
        except ValueError as error:
            raise ValueError(f"rows {first} to {first + len(rows)}: {error}") from error
        sums[form] = checksum(stored, scales)
        residuals[form] = residual(rows, stored, form, scales)
        for name, part in ((form, stored), ("scales", scales)):
            if name in files and part is not None:
                _put(files[name][0], first * _width(plan, name), part)
    return _Chunk(sums, residuals, longest(rows))


def _width(plan: Manifest, name: str) -> int:
    """Bytes of a row in a form, or of its scale."""
    return 4 if name == "scales" else plan.dimension * np.dtype(FORMS[name]).itemsize


def _put(path: Path, at: int, rows: np.ndarray) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(np.ascontiguousarray(rows).data)
        file.flush()
        os.fsync(file.fileno())  # the log must not speak of rows that a power cut can take


def _is_whole(
    plan: Manifest, files: dict[str, tuple[Path, int]], number: int, chunk: _Chunk
) -> bool:
    """Whether what lies in the files is what was written."""
    first = number * plan.chunk
    count = min(plan.chunk, plan.count - first)

    def read(name: str, kind: type, numbers: int) -> np.ndarray:
        return np.fromfile(files[name][0], kind, numbers, offset=first * _width(plan, name))

    for form in plan.forms:
        if form in files:
            rows = read(form, FORMS[form], count * plan.dimension)
            scales = read("scales", np.float32, count) if form == "int8" else None
            if checksum(rows, scales) != chunk.checksums[form]:
                return False
    return True


def _plan_line(plan: Manifest) -> str:
    return json.dumps(asdict(plan), sort_keys=True) + "\n"


def _begun(folder: Path, plan: Manifest) -> list[_Chunk]:
    """The chunks that an earlier build of the same plan has written."""
    log, first = folder / _LOG, _plan_line(plan)
    if not log.is_file():
        write_whole(log, first)
        return []
    told, *lines = log.read_text("utf-8", "replace").splitlines(keepends=True) or [""]
    if told != first:
        raise ValueError(
            f"{folder} holds an unfinished build of other vectors: finish it as it was begun, or "
            "remove the folder"
        )
    chunks = []
    for line in lines:
        try:
            chunks.append(_Chunk(**json.loads(line)))
        except (ValueError, TypeError):
            break  # cut short by a crash: this chunk is made again
    write_whole(log, first + "".join(chunk.line for chunk in chunks))
    return chunks


def _difference(found: Manifest, plan: Manifest) -> str:
    old, new = asdict(found), asdict(plan)
    return ", ".join(
        f"{name} {old[name]}, not {new[name]}" for name in old if old[name] != new[name]
    )
