"""The viewer in a real browser, from disk: it reads, filters and shades, and obeys no text."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from chromium import PROGRAM, Browser, browsing
from train.report.episodes_on_disk import EVIL, episode, folder_of, trace_of

from agentgym_train.report.viewer import viewer_fragment, write_viewer

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")

TITLES = "[...document.querySelectorAll('.agv-item .agv-goal')].map(e => e.textContent)"
TITLE = "document.querySelector('.agv-title')?.textContent"
COUNT = "document.querySelector('.agv-count').textContent"


def until(browser: Browser, code: str, wanted: Any, patience: float = 60.0) -> None:
    """Wait for an expression to have a value."""
    end = time.monotonic() + patience
    while (now := browser.eval(code)) != wanted:
        assert time.monotonic() < end, (code, now, browser.said)
        time.sleep(0.02)


def choose(browser: Browser, name: str, option: str) -> None:
    browser.eval(
        f"(() => {{ const s = document.querySelector('[data-filter={json.dumps(name)}]');"
        f"s.value = [...s.options].find(o => o.text === {json.dumps(option)}).value;"
        "s.dispatchEvent(new Event('change', {bubbles: true})) })()"
    )


def check(browser: Browser, name: str) -> None:
    browser.eval(f"document.querySelector('[data-filter={json.dumps(name)}]').click()")


def key(browser: Browser, name: str) -> None:
    for kind in ("keyDown", "keyUp"):
        browser.ask("Input.dispatchKeyEvent", type=kind, key=name)


def test_five_thousand_episodes_are_filtered_and_read(tmp_path: Path):
    records = [episode(i, turns=1 + i % 7, solved=i % 4 == 0) for i in range(5000)]
    records[4321]["turns"][0]["response"] = "a Needle in the hay"
    page = write_viewer(folder_of(tmp_path / "run", records), tmp_path / "page.html")
    with browsing(tmp_path / "profile") as browser:
        browser.size(1280, 800)
        browser.go(page.as_uri())
        until(browser, TITLE, "task-0 ")
        assert browser.eval(COUNT) == "5,000 of 5,000 episodes, 1,250 solved"
        assert browser.eval(f"{TITLES}.length") < 60  # the others are not made

        key(browser, "n")
        until(browser, TITLE, "task-1 ")
        key(browser, "p")
        until(browser, TITLE, "task-0 ")

        choose(browser, "outcome", "failed")
        assert browser.eval(COUNT) == "3,750 of 5,000 episodes, 0 solved"
        choose(browser, "task type", "clean")
        choose(browser, "step", "step 3")
        assert browser.eval(COUNT) == f"{25} of 5,000 episodes, 0 solved"
        check(browser, "invalid turns")
        expected = [i for i in range(300, 400) if i % 4 and i % 3 == 1 and i % 5 == 4]
        assert browser.eval(TITLES) == [f"goal number {i} " for i in expected]

        browser.go(page.as_uri())
        until(browser, TITLE, "task-0 ")
        browser.type(".agv-search", "needle")
        until(browser, COUNT, "1 of 5,000 episodes, 0 solved")
        browser.eval("document.querySelector('.agv-item').click()")
        until(browser, TITLE, "task-4321 ")
        assert "Needle" in browser.eval("document.querySelector('.agv-page').textContent")
        assert browser.said == []


def test_tokens_are_shaded_by_what_is_chosen(tmp_path: Path):
    record = episode(0, phase="train", step=1)
    trace = trace_of(record, gap=lambda i: i - 1.0, gate=lambda i: i / 4, odd=lambda i: None)
    run = folder_of(tmp_path / "run", [record], [trace])
    fragment = viewer_fragment([run])
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><body>{fragment}", encoding="utf-8")
    colours = (
        "[...document.querySelector('.agv-tokens').children].map(e => e.style.backgroundColor)"
    )
    with browsing(tmp_path / "profile") as browser:
        browser.size(1280, 800)
        browser.go(page.as_uri())
        until(browser, "document.querySelectorAll('.agv-tokens').length", 2)
        gap = browser.eval(colours)
        ramp = "[...document.querySelectorAll('.agv-ramp > span')].map(e => e.textContent)"
        assert browser.eval(ramp) == ["-3", "", "3"]  # no gap is beyond
        assert gap[0] != gap[2] and gap[0].startswith("rgba(222") and gap[2].startswith("rgba(37")
        shade = "(() => { const s = document.querySelector('[data-shade]'); s.value = '%s';"
        shade += "s.dispatchEvent(new Event('change')) })()"
        browser.eval(shade % "gate")
        assert all("(13, 148, 136" in colour for colour in browser.eval(colours)[1:])
        browser.eval(shade % "odd")
        assert set(browser.eval(colours)) == {""}
        browser.eval("document.querySelector('.agv-token').click()")
        told = browser.eval("document.querySelector('.agv-told').textContent")
        assert told == '"go "   gap -1   gate 0   odd none'
        assert browser.said == []


def test_a_colour_means_the_same_in_all_episodes_and_its_end_says_what_is_beyond(tmp_path: Path):
    """A token of gap 1 is as dark beside one of 9 as among others of 1."""
    records = [episode(i, phase="train", step=i, turns=1) for i in range(2)]
    traces = [trace_of(records[0], gap=lambda i: 1.0), trace_of(records[1], gap=lambda i: 1.0)]
    traces[0]["turns"][0] |= {"pieces": ["x"] * 40, "gap": [1.0] * 39 + [9.0]}
    page = write_viewer(folder_of(tmp_path / "run", records, traces), tmp_path / "page.html")
    colour = "document.querySelector('.agv-tokens span').style.backgroundColor"
    ramp = "[...document.querySelectorAll('.agv-ramp > span')].map(e => e.textContent)"
    with browsing(tmp_path / "profile") as browser:
        browser.size(1280, 800)
        browser.go(page.as_uri())
        until(browser, TITLE, "task-0 ")
        first = browser.eval(colour)
        assert browser.eval(ramp) == ["0", "", "\u2265 1"]
        key(browser, "n")
        until(browser, TITLE, "task-1 ")
        assert browser.eval(colour) == first == "rgba(13, 148, 136, 0.65)"
        assert browser.said == []


def test_the_payload_is_live_where_nobody_escapes_it(tmp_path: Path):
    page = tmp_path / "page.html"
    careless = EVIL.encode("utf-8", "replace").decode()
    page.write_text(f"<!doctype html><meta charset=utf-8><body>{careless}", encoding="utf-8")
    with browsing(tmp_path / "profile") as browser:
        browser.go(page.as_uri())
        until(browser, "document.title", "owned")


@pytest.mark.parametrize("width", [1280, 390])
def test_hostile_text_is_inert(width, tmp_path: Path):
    record = episode(4, text=EVIL, phase="train", step=0)
    run = folder_of(tmp_path / "run", [record], [trace_of(record, gap=float, **{EVIL: float})])
    page = write_viewer(run, tmp_path / "page.html", episode=1)
    with browsing(tmp_path / "profile") as browser:
        browser.size(width, 844)
        browser.go(page.as_uri())
        until(browser, "document.querySelectorAll('.agv-turn').length", 2)
        browser.eval("document.querySelectorAll('details').forEach(d => d.open = true)")
        until(browser, "document.querySelectorAll('.agv-fold .agv-text').length", 5)
        shown = browser.eval("document.querySelector('.agv-page').textContent")
        assert "<img src=x" in shown
        assert browser.eval("document.title") == "run: episodes"
        assert browser.eval("document.querySelectorAll('img, .agv script script').length") == 0
        assert browser.eval("document.documentElement.scrollWidth") == width
        assert browser.said == []


def test_on_a_phone_the_list_gives_way_to_the_episode(tmp_path: Path):
    records = [episode(i) for i in range(40)]
    page = write_viewer(folder_of(tmp_path / "run", records), tmp_path / "page.html")
    side = "getComputedStyle(document.querySelector('.agv-side')).display"
    with browsing(tmp_path / "profile") as browser:
        browser.size(390, 844)
        browser.go(page.as_uri())
        until(browser, f"{TITLES}.length > 5", True)
        assert browser.eval(side) == "flex"
        browser.eval("document.querySelectorAll('.agv-item')[2].click()")
        until(browser, TITLE, "task-2 ")
        assert browser.eval(side) == "none"
        browser.eval("document.querySelector('.agv-back').click()")
        assert browser.eval(side) == "flex"
        assert browser.eval("document.documentElement.scrollWidth") == 390
        assert browser.said == []


def test_two_viewers_share_a_page(tmp_path: Path):
    fragments = []
    for name in ("one", "two"):
        run = folder_of(tmp_path / name, [episode(i) for i in range(3)])
        fragments.append(viewer_fragment([run], prefix=name))
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><body>{''.join(fragments)}")
    with browsing(tmp_path / "profile") as browser:
        browser.go(page.as_uri())
        until(browser, "document.querySelectorAll('.agv-panes').length", 2)
        ids = browser.eval("[...document.querySelectorAll('[id]')].map(e => e.id)")
        assert len(ids) == len(set(ids)) == 8
        assert browser.said == []
