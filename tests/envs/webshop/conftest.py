"""Real catalogues and the official code's recordings, where there are any."""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from agentgym_envs.webshop.catalogue import Catalogue, open_catalogue

MakeRow = Callable[..., dict[str, Any]]


def _row(asin: str, **changes: Any) -> dict[str, Any]:
    plain = {
        "asin": asin,
        "name": f"Plain mug {asin}",
        "full_description": "A mug.",
        "small_description": ["Holds tea."],
        "pricing": "$12.50",
        "customization_options": "",
        "product_category": "Home › Kitchen › Mugs",
        "category": "garden",
        "query": "Mugs ",
        "images": ["https://img.example/mug.jpg"],
    }
    return plain | changes


def _options(**values: list[str]) -> dict[str, Any]:
    return {
        name: [{"value": value, "image": None} for value in listed]
        for name, listed in values.items()
    }


@pytest.fixture(scope="session")
def make_row() -> MakeRow:
    """A row of the product file: an asin, and what differs from a plain mug."""
    return _row


@pytest.fixture(scope="session")
def make_options() -> Callable[..., dict[str, Any]]:
    """name=[values] as the product file writes options."""
    return _options


@pytest.fixture(scope="session")
def shop_data(real_data: Path) -> Path:
    """The folder around the catalogues and `recordings/`."""
    folder = real_data / "webshop"
    if not (folder / "recordings").is_dir():
        pytest.skip(f"no WebShop recordings under {folder}")
    return folder


@pytest.fixture(scope="session")
def shop_folders(shop_data: Path) -> Mapping[str, Path]:
    """Every catalogue in the official layout: name -> folder."""
    found = {path.parent.name: path.parent for path in shop_data.glob("*/items_shuffle*.json")}
    assert found, f"recordings without a catalogue under {shop_data}"
    return dict(sorted(found.items()))


@pytest.fixture(scope="session")
def catalogue_of(shop_folders: Mapping[str, Path]) -> Callable[[str], Catalogue]:
    """The catalogue a data set ("real600-human") belongs to: its name up to the first `-`."""
    return lambda dataset: open_catalogue(shop_folders[dataset.partition("-")[0]])


@pytest.fixture(scope="session")
def recorded(shop_data: Path) -> Callable[[str], Mapping[str, Path]]:
    """Recordings whose file name matches a pattern such as `goals-*`: data set -> file.

    The data set is the name without the part before the star: goals-demo-human.jsonl gives
    demo-human.
    Session files (pattern `*`) are those that are no table.
    """
    return lambda pattern: _matching(shop_data / "recordings", pattern)


@cache
def _matching(folder: Path, pattern: str) -> dict[str, Path]:
    prefix = pattern.partition("*")[0]
    paths = sorted(folder.glob(f"{pattern}.jsonl"))
    if not prefix:
        paths = [path for path in paths if "steps" in next(lines(path))]
    assert paths, f"no recording matches {pattern} in {folder}"
    return {path.stem.removeprefix(prefix): path for path in paths}


def lines(path: Path) -> Iterator[Any]:
    """The values of a JSON lines file."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


@pytest.fixture(scope="session")
def read_lines() -> Callable[[Path], Iterator[Any]]:
    """`lines`, for test modules, which cannot import this file."""
    return lines


@pytest.fixture(scope="session")
def sessions(
    recorded: Callable[[str], Mapping[str, Path]],
) -> Callable[[], Iterator[dict[str, Any]]]:
    """Every recorded session of the official environment, from all files (fork sessions too)."""

    def read() -> Iterator[dict[str, Any]]:
        for path in recorded("*").values():
            yield from lines(path)

    return read
