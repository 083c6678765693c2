"""A product as the shop knows it, after the official loader's cleaning."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """`asin`: id, as in the file. `title`, `description`, `bullets`: texts of the pages.

    `prices`: the parsed numbers (one, or the two ends of a range); `price_tag`: as pages show them.
    `options`: name -> values in file order, lower case; a value may occur twice.
    `category_path`: with `›` between its parts (file key `product_category`); `category` and
    `query` (lower case): file keys of those names. `attributes`: from the attribute file.
    `image`: address of the main image; `option_images`: option value -> address of its picture,
    for those that have one. Both are used by html only.
    """

    asin: str
    title: str
    description: str
    bullets: tuple[str, ...]
    prices: tuple[float, ...]
    price_tag: str
    options: Mapping[str, tuple[str, ...]]
    category_path: str
    category: str
    query: str
    attributes: tuple[str, ...]
    image: str
    option_images: Mapping[str, str] = field(default_factory=dict)
