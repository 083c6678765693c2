"""The html says what the texts say, and nothing that a seller wrote is ever markup."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from bs4 import BeautifulSoup, Comment, Doctype
from shop_sessions import Replays, goods, is_fork, recorded_sessions, shopper

from agentgym_envs.webshop.shop import MODES, Session

EVIL = '"\'><img id="evil" src=x onerror=alert(1)><script id="evil">`${1}`</script>-->]]>&lt;'
ODD = (
    EVIL,
    f"</h4></title></textarea>{EVIL}",
    "a [SEP] b",
    "[", "]", "x]y[z", "[button] red [button_]",
    "\x00\x01\x1f\x7f", "\u202e\u2028\ufeff", "\ud800", "🔥\u0301",
    "", " ", "\n", "\t \r\n", "\xa0",
    "search_results", "item_page/item_sub_page/done",
    "{}{0}%s\\u003c", "&amp;&#39;",
    "long " * 2000,
)  # fmt: skip


def read_text(html: str) -> str:
    """Mode `text` as the official environment reads it from a page."""
    return " [SEP] ".join(node.strip() for node in _visible(BeautifulSoup(html, "html.parser")))


def read_rich(html: str, url: str, visited: tuple[str, ...]) -> str:
    whole = ""
    for node in _visible(BeautifulSoup(html, "html.parser")):
        line = str(node)
        if node.parent.name == "button":
            line = f"[button] {node} [button_]"
        elif node.parent.name == "label":
            chosen = f'"{node}"' in url
            mark = "clicked button" if chosen else "button"
            line = f"  [{mark}] {node} [{mark}_]"
            whole = f"You have clicked {node}.\n{whole}" if chosen else whole
        elif "product-link" in node.parent.get("class", ()):
            mark = "clicked button" if node in visited else "button"
            line = f"\n[{mark}] {node} [{mark}_]"
        whole += f"{line}\n"
    return whole


def read_clickables(html: str) -> tuple[str, ...]:
    soup = BeautifulSoup(html, "html.parser")
    pressed = [*soup.select(".btn"), *soup.select(".product-link")]
    values = [radio["value"] for radio in soup.select('input[type="radio"]')]
    return tuple(dict.fromkeys((*(each.get_text().lower() for each in pressed), *values)))


def _visible(soup: BeautifulSoup) -> Iterator:
    for node in soup.find_all(string=True):
        hidden = node.parent.name in ("[document]", "head", "script", "style", "title", "meta")
        if not hidden and node != "\n" and not isinstance(node, Comment | Doctype):
            yield node


def agrees(session: Session, where: object) -> None:
    html = session.render("html")
    assert read_text(html) == session.render("text"), where
    rich = read_rich(html, session.render("url"), session.page.visited)
    assert rich == session.render("text_rich"), where
    assert read_clickables(html) == session.clickables, where


def replay(shop_data: Path, every: int) -> int:
    """Read every different page of every so manyth session; how many."""
    replays, pages = Replays(shop_data), set()
    for place, record in enumerate(recorded_sessions(shop_data)):
        if is_fork(record) or place % every:
            continue
        session = replays.open(record)
        for number, step in enumerate(record["steps"]):
            if number:
                session.act(step["action"])
            if step["done"]:
                session.show_reward(step["reward"])
            state = (record["dataset"], session.page)
            if state not in pages:
                pages.add(state)
                agrees(session, (record["id"], number))
    return len(pages)


def test_texts_are_what_the_html_says(shop_data: Path):
    assert replay(shop_data, every=12) > 100


@pytest.mark.slow
def test_texts_are_what_the_html_says_everywhere(shop_data: Path):
    assert replay(shop_data, every=1) > 1000


def hostile(luck: random.Random, **settings) -> Session:
    products = []
    for number in range(23):
        words = [luck.choice(ODD) for _ in range(12)]
        options = {
            luck.choice(ODD).lower(): tuple(luck.choice(ODD).lower() for _ in range(4))
            for _ in range(luck.randrange(4))
        }
        products.append(
            goods(
                luck.choice((f"B{number}", f"b{number}<", f'"{number}', f"DONE{number}")),
                title=words[0],
                description=words[1],
                bullets=tuple(words[2:5]),
                price_tag=words[5],
                options=options,
                category=words[6],
                query=words[7],
                category_path=words[8],
                attributes=tuple(words[9:11]),
                image=words[11],
            )
        )
    return shopper(*products, instruction=luck.choice(ODD), **settings)


def wild_action(session: Session, dice: random.Random) -> str:
    clickable = dice.choice(session.clickables or ("search",))
    match dice.randrange(10):
        case 0:
            return dice.choice(ODD)
        case 1:
            return f"search[{dice.choice(ODD)[:200]}]"
        case 2:
            return f"search[<{dice.choice('rcqa')}> {dice.choice(ODD)[:50]}]"
        case 3:
            whole = f"click[{clickable}]"
            cut = dice.randrange(len(whole))
            return whole[:cut] + dice.choice(ODD)[:20] + whole[cut + dice.randrange(3) :]
        case 4:
            return f"click[{dice.choice(ODD)[:200]}]"
    return f"click[{clickable}]"


@pytest.mark.parametrize("rounds", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_a_thousand_wild_actions_a_round_on_hostile_goods(rounds: int):
    """Nothing raises, whatever is said; what was refused left no trace; html stays ours."""
    dice, executed, checked = random.Random(11), 0, 0
    for round_ in range(rounds):
        session = hostile(
            dice,
            strict=round_ % 4 == 3,
            show_attributes=dice.random() < 0.5,
            hidden_commands=dice.random() < 0.5,
            dice=dice,
        )
        for turn in range(1000):
            page = session.page
            if session.act(wild_action(session, dice)):
                executed += 1
            else:
                assert session.page is page
            if session.done:
                session.show_reward(dice.random())
            session.render(MODES[turn % len(MODES)])
            if turn % 250 == 0:
                harmless(session)
                checked += 1
    assert executed > 200 * rounds and checked == 4 * rounds


def harmless(session: Session) -> None:
    soup = BeautifulSoup(session.render("html"), "html.parser")
    kind = session.page.kind
    assert not soup.select("#evil, [onerror]")
    plain = kind in ("index", "done")
    assert len(soup.select("script")) == (0 if plain else 3 if kind == "item" else 2)
    pictures = len(session.page.shown) if kind == "results" else int(kind == "item")
    assert len(soup.select("img")) == pictures


def test_hostile_texts_are_read_back_from_the_html():
    dice, kinds = random.Random(5), set()
    for _ in range(16):
        session = hostile(dice, show_attributes=True)
        for _ in range(12):
            if session.clickables in ((), ("search",)) or not dice.randrange(8):
                session.act(f"search[{dice.choice(ODD)[:60]}]")
            else:
                session.act(f"click[{dice.choice(session.clickables)}]")
            if session.done:
                session.show_reward(0.1)
            agrees(session, session.page)
            kinds.add(session.page.kind)
    assert len(kinds) == 8
