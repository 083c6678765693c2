"""Large JSON files, one element at a time: the official product file has 5 GB."""

import codecs
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20  # bytes read at a time, doubled while one element does not fit
_LARGEST = 1 << 26  # characters of one element; beyond that the file must be damaged
_TAIL = 16  # characters: an error this close to the end of the text may be a cut, not a mistake
_BLANK = " \t\n\r"


class JsonFile:
    """Reads one JSON array or object from a file, in pieces.

    Every element is decoded by itself and then forgotten here. `sha256` is the checksum of what has
    been read so far, so that of the whole file after the last element.
    Raises ValueError naming the file and the element (from 1) where the text is malformed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._decoder = json.JSONDecoder()
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def rows(self) -> Iterator[Any]:
        """The elements of an array."""
        with _Text(self) as text:
            yield from self._elements(text, "[", "]")

    def items(self) -> Iterator[tuple[str, Any]]:
        """The (key, value) pairs of an object, in order; a key may come twice."""
        with _Text(self) as text:
            yield from self._elements(text, "{", "}")

    def _elements(self, text: "_Text", opening: str, closing: str) -> Iterator[Any]:
        text.take(opening, "at its start")
        if text.next() == closing:
            text.take(closing, "at its end")
        else:
            number, mark = 0, ","
            while mark == ",":
                number += 1
                yield self._pair(text, number) if opening == "{" else text.value(number)
                mark = text.next()
                text.take("," if mark == "," else closing, f"after element {number}")
        if text.next():
            raise ValueError(f"{self.path}: text after the end of the JSON value")

    def _pair(self, text: "_Text", number: int) -> tuple[str, Any]:
        if text.next() != '"':
            raise ValueError(f"{self.path}: element {number} has no key")
        key = text.value(number)
        text.take(":", f"after key {key!r}")
        return key, text.value(number)

    def feed(self, block: bytes) -> None:
        """Count bytes into the checksum."""
        self._digest.update(block)

    def decode(self, text: str, at: int) -> tuple[Any, int]:
        return self._decoder.raw_decode(text, at)


class _Text:
    """The text of an open file: a window that moves forward."""

    def __init__(self, source: JsonFile) -> None:
        self._source = source
        self._file = source.path.open("rb")
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._text = ""
        self._at = 0
        self._ended = False

    def __enter__(self) -> "_Text":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def next(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _BLANK:
                    return self._text[self._at]
                self._at += 1
            if not self._more(_CHUNK):
                return ""

    def take(self, mark: str, where: str) -> None:
        found = self.next()
        if found != mark:
            shown = repr(found) if found else "the end of the file"
            raise ValueError(f"{self._source.path}: expected {mark!r} {where}, found {shown}")
        self._at += 1

    def value(self, number: int) -> Any:
        """Decode the value that starts here, reading on until it is whole."""
        self.next()
        size = _CHUNK
        while True:
            try:
                value, end = self._source.decode(self._text, self._at)
            except json.JSONDecodeError as error:
                length = len(self._text) - self._at
                cut = error.msg.startswith("Unterminated") or error.pos >= len(self._text) - _TAIL
                if not cut or length > _LARGEST or not self._more(size):
                    raise ValueError(
                        f"{self._source.path}: element {number} is malformed: {error.msg}"
                    ) from error
                size *= 2
                continue
            # A number cut by the end of the window looks whole: "1" of "1.5", or "1" of "1e+3".
            length = end - self._at  # reading on moves the window
            if end > len(self._text) - _TAIL and self._more(size):
                continue
            self._at += length
            return value

    def _more(self, size: int) -> bool:
        """Read on and drop what lies behind; False at the end of the file."""
        if self._ended:
            return False
        block = self._file.read(size)
        self._source.feed(block)
        self._ended = not block
        try:
            piece = self._decode(block, final=self._ended)
        except UnicodeDecodeError as error:
            raise ValueError(f"{self._source.path}: not UTF-8 text: {error}") from error
        self._text = self._text[self._at :] + piece
        self._at = 0
        return not self._ended
