"""The expert's advice: by hand on every kind of page, and as good as can be on whole shops."""

import numpy as np
import pytest

from agentgym_envs.evaluate import evaluate, yardstick
from agentgym_envs.types import Advice
from agentgym_envs.webshop.env import WebShopEnv
from agentgym_envs.webshop.expert import PAGES, Expert
from agentgym_envs.webshop.pages import Page
from agentgym_envs.webshop.product import Product

MUG = Product(
    asin="B000000001",
    title="Blue Mug of Many Fine Words and Some More",
    description="",
    bullets=(),
    prices=(8.0,),
    price_tag="$8.0",
    options={"color": ("navy blue", "red", "buy now"), "size": ("small", "red", "x[y]z")},
    category_path="",
    category="",
    query="mugs",
    attributes=("hand made",),
    image="",
)
OTHERS = tuple(f"B10000000{digit}" for digit in range(10))
WISH = (
    "Find me a shiny mug with size: small, and color: navy blue, and price lower than 9.00 dollars"
)
SEARCH, TITLE = "search[shiny mug small navy blue]", f"search[{MUG.title.lower()}]"


def expert(*options) -> Expert:
    return Expert({"options": options}, MUG, WISH)


ASKED = expert(("color", "navy blue"), ("size", "small"))
SHOWN = ("back to search", "< prev", "buy now", "navy blue", "red", "small")


def page(kind: str, **changes) -> Page:
    return Page(kind=kind, url="", **changes)


def test_it_searches_what_the_instruction_says_then_the_title():
    index = page("index")
    assert ASKED.advise(index, ["search"], []) == Advice(SEARCH, "search first")
    again = Advice(TITLE, "not found: search other words")
    assert ASKED.advise(index, ["search"], [SEARCH, "click[back to search]"]) == again
    assert ASKED.advise(index, ["search"], [SEARCH, TITLE]) == again


def test_it_opens_the_product_where_it_is_shown():
    results = page("results", found=(*OTHERS[:3], MUG.asin))
    advice = ASKED.advise(results, ["b100000000", "b000000001"], [])
    assert advice == Advice("click[b000000001]", "match: Blue Mug: b000000001")


def test_it_turns_pages_and_gives_up():
    found = OTHERS * 5
    for number in range(1, PAGES):
        advice = ASKED.advise(page("results", found=found, number=number), [], [])
        assert advice == Advice("click[next >]", "no match: next page")
    back = Advice("click[back to search]", "no match: search again")
    assert ASKED.advise(page("results", found=found, number=PAGES), [], []) == back
    assert ASKED.advise(page("results", found=()), [], []) == back


def test_it_chooses_in_the_order_of_the_instruction_and_buys():
    item = page("item", asin=MUG.asin)
    small = Advice("click[small]", "need size: small")
    blue = Advice("click[navy blue]", "need color: navy blue")
    assert ASKED.advise(item, SHOWN, []) == small
    assert ASKED.advise(item._replace(options=(("size", "small"),)), SHOWN, []) == blue
    wrong = item._replace(options=(("size", "small"), ("color", "red")))
    assert ASKED.advise(wrong, SHOWN, []) == blue
    right = item._replace(options=(("size", "small"), ("color", "navy blue")))
    assert ASKED.advise(right, SHOWN, []) == Advice("click[buy now]", "all chosen: buy")


@pytest.mark.parametrize("value", ["buy now", "x[y]z", "golden"])
def test_what_cannot_be_chosen_is_not_waited_for(value):
    item = page("item", asin=MUG.asin)
    advice = expert(("color", value)).advise(item, SHOWN, [])
    assert advice == Advice("click[buy now]", "all chosen: buy")


def test_a_value_of_two_names_sets_the_last():
    item = page("item", asin=MUG.asin)
    assert expert("red").advise(item, SHOWN, []) == Advice("click[red]", "need size: red")
    assert expert("red").advise(item._replace(options=(("size", "red"),)), SHOWN, []) == Advice(
        "click[buy now]", "all chosen: buy"
    )


def test_two_wishes_for_one_name_end():
    item = page("item", asin=MUG.asin, options=(("size", "small"),))
    assert expert("small", "red").advise(item, SHOWN, []) == Advice(
        "click[buy now]", "all chosen: buy"
    )


def test_it_finds_back():
    assert ASKED.advise(page("item", asin=OTHERS[0]), SHOWN, []).action == "click[< prev]"
    assert ASKED.advise(page("features", asin=MUG.asin), [], []).action == "click[< prev]"
    assert ASKED.advise(page("done", asin=MUG.asin), [], []) is None


@pytest.mark.parametrize("difficulty", ["tiny", "small", "full"])
def test_it_meets_every_generated_goal(difficulty):
    env = WebShopEnv(difficulty=difficulty, split="eval", fixed_options=True, strict=True)
    found = evaluate(env, yardstick(env, "expert"), env.tasks.ids[:100]).overall
    assert found.successes == found.episodes


def test_it_reaches_the_ceiling_of_real_shops(shop_folders):
    for folder in shop_folders.values():
        env = WebShopEnv(data=folder, split="train", splits="all", price_seed=42)
        ids = env.tasks.ids[:200]
        best, found = (evaluate(env, yardstick(env, name), ids) for name in ("oracle", "expert"))
        assert found.overall.successes == best.overall.successes


def test_it_finds_its_way_from_anywhere(shop_folders):
    """After random actions that do not buy, the advice still ends in the best."""
    env = WebShopEnv(
        data=min(shop_folders.values()), splits="all", fixed_options=True, strict=True, max_turns=25
    )
    dice = np.random.default_rng(0)
    best = yardstick(env, "oracle")
    for task_id in env.tasks.ids[:40]:
        env.reset(options={"task_id": task_id})
        for _ in range(5):
            action = env.wander(dice)
            if action != "click[buy now]":
                env.step(action)
        over, score = False, 0.0
        while not over:
            advice = env.advise()
            assert advice is not None
            _, score, done, cut, info = env.step(advice.action)
            assert info["action_executable"]
            over = done or cut
        assert score == evaluate(env, best, [task_id]).overall.mean_score
