"""Existing `e5_Flat.index` files: a flat index of faiss, read without faiss.

Its header has 45 bytes, little-endian: four letters ("IxFI": inner product), the dimension
(int32), the count (int64), two unused int64, whether it is trained (one byte), the metric (int32,
0: inner product) and how many float32 follow (uint64); then the vectors themselves.
"""

import struct
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from agentgym_envs.retrieval.corpus import Corpus, Progress
from agentgym_envs.retrieval.dense.build import write_vectors
from agentgym_envs.retrieval.dense.vectors import Manifest, Vectors, checked_forms

_HEADER = struct.Struct("<4siqqqBiQ")
_CHUNK = 16_384  # rows: 50 MB of E5-base


def read_header(path: str | PathLike[str]) -> tuple[int, int]:
    """(count, dimension) of a flat inner-product index.

    Raises FileNotFoundError, and ValueError saying which field is not what it should be.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no index at {path}")
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        raise ValueError(f"{path} has {len(head)} bytes, less than the header of a flat index")
    letters, dimension, count, _, _, trained, metric, numbers = _HEADER.unpack(head)
    size = path.stat().st_size
    wrong = {
        f"it begins with {letters!r}, not b'IxFI' (a flat inner-product index)": letters != b"IxFI",
        f"its metric is {metric}, not 0 (inner product)": metric != 0,
        "it says that it is not trained": trained != 1,
        f"it says {count} vectors of {dimension} numbers": dimension < 1 or count < 1,
        f"{numbers} numbers follow, not {count} x {dimension}": numbers != count * dimension,
        f"it has {size:,} bytes, not {_HEADER.size + 4 * numbers:,} (a download cut short?)": size
        != _HEADER.size + 4 * numbers,
    }
    for what, is_so in wrong.items():
        if is_so:
            raise ValueError(f"{path}: {what}")
    return count, dimension


def convert_e5_index(
    path: str | PathLike[str],
    folder: str | PathLike[str],
    corpus: Corpus,
    *,
    forms: Sequence[str] = ("float32", "int8"),
    encoder: str = "",
    copy: bool = False,
    progress: Progress | None = None,
) -> Vectors:
    """Vectors from a flat index, streaming; going on where an earlier call was stopped.

    forms: with "float32" the search can be exact; unless `copy`, it stays in the index file, whose
    place is remembered. encoder: the fingerprint of the encoder that it was made by, when known.
    wiki-18 takes 64.6 GB in float32, 32.3 in bfloat16 and 16.2 in int8.
    Raises ValueError where the file is no such index or has not the corpus's count.
    """
    count, dimension = read_header(path)
    if count != len(corpus):
        raise ValueError(f"{path} has {count:,} vectors and the corpus {len(corpus):,} passages")
    forms = checked_forms(forms)
    outside = None
    if "float32" in forms and not copy:
        outside = (str(Path(path).resolve()), _HEADER.size)
    plan = Manifest(
        count=count,
        dimension=dimension,
        forms=forms,
        encoder=encoder,
        corpus=corpus.fingerprint,
        chunk=_CHUNK,
        outside=outside,
    )
    matrix = np.memmap(path, np.float32, "r", _HEADER.size, (count, dimension))

    def chunks(first: int) -> Iterator[np.ndarray]:
        for at in range(first, count, _CHUNK):
            yield np.array(matrix[at : at + _CHUNK])  # aligned: the header has an odd length

    return write_vectors(folder, plan, chunks, progress)
