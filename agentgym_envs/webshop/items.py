"""Families of products: a kind of ware from one brand, and its look-alikes on the shelf.

A look-alike differs from the first of its family in one thing that a careless shopper misses:

    dear     the price, by more than any price limit for the first allows
    lacking  one attribute: it has another instead, though its texts use the same words
    narrow   the values of one option: some are not to be had, though its texts name them

so a search finds the whole family, and only reading tells which one is wanted.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from types import MappingProxyType

from agentgym_envs.webshop.dice import Dice
from agentgym_envs.webshop.wares import Scale, Ware

FIRST, DEAR, LACKING, NARROW = "first", "dear", "lacking", "narrow"
#: cents above an item's price that are beyond any price limit drawn for it (40 dollars at most)
BEYOND = 4500


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One product before it is put into words.

    `attributes`: the first is the one a look-alike may lack. `options`: scale and values. `cents`:
    one price, both ends of a range, or none at all.
    `denied` and `gone`: an attribute and option values that its texts name and it has not.
    """

    role: str
    ware: Ware
    brand: str
    name: str
    attributes: tuple[str, ...]
    options: tuple[tuple[Scale, tuple[str, ...]], ...]
    cents: tuple[int, ...]
    denied: str = ""
    gone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How rich a family is: ranges are lowest and highest counts, weights are relative.

    `attributes`: of an item; `options`: weight of every number of option names; `values`: of an
    option; `combinations`: option choices of an item, at most; `look_alikes`: weight of every
    number of them; `roles`: weight of every kind of look-alike; `round_prices`: prices of 15, 25,
    35 or 45 dollars (50 more where dear) instead of any.
    """

    attributes: tuple[int, int]
    options: Mapping[int, int]
    values: tuple[int, int]
    combinations: int
    look_alikes: Mapping[int, int]
    roles: Mapping[str, int]
    round_prices: bool = False


def family(
    dice: Dice, ware: Ware, brands: Sequence[str], shape: Shape, *, material: str, look_alikes: int
) -> list[Item]:
    """The first item, made of this material, and so many look-alikes."""
    first = Item(
        role=FIRST,
        ware=ware,
        brand=dice.pick(brands),
        name=dice.pick(ware.names),
        attributes=_attributes(dice, ware, shape, material),
        options=_options(dice, ware, shape),
        cents=_cents(dice, ware, shape),
    )
    others: list[Item] = []
    for _ in range(look_alikes):
        role = dice.lot(shape.roles)
        item = replace(first, brand=first.brand if dice.percent(50) else dice.pick(brands))
        if role == LACKING:
            others.append(_lacking(dice, item, {other.attributes[0] for other in others}))
        elif role == NARROW and any(len(values) > 1 for _, values in first.options):
            others.append(_narrow(dice, item))
        else:
            others.append(_dear(dice, item, shape))
    return [_aware(dice, first, others), *others]


def _aware(dice: Dice, first: Item, others: Sequence[Item]) -> Item:
    """The first item, which denies in turn what one of its look-alikes has instead."""
    features = [item.attributes[0] for item in others if item.role == LACKING]
    narrow = [item for item in others if item.role == NARROW]
    own = {value for _, values in first.options for value in values}
    there = [value for _, values in dice.pick(narrow).options for value in values] if narrow else []
    return replace(
        first,
        denied=dice.pick(features) if features else "",
        gone=tuple(value for value in there if value not in own),
    )


def _attributes(dice: Dice, ware: Ware, shape: Shape, material: str) -> tuple[str, ...]:
    """A feature, the material, a use where the ware has any, then more features."""
    count = dice.between(*shape.attributes)
    features = dice.few(ware.features, count)
    uses = dice.few(ware.uses, 1)
    return (features[0], material, *uses, *features[1:])[:count]


def _options(dice: Dice, ware: Ware, shape: Shape) -> tuple[tuple[Scale, tuple[str, ...]], ...]:
    scales = dice.few(ware.scales, dice.lot(shape.options))
    drawn = [[*dice.few(scale.values, dice.between(*shape.values))] for scale in scales]
    while prod(map(len, drawn)) > shape.combinations:
        max(drawn, key=len).pop()
    order = {scale.name: scale.values.index for scale in scales}
    return tuple(
        (scale, tuple(sorted(values, key=order[scale.name])))
        for scale, values in zip(scales, drawn, strict=True)
    )


def _cents(dice: Dice, ware: Ware, shape: Shape) -> tuple[int, ...]:
    if shape.round_prices:
        return (1500 + 1000 * dice.below(4),)
    dollars = dice.between(*ware.price)
    price = 100 * dollars + dice.pick((99, 49, 95, 0))
    form = dice.lot(_PRICE_FORMS)
    if form == "none":
        return ()
    return (price,) if form == "one" else (price, price + 100 * dice.between(2, 2 + dollars // 3))


_PRICE_FORMS = MappingProxyType({"one": 84, "range": 13, "none": 3})
_WITHOUT_PRICE = 10000  # what the shop takes for an item without a price


def _dear(dice: Dice, item: Item, shape: Shape) -> Item:
    highest = max(item.cents, default=_WITHOUT_PRICE)
    step = 5000 if shape.round_prices else BEYOND + 100 * dice.below(60)
    return replace(item, role=DEAR, cents=(highest + step,))


def _lacking(dice: Dice, item: Item, taken: Collection[str]) -> Item:
    """Another feature in place of the first; one that no look-alike has, if there is one left."""
    rest = [feature for feature in item.ware.features if feature not in item.attributes]
    instead = dice.pick([feature for feature in rest if feature not in taken] or rest)
    return replace(
        item,
        role=LACKING,
        attributes=(instead, *item.attributes[1:]),
        denied=item.attributes[0],
    )


def _narrow(dice: Dice, item: Item) -> Item:
    """Two thirds of one option's values make room for others, as far as the scale has any."""
    places = [place for place, (_, values) in enumerate(item.options) if len(values) > 1]
    place = dice.pick(places)
    scale, values = item.options[place]
    gone = dice.few(values, (2 * len(values) + 2) // 3)
    others = dice.few([value for value in scale.values if value not in values], len(gone))
    left = [value for value in scale.values if value in others or value in set(values) - {*gone}]
    options = (*item.options[:place], (scale, tuple(left)), *item.options[place + 1 :])
    return replace(item, role=NARROW, options=options, gone=gone)
