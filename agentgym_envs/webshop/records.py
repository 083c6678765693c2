"""Many JSON values in one stretch of bytes, decoded when asked for."""

import hashlib
import json
import mmap
import tempfile
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np

Arrays = dict[str, np.ndarray]
_IN_MEMORY = 1 << 26  # bytes; more goes to a temporary file
_ENCODER = json.JSONEncoder(separators=(",", ":"))  # ASCII, so that any text survives


class Records(Sequence[Any]):
    """JSON values by number. Each is checked against its CRC-32 whenever it is read.

    body [bytes] uint8, ends [n] int64 (where each value ends), sums [n] uint32.
    Raises IndexError, and ValueError naming the owner where a value is damaged.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], owner: str) -> None:
        self.arrays = dict(arrays)
        self._body = arrays["body"].data
        self._ends = arrays["ends"]
        self._sums = arrays["sums"]
        self._owner = owner

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self._ends):
            raise IndexError(f"{self._owner}: no value {number} among {len(self._ends)}")
        start = int(self._ends[number - 1]) if number else 0
        raw = bytes(self._body[start : int(self._ends[number])])
        if zlib.crc32(raw) != self._sums[number]:
            raise ValueError(f"{self._owner} is damaged (value {number}): make the file anew")
        return json.loads(raw)


class RecordWriter:
    """Collects JSON values for `Records`; a temporary file takes over where they are many."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._spill: IO[bytes] | None = None
        self._size = 0
        self._ends = array("q")
        self._sums = array("I")

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, value: Any) -> bytes:
        """Append one value; returns its bytes."""
        raw = _ENCODER.encode(value).encode()
        self._held += raw
        self._size += len(raw)
        self._ends.append(self._size)
        self._sums.append(zlib.crc32(raw))
        if len(self._held) > _IN_MEMORY:
            self._flush()
        return raw

    def finish(self) -> Arrays:
        """What `Records` reads."""
        if self._spill is None:
            body = np.frombuffer(bytes(self._held), np.uint8)
        else:
            self._flush()
            body = np.frombuffer(mmap.mmap(self._spill.fileno(), 0, access=mmap.ACCESS_READ), "u1")
            self._spill.close()
        return {
            "body": body,
            "ends": frozen(np.array(self._ends, np.int64)),
            "sums": frozen(np.array(self._sums, np.uint32)),
        }

    def _flush(self) -> None:
        if self._spill is None:
            self._spill = tempfile.TemporaryFile()  # noqa: SIM115 (`finish` closes it)
        self._spill.write(self._held)
        self._spill.flush()
        self._held = bytearray()


class Table(Mapping[str, Any]):
    """A mapping that keeps its values as compact JSON text, far smaller than objects."""

    def __init__(self, items: Iterable[tuple[str, Any]]) -> None:
        self._raw = {key: _ENCODER.encode(value).encode() for key, value in items}

    def __getitem__(self, key: str) -> Any:
        return json.loads(self._raw[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)


class TextKeys(Mapping[str, tuple[str, ...]]):
    """text -> list of texts, read from arrays: the stored noun lists of titles.

    records: [text, list] in ascending order of the text's hash; hashes [n] uint64.
    """

    def __init__(self, records: Records, hashes: np.ndarray) -> None:
        self._records = records
        self._hashes = hashes

    def __getitem__(self, key: str) -> tuple[str, ...]:
        if isinstance(key, str):
            first, last = (
                int(np.searchsorted(self._hashes, text_hash(key), side))
                for side in ("left", "right")
            )
            for number in range(first, last):
                text, values = self._records[number]
                if text == key:
                    return tuple(values)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return (text for text, _ in self._records)

    def __len__(self) -> int:
        return len(self._records)


def text_hash(text: str) -> np.uint64:
    """64 bits of a text, the same in every process."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def frozen(values: np.ndarray) -> np.ndarray:
    """The array, read-only."""
    values.flags.writeable = False
    return values
