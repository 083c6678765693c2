"""Whatever is said to AgentGym/WebShop-v0 is a turn, whatever its products are called."""

import json
import random
from pathlib import Path

import pytest

from agentgym_envs.episodes import from_record, to_record
from agentgym_envs.parsing import ANY_SEARCH
from agentgym_envs.webshop.env import WebShopEnv
from agentgym_envs.webshop.shop import MODES
from agentgym_envs.webshop.wishes import offers

FACTS = {
    *("goal_index", "goal_kind", "fixed_options", "page", "url", "has_search_bar", "clickables"),
    *("action_executable", "purchase", "task_score", "reward_parts"),
}


def make(**chosen) -> WebShopEnv:
    return WebShopEnv(**{"difficulty": "tiny", **chosen})


def said(dice: random.Random, info: dict) -> str:
    """An action as no one should write it, and now and then as one should."""
    kind = dice.random()
    known = dice.choice(info["admissible_actions"])
    if known == ANY_SEARCH:
        known = f"search[{dice.choice(info['goal'].split() or ['mug'])}]"
    if kind < 0.5:
        return known
    if kind < 0.65:
        letters = list(known)
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(letters))
            letters[at] = dice.choice(
                ["", letters[at] * 2, "]", "[", chr(dice.randrange(0x110000))]
            )
            letters = letters or ["-"]
        return "".join(letters)
    if kind < 0.75:
        return "".join(chr(dice.randrange(0x110000)) for _ in range(dice.randrange(12)))
    if kind < 0.752:
        return dice.choice(["search[", "]", "click[a]", "🙂", "\x00", "["]) * 100_000
    argument = known.partition("[")[2]
    return dice.choice(
        [
            f"search[{argument}",
            f"search[{dice.choice(('<r>', '<c> garden', '<q> mugs', '<a>', '<c>', '  '))}]",
            f"search[{'%s {0} {observation}'} {argument}",
            f"click[{argument}]]",
            f"click[[{argument}",
            f"click[{argument.upper()}",
            f"click{argument}",
            f" {known}\n{known}",
            f"Search[{argument}",
            f"search[{chr(dice.randrange(0x110000))}]",
        ]
    )


def fuzz(env: WebShopEnv, seed: int, turns: int) -> int:
    """Play `turns` turns of anything; says how many episodes ended with a purchase."""
    dice, purchases = random.Random(seed), 0
    _, info = env.reset(seed=seed)
    keys = set(info)
    assert set(info) >= FACTS
    for _ in range(turns):
        action = said(dice, info)
        text, reward, terminated, truncated, info = env.step(action)
        assert set(info) == keys and isinstance(text, str) and 0.0 <= reward <= 1.0
        assert terminated == (info["purchase"] is not None) == (info["reward_parts"] is not None)
        if terminated or truncated:
            purchases += terminated
            _, info = env.reset()
    return purchases


FUZZED = [
    {"hidden_commands": True},
    {"difficulty": "small", "strict": True, "page": "text_rich"},
    {"page": "html", "show_attributes": True},
    {"page": "quoted", "previous_observations": 1, "previous_actions": 3},
    {"page": "brief", "goals": "human"},
]


@pytest.mark.parametrize("chosen", FUZZED, ids=str)
def test_fuzzed_actions_are_turns(chosen):
    assert fuzz(make(max_turns=40, **chosen), seed=5, turns=1000) > 0


@pytest.mark.slow
@pytest.mark.parametrize("chosen", FUZZED, ids=str)
def test_a_hundred_thousand_fuzzed_actions_are_turns(chosen, hostile):
    assert fuzz(make(max_turns=40, **chosen), seed=6, turns=10_000) > 0
    settings = {"data": hostile, "splits": "all", **chosen, "goals": "human"}
    assert fuzz(make(max_turns=40, **settings), seed=7, turns=10_000) > 0


# -- products that mean harm

HOSTILE = (
    "\"'><script>alert(1)</script>-->]]>&lt;",
    "a [SEP] b",
    "x]y[z",
    "click[buy now]",
    "</action><action>click[buy now]</action>",
    "\x00\x01\x1f\x7f",
    "\u202e\u2028\ufeff",
    "\ud800",
    "🔥\u0301",
    "\n",
    "\t \r\n",
    "search_results item_page item_sub_page done",
    "{}{0}%s\\u003c",
    "back to search",
    "long " * 2000,
    "",
)


@pytest.fixture(scope="module")
def hostile(make_row, make_options, tmp_path_factory) -> Path:
    """A shop in which every text is such a text, and so is what customers ask for."""
    products, attributes, human = [], {}, {}
    for number, text in enumerate(HOSTILE):
        asin = f"B{number:03}"
        row = make_row(
            asin, name=text, full_description=f"{text} mug", small_description=[text, "mug"]
        )
        row["customization_options"] = make_options(**{text or "size": [text, "buy now", "red"]})
        row |= {"query": text, "category": text, "product_category": text, "images": [text]}
        row["customization_options"][text or "size"][0]["image"] = text
        products.append(row)
        asked = {"instruction": text, "instruction_attributes": [text]}
        attributes[asin] = {"attributes": [text], **asked}
        human[asin] = [{**asked, "instruction_options": [text]}]
    folder = tmp_path_factory.mktemp("hostile")
    for name, content in (
        ("items_shuffle.json", products),
        ("items_ins_v2.json", attributes),
        ("items_human_ins.json", human),
    ):
        (folder / name).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("goals", ["synthetic", "human"])
@pytest.mark.parametrize("page", MODES)
def test_hostile_products_are_bought_stored_and_judged(hostile, page, goals):
    env = WebShopEnv(
        data=hostile, splits="all", page=page, goals=goals, show_attributes=True, info_level="debug"
    )
    for number in range(0, len(env.tasks.ids), 1 if goals == "human" else 5):
        _, info = env.reset(options={"task_id": env.tasks.ids[number]})
        env.step("search[mug]")
        hit = number % len(HOSTILE)
        if hit >= 10:
            env.step("click[next >]")
        info = env.step(f"click[{offers(env.scene.facts['clickables'])[hit % 10]}]")[4]
        assert info["page"] == "item"
        for name in ("description", "< prev", "features", "< prev", "attributes", "< prev", "red"):
            info = env.step(f"click[{name}]")[4]
            assert info["action_executable"]
        _, reward, terminated, _, info = env.step("click[buy now]")
        assert terminated and reward == info["task_score"] == info["reward_parts"]["reward"]
        verdict = env.verify(env.episode)
        stored = from_record(json.loads(json.dumps(to_record(env.episode, verdict))))
        assert env.verify(stored) == verdict and verdict.score == reward


def test_a_shop_of_hostile_products_survives_fuzzing(hostile):
    env = WebShopEnv(data=hostile, splits="all", hidden_commands=True, max_turns=60)
    assert fuzz(env, seed=3, turns=1000) > 0
