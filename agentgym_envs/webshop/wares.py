"""What the generated shop sells: kinds of ware, what can be said of each, options and prices.

Facts of everyday life, written for this project; nothing is taken from a real shop. The kinds are
the lines of wares.txt. The first feature that a product is given is the one that its look-alikes
may lack. Option values hold no colour word as a mere part of another word (as `tan` in `standard`):
the official judge cuts a chosen value down to such a part, and the goal could then not be met.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """An option: its name, how a person mentions a value of it, and the values there are."""

    name: str
    spoken: str  # with {v} for the value
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ware:
    """A kind of ware. `path` has `›` between its parts; prices are whole dollars.

    `forms`: another form of a feature that is a single word, the same to a search and to no judge.
    """

    names: tuple[str, ...]
    query: str
    department: str
    path: str
    features: tuple[str, ...]
    materials: tuple[str, ...]
    uses: tuple[str, ...]
    scales: tuple[Scale, ...]
    price: tuple[int, int]
    forms: Mapping[str, str] = field(default_factory=dict)


def words(text: str) -> tuple[str, ...]:
    """The parts between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


_SCALES = {
    "cloth": (
        "color",
        "in {v}",
        "black, white, navy, dark green, burgundy, grey, light blue, charcoal, khaki, pink, "
        "purple, olive, teal, mustard",
    ),
    "room": (
        "color",
        "in {v}",
        "beige, ivory, black, white, light grey, dark blue, taupe, sage, brown, teal, rust, cream",
    ),
    "tech": ("color", "in {v}", "black, white, silver, midnight blue, rose gold, red, slate"),
    "shade": (
        "color",
        "in the shade {v}",
        "nude, rose, coral, berry, plum, deep red, mauve, peach",
    ),
    "wear": ("size", "in size {v}", "small, medium, large, x-large, xx-large, 3x-large"),
    "shoe": ("size", "in size {v}", "6, 7, 8, 9, 10, 11, 12"),
    "fit": ("fit type", "for {v}", "men, women, youth"),
    "sheet": ("size", "in {v} size", "twin, full, queen, king, california king"),
    "rug": ("size", "that measures {v}", "60 x 90 cm, 80 x 150 cm, 120 x 170 cm, 200 x 290 cm"),
    "shape": ("shape", "with a {v} shape", "round, square, oval, runner"),
    "panel": (
        "size",
        "that measures {v}",
        "52 x 63 inch, 52 x 84 inch, 42 x 95 inch, 38 x 45 inch",
    ),
    "cushion": ("size", "that measures {v}", "12 x 20 inch, 18 x 18 inch, 22 x 22 inch"),
    "width": ("width", "{v} wide", "24 inch, 30 inch, 36 inch, 48 inch, 60 inch"),
    "screen": ("size", "of {v}", "13 inch, 15 inch, 17 inch"),
    "cord": ("length", "{v} long", "3 feet, 6 feet, 10 feet, 15 feet"),
    "ounce": ("size", "of {v}", "4 ounce, 8 ounce, 12 ounce, 16 ounce, 32 ounce"),
    "bottle": ("size", "of {v}", "30 ml, 60 ml, 120 ml, 250 ml, 500 ml"),
    "pound": ("size", "of {v}", "1 pound, 2 pound, 5 pound, 10 pound"),
    "litre": ("capacity", "that holds {v}", "1 quart, 2 quart, 4 quart, 6 quart"),
    "memory": ("capacity", "with {v}", "32 gb, 64 gb, 128 gb, 256 gb"),
    "count": ("pack", "as a {v} pack", "1 count, 2 count, 4 count, 6 count, 12 count"),
    "sweet": (
        "flavor",
        "with {v} flavor",
        "vanilla, dark chocolate, strawberry, caramel, maple, honey, coconut, cinnamon, almond",
    ),
    "savory": (
        "flavor",
        "with {v} flavor",
        "sea salt, barbecue, garlic, ranch, teriyaki, black pepper, hot chili, original",
    ),
    "brew": (
        "flavor",
        "with {v} flavor",
        "original, hazelnut, vanilla, caramel, pumpkin spice, decaf, french roast",
    ),
    "scent": (
        "scent",
        "with {v} scent",
        "lavender, unscented, coconut, citrus, eucalyptus, jasmine, vanilla, cucumber",
    ),
    "wood": ("finish", "with a {v} finish", "oak, walnut, espresso, black, light oak, cherry"),
    "metal": (
        "finish",
        "with a {v} finish",
        "brushed nickel, matte black, polished brass, antique bronze, chrome",
    ),
    "power": ("style", "as the {v} style", "plug in, battery, usb"),
    "lined": ("style", "as the {v} style", "lined, dotted, plain, grid"),
    "theme": (
        "style",
        "as the {v} style",
        "dinosaur, unicorn, outer space, ocean, race cars, farm",
    ),
    "heavy": ("level", "at the {v} level", "light, medium, heavy, extra heavy"),
    "animal": ("life stage", "for {v}", "puppy, adult, senior"),
    "hair": ("hair type", "for {v} hair", "dry, oily, curly, fine, thick"),
    "phone": ("style", "as the {v} style", "mini, plus, pro, ultra"),
}
SCALES = MappingProxyType(
    {
        key: Scale(name=name, spoken=spoken, values=words(values))
        for key, (name, spoken, values) in _SCALES.items()
    }
)


def _read_wares() -> Iterator[Ware]:
    text = (resources.files("agentgym_envs.webshop") / "wares.txt").read_text(encoding="utf-8")
    department = root = ""
    for line in text.splitlines():
        if line.startswith("["):
            department, _, root = line[1:].partition("] ")
        elif line and not line.startswith("#"):
            yield _ware(line, department, root)


def _ware(line: str, department: str, root: str) -> Ware:
    names, query, path, features, materials, uses, scales, price = line.split("; ")
    low, _, high = price.partition("-")
    return Ware(
        names=tuple(names.split("/")),
        query=query,
        department=department,
        path=f"{root} › {path}",
        features=words(features),
        materials=words(materials),
        uses=words(uses),
        scales=tuple(SCALES[key] for key in scales.split()),
        price=(int(low), int(high)),
    )


#: every kind of ware, by department
WARES = tuple(_read_wares())

_FEW = words(
    "hoodies, t-shirts, leggings, jackets, backpacks, running shoes, boots, lipsticks, area rugs, "
    "sunscreens, throw pillows, table lamps, coffee tables, frying pans, coffee mugs, usb cables, "
    "water bottles, granola bars, coffee beans, bluetooth speakers, headphones, dog beds, puzzles, "
    "notebooks, yoga mats, desk lamps"
)
#: about a third of them, for a smaller shop
FEW_WARES = tuple(ware for ware in WARES if ware.query in _FEW)
