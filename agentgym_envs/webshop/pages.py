"""A page of the shop as text: `text` and `text_rich` as the official environment returns them,
`quoted` as verl-agent shows them, and `brief`, our own few words for small models.

Texts are put together from prepared pieces; no html is made or read on the way.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from agentgym_envs.webshop.leaflets import (
    BACK,
    BUTTON,
    LINK,
    NEXT,
    OPTION,
    PLAIN,
    PREV,
    SEP,
    Leaflet,
    Node,
    Press,
    as_nodes,
    brief_price,
    joined,
)
from agentgym_envs.webshop.product import Product
from agentgym_envs.webshop.urls import Options

INDEX, RESULTS, ITEM, DONE = "index", "results", "item", "done"
PER_PAGE = 10

_SUB_CLICKABLES = (BACK, PREV)
_BEFORE_PURCHASE = (
    "Thank you for shopping with us!",
    "Your code: ",
    "None",
    " (Paste it in your MTurk interface.)",
    "Purchased",
    "asin",
)
_AFTER_PURCHASE = (
    *("attrs", "None", "category", "None", "query", "None", "product category", "None"),
    *("Target", "asin", "options", "attrs", "price upper", "instuction text"),  # their spelling
    *("category", "product category", "query", "Goal ", "None", "Reward"),
    "Your score (min 0.0, max 1.0)",
)


class Page(NamedTuple):
    """Where a shopper is. Never changes; the next action makes the next page.

    `kind`: `index`, `results`, `item`, `description`, `features`, `reviews`, `attributes` or
    `done`. `query`, `number`, `found`: the search, the page of its results (from 1) and every asin
    it found. `asin`: the product looked at, "" before one is. `options`: chosen (name, value)
    pairs. `visited`: products opened since the index page was last seen.
    """

    kind: str
    url: str
    query: str = ""
    number: int = 1
    found: tuple[str, ...] = ()
    asin: str = ""
    options: Options = ()
    visited: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """The asins on this page of results; none past the end."""
        return self.found[(self.number - 1) * PER_PAGE : self.number * PER_PAGE]


def clickables(page: Page, press: Press) -> tuple[str, ...]:
    """What can be clicked: buttons, then product links or option values; nothing twice."""
    if page.kind == RESULTS:
        turn = (BACK, PREV, NEXT) if page.number > 1 else (BACK, NEXT)
        links = [press.leaflet(asin).link for asin in page.shown]
        return tuple(dict.fromkeys((*turn, *links)))
    if page.kind == ITEM:
        return press.leaflet(page.asin).clickables
    if page.kind == INDEX:
        return ("search",)
    return () if page.kind == DONE else _SUB_CLICKABLES


def text(page: Page, press: Press, instruction: str, score: float | None) -> str:
    """Mode `text`: segments joined with ` [SEP] `. `score` is needed by the done page alone."""
    if page.kind == ITEM:
        return SEP.join((_heading(instruction), press.leaflet(page.asin).item))
    if page.kind == RESULTS:
        rows = [press.leaflet(asin).row for asin in page.shown]
        return SEP.join((_heading(instruction), joined(_results_nodes(page)), *rows))
    return joined(nodes(page, press, instruction, score))


def text_rich(page: Page, press: Press, instruction: str, score: float | None) -> str:
    """Mode `text_rich`: a line a node, buttons in brackets, chosen and visited things marked.

    An option counts as chosen where its value stands in double quotes in the address.
    """
    lines: list[str] = []
    chosen: list[str] = []
    for kind, node in nodes(page, press, instruction, score):
        if kind == PLAIN:
            line = node
        elif kind == OPTION:
            marked = f'"{node}"' in page.url
            if marked:
                chosen.append(f"You have clicked {node}.\n")
            line = f"  {_bracketed(node, marked)}"
        elif kind == LINK:
            line = f"\n{_bracketed(node, node in page.visited)}"
        else:
            line = _bracketed(node, False)
        lines.append(f"{line}\n")
    return "".join((*reversed(chosen), *lines))


def quoted(page: Page, press: Press, instruction: str, score: float | None) -> str:
    """verl-agent's observation: the segments after the instruction, each in single quotes.

    Where the instruction is not a segment (on the done page) the plain text, as there.
    """
    whole = text(page, press, instruction, score)
    segments = whole.split(SEP)
    asked = joined(_index_nodes(instruction)).split(SEP)[2]
    if asked not in segments:
        return whole
    return SEP.join([f"'{segment}'" for segment in segments[segments.index(asked) + 1 :]])


def nodes(
    page: Page, press: Press, instruction: str, score: float | None
) -> tuple[Node, ...] | list[Node]:
    """All texts of a page, in order."""
    if page.kind == INDEX:
        return _index_nodes(instruction)
    if page.kind == DONE:
        return _done_nodes(page, score)
    head = [*as_nodes(PLAIN, "Instruction:", instruction), (BUTTON, "Back to Search")]
    if page.kind == RESULTS:
        rows = [node for asin in page.shown for node in press.leaflet(asin).row_nodes]
        return [*head, *_results_nodes(page), *rows]
    leaflet = press.leaflet(page.asin)
    if page.kind == ITEM:
        return [*head, *leaflet.item_nodes]
    return [*head, (BUTTON, "< Prev"), *_sub_page_nodes(page.kind, leaflet)]


def options_json(options: Mapping[str, str | None]) -> str:
    """Sorted JSON that is safe inside html: `<`, `>`, `&` and `'` as unicode escapes."""
    written = json.dumps(options, sort_keys=True)
    for sign in "<>&'":
        written = written.replace(sign, f"\\u{ord(sign):04x}")
    return written


def score_text(score: float | None) -> str:
    """Raises RuntimeError where the score is not known yet."""
    if score is None:
        raise RuntimeError("the done page shows the score: call show_reward(score) first")
    return str(score)


def _bracketed(node: str, marked: bool) -> str:
    return f"[clicked button] {node} [clicked button_]" if marked else f"[button] {node} [button_]"


def _heading(instruction: str) -> str:
    if instruction.strip(" \n\t\f\r"):
        return f"Instruction:{SEP}{instruction.strip()}{SEP}Back to Search"
    return joined((*as_nodes(PLAIN, "Instruction:", instruction), (BUTTON, "Back to Search")))


def _index_nodes(instruction: str) -> tuple[Node, ...]:
    texts = as_nodes(PLAIN, "WebShop", "Instruction: ", instruction)
    return (*texts, (BUTTON, "Search"))


def _results_nodes(page: Page) -> list[Node]:
    count = (PLAIN, f"Page {page.number} (Total results: {len(page.found)})")
    back = [(BUTTON, "< Prev")] if page.number > 1 else []
    return [count, *back, (BUTTON, "Next >")]


def _sub_page_nodes(kind: str, leaflet: Leaflet) -> tuple[Node, ...]:
    product = leaflet.product
    if kind == "description":
        return as_nodes(PLAIN, product.description)
    if kind == "features":  # the page has a blank before every point
        return as_nodes(PLAIN, *(f" {bullet}" for bullet in product.bullets))
    if kind == "attributes":
        listed = (f" {attribute}" for attribute in product.attributes)
        return as_nodes(PLAIN, *listed, product.category, product.query, product.category_path)
    return ()


def _done_nodes(page: Page, score: float | None) -> tuple[Node, ...]:
    bought = (page.asin, "options", options_json(dict(page.options)))
    shown = (*_BEFORE_PURCHASE, *bought, *_AFTER_PURCHASE, score_text(score))
    return as_nodes(PLAIN, *shown, "Reward Details ", "None")


def brief(page: Page, press: Press) -> str:
    """Our own mode: no instruction, no buttons, things spelt as they are clicked.

    index    `search`
    results  `page 1 of 5`, then `- $price title: asin` a line: what to click follows what it is
    item     title, price, then `name: value; * chosen; value` a line
    others   the page's name, then its texts, a line each; `bought` at the end
    """
    if page.kind == INDEX:
        return "search"
    if page.kind == DONE:
        return "bought"
    if page.kind == RESULTS:
        rows = [press.leaflet(asin).row_brief for asin in page.shown]
        return "\n".join((f"page {page.number} of {-(-len(page.found) // PER_PAGE)}", *rows))
    leaflet = press.leaflet(page.asin)
    if page.kind == ITEM:
        return _brief_item(leaflet.product, dict(page.options))
    texts = [" ".join(node.split()) for _, node in _sub_page_nodes(page.kind, leaflet)]
    return "\n".join((page.kind, *texts))


def _brief_item(product: Product, chosen: Mapping[str, str]) -> str:
    lines = [" ".join(product.title.split()), brief_price(product)]
    for name, values in product.options.items():
        pick = chosen.get(name)
        shown = [f"* {value}" if value == pick else value for value in values]
        lines.append(f"{name}: {'; '.join(shown)}")
    return "\n".join(lines)


def previous(
    observations: Sequence[str], actions: Sequence[str], num_obs: int, num_actions: int
) -> str:
    """The returned text where earlier observations and actions are asked for.

    `observations` of an episode from its reset to now, `actions` between them (one fewer). The
    present one comes last; before it the latest `num_actions` actions and `num_obs` observations,
    oldest first, all joined with ` [SEP] `.
    """
    texts = [observations[-1]]
    for back in range(1, 1 + max(num_obs, num_actions)):
        if back <= num_actions and back <= len(actions):
            texts.append(actions[-back])
        if back <= num_obs and back < len(observations):
            texts.append(observations[-1 - back])
    return SEP.join(reversed(texts))
