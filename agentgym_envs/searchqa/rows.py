"""Rows of a question file, one by one, each with the place it came from."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
ROWS_AT_ONCE = 4096


class RowError(ValueError):
    """A row that cannot be a question; says what is wrong with it."""


def read_rows(file: Path) -> Iterator[tuple[str, Row]]:
    """Each row of a `.jsonl` or `.parquet` file, after "file, line n" (or "file, row n").

    Raises RowError for a line that is no JSON object and for a file that is no parquet, and
    ModuleNotFoundError naming the fix where a parquet file needs pyarrow.
    """
    return _parquet_rows(file) if file.suffix == ".parquet" else _json_rows(file)


def _json_rows(file: Path) -> Iterator[tuple[str, Row]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            place = f"{file}, line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise RowError(f"{place}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise RowError(f"{place}: a {type(row).__name__}, expected an object")
            yield place, row


def _parquet_rows(file: Path) -> Iterator[tuple[str, Row]]:
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"{file} is a parquet file: pip install pyarrow, or give the questions as .jsonl"
        ) from missing
    number = 0
    try:
        with ParquetFile(file) as table:
            for batch in table.iter_batches(ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{file}, row {number}", row
    except ArrowInvalid as error:
        raise RowError(f"{file}: no readable parquet file: {error}") from error
