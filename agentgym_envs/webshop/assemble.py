"""Rows in the official layout become the arrays that a catalogue reads.

    asins [P] bytes           in load order
    by_asin [P] int32         rows in ascending order of their asins
    prices [P, 2] float64     NaN behind a single price
    categories [P] int32      queries [P] int32   numbers into the two lists of `names`
    products/*                one record a product
    synthetic/*, human/*      one record an instruction, in load order (see `_synthetic`, `_human`)
    names/*                   two records: category names, query names
    nouns/*, noun_hashes      present where a noun table is

P products.
"""

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from agentgym_envs.webshop.cleaning import asin_of, clean, is_skipped
from agentgym_envs.webshop.loader import Rows
from agentgym_envs.webshop.product import Product
from agentgym_envs.webshop.records import Arrays, Records, RecordWriter, frozen, text_hash

_LISTS = ("bullets", "prices", "attributes")


def assemble(rows: Rows) -> tuple[Arrays, str]:
    """The arrays and the fingerprint (sha256 of all that a shopper could ever see).

    Raises ValueError naming the row (from 1), its asin and what is wrong with it.
    """
    makers = {name: _Maker() for name in ("products", "synthetic", "human")}
    asins: list[bytes] = []
    prices = array("d")
    categories, queries = _Numbers(), _Numbers()
    for number, (product, spoken, humans) in enumerate(_products(rows)):
        makers["products"].add(to_record(product))
        asins.append(product.asin.encode())
        prices.extend((*product.prices, np.nan)[:2])
        categories.add(product.category)
        queries.add(product.query)
        for name, records in (("synthetic", spoken), ("human", humans)):
            for record in records:
                makers[name].add([number, *record])
    if not asins:
        raise ValueError(f"{rows.label}: no product that the loader keeps")
    names = _Maker()
    names.add(categories.names)
    names.add(queries.names)
    arrays: Arrays = {
        "asins": frozen(np.array(asins)),
        "prices": frozen(np.array(prices).reshape(-1, 2)),
        "categories": categories.numbers(),
        "queries": queries.numbers(),
        "by_asin": frozen(np.argsort(np.array(asins), kind="stable").astype(np.int32)),
    }
    makers["names"] = names
    if rows.nouns is not None:
        makers["nouns"], arrays["noun_hashes"] = _nouns(rows.nouns)
    digest = hashlib.sha256()
    for name, maker in makers.items():
        digest.update(f"{name} {maker.sha256}\n".encode())
        arrays |= {f"{name}/{part}": values for part, values in maker.finish().items()}
    return arrays, digest.hexdigest()


def index_products(arrays: Arrays) -> Iterator[Product]:
    """The products in the order of the index's document numbers: ascending asin."""
    records = Records(part_of(arrays, "products"), "products")
    return (from_record(records[int(row)]) for row in arrays["by_asin"])


def part_of(arrays: Mapping[str, np.ndarray], name: str) -> Arrays:
    """The arrays called `name/...`, without that prefix."""
    prefix = f"{name}/"
    return {
        key.removeprefix(prefix): values for key, values in arrays.items() if key.startswith(prefix)
    }


def to_record(product: Product) -> list[Any]:
    """A product as a JSON value: its fields in order."""
    return [getattr(product, name) for name in Product.__slots__]


def from_record(record: list[Any]) -> Product:
    """The product of a JSON value."""
    fields: dict[str, Any] = dict(zip(Product.__slots__, record, strict=True))
    fields |= {name: tuple(fields[name]) for name in _LISTS}
    fields["options"] = {name: tuple(values) for name, values in fields["options"].items()}
    return Product(**fields)


class _Maker:
    """A `RecordWriter` that also sums up what it was given."""

    def __init__(self) -> None:
        self._writer = RecordWriter()
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def add(self, value: Any) -> None:
        self._digest.update(self._writer.add(value) + b"\n")

    def finish(self) -> Arrays:
        return self._writer.finish()


class _Numbers:
    """Texts numbered in the order in which they first come."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._numbers = array("i")

    @property
    def names(self) -> list[str]:
        return list(self._known)

    def add(self, name: str) -> None:
        self._numbers.append(self._known.setdefault(name, len(self._known)))

    def numbers(self) -> np.ndarray:
        return frozen(np.array(self._numbers, np.int32))


def _products(rows: Rows) -> Iterator[tuple[Product, Iterable[list[Any]], Iterable[list[Any]]]]:
    """Each product that is kept, with its synthetic and human instructions."""
    seen: set[str] = set()
    for number, row in enumerate(rows.products, start=1):
        where = f"{rows.label}: row {number}"
        try:
            asin = asin_of(row)
            where += f" (asin {asin!r})"
            if is_skipped(asin) or asin in seen:
                continue
            seen.add(asin)
            entry = rows.attributes.get(asin)
            if entry is not None and not isinstance(entry, Mapping):
                raise ValueError(f"its attribute entry should be an object, got {entry!r:.80}")
            product = clean(row, entry)
            kept = (product, _synthetic(product, entry), _human(rows.human.get(asin, ())))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        yield kept


def _synthetic(product: Product, entry: Mapping[str, Any] | None) -> list[list[Any]]:
    """[instruction, attributes, number of goals]: nothing where the product has no instruction."""
    instruction = (entry or {}).get("instruction")
    if instruction is None:
        return []
    attributes = (entry or {}).get("instruction_attributes")
    if not isinstance(instruction, str) or not _is_texts(attributes) or not attributes:
        raise ValueError(
            "its 'instruction' in the attribute file should be a text with a non-empty list of "
            f"'instruction_attributes', got {instruction!r:.80} and {attributes!r:.80}"
        )
    count = 1
    for values in product.options.values():
        count *= len(values)
    return [[instruction, attributes, count]]


def _human(instructions: Any) -> list[list[Any]]:
    """[instruction, attributes, option values] of each instruction that names an attribute."""
    if not isinstance(instructions, Sequence):
        raise ValueError(f"its human instructions should be a list, got {instructions!r:.80}")
    kept = []
    for number, spoken in enumerate(instructions, start=1):
        parts = [
            spoken.get(key) if isinstance(spoken, Mapping) else None
            for key in ("instruction", "instruction_attributes", "instruction_options")
        ]
        if not isinstance(parts[0], str) or not all(_is_texts(part) for part in parts[1:]):
            raise ValueError(
                f"its human instruction {number} should have a text 'instruction' and lists "
                f"'instruction_attributes' and 'instruction_options', got {spoken!r:.120}"
            )
        if parts[1]:
            kept.append([parts[0].strip("."), *parts[1:]])
    return kept


def _is_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _nouns(nouns: Mapping[str, Any]) -> tuple[_Maker, np.ndarray]:
    """Noun lists by title, in ascending order of the titles' hashes."""
    hashed = sorted((int(text_hash(title)), title) for title in nouns)
    maker = _Maker()
    for _, title in hashed:
        if not _is_texts(nouns[title]):
            raise ValueError(f"noun table: {title!r:.80} should have a list of texts")
        maker.add([title, list(nouns[title])])
    return maker, frozen(np.array([number for number, _ in hashed], np.uint64))
