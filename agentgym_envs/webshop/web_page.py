"""What a person sees of the environment: our own pages, plain HTML and CSS, nothing loaded.

Everything that can be pressed is an admissible action of the environment, named by its number.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from agentgym_envs.markup import Html, joined, tag
from agentgym_envs.types import Verdict
from agentgym_envs.webshop.env import WebShopEnv
from agentgym_envs.webshop.goals import NO_LIMIT
from agentgym_envs.webshop.leaflets import BACK, BUY, NEXT, PREV, SUB_PAGES
from agentgym_envs.webshop.pages import DONE, INDEX, ITEM, PER_PAGE, RESULTS, Page
from agentgym_envs.webshop.product import Product

MAX_QUERY = 500  # characters of a search
NOTICES: Mapping[str, str] = {
    "stale": "That button was on an earlier page; the shop has moved on. Nothing was done.",
    "over": "This episode is over. Nothing was done.",
}


class Form(NamedTuple):
    """What every form of a page carries: the visit's token, and the place it was made for."""

    token: str
    place: str


def shop_page(env: WebShopEnv, form: Form, verdict: Verdict | None, notice: str) -> Html:
    """The page of the environment's present state; `verdict` when the episode is over."""
    page = env.session.page
    buttons = _Buttons(env.scene.admissible, over=verdict is not None)
    shown = _shop(env, page, buttons, form)
    ended = _ended(env, verdict, form) if verdict else ""
    main = tag("main", _notices(env, notice), ended, shown)
    body = (_top(env), _goal(env.task.goal), tag("div", main, _side(env, form), class_="columns"))
    return _document(f"{page.kind} · WebShop", *body, _hidden_form(form))


def problem_page(status: int, text: str) -> Html:
    """What went wrong with a request, and the way back."""
    again = tag("a", "Open the shop", href="/")
    card = tag("section", tag("h1", f"Error {status}"), tag("p", text), tag("p", again))
    return _document(f"Error {status} · WebShop", tag("main", card, class_="problem"))


def _document(title: str, *body: str) -> Html:
    head = (
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", _style()),
    )
    return joined(
        Html("<!DOCTYPE html>\n"),
        tag("html", tag("head", *head), tag("body", *body), lang="en"),
    )


@cache
def _style() -> Html:
    return Html(files("agentgym_envs.webshop").joinpath("web.css").read_text("utf-8"))


# -- around the shop


def _top(env: WebShopEnv) -> Html:
    played = len(env.episode.turns)
    count = tag("span", f"Turn {played} of {env.max_turns}", id="turns")
    bar = tag("progress", value=played, max=env.max_turns, aria_labelledby="turns")
    return tag("header", tag("b", "WebShop"), tag("span", env.task.id, class_="quiet"), count, bar)


def _goal(goal: str) -> Html:
    return tag("section", tag("h2", "Your goal"), tag("p", goal, id="goal"), class_="goal")


def _notices(env: WebShopEnv, notice: str) -> Html:
    said = NOTICES.get(notice, "")
    if not said and not env.scene.facts["action_executable"]:
        said = "That action changed nothing; it was a turn all the same."
    return tag("p", said, class_="notice", role="status") if said else Html()


def _side(env: WebShopEnv, form: Form) -> Html:
    seen = tag("div", env.scene.text, id="observation", tabindex=0)
    turns = [
        tag(
            "li",
            tag("code", turn.action),
            ""
            if turn.facts["action_executable"]
            else tag("span", "changed nothing", class_="mark"),
        )
        for turn in env.episode.turns
    ]
    listed = tag("ol", *turns, id="actions") if turns else tag("p", "None yet.", class_="quiet")
    return tag(
        "aside",
        tag("section", tag("h2", "Your actions"), listed),
        tag("section", tag("h2", "What an agent sees now"), seen),
        ""
        if env.episode.stop_reason
        else tag("section", tag("h2", "Begin anew"), _restarts(form, main=False)),
    )


def _hidden_form(form: Form) -> Html:
    """The form that all click buttons of the page belong to."""
    return tag("form", *_carried(form), id="click", method="post", action="/click")


def _carried(form: Form) -> tuple[Html, ...]:
    return (
        tag("input", type="hidden", name="token", value=form.token),
        tag("input", type="hidden", name="place", value=form.place),
    )


def _restarts(form: Form, *, main: bool) -> Html:
    buttons = (("again", "Same goal again"), ("next", "Next goal"))
    forms = [
        tag(
            "form",
            *_carried(form),
            tag("button", label, class_="main" if main and deed == "next" else None),
            method="post",
            action=f"/{deed}",
        )
        for deed, label in buttons
    ]
    return tag("div", *forms, class_="row")


# -- the shop


class _Buttons:
    """Makes buttons for the clicks that are admissible."""

    def __init__(self, admissible: Sequence[str], *, over: bool) -> None:
        self._numbers = {action: number for number, action in enumerate(admissible)}
        self.over = over

    def click(
        self, thing: str, *label: str, style: str | None = None, chosen: bool = False
    ) -> Html:
        """A button for `click[thing]`, none where that is not admissible."""
        number = self._numbers.get(f"click[{thing}]")
        if number is None:
            return Html()
        return tag(
            "button",
            *label,
            form="click",
            name="what",
            value=number,
            class_=style,
            aria_pressed="true" if chosen else None,
            disabled=self.over,
        )

    def row(self, *things: tuple[str, str]) -> Html:
        return tag("nav", *(self.click(thing, label) for thing, label in things), class_="row")


def _shop(env: WebShopEnv, page: Page, buttons: _Buttons, form: Form) -> Html:
    if page.kind == INDEX:
        return _search(form, buttons.over)
    if page.kind == DONE:
        return Html()
    shelf = env.shelf
    if page.kind == RESULTS:
        return _results(page, [shelf.product(asin) for asin in page.shown], buttons)
    product = shelf.product(page.asin)
    return _item(page, product, buttons) if page.kind == ITEM else _sub_page(page, product, buttons)


def _search(form: Form, over: bool) -> Html:
    words = tag(
        "input",
        id="query",
        name="what",
        type="search",
        required=True,
        maxlength=MAX_QUERY,
        autocomplete="off",
        placeholder="for example: warm red slippers",
        disabled=over,
    )
    label = tag("label", "Search the shop", for_="query")
    pressed = tag("button", "Search", class_="main", disabled=over)
    line = tag("div", words, pressed, class_="row search")
    return tag("form", *_carried(form), label, line, method="post", action="/search", class_="card")


def _results(page: Page, products: Sequence[Product], buttons: _Buttons) -> Html:
    pages = -(-len(page.found) // PER_PAGE)
    count = f"Page {page.number} of {pages}, {len(page.found)} found for “{page.query}”"
    rows = [
        tag("li", buttons.click(product.asin.lower(), *_row(page, product), style="product"))
        for product in products
    ]
    found = tag("ol", *rows, id="results") if rows else tag("p", "No products on this page.")
    turn = buttons.row((BACK, "Back to search"), (PREV, "‹ Previous"), (NEXT, "Next ›"))
    return joined(turn, tag("p", count, class_="quiet"), found)


def _row(page: Page, product: Product) -> tuple[Html, ...]:
    seen = tag("span", "seen", class_="mark") if product.asin in page.visited else Html()
    return (
        _tile(product.title),
        tag(
            "span",
            tag("span", _some(product.title), class_="title"),
            tag("span", product.asin, class_="quiet"),
            seen,
            class_="texts",
        ),
        tag("span", _some(product.price_tag), class_="price"),
    )


def _tile(title: str) -> Html:
    """Where a picture would be: nothing is loaded, so a letter."""
    letter = next((sign for sign in title if sign.isalnum()), "·")
    return tag("span", letter.upper(), class_="tile", aria_hidden="true")


def _some(text: str) -> str:
    return text if text.strip() else tag("span", "(no text)", class_="quiet")


def _item(page: Page, product: Product, buttons: _Buttons) -> Html:
    chosen = dict(page.options)
    groups = [
        _options(name, values, chosen.get(name), buttons)
        for name, values in product.options.items()
    ]
    about = buttons.row(*SUB_PAGES.items())
    price = (tag("span", _some(product.price_tag), class_="price"), " Rating: N.A.")
    texts = tag("div", tag("h1", _some(product.title)), tag("p", *price), class_="texts")
    return joined(
        buttons.row((BACK, "Back to search"), (PREV, "‹ Previous")),
        tag(
            "article",
            tag("div", _tile(product.title), texts, class_="heading"),
            *groups,
            about,
            buttons.click(BUY, "Buy now", style="main buy"),
            class_="card",
        ),
    )


def _options(name: str, values: Sequence[str], chosen: str | None, buttons: _Buttons) -> Html:
    shown = [
        buttons.click(value, _some(value), style="option", chosen=value == chosen)
        for value in values
    ]
    return tag("fieldset", tag("legend", _some(name)), *shown, class_="row")


def _sub_page(page: Page, product: Product, buttons: _Buttons) -> Html:
    if page.kind == "description":
        content = tag("p", _some(product.description), class_="long")
    elif page.kind == "features":
        content = _points(product.bullets)
    elif page.kind == "attributes":
        content = _points(
            (*product.attributes, product.category, product.query, product.category_path)
        )
    else:
        content = tag("p", "There are no reviews.")
    heading = tag("h1", SUB_PAGES[page.kind])
    title = tag("p", _some(product.title), class_="quiet")
    back = buttons.row((BACK, "Back to search"), (PREV, "‹ Previous"))
    return joined(back, tag("article", heading, title, content, class_="card"))


def _points(texts: Sequence[str]) -> Html:
    return tag("ul", *(tag("li", _some(text)) for text in texts), class_="long")


# -- the end


def _ended(env: WebShopEnv, verdict: Verdict, form: Form) -> Html:
    facts = env.scene.facts
    heading = (
        "Bought as asked" if verdict.success else "Not quite" if facts["purchase"] else "Not bought"
    )
    return tag(
        "section",
        tag("h1", heading),
        tag("p", "Score ", tag("b", f"{verdict.score:.3g}", id="score"), " of 1: ", verdict.reason),
        _reward(facts["reward_parts"]) if facts["reward_parts"] else "",
        _bought(facts["purchase"]) if facts["purchase"] else "",
        _wanted(env.task.answer),
        _restarts(form, main=True),
        class_="card ended" + (" won" if verdict.success else ""),
        id="verdict",
    )


_PARTS = {
    "r_type": ("kind of product", None),
    "r_att": ("attributes", "w_att"),
    "r_option": ("options", "w_option"),
    "r_price": ("price", "w_price"),
}


def _reward(parts: Mapping[str, Any]) -> Html:
    """The reward's factors and shares, then the other numbers behind them."""
    rows = [
        tag(
            "tr",
            tag("th", label, scope="row"),
            tag("td", tag("meter", min=0, max=1, value=float(parts[name]))),
            tag("td", f"{float(parts[name]):.3g}", data_part=name),
            tag("td", f"weight {parts[weight]:.3g}" if weight else "multiplies the rest"),
        )
        for name, (label, weight) in _PARTS.items()
        if name in parts
    ]
    others = [
        f"{name} {value if isinstance(value, bool) else f'{value:.3g}'}"
        for name, value in parts.items()
        if name in ("title_score", "query_match", "category_match", "reward")
    ]
    table = tag("table", tag("caption", "How the reward is made up"), *rows, id="parts")
    return joined(table, tag("p", " · ".join(others), class_="quiet"))


def _bought(purchase: Mapping[str, Any]) -> Html:
    return _thing(
        "What you bought",
        purchase["title"],
        (f"{name}: {value}" for name, value in purchase["options"].items()),
        f"${purchase['price']:.2f}",
    )


def _wanted(answer: Mapping[str, Any]) -> Html:
    asked = (
        option if isinstance(option, str) else ": ".join(option) for option in answer["options"]
    )
    limit = answer["price_limit"]
    told = _thing(
        "The product the goal was written for",
        answer["title"],
        (*answer["attributes"], *asked),
        f"below ${limit:.2f}" if limit < NO_LIMIT else "at any price",
    )
    return tag("details", tag("summary", "Show what was wanted"), told)


def _thing(heading: str, title: str, facts: Any, price: str) -> Html:
    listed = [tag("li", fact) for fact in (*facts, price)]
    return tag(
        "div", tag("h2", heading), tag("p", _some(title)), tag("ul", *listed), class_="thing"
    )
