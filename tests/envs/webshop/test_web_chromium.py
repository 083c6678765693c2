"""The page in a real browser: it can be played, and hostile goods cannot do anything."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("bs4")

from chromium import PROGRAM, browsing, dumped
from web_visitors import EVIL, Visitor, generated, hostile_env, serving, shop_of

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")


def with_cookies(app: Any, visitor: Visitor) -> Any:
    """The app for a browser that has no cookies: it comes as `visitor`."""
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.client.cookies.items())

    async def relay(scope, receive, send):
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], (b"cookie", cookies.encode())]}
        await app(scope, receive, send)

    return relay


async def careless(scope, receive, send):
    """What a page would be that escapes nothing and forbids nothing."""
    page = f"<title>shop</title><script>console.error('heard')</script><p>{EVIL}</p>".encode()
    headers = [(b"content-type", b"text/html; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": page})


def test_the_payload_is_live_where_nobody_escapes_it(tmp_path):
    with serving(careless) as address:
        page, said = dumped(address, tmp_path)
    assert "<title>owned</title>" in page
    assert any("heard" in line for line in said)


@pytest.mark.parametrize("presses", [(".product",), (".product", ".option"), (".product", ".buy")])
def test_hostile_goods_run_nothing_and_break_nothing(presses, tmp_path: Path):
    (tmp_path / "data").mkdir()
    app = shop_of(lambda: hostile_env(tmp_path / "data"))
    visitor = Visitor(app)
    visitor.search("mug")
    for press in presses:
        visitor.press(visitor.page.select(press)[0])
    with serving(with_cookies(app, visitor)) as address:
        page, said = dumped(address, tmp_path / "profile")
    shown = visitor.text("title")
    assert f"<title>{shown}</title>" in page
    assert said == []
    for markup in ("<script", "<img", "<iframe", "<svg", 'id="evil"', "id=evil>"):
        assert markup not in page.replace("&lt;", "").replace("&gt;", "")
    assert "document.title='owned'" in page  # shown as text


def test_a_person_buys_with_a_mouse(tmp_path: Path):
    """Real clicks, under the policy: forms, redirects, cookies; wide and narrow; back and again."""
    env = generated()
    with serving(shop_of(lambda: env)) as address, browsing(tmp_path) as browser:
        browser.size(1280, 900)
        browser.go(address)
        advice = env.advise()
        assert advice is not None
        browser.type("#query", advice.action[len("search[") : -1])
        browser.press("form.card button")
        browser.size(390, 844)
        while not env.episode.stop_reason:
            assert browser.eval("document.documentElement.scrollWidth") == 390
            advice = env.advise()
            assert advice is not None
            number = env.scene.admissible.index(advice.action)
            browser.press(f"button[form=click][value='{number}']")
        assert env.verify(env.episode).success
        assert browser.eval("document.querySelector('#score').textContent") == "1"
        played = env.episode
        browser.back()
        assert env.episode == played
        assert browser.eval("document.querySelector('#score').textContent") == "1"
        browser.press("#verdict form:last-of-type button")
        assert env.episode.turns == () and env.task.id != played.task.id
        assert browser.said == []
