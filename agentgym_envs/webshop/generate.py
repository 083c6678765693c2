"""A shop without a download: products, goals and instructions made from a seed.

Rows in the official layout, so that everything that reads the official files reads these. A row is
a function of (seed, difficulty, its family) and of nothing else: each draw has dice of its own that
are named after what they are for. A new kind of ware attracts some families and leaves the others
as they were, and a shop of more products begins with those of the smaller one.

    tiny    single words, short ids, a handful of products for every search: for models of less
            than a million parameters
    small   two dozen kinds of ware, short texts
    full    a hundred kinds, texts of some length, up to three options

Products come in families of look-alikes (see items.py); goals that the official judge could not
call met do not arise.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentgym_envs.webshop.dice import Dice, rank
from agentgym_envs.webshop.items import (
    DEAR,
    FIRST,
    LACKING,
    NARROW,
    Item,
    Shape,
    family,
)
from agentgym_envs.webshop.tiny_wares import CODES, TINY_BRANDS, TINY_WARES
from agentgym_envs.webshop.wares import FEW_WARES, WARES, Ware, words
from agentgym_envs.webshop.wording import (
    BRIEF,
    PLAIN,
    USUAL,
    Wording,
    product_texts,
    spoken,
    synthetic,
    wanted,
)

__all__ = ["DIFFICULTIES", "ShopRows", "generated", "write_official"]

_VERSION = 1  # part of every name of dice: a change of what is generated changes it

_BRANDS = tuple(
    start + end
    for start in words(
        "Bru, Cal, Dov, Fen, Gal, Hol, Jor, Kel, Lum, Mar, Nor, Ost, Pel, Quo, Ril, Sor, Tam"
    )
    for end in words("dane, lith, monta, nest, wick, vane, ley, ista, ova, quin")
)
# Of 100 items of a role, how many have a synthetic instruction. A dear one rarely: whatever meets
# its goal, the cheaper one meets too.
_ASKED_FOR = {FIRST: 100, LACKING: 60, NARROW: 50, DEAR: 15}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopRows:
    """A shop in the official layout: `Catalogue.build(rows.products, rows.attributes, rows.human)`.

    products: rows of the product file. attributes: asin -> `attributes` and, where somebody asks
    for the product, `instruction` and `instruction_attributes`. human: asin -> spoken instructions.
    """

    products: list[dict[str, Any]]
    attributes: dict[str, dict[str, Any]]
    human: dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
    """A difficulty. `usual`: how many products, where nobody says.

    `shelf`: products of a kind before another kind is taken, 0: no matter.
    """

    usual: int
    wares: Sequence[Ware]
    brands: Sequence[str]
    shape: Shape
    wording: Wording
    human: int  # of 100 products, how many have spoken instructions
    shelf: int = 0
    codes: bool = False  # ids such as FOX3, instead of B0 and eight letters


_LEVELS: Mapping[str, _Level] = {
    "tiny": _Level(
        usual=600,
        wares=TINY_WARES,
        brands=TINY_BRANDS,
        shape=Shape(
            attributes=(2, 2),
            options={1: 55, 2: 45},
            values=(2, 4),
            combinations=12,
            look_alikes={0: 30, 1: 40, 2: 30},
            roles={DEAR: 45, LACKING: 45, NARROW: 10},
            round_prices=True,
        ),
        wording=PLAIN,
        human=30,
        shelf=8,
        codes=True,
    ),
    "small": _Level(
        usual=1000,
        wares=FEW_WARES,
        brands=_BRANDS,
        shape=Shape(
            attributes=(2, 3),
            options={0: 10, 1: 45, 2: 45},
            values=(2, 4),
            combinations=12,
            look_alikes={0: 35, 1: 35, 2: 20, 3: 10},
            roles={DEAR: 35, LACKING: 40, NARROW: 25},
        ),
        wording=BRIEF,
        human=30,
    ),
    "full": _Level(
        usual=2000,
        wares=WARES,
        brands=_BRANDS,
        shape=Shape(
            attributes=(3, 6),
            options={0: 15, 1: 30, 2: 40, 3: 15},
            values=(2, 6),
            combinations=24,
            look_alikes={0: 40, 1: 35, 2: 15, 3: 10},
            roles={DEAR: 35, LACKING: 40, NARROW: 25},
        ),
        wording=USUAL,
        human=30,
    ),
}


DIFFICULTIES = tuple(_LEVELS)


def generated(products: int | None = None, seed: int = 0, difficulty: str = "full") -> ShopRows:
    """So many products with their instructions. Equal arguments give equal rows on any machine.

    products: None for the usual number, 600 tiny ones, 1,000 small ones or 2,000 full ones.

    Raises ValueError for a negative number of products or an unknown difficulty.
    """
    if products is not None and products < 0:
        raise ValueError(f"products should be 0 or more, got {products}")
    if difficulty not in _LEVELS:
        raise ValueError(f"no difficulty {difficulty!r}; there are: {', '.join(_LEVELS)}")
    level = _LEVELS[difficulty]
    if products is None:
        products = level.usual
    name = ("webshop", _VERSION, seed, difficulty)
    ids = _codes(name) if level.codes else _letters(name)
    rows = ShopRows(products=[], attributes={}, human={})
    for key, item in _items(level, name, products):
        _add(rows, next(ids), item, level, (*name, *key))
    return rows


Name = tuple[object, ...]


def _items(level: _Level, name: Name, count: int) -> Iterator[tuple[Name, Item]]:
    """`count` items of as many families as it takes, each with the name of its own dice."""
    shelves = {ware.query: 0 for ware in level.wares}
    families = dict(shelves)
    number = 0
    while count > 0:
        look_alikes = Dice(*name, "size", number).lot(level.shape.look_alikes)
        ware = _ware(level, shelves, (*name, "ware", number), look_alikes + 1)
        key = ("family", number, ware.query)
        items = family(
            Dice(*name, *key),
            ware,
            level.brands,
            level.shape,
            material=_material(level, name, ware, number, families[ware.query]),
            look_alikes=look_alikes,
        )
        for place, item in enumerate(items[:count]):
            yield (*key, place), item
        count -= len(items)
        shelves[ware.query] += len(items)
        families[ware.query] += 1
        number += 1


def _material(level: _Level, name: Name, ware: Ware, number: int, earlier: int) -> str:
    """Any; on a shelf of limited room in turn, so that its families can be told apart."""
    if not level.shelf:
        return Dice(*name, "material", number, ware.query).pick(ware.materials)
    turn = Dice(*name, "material", ware.query).below(len(ware.materials)) + earlier
    return ware.materials[turn % len(ware.materials)]


def _ware(level: _Level, shelves: Mapping[str, int], name: Name, size: int) -> Ware:
    """The kind whose name with the family's ranks highest, of those with room on the shelf."""

    def by_rank(ware: Ware) -> int:
        return rank(*name, ware.query)

    if not level.shelf:
        return max(level.wares, key=by_rank)
    room = level.shelf
    while True:
        free = [ware for ware in level.wares if shelves[ware.query] + size <= room]
        if free:
            return max(free, key=by_rank)
        room += level.shelf


def _letters(name: Name) -> Iterator[str]:
    """B0 and eight digits or capitals, without repeats."""
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    seen: set[str] = set()
    number = 0
    while True:
        dice = Dice(*name, "asin", number)
        asin = "B0" + "".join(dice.pick(alphabet) for _ in range(8))
        number += 1
        if asin not in seen:
            seen.add(asin)
            yield asin


def _codes(name: Name) -> Iterator[str]:
    """FOX1, WREN1, ...: every word with 1 in drawn order, then every word with 2."""
    number = 1
    while True:
        for word in Dice(*name, "codes", number).few(CODES, len(CODES)):
            yield f"{word}{number}"
        number += 1


def _add(rows: ShopRows, asin: str, item: Item, level: _Level, name: Name) -> None:
    texts = product_texts(Dice(*name, "texts"), item, level.wording)
    rows.products.append(
        {
            "asin": asin,
            "name": texts.title,
            "full_description": texts.description,
            "small_description": list(texts.bullets),
            "pricing": " - ".join(f"${cents // 100}.{cents % 100:02}" for cents in item.cents),
            "customization_options": {
                scale.name: [{"value": value, "image": None} for value in values]
                for scale, values in item.options
            }
            or "",
            "product_category": item.ware.path,
            "category": item.ware.department,
            "query": item.ware.query,
            "images": [f"https://img.example/{asin}.jpg"],
            "average_rating": "",
            "page": 1,
        }
    )
    entry: dict[str, Any] = {"attributes": list(item.attributes)}
    dice = Dice(*name, "instruction")
    if dice.percent(_ASKED_FOR[item.role]):
        traits = wanted(dice, item, level.wording)
        entry["instruction"] = synthetic(dice, item, traits, level.wording)
        entry["instruction_attributes"] = list(traits)
    rows.attributes[asin] = entry
    dice = Dice(*name, "human")
    if item.role != DEAR and dice.percent(level.human):
        rows.human[asin] = [
            _spoken(dice, asin, item, level.wording) for _ in range(dice.between(1, 2))
        ]


def _spoken(dice: Dice, asin: str, item: Item, wording: Wording) -> dict[str, Any]:
    """One spoken instruction: some attributes, some options with a value each."""
    traits = wanted(dice, item, wording)
    count = dice.between(1, len(item.options)) if item.options else 0
    chosen = [(scale, dice.pick(values)) for scale, values in dice.few(item.options, count)]
    phrases = [scale.spoken.format(v=value) for scale, value in chosen]
    return {
        "asin": asin,
        "instruction": spoken(dice, item, traits, phrases, wording),
        "attributes": list(item.attributes),
        "options": [f"{scale.name}: {value}" for scale, value in chosen],
        "instruction_attributes": list(traits),
        "instruction_options": [value for _, value in chosen],
    }


def write_official(rows: ShopRows, folder: str | Path) -> None:
    """Write the three official files, under the names of the small set.

    Each file appears whole or not at all; files of these names are replaced. The folder is made
    where it is missing.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("items_shuffle_1000.json", rows.products),
        ("items_ins_v2_1000.json", rows.attributes),
        ("items_human_ins.json", rows.human),
    ):
        handle, hidden = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            json.dump(content, file, ensure_ascii=False)
        os.replace(hidden, folder / name)
