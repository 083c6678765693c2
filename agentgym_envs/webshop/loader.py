"""The official files, unchanged, found in a folder by their names."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentgym_envs.webshop.json_stream import JsonFile
from agentgym_envs.webshop.records import Table

_PRODUCTS = "items_shuffle"
_ATTRIBUTES = "items_ins_v2"
_HUMAN = "items_human_ins.json"
_NOUNS = "nouns.json"
_ORIGIN = "they are the data files of the official WebShop repository (its setup script)"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficialFiles:
    """Where the files of one size lie. `size`: what stands behind their names: `_1000`, or empty.

    `nouns`: our own addition, title -> nouns as a tagger found them; None where there is none.
    """

    size: str
    products: Path
    attributes: Path
    human: Path
    nouns: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Everything a catalogue is made of, in the official layout.

    `products`: read once, in load order. `attributes`: asin -> attributes, instruction,
    instruction_attributes. `human`: asin -> instructions. `nouns`: title -> nouns, where known.
    `label`: how errors name the products. `checksums`: file name -> sha256, complete only once
    `products` has been read to its end.
    """

    products: Iterable[Any]
    attributes: Mapping[str, Any]
    human: Mapping[str, Any]
    nouns: Mapping[str, Any] | None = None
    label: str = "products"
    checksums: Callable[[], dict[str, str]] = dict


def is_official(path: Path) -> bool:
    """Whether path is a folder, or a file named like an official product file."""
    return path.is_dir() or _size_of(path, _PRODUCTS) is not None


def find_files(path: Path) -> OfficialFiles:
    """The official files at path: a folder, or its product file where it holds several sizes.

    Raises FileNotFoundError naming the missing file, ValueError where the choice is ambiguous.
    """
    folder = path if path.is_dir() else path.parent
    products = path if path.is_file() else _only_products(folder)
    size = _size_of(products, _PRODUCTS) or ""
    attributes = folder / f"{_ATTRIBUTES}{size}.json"
    human = folder / _HUMAN
    for needed, what in ((attributes, "attributes"), (human, "human instructions")):
        if not needed.is_file():
            others = sorted(found.name for found in folder.glob("items_*.json"))
            raise FileNotFoundError(
                f"no {what}: {needed.name} is missing beside {products.name} in {folder} "
                f"(there are: {', '.join(others)}); {_ORIGIN}"
            )
    nouns = folder / _NOUNS
    return OfficialFiles(
        size=size,
        products=products,
        attributes=attributes,
        human=human,
        nouns=nouns if nouns.is_file() else None,
    )


def read_files(files: OfficialFiles) -> Rows:
    """Open the files. Products are read one by one; the tables are kept as compact JSON text.

    Raises ValueError naming the file and the element that is malformed.
    """
    sources = {name: JsonFile(getattr(files, name)) for name in ("products", "attributes", "human")}
    if files.nouns is not None:
        sources["nouns"] = JsonFile(files.nouns)
    tables = {name: _table(file) for name, file in sources.items() if name != "products"}
    return Rows(
        products=_rows(sources["products"]),
        attributes=tables["attributes"],
        human=tables["human"],
        nouns=tables.get("nouns"),
        label=str(files.products),
        checksums=lambda: {file.path.name: file.sha256 for file in sources.values()},
    )


def _only_products(folder: Path) -> Path:
    found = sorted(path for path in folder.iterdir() if _size_of(path, _PRODUCTS) is not None)
    if not found:
        raise FileNotFoundError(
            f"no WebShop products: {folder} holds no {_PRODUCTS}*.json (small set: "
            f"{_PRODUCTS}_1000.json, full set: {_PRODUCTS}.json); {_ORIGIN}"
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{folder} holds several product files ({names}): give the path of one")
    return found[0]


def _size_of(path: Path, stem: str) -> str | None:
    match = re.fullmatch(rf"{stem}(.*)\.json", path.name)
    return match[1] if match else None


def _rows(file: JsonFile) -> Iterator[Any]:
    yield from file.rows()


def _table(file: JsonFile) -> Table:
    return Table(file.items())
