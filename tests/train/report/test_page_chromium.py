"""The page in a real browser, opened from disk."""

import time

import pytest
from chromium import PROGRAM, browsing
from train.report.made_up import HOSTILE, MadeUp, write_suite

from agentgym_train.report import report

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no chromium")

WANTED = MadeUp(
    envs=("alfworld", "webshop"), algorithms=("grpo", "sdar", "atod"), seeds=2, steps=12, every=4,
    tasks=8, text=HOSTILE, title=f"Report {HOSTILE}", broken=("webshop/atod-1",),
    unfinished=("webshop/sdar-0",),
)  # fmt: skip
SHOWN = "[...document.querySelectorAll('[role=tabpanel]')].filter(e => !e.hidden).map(e => e.id)"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    return report([write_suite(folder / "suite", WANTED)], folder / "out").html


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with browsing(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def click(browser, selector):
    browser.eval(f"document.querySelector({selector!r}).click()")


def test_the_page_at_both_widths(browser, page):
    for width, plot in ((1280, "wide"), (390, "narrow")):
        browser.size(width, 800)
        browser.go(page.as_uri())
        assert browser.said == []
        assert browser.eval("document.documentElement.scrollWidth") <= width
        shown = f"[...document.querySelectorAll('#panel-step .{plot}')]"
        assert browser.eval(f"{shown}.filter(e => e.offsetWidth > 200).length") == 2
        lines = f"{shown}.map(e => e.querySelectorAll('.line').length)"
        assert browser.eval(lines) == [3, 3]
    assert browser.eval("document.querySelectorAll('.multiple svg').length") > 10
    assert browser.eval("document.querySelectorAll('.agv').length") == 1


def test_tabs_by_pointer_and_by_keys(browser, page):
    browser.size(1280, 800)
    browser.go(page.as_uri())
    assert browser.eval(SHOWN) == ["panel-step"]
    click(browser, "#tab-taught")
    assert browser.eval(SHOWN) == ["panel-taught"]
    # GRPO asks no teacher: it has no line here.
    assert (
        browser.eval("document.querySelectorAll('#panel-taught .wide [data-series]').length") == 4
    )
    for key in ("ArrowRight", "ArrowRight"):
        browser.eval(
            "document.activeElement.getAttribute('role') || "
            "document.getElementById('tab-taught').focus()"
        )
        for kind in ("keyDown", "keyUp"):
            browser.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key)
    assert browser.eval(SHOWN) == ["panel-step"]
    assert browser.eval("document.querySelector('[aria-selected=true]').id") == "tab-step"
    assert browser.said == []


def test_values_under_the_pointer(browser, page):
    browser.size(1280, 800)
    browser.go(page.as_uri())
    box = browser.eval(
        "(() => { const e = document.querySelector('#panel-step .wide svg'); "
        "e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect(); "
        "return [r.x, r.y, r.width, r.height] })()"
    )
    x, y, width, height = box
    browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x + width / 2, y=y + height / 2)
    tip = browser.eval("document.querySelector('#panel-step .wide .tip').textContent")
    assert all(name in tip for name in ("grpo", "sdar", "atod"))
    assert "step" in tip
    browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
    assert browser.eval("document.querySelector('#panel-step .wide .tip').hidden")
    assert browser.said == []


def test_a_name_in_a_key_dims_all_other_lines(browser, page):
    browser.size(1280, 800)
    browser.go(page.as_uri())
    box = browser.eval(
        "(() => { const e = document.querySelector('[data-key=sdar]'); "
        "e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect(); "
        "return [r.x + r.width / 2, r.y + r.height / 2] })()"
    )

    def shown(name):
        one = f"document.querySelector('.multiple [data-series={name}]')"
        return float(browser.eval(f"getComputedStyle({one}).opacity"))

    browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
    until(lambda: shown("grpo") < 0.2)
    assert shown("sdar") == 1
    browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
    until(lambda: shown("grpo") == 1)
    assert browser.said == []


def until(happened, patience=30.0):
    end = time.monotonic() + patience
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_hostile_text_is_inert(browser, page):
    browser.size(1280, 800)
    browser.go(page.as_uri())
    assert browser.eval("document.title").startswith("Report </script><img")
    assert browser.eval("document.images.length") == 0
    assert browser.eval("document.querySelector('h1').textContent").startswith("Report </script>")
    assert "out of memory </script>" in browser.eval("document.getElementById('ran').textContent")
    assert browser.said == []


def test_light_and_dark(browser, page):
    browser.size(1280, 800)
    browser.go(page.as_uri())
    colour = "getComputedStyle(document.body).backgroundColor"
    before = browser.eval(colour)
    click(browser, "#shade")
    assert browser.eval(colour) != before
    click(browser, "#shade")
    assert browser.eval(colour) == before
