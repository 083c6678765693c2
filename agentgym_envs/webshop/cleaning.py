"""One row of the product file becomes one product, by the official loader's rules.

Where the official loader would stop with a bare KeyError, the errors here say which field it is.
"""

import re
from collections.abc import Mapping
from itertools import chain
from typing import Any

from agentgym_envs.webshop.product import Product

NO_PRICE = 100.0
NO_ATTRIBUTES = ("DUMMY_ATTR",)
_LONGEST_ASIN = 10  # characters
_NOT_IN_NUMBER = re.compile(r"[^\d.]")
_KINDS = {str: "text", list: "a list", dict: "an object"}


def asin_of(row: Any) -> str:
    """The row's id. Raises ValueError where there is none."""
    if not isinstance(row, dict):
        raise ValueError(f"should be an object with the keys of a product, got {row!r:.80}")
    asin = _get(row, "asin", str)
    if not asin or not asin.isprintable():
        raise ValueError(f"'asin' should be a printable id, got {asin!r:.80}")
    return asin


def is_skipped(asin: str) -> bool:
    """Whether the loader leaves the row out: id `nan`, or longer than 10 characters."""
    return asin == "nan" or len(asin) > _LONGEST_ASIN


def clean(row: Mapping[str, Any], attributes: Mapping[str, Any] | None) -> Product:
    """The product of a row. attributes: its entry in the attribute file; None where it has none.

    An empty list of images gives an empty address, an empty list of bullets no bullets.
    Raises ValueError saying what is wrong with which field.
    """
    prices, price_tag = clean_price(row.get("pricing"))
    bullets = row.get("small_description")
    images = _texts(row, "images")
    return Product(
        asin=asin_of(row),
        title=_get(row, "name", str),
        description=_get(row, "full_description", str),
        bullets=(bullets,) if isinstance(bullets, str) else _texts(row, "small_description"),
        prices=prices,
        price_tag=price_tag,
        options=_options(row),
        category_path=_get(row, "product_category", str),
        category=_get(row, "category", str),
        query=_get(row, "query", str).lower().strip(),
        attributes=_attributes(attributes),
        image=images[0] if images else "",
        option_images=_option_images(row),
    )


def clean_price(pricing: Any) -> tuple[tuple[float, ...], str]:
    """The numbers (one, or both ends of a range) and the tag of a price text; none means 100.

    "$877.80" -> (877.8,), "$877.8"; "$5.00 - $9.00 $12.00" -> (5.0, 9.0), "$5.0 to $9.0".
    """
    if not pricing:
        return (NO_PRICE,), f"${NO_PRICE}"
    if not isinstance(pricing, str):
        raise ValueError(f"'pricing' should be text, got {pricing!r:.80}")
    try:
        prices = tuple(float(_NOT_IN_NUMBER.sub("", part)) for part in pricing.split("$")[1:])
    except ValueError:
        prices = ()
    if not prices:
        raise ValueError(f"'pricing' is no price such as '$5.00' or '$5.00 - $9.00': {pricing!r}")
    if len(prices) == 1:
        return prices, f"${prices[0]}"
    return prices[:2], f"${prices[0]} to ${prices[1]}"


def index_text(product: Product) -> str:
    """What the search index holds of a product: one lower-case text."""
    options = ", and ".join(
        f"{name}: {', '.join(values)}" for name, values in product.options.items()
    )
    first = product.bullets[0] if product.bullets else ""
    return " ".join((product.title, product.description, first, options)).lower()


def _options(row: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    raw = row.get("customization_options")
    if not raw:
        return {}
    if not isinstance(raw, dict):
        raise ValueError(f"'customization_options' should be an object, got {raw!r:.80}")
    options = {}
    for name, contents in raw.items():
        if contents is None:
            continue
        if not isinstance(contents, list) or not all(_is_option(content) for content in contents):
            raise ValueError(
                f"option {name!r} should be null or a list of objects with a text 'value' and, "
                f"where there is a picture, a text 'image', got {contents!r:.80}"
            )
        options[name.lower()] = tuple(_option_value(content["value"]) for content in contents)
    return options


def _option_images(row: Mapping[str, Any]) -> dict[str, str]:
    """Of options that `_options` has checked. A value that comes twice has its last picture."""
    contents = chain.from_iterable(filter(None, (row.get("customization_options") or {}).values()))
    images = {_option_value(content["value"]): content.get("image") for content in contents}
    return {value: image for value, image in images.items() if image is not None}


def _is_option(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and isinstance(content.get("value"), str)
        and isinstance(content.get("image"), str | None)
    )


def _option_value(text: str) -> str:
    return text.strip().replace("/", " | ").lower()


def _attributes(entry: Mapping[str, Any] | None) -> tuple[str, ...]:
    if entry is None or "attributes" not in entry:
        return NO_ATTRIBUTES
    return _texts(entry, "attributes")


def _texts(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = _get(row, key, list)
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"{key!r} should hold texts only, got {values!r:.80}")
    return tuple(values)


def _get(row: Mapping[str, Any], key: str, kind: type) -> Any:
    if key not in row:
        raise ValueError(f"no {key!r}")
    if not isinstance(row[key], kind):
        raise ValueError(f"{key!r} should be {_KINDS[kind]}, got {row[key]!r:.80}")
    return row[key]
