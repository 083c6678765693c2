"""For the tests of the WebShop page: somebody with a browser, and a shop of hostile goods."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from bs4 import BeautifulSoup, Tag
from fastapi.testclient import TestClient

from agentgym_envs.webshop.env import WebShopEnv
from agentgym_envs.webshop.web import shop_app
from agentgym_envs.webshop.web_visits import Visit

HERE = "http://127.0.0.1:8000"
EVIL = (
    "<script>document.title='owned'</script><img id=evil src=x onerror=\"document.title='owned'\">"
    "<iframe src=\"javascript:parent.document.title='owned'\"></iframe></style></title></button>"
    "<svg onload=\"document.title='owned'\"><b id=evil>'\"> [SEP] \x00\x1b\x7f\u202e &lt;b&gt;"
)
EVIL_ADDRESS = "javascript:document.title='owned'"


class Visitor:
    """Presses what is on the page, as a browser without scripts does."""

    def __init__(self, app: Any, at: str = HERE, headers: dict[str, str] | None = None) -> None:
        self.client = TestClient(app, base_url=at, headers=headers)
        self.response = self.client.get("/")

    @property
    def page(self) -> BeautifulSoup:
        return BeautifulSoup(self.response.text, "html.parser")

    def part(self, selector: str) -> Tag:
        found = self.page.select_one(selector)
        assert found is not None, f"no {selector} on {self.page.get_text(' ')}"
        return found

    def text(self, selector: str) -> str:
        return self.part(selector).get_text()

    def buttons(self) -> list[Tag]:
        return self.page.select("button:not([disabled])")

    def press(self, button: Tag | str, **typed: str) -> None:
        """A button of the present page, by itself or by its words; `typed` goes into its form."""
        if isinstance(button, str):
            (button,) = (each for each in self.buttons() if each.get_text().strip("‹ ›") == button)
        target, fields = self.form(button)
        self.send(target, fields | typed)

    def form(self, button: Tag) -> tuple[str, dict[str, str]]:
        """Where a button's form goes, and what it says."""
        owner = button.get("form")
        form = self.part(f"form#{owner}") if owner else button.find_parent("form")
        assert isinstance(form, Tag) and form["method"] == "post"
        fields = {str(each["name"]): str(each.get("value", "")) for each in form.select("input")}
        if button.get("name"):
            fields[str(button["name"])] = str(button["value"])
        return str(form["action"]), fields

    def send(self, target: str, fields: dict[str, str]) -> None:
        self.response = self.client.post(target, data=fields)

    def search(self, words: str) -> None:
        self.press("Search", what=words)

    def click(self, action: str, env: WebShopEnv) -> None:
        """The button for an action, found by its number."""
        number = str(env.scene.admissible.index(action))
        (button,) = {
            str(each): each for each in self.buttons() if each.get("value") == number
        }.values()
        self.press(button)


def generated(**settings: Any) -> WebShopEnv:
    return WebShopEnv(difficulty="tiny", **settings)


def shop_of(make: Callable[[], WebShopEnv], *, task: str | None = None, **settings: Any) -> Any:
    return shop_app(lambda: Visit(make(), seed=0, task=task), **settings)


def hostile_data(folder: Path) -> Path:
    """Official files in which every text that can be is hostile."""
    hostile = {
        "name": f"mug {EVIL}",
        "full_description": EVIL,
        "small_description": [EVIL, EVIL_ADDRESS],
        "pricing": "$12.50",
        "customization_options": {
            f"color{EVIL}": [{"value": value, "image": EVIL_ADDRESS} for value in _values()],
            "<h1>": [{"value": "buy now", "image": None}],
        },
        "product_category": EVIL,
        "category": EVIL,
        "query": EVIL,
        "images": [EVIL_ADDRESS],
    }
    asins = ("B1", "<b>\"'&", "</a><i>", "javascript")
    wish = {
        "instruction": f"buy a mug {EVIL}",
        "instruction_attributes": [EVIL],
        "instruction_options": [EVIL],
    }
    tables = {
        "items_shuffle_1000": [{"asin": asin, **hostile} for asin in asins],
        "items_ins_v2_1000": {asin: {"attributes": [EVIL]} for asin in asins},
        "items_human_ins": {asin: [wish] for asin in asins},
    }
    for name, rows in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder


def _values() -> tuple[str, ...]:
    return (EVIL, EVIL_ADDRESS, "x]y[z", "\x00", "", "two\nlines", "\ud800", '" onclick="x')


def hostile_env(folder: Path) -> WebShopEnv:
    return WebShopEnv(
        data=hostile_data(folder), goals="human", splits="all", show_attributes=True, max_turns=40
    )


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The address of a real server on a free port."""
    import socket

    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as door:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{door.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
