"""The page plays the environment and nothing else, and nobody gets in who should not."""

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastapi")
pytest.importorskip("bs4")

from bs4 import BeautifulSoup
from web_visitors import (
    EVIL,
    Visitor,
    generated,
    hostile_env,
    shop_of,
)

from agentgym_envs.markup import Html, escaped, tag
from agentgym_envs.webshop import web
from agentgym_envs.webshop.env import WebShopEnv
from agentgym_envs.webshop.web import read_form, serve

SECRET = "a token of some length"


def one_env(env: WebShopEnv, **settings: Any) -> Visitor:
    """A visitor whose environment the test can look at."""
    return Visitor(shop_of(lambda: env, **settings))


def buy(visitor: Visitor, env: WebShopEnv) -> None:
    """As the environment's expert would, by buttons alone."""
    while not env.episode.stop_reason:
        advice = env.advise()
        assert advice is not None
        if advice.action.startswith("search["):
            visitor.search(advice.action[len("search[") : -1])
        else:
            visitor.click(advice.action, env)


# -- playing


def test_a_goal_is_met_by_what_is_on_the_page():
    env = generated()
    visitor = one_env(env)
    assert visitor.text("#goal") == env.task.goal
    assert visitor.text("#turns") == "Turn 0 of 15"
    buy(visitor, env)
    assert visitor.text("#verdict h1") == "Bought as asked"
    assert visitor.text("#score") == "1"
    assert visitor.text("[data-part=r_type]") == "1"
    assert visitor.text("#turns") == f"Turn {len(env.episode.turns)} of 15"


def test_a_wrong_purchase_shows_the_parts_of_its_reward():
    env = generated()
    visitor = one_env(env)
    visitor.search("mug")
    visitor.press(visitor.page.select(".product")[-1])
    visitor.press("Buy now")
    parts = env.scene.facts["reward_parts"]
    assert 0 <= parts["reward"] < 1
    assert visitor.text("#score") == f"{parts['reward']:.3g}"
    for name in ("r_type", "r_att", "r_price"):
        assert visitor.text(f"[data-part={name}]") == f"{float(parts[name]):.3g}"
    assert env.verify(env.episode).reason in visitor.text("#verdict")
    assert env.task.answer["title"] in visitor.text("#verdict details")


@pytest.mark.parametrize("page", ["text", "brief", "html"])
def test_what_is_pressed_is_what_the_environment_alone_plays(page):
    """Equal observations after every press, equal actions listed, equal reward."""
    visited, alone = generated(page=page), generated(page=page)
    visitor = one_env(visited)
    seen, _ = alone.reset(seed=0)
    assert visitor.text("#observation") == seen
    reward = 0.0
    presses = ["Search", ".product", "Description", "Previous", "Features", "Previous", "Reviews"]
    presses += ["Previous", ".option", "Previous", "Next", "Previous", ".product", "Back to search"]
    for press in presses:
        if press == "Search":
            visitor.search("red mug")
        elif press.startswith("."):
            visitor.press(visitor.page.select(press)[0])
        else:
            visitor.press(press)
        seen, reward, *_ = alone.step(visited.episode.turns[-1].action)
        assert visitor.text("#observation") == seen
    buy(visitor, visited)
    for turn in visited.episode.turns[len(presses) :]:
        seen, reward, *_ = alone.step(turn.action)
    assert visitor.text("#observation") == seen
    assert visited.episode == alone.episode
    listed = [each.get_text() for each in visitor.page.select("#actions code")]
    assert listed == [turn.action for turn in alone.episode.turns]
    assert visitor.text("#score") == f"{reward:.3g}"


def test_chosen_options_and_visited_products_are_marked():
    env = generated(max_turns=40)
    visitor = one_env(env)
    for number in range(10):
        visitor.search("shoes mug shirt lamp")
        visitor.press(visitor.page.select(".product")[number])
        if visitor.page.select("fieldset"):
            break
        visitor.press("Back to search")
    assert not visitor.page.select("[aria-pressed]")
    value = visitor.page.select(".option")[-1].get_text()
    visitor.press(visitor.page.select(".option")[-1])
    assert [each.get_text() for each in visitor.page.select("[aria-pressed]")] == [value]
    visitor.press("Previous")
    marked = [bool(each.select(".mark")) for each in visitor.page.select(".product")]
    assert marked == [place == number for place in range(len(marked))]


def test_out_of_turns_is_the_end_and_nothing_can_be_pressed_but_the_two_ways_on():
    visitor = one_env(generated(max_turns=2))
    visitor.search("mug")
    visitor.press("Next")
    assert visitor.text("#verdict h1") == "Not bought"
    assert "nothing bought" in visitor.text("#verdict")
    ways = [each.get_text() for each in visitor.buttons()]
    assert ways == ["Same goal again", "Next goal"]


def test_the_same_goal_again_and_the_next_one():
    env, alone = generated(), generated()
    visitor = one_env(env)
    _, first = alone.reset(seed=0)
    _, second = alone.reset()
    buy(visitor, env)
    visitor.press("Same goal again")
    assert env.task.id == first["task_id"] and env.episode.turns == ()
    visitor.press("Next goal")
    assert env.task.id == second["task_id"] != first["task_id"]
    assert visitor.text("#goal") == second["goal"]


def test_a_visit_begins_with_the_task_asked_for():
    task = generated().tasks.ids[3]
    visitor = Visitor(shop_of(generated, task=task))
    assert visitor.text("header .quiet") == task


def test_an_action_that_changes_nothing_says_so():
    env = generated()
    visitor = one_env(env)
    visitor.search("a]b[c")
    assert "changed nothing" in visitor.text(".notice")
    assert visitor.text("#turns") == "Turn 1 of 15"


def test_the_pages_buttons_are_all_that_can_be_clicked():
    """On every kind of page: each admissible click has a button, except the search bar's own."""
    env = generated(show_attributes=True)
    visitor = one_env(env)
    visitor.search("mug")
    for press in (".product", "Attributes"):
        clicks = {
            str(number)
            for number, action in enumerate(env.scene.admissible)
            if action.startswith("click[")
        }
        assert {each.get("value") for each in visitor.buttons() if each.get("form")} == clicks
        visitor.press(visitor.page.select(press)[0] if press.startswith(".") else press)


# -- forms of other times and places


def test_a_form_of_an_earlier_page_does_nothing():
    env = generated()
    visitor = one_env(env)
    visitor.search("mug")
    old = visitor.form(visitor.page.select(".product")[0])
    visitor.press("Next")
    before = env.episode
    visitor.send(*old)
    assert "Nothing was done" in visitor.text(".notice")
    assert env.episode == before
    visitor.press("Same goal again")
    visitor.search("mug")  # the same turn of another episode
    before = env.episode
    visitor.send(*old)
    assert "Nothing was done" in visitor.text(".notice")
    assert env.episode == before


def test_next_goal_pressed_twice_is_pressed_once():
    env, alone = generated(), generated()
    visitor = one_env(env)
    button = next(each for each in visitor.buttons() if each.get_text() == "Next goal")
    form = visitor.form(button)
    visitor.send(*form)
    visitor.send(*form)
    alone.reset(seed=0)
    assert env.task.id == alone.reset()[1]["task_id"]
    assert "Nothing was done" in visitor.text(".notice")


def test_a_form_after_the_end_does_nothing():
    env = generated(max_turns=1)
    visitor = one_env(env)
    _, fields = visitor.form(visitor.buttons()[0])
    visitor.search("mug")
    visitor.send("/search", {**fields, "place": "1.1", "what": "mug"})
    assert "over" in visitor.text(".notice")
    assert len(env.episode.turns) == 1


@pytest.mark.parametrize("token", ["", "x", "\u00e9"])
def test_a_form_without_the_visits_token_is_refused(token):
    env = generated()
    visitor = one_env(env)
    visitor.send("/search", {"token": token, "place": "1.0", "what": "mug"})
    assert visitor.response.status_code == 403
    assert env.episode.turns == ()


def test_another_visitors_token_is_refused():
    app = shop_of(generated)
    mine, theirs = Visitor(app), Visitor(app)
    _, fields = theirs.form(theirs.buttons()[0])
    mine.send("/search", fields | {"what": "mug"})
    assert mine.response.status_code == 403


@pytest.mark.parametrize(
    ("target", "changes", "status"),
    [
        ("/dance", {}, 404),
        ("/click", {"what": "99"}, 400),
        ("/click", {"what": "-1"}, 400),
        ("/click", {"what": "0"}, 400),  # the search bar is no click
        ("/click", {"what": "\u0663"}, 400),
        ("/click", {"what": "9" * 5000}, 400),
        ("/click", {"what": ""}, 400),
        ("/search", {"what": ""}, 400),
        ("/search", {"what": "x" * 501}, 400),
        ("/search", {"what": "x" * 10_000}, 413),
        ("/search", {"place": "x"}, 400),
        ("/search", {"place": "1.\u0660"}, 400),
        ("/search", {"place": "1." + "0" * 50}, 400),
        ("/search", {"more": "1"}, 400),
    ],
)
def test_forms_that_no_page_of_ours_sends(target, changes, status):
    env = generated()
    visitor = one_env(env)
    _, fields = visitor.form(visitor.buttons()[0])
    visitor.send(target, {**fields, "what": "mug", **changes})
    assert visitor.response.status_code == status
    assert visitor.text("h1") == f"Error {status}"
    assert env.episode.turns == ()


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 400),
        ("", b"token=1&place=1.0", 400),
        ("application/x-www-form-urlencoded", b"\xff\xfe", 400),
        ("application/x-www-form-urlencoded", b"", 400),
        ("application/x-www-form-urlencoded", b"token", 400),
        ("application/x-www-form-urlencoded", b"token=%ff&place=1.0&what=%ff", 400),
        ("application/x-www-form-urlencoded", b"token=1&token=1&place=1.0", 400),
        ("application/x-www-form-urlencoded", b"&" * 8193, 413),
    ],
)
def test_bodies_that_are_no_form_of_ours(content_type, body, status):
    visitor = Visitor(shop_of(generated))
    response = visitor.client.post("/search", content=body, headers={"content-type": content_type})
    assert response.status_code == status


@given(st.binary(max_size=200))
def test_any_body_is_a_form_or_a_value_error(body):
    try:
        said = read_form("application/x-www-form-urlencoded", body)
    except ValueError:
        return
    assert set(said) == {"token", "place", "what"}


@pytest.mark.parametrize(("method", "path"), [("GET", "/click"), ("PUT", "/"), ("GET", "/docs")])
def test_what_is_not_there_is_a_plain_error_page(method, path):
    response = Visitor(shop_of(generated)).client.request(method, path)
    assert response.status_code in (404, 405)
    assert "<h1>Error" in response.text and response.headers["content-type"].startswith("text/html")


# -- who may come in


def test_each_browser_has_an_environment_of_its_own():
    app = shop_of(generated)
    one, two = Visitor(app), Visitor(app)
    one.search("mug")
    assert one.text("#turns") == "Turn 1 of 15"
    assert BeautifulSoup(two.client.get("/").text, "html.parser").select_one("#turns").text == (
        "Turn 0 of 15"
    )


def test_a_full_shop_says_so_until_somebody_is_forgotten():
    now = [0.0]
    app = shop_of(generated, limit=2, idle_s=60, clock=lambda: now[0])
    first, second = Visitor(app), Visitor(app)
    assert Visitor(app).response.status_code == 503
    now[0] = 40
    first.search("mug")
    now[0] = 70  # the second has been idle for 70 seconds, the first for 30
    third = Visitor(app)
    assert third.response.status_code == 200
    first.press("Next")
    assert first.text("#turns") == "Turn 2 of 15"
    second.search("mug")
    assert second.response.status_code == 403
    assert "visit is over" in second.response.text


def test_a_forgotten_visitor_is_given_a_new_visit():
    now = [0.0]
    app = shop_of(generated, limit=1, idle_s=60, clock=lambda: now[0])
    visitor = Visitor(app)
    visitor.search("mug")
    now[0] = 61
    visitor.response = visitor.client.get("/")
    assert visitor.text("#turns") == "Turn 0 of 15"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:80", "127.9.9.9"]
)
def test_names_of_this_machine_are_answered(host):
    client = Visitor(shop_of(generated)).client
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "0.0.0.0",
     "x@localhost", "localhost:80:80", "localhost:evil", "[::2]", "[::1", "127.1", "localhost "],
)  # fmt: skip
def test_other_names_are_not(host):
    """A foreign name that somebody made resolve to 127.0.0.1 reads nothing."""
    client = Visitor(shop_of(generated)).client
    response = client.get("/", headers={"host": host})
    assert response.status_code == 403
    assert "agentgym_visit" not in response.headers.get("set-cookie", "")


def test_another_sites_pictures_and_frames_are_refused_and_its_links_are_not():
    client = Visitor(shop_of(generated)).client
    picture = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    frame = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=picture).status_code == 403
    assert client.get("/", headers=frame | {"sec-fetch-dest": "iframe"}).status_code == 403
    assert client.get("/", headers=frame | {"sec-fetch-dest": "document"}).status_code == 200


def test_a_token_is_asked_for_and_remembered():
    app = shop_of(generated, token=SECRET, any_host=True)
    visitor = Visitor(app, at="http://shop.example")
    assert visitor.response.status_code == 401
    for wrong in ("", "x", SECRET + "x", "\u00e9"):
        assert visitor.client.get("/", params={"token": wrong}).status_code == 401
    assert visitor.client.post("/search", params={"token": SECRET}).status_code == 401
    visitor.response = visitor.client.get("/", params={"token": SECRET})
    assert visitor.response.status_code == 200
    assert "token" not in str(visitor.response.url)
    visitor.search("mug")
    assert visitor.text("#turns") == "Turn 1 of 15"
    assert SECRET not in visitor.response.text
    assert SECRET not in dict(visitor.client.cookies).values()


def test_every_answer_forbids_scripts_frames_and_guessing():
    client = Visitor(shop_of(generated)).client
    answers = [client.get("/"), client.get("/nowhere"), client.post("/click", content=b"x")]
    answers.append(client.get("/", headers={"host": "evil.example"}))
    assert [answer.status_code for answer in answers] == [200, 404, 400, 403]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "form-action 'self'" in policy
        assert "script-src" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_cookies_are_out_of_reach_of_other_sites():
    cookie = Visitor(shop_of(generated)).response.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie


# -- hostile goods

TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "b", "span", "progress", "main"),
    *("section", "h1", "h2", "p", "div", "aside", "form", "input", "button", "label", "nav", "ol"),
    *("ul", "li", "code", "article", "fieldset", "legend", "table", "caption", "tr", "th", "td"),
    *("meter", "details", "summary"),
}


def inert(visitor: Visitor) -> None:
    """Only elements and attributes of ours, every address ours, every value a text."""
    page = visitor.page
    assert visitor.response.status_code == 200
    assert {each.name for each in page.find_all(True)} <= TAGS
    assert len(page.find_all("title")) == len(page.find_all("style")) == 1
    for each in page.find_all(True):
        assert not [name for name in each.attrs if name.startswith("on") or name == "style"]
        assert not {"src", "srcset", "href", "formaction", "srcdoc"} & set(each.attrs)
        assert each.get("id") != "evil"
        assert each.get("action", "/click") in ("/click", "/search", "/again", "/next")
    control = set(map(chr, (*range(9), *range(11, 32), 127, 0x202E)))
    assert not control & set(visitor.response.text)


def test_hostile_goods_are_inert_on_every_page(tmp_path: Path):
    env = hostile_env(tmp_path)
    visitor = one_env(env)
    inert(visitor)
    visitor.search(EVIL)  # has brackets, so it is no search
    inert(visitor)
    visitor.search(EVIL.replace("[SEP]", "SEP"))
    inert(visitor)
    assert "<script>" in visitor.text("main")
    visitor.press("Back to search")
    visitor.search("mug")
    rows = len(visitor.page.select(".product"))
    assert rows == 4
    for row in range(rows):
        asin = env.session.page.shown[row]
        visitor.press(visitor.page.select(".product")[row])
        inert(visitor)
        assert env.session.page.asin == asin
        if row == 0:
            for name in ("Description", "Features", "Reviews", "Attributes"):
                visitor.press(name)
                inert(visitor)
                visitor.press("Previous")
        visitor.press("Previous")
    visitor.press(visitor.page.select(".product")[0])
    for place in range(len(visitor.page.select(".option"))):
        visitor.press(visitor.page.select(".option")[place])
        inert(visitor)
        if env.episode.stop_reason:  # the option called "buy now" buys, as in the environment
            break
    assert env.scene.facts["purchase"] is not None
    assert "evil" in visitor.text("#verdict")


@given(st.text(st.characters(), max_size=40))
def test_any_text_stays_text(text):
    markup = tag("p", text, id=text, aria_label=text)
    markup.encode()
    paragraph = BeautifulSoup(markup, "html.parser")
    assert [each.name for each in paragraph.find_all(True)] == ["p"]
    shown = paragraph.p.get_text()
    assert len(shown) == len(text)
    assert paragraph.p["id"] == paragraph.p["aria-label"] == shown
    if text.isprintable():
        assert shown == text


def test_markup_by_hand():
    assert escaped("<\x00\ud800\u202e'") == "&lt;\u2400\ufffd\ufffd&#x27;"
    assert tag("b", "1 < 2", Html("<i></i>")) == "<b>1 &lt; 2<i></i></b>"
    assert tag("input", name='"', for_="x", disabled=True, required=False, class_=None) == (
        '<input name="&quot;" for="x" disabled>'
    )


# -- the server


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"host": "0.0.0.0"}, ValueError, "can be reached from other machines"),
        ({"host": "192.0.2.1", "token": "short"}, ValueError, "at least 16 characters"),
        ({"task": "synthetic/no"}, KeyError, "no goal 'synthetic/no'"),
        ({"settings": {"parser": "line"}}, ValueError, "leave the parser out"),
        ({"settings": {"difficulty": "absurd"}}, ValueError, "absurd"),
        ({"env_id": "AgentGym/ALFWorld-v0", "settings": {}}, TypeError, "only WebShop"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(settings, error, message):
    usual = {"env_id": "AgentGym/WebShop-v0", "settings": {"difficulty": "tiny"}, "port": 0}
    with pytest.raises(error, match=message):
        serve(**(usual | settings))


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    for missing in ("uvicorn", "fastapi"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, missing, None)
            with pytest.raises(ImportError, match=r"pip install -e '\.\[serve\]'"):
                serve("AgentGym/WebShop-v0", {"difficulty": "tiny"}, port=0)


def test_importing_the_page_needs_no_fastapi():
    import subprocess

    code = "import sys, agentgym_envs.webshop.web; assert 'fastapi' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(web.__file__).parents[2])


def test_the_server_answers_at_the_address_it_tells(monkeypatch):
    import threading
    import urllib.request

    import uvicorn

    servers, told = [], []
    open_door = threading.Event()
    run = uvicorn.Server.run

    def recorded(self, sockets=None):
        servers.append(self)
        run(self, sockets)

    monkeypatch.setattr(uvicorn.Server, "run", recorded)

    def on_start(address: str) -> None:
        told.append(address)
        open_door.set()

    thread = threading.Thread(
        target=serve,
        args=("AgentGym/WebShop-v0", {"difficulty": "tiny"}),
        kwargs={"port": 0, "token": SECRET, "on_start": on_start},
    )
    thread.start()
    try:
        assert open_door.wait(60)
        keeps = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with keeps.open(told[0], timeout=60) as answer:
            assert b"Your goal" in answer.read()
            assert answer.url == told[0].partition("?")[0]
    finally:
        if servers:
            servers[0].should_exit = True
        thread.join(60)
    assert not thread.is_alive()


def test_a_limit_must_leave_room():
    with pytest.raises(ValueError, match="must be above 0"):
        shop_of(generated, limit=0)
