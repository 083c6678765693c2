"""One file that holds a whole catalogue and opens without reading it.

    8 bytes   mark
    4 bytes   version, little endian        4 bytes   length of the header
    32 bytes  sha256 of the header
    header    JSON: file size, fingerprint, inputs, and for each array its name, dtype, shape,
              offset and sha256; blanks up to a multiple of 64 bytes
    arrays    those with the widest items first, so that each is aligned

Arrays are mapped into memory. Each is checked against its sha256 when the file is opened, except
those named `.../body`: they may have gigabytes, and each value in them is checked when it is read.
"""

import hashlib
import json
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from agentgym_envs.webshop.records import Arrays

MARK = b"AGSHOP\r\n"
VERSION = 2
_HEAD = struct.Struct("<8sII32s")
_ALIGNED = 64  # bytes
_BODY = "/body"


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A catalogue as data. `inputs`: file name -> sha256 of what it was made from."""

    arrays: Arrays
    fingerprint: str
    inputs: dict[str, str]


def write_store(path: Path, store: Store) -> None:
    """Write the file; it appears whole or not at all. Raises FileNotFoundError without a folder."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write the catalogue in")
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            _write(file, store)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_store(path: Path) -> Store:
    """Map the file. Raises ValueError where it is no store, or of another version, or damaged."""
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        if not head.startswith(MARK):
            raise ValueError(
                f"{path} is no saved WebShop catalogue; give the folder with the official files, "
                "or a file made by `agentgym-envs pack webshop FOLDER FILE`"
            )
        if len(head) < _HEAD.size:
            raise _damaged(path, "it ends within its first bytes")
        _, version, length, digest = _HEAD.unpack(head)
        if version != VERSION:
            raise ValueError(
                f"{path} has version {version}, this program reads version {VERSION}: make it "
                "anew with `agentgym-envs pack webshop FOLDER FILE`"
            )
        raw = file.read(length)
        if hashlib.sha256(raw).digest() != digest:
            raise _damaged(path, "its header does not match its checksum")
        header = json.loads(raw)
        size = os.fstat(file.fileno()).st_size
        if size != header["size"]:
            raise _damaged(path, f"it has {size:,} bytes instead of {header['size']:,}")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    start = _HEAD.size + length
    arrays = {entry["name"]: _view(path, mapped, start, entry) for entry in header["arrays"]}
    return Store(arrays=arrays, fingerprint=header["fingerprint"], inputs=header["inputs"])


def _write(file: IO[bytes], store: Store) -> None:
    arrays = {name: np.ascontiguousarray(values) for name, values in store.arrays.items()}
    names = sorted(arrays, key=lambda name: (-arrays[name].dtype.alignment, name))
    entries: list[dict[str, Any]] = []
    offset = 0
    for name in names:
        values = arrays[name]
        entry = {"name": name, "dtype": values.dtype.str, "shape": values.shape, "offset": offset}
        if not name.endswith(_BODY):
            entry["sha256"] = _sum(values)
        entries.append(entry)
        offset += values.nbytes
    raw = _header(store, entries, offset)
    file.write(_HEAD.pack(MARK, VERSION, len(raw), hashlib.sha256(raw).digest()))
    file.write(raw)
    for name in names:
        file.write(_bytes(arrays[name]))


def _header(store: Store, entries: list[dict[str, Any]], size: int) -> bytes:
    """The header text; its length counts in the file size that it states."""
    content = {"fingerprint": store.fingerprint, "inputs": store.inputs, "arrays": entries}
    room = len(json.dumps(content)) + 64  # for the key and the digits of the size
    length = -(-(_HEAD.size + room) // _ALIGNED) * _ALIGNED - _HEAD.size
    raw = json.dumps(content | {"size": _HEAD.size + length + size})
    return raw.encode().ljust(length)


def _view(path: Path, mapped: mmap.mmap, start: int, entry: dict[str, Any]) -> np.ndarray:
    shape = tuple(entry["shape"])
    count = int(np.prod(shape, dtype=np.int64))
    values = np.frombuffer(mapped, entry["dtype"], count, start + entry["offset"])
    if "sha256" in entry and _sum(values) != entry["sha256"]:
        raise _damaged(path, f"its part {entry['name']} does not match its checksum")
    return values.reshape(shape)


def _sum(values: np.ndarray) -> str:
    return hashlib.sha256(_bytes(values)).hexdigest()


def _bytes(values: np.ndarray) -> memoryview:
    return values.reshape(-1).view(np.uint8).data


def _damaged(path: Path, what: str) -> ValueError:
    return ValueError(
        f"{path} is damaged: {what}; make it anew with `agentgym-envs pack webshop FOLDER FILE`"
    )
