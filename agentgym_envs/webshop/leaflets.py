"""What the shop prints of one product, prepared once and shared by all shoppers of a shelf."""

import functools
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agentgym_envs.webshop.product import Product

KEPT = 4096  # leaflets of one shelf kept ready; some kilobytes each

SEP = " [SEP] "
PREV, NEXT, BACK, BUY = "< prev", "next >", "back to search", "buy now"
SUB_PAGES = {name.lower(): name for name in ("Description", "Features", "Reviews", "Attributes")}

PLAIN, BUTTON, OPTION, LINK = "plain", "button", "option", "link"
Node = tuple[str, str]  # what kind of text it is, and the text as the page has it


class Shelf(Protocol):
    """Where products come from; a Catalogue is one."""

    @property
    def asins(self) -> Sequence[str]: ...

    def product(self, asin: str) -> Product: ...

    def search(self, query: str) -> tuple[str, ...]: ...

    def by_category(self, name: str) -> tuple[str, ...]: ...

    def by_query(self, name: str) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Leaflet:
    """`row`, `item`: its texts in a list of results and on its own page, in mode `text`.

    `row_nodes`, `item_nodes`: the same, node by node. `link`: its clickable in a list of results.
    `clickables`: those of its own page. `owners`: option value -> the name it sets.
    """

    product: Product
    link: str
    row: str
    row_nodes: tuple[Node, ...]
    row_brief: str
    item: str
    item_nodes: tuple[Node, ...]
    clickables: tuple[str, ...]
    owners: Mapping[str, str]


def joined(nodes: Sequence[Node]) -> str:
    """Mode `text`: every node stripped, with ` [SEP] ` between."""
    return SEP.join([text.strip() for _, text in nodes])


def as_nodes(kind: str, *texts: str) -> tuple[Node, ...]:
    """Texts as an html page keeps them.

    An empty one makes no node. White space alone (blank, tab, newline, form feed, return) makes
    none if it holds a newline, else one blank.
    """
    kept: list[Node] = []
    for text in texts:
        if text.strip(" \n\t\f\r"):
            kept.append((kind, text))
        elif text and "\n" not in text:
            kept.append((kind, " "))
    return tuple(kept)


def brief_price(product: Product) -> str:
    """The price tag without the cents where there are none: `$45`, `$5.5 to $9`."""
    return product.price_tag.replace(".0 ", " ").removesuffix(".0")


def print_leaflet(product: Product, sub_pages: Sequence[str]) -> Leaflet:
    """`sub_pages`: those that its page has buttons for."""
    row = (
        *as_nodes(LINK, product.asin),
        *as_nodes(PLAIN, product.title, product.price_tag),
    )
    item = _item_nodes(product, sub_pages)
    title = " ".join(product.title.split())
    return Leaflet(
        product=product,
        link=product.asin.lower(),
        row=joined(row),
        row_nodes=row,
        row_brief=f"- {brief_price(product)} {title}: {product.asin.lower()}",
        item=joined(item),
        item_nodes=item,
        clickables=_item_clickables(product, sub_pages),
        # A value under two names belongs to the last.
        owners={value: name for name, values in product.options.items() for value in values},
    )


def _item_nodes(product: Product, sub_pages: Sequence[str]) -> tuple[Node, ...]:
    nodes = [(BUTTON, "< Prev")]
    for name, values in product.options.items():
        nodes += as_nodes(PLAIN, name)
        nodes += as_nodes(OPTION, *values)
    nodes += as_nodes(PLAIN, product.title, f"Price: {product.price_tag}", "Rating: N.A.")
    nodes += as_nodes(BUTTON, *sub_pages, "Buy Now")
    return tuple(nodes)


def _item_clickables(product: Product, sub_pages: Sequence[str]) -> tuple[str, ...]:
    buttons = (BACK, PREV, *(name.lower() for name in sub_pages), BUY)
    values = (value for values in product.options.values() for value in values)
    return tuple(dict.fromkeys((*buttons, *values)))


class Press:
    """Prints the leaflets of one shelf and keeps the latest `KEPT`.

    `sub_pages`: those that item pages have buttons for. It does not keep the shelf alive: the
    sessions do.
    """

    def __init__(self, shelf: Shelf, show_attributes: bool) -> None:
        names = tuple(SUB_PAGES.values())
        self.sub_pages = sub_pages = names if show_attributes else names[:-1]
        self._owner = owner = weakref.ref(shelf)

        def print_of(asin: str) -> Leaflet:
            return print_leaflet(_alive(owner).product(asin), sub_pages)

        self.leaflet: Callable[[str], Leaflet] = functools.lru_cache(KEPT)(print_of)

    def __reduce__(self):
        """A copied or unpickled session prints at the press of its own shelf."""
        return press_for, (_alive(self._owner), "Attributes" in self.sub_pages)


def _alive(owner: weakref.ref[Shelf]) -> Shelf:
    shelf = owner()
    if shelf is None:
        raise ReferenceError("the shelf is gone: keep it as long as its pages are printed")
    return shelf


_presses: weakref.WeakKeyDictionary[Shelf, dict[bool, Press]] = weakref.WeakKeyDictionary()


def press_for(shelf: Shelf, show_attributes: bool) -> Press:
    """The one press of `shelf`, with or without the attributes button.

    Raises TypeError for a shelf that cannot be weakly referenced (one with slots needs
    `__weakref__` among them).
    """
    presses = _presses.setdefault(shelf, {})
    if show_attributes not in presses:
        presses[show_attributes] = Press(shelf, show_attributes)
    return presses[show_attributes]
