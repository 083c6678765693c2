"""One shopper in the shop: a state machine that plays as the official text environment does."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from agentgym_envs.webshop import html, pages, urls
from agentgym_envs.webshop.actions import parse
from agentgym_envs.webshop.leaflets import (
    BACK,
    BUY,
    NEXT,
    PREV,
    SUB_PAGES,
    Shelf,
    press_for,
)
from agentgym_envs.webshop.pages import DONE, INDEX, ITEM, RESULTS, Page

DRAWN = 50  # products that the hidden command <r> draws
MODES = ("text", "text_rich", "html", "url", "quoted", "brief")


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What was bought: `options` name -> value, `price` in dollars."""

    asin: str
    options: dict[str, str]
    price: float


class Session:
    """One shopper. `act` changes the page; everything else only looks at it.

    shelf: where products are (a Catalogue). session_id: stands in the addresses; the official
    shop uses the goal's number. prices: asin -> price in dollars, asked at a purchase. strict:
    search only where there is a search bar, nothing after the purchase, and an action that changes
    nothing is not executed; otherwise as the official shop, which searches on any page and after
    the end. show_attributes: item pages have the attributes page too. hidden_commands: searches
    beginning with `<r>` (50 random products, drawn anew by `dice` for every page of results),
    `<c> category`, `<q> query` (exact listings) and `<a>` are commands, as officially; otherwise
    plain words.

    Where the official shop crashes this one goes on: a bare `<c>` and every `<a>` find nothing, a
    product whose asin is not in upper case, or is the name of a button, can be opened.

    Raises ValueError for hidden commands without dice.
    """

    __slots__ = (
        "_clickables",
        "_clickables_of",
        "_dice",
        "_press",
        "_prices",
        "_score",
        "_shelf",
        "_strict",
        "instruction",
        "page",
        "purchase",
        "session_id",
    )

    def __init__(
        self,
        shelf: Shelf,
        session_id: str,
        instruction: str,
        *,
        prices: Callable[[str], float],
        strict: bool = False,
        show_attributes: bool = False,
        hidden_commands: bool = False,
        dice: random.Random | None = None,
    ) -> None:
        if hidden_commands and dice is None:
            raise ValueError("hidden_commands=True needs dice=random.Random(seed): <r> draws")
        self._shelf = shelf
        self._press = press_for(shelf, show_attributes)
        self._prices = prices
        self._strict = strict
        self._dice = dice if hidden_commands else None
        self._score: float | None = None
        self.session_id = session_id
        self.instruction = instruction
        self.purchase: Purchase | None = None
        self.page = self._index()
        self._clickables: tuple[str, ...] = ()
        self._clickables_of: Page | None = None

    @property
    def done(self) -> bool:
        """The shopper has just bought. (Officially one can search on from there.)"""
        return self.page.kind == DONE

    @property
    def has_search_bar(self) -> bool:
        return self.page.kind == INDEX

    @property
    def clickables(self) -> tuple[str, ...]:
        if self._clickables_of is not self.page:  # looked at before an action and behind it
            self._clickables = pages.clickables(self.page, self._press)
            self._clickables_of = self.page
        return self._clickables

    def act(self, action: str) -> bool:
        """Do what `action` says; False where it cannot be done, and then nothing has changed."""
        parsed = parse(action)
        if parsed is None:
            return False
        if parsed.name == "search":
            page = self._search(parsed.argument)
        elif parsed.name == "click":
            page = self._click(parsed.argument)
        else:
            return False
        if page is None or (self._strict and page == self.page):
            return False
        self.page = page
        return True

    def show_reward(self, score: float) -> None:
        """Tell the done page the score of the latest purchase, which it shows."""
        self._score = score

    def render(self, mode: str = "text") -> str:
        """The page in one of `MODES`.

        `quoted` is verl-agent's observation, `brief` a short one for small models. Raises
        ValueError for another mode, RuntimeError for a done page without its score.
        """
        if mode == "url":
            return self.page.url
        if mode == "brief":
            return pages.brief(self.page, self._press)
        if mode == "html":
            return self._html()
        if mode not in _WRITERS:
            raise ValueError(f"no mode {mode!r}: one of {', '.join(MODES)}")
        return _WRITERS[mode](self.page, self._press, self.instruction, self._score)

    def _html(self) -> str:
        return html.render(self.page, self._press, self.session_id, self.instruction, self._score)

    def _search(self, argument: str) -> Page | None:
        if self._strict and not self.has_search_bar:
            return None
        return self._results(argument, 1, self._find(argument))

    def _click(self, key: str) -> Page | None:
        page = self.page
        if key == "search" or key not in self.clickables:
            return None
        if key == BUY and page.asin:
            return self._buy()
        if key == BACK:
            return self._index()
        place = urls.page_name(page.url)
        if key == NEXT and place == urls.RESULTS:
            return self._turn(1)
        if key == PREV:
            if place == urls.SUB_PAGE:
                return self._item(page.asin, page.options)
            return self._turn(-1 if place == urls.RESULTS else 0)
        if key in SUB_PAGES and page.asin:
            return self._sub_page(key)
        if page.kind == RESULTS:
            return self._open(key)
        return self._choose(key)

    def _find(self, query: str) -> tuple[str, ...]:
        if self._dice is None:
            return self._shelf.search(query)
        match query.split(" "):
            case ["<r>", *_]:
                asins = self._shelf.asins
                return tuple(self._dice.sample(asins, min(DRAWN, len(asins))))
            case ["<c>", name, *_]:
                return self._shelf.by_category(name.strip())
            case ["<q>", *words]:
                return self._shelf.by_query(" ".join(words).strip())
            case ["<a>" | "<c>", *_]:
                return ()
        return self._shelf.search(query)

    def _turn(self, by: int) -> Page:
        """The results of the last search again, `by` pages further."""
        page = self.page
        drawn = self._dice is not None and page.query.split(" ")[0] == "<r>"
        found = self._find(page.query) if drawn else page.found
        return self._results(page.query, page.number + by, found)

    def _index(self) -> Page:
        return Page(INDEX, urls.index(self.session_id))

    def _results(self, query: str, number: int, found: tuple[str, ...]) -> Page:
        url = urls.results(self.session_id, query, number)
        return Page(RESULTS, url, query, number, found, visited=self.page.visited)

    def _open(self, link: str) -> Page:
        page = self.page
        asin = next(asin for asin in page.shown if self._press.leaflet(asin).link == link)
        visited = page.visited if asin in page.visited else (*page.visited, asin)
        return self._item(asin, ())._replace(visited=visited)

    def _choose(self, value: str) -> Page:
        page = self.page
        name = self._press.leaflet(page.asin).owners[value]
        return self._item(page.asin, tuple({**dict(page.options), name: value}.items()))

    def _item(self, asin: str, options: urls.Options) -> Page:
        page = self.page
        url = urls.item(self.session_id, asin, page.query, page.number, options)
        return page._replace(kind=ITEM, url=url, asin=asin, options=options)

    def _sub_page(self, key: str) -> Page:
        page = self.page
        url = urls.sub_page(
            self.session_id, page.asin, page.query, page.number, SUB_PAGES[key], page.options
        )
        return page._replace(kind=key, url=url)

    def _buy(self) -> Page:
        page = self.page
        self.purchase = Purchase(
            asin=page.asin, options=dict(page.options), price=self._prices(page.asin)
        )
        self._score = None
        return page._replace(kind=DONE, url=urls.done(self.session_id, page.asin, page.options))


_WRITERS = {"text": pages.text, "text_rich": pages.text_rich, "quoted": pages.quoted}
