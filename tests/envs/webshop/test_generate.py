"""The generated shop: the same everywhere, true to its own words, and every goal can be met."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from math import prod

import pytest

from agentgym_envs.webshop import generate
from agentgym_envs.webshop.catalogue import Catalogue
from agentgym_envs.webshop.cleaning import clean_price
from agentgym_envs.webshop.dice import Dice
from agentgym_envs.webshop.generate import DIFFICULTIES, ShopRows, generated, write_official
from agentgym_envs.webshop.goals import Goal, GoalSet
from agentgym_envs.webshop.nouns import RuleNouns
from agentgym_envs.webshop.product import Product
from agentgym_envs.webshop.reward import goal_record, parts, purchase_record
from agentgym_envs.webshop.shop import Purchase
from agentgym_envs.webshop.tiny_wares import TINY_WARES
from agentgym_envs.webshop.wares import FEW_WARES, SCALES, WARES
from agentgym_envs.webshop.wishes import BUTTONS, named_values, without_price

SIZES = {"tiny": 300, "small": 250, "full": 400}
MOST_GOALS = {"tiny": 12, "small": 12, "full": 24}
each_difficulty = pytest.mark.parametrize("difficulty", SIZES)
each_kind = pytest.mark.parametrize("kind", ["synthetic", "human"])


@lru_cache
def shop(difficulty: str) -> ShopRows:
    return generated(SIZES[difficulty], 5, difficulty)


@lru_cache
def catalogue(difficulty: str) -> Catalogue:
    rows = shop(difficulty)
    return Catalogue.build(rows.products, rows.attributes, rows.human)


def digest(rows: ShopRows) -> str:
    content = [rows.products, rows.attributes, rows.human]
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def options_of(row: dict) -> dict[str, list[str]]:
    options = row["customization_options"] or {}
    return {name: [entry["value"] for entry in entries] for name, entries in options.items()}


def texts_of(row: dict) -> list[str]:
    return [row["name"], row["full_description"], " ".join(row["small_description"])]


@pytest.mark.parametrize(
    ("difficulty", "expected"),
    [("tiny", "01204340bff8044b"), ("small", "60fd2af0479c06e2"), ("full", "81a64ba9d6c3ea3f")],
)
def test_the_rows_of_a_seed_are_these(difficulty, expected):
    assert digest(generated(120, 7, difficulty)) == expected


def test_another_process_with_another_hash_seed_makes_the_same_rows():
    code = (
        "import json; from hashlib import sha256\n"
        "from agentgym_envs.webshop.generate import generated\n"
        "rows = generated(60, 3, 'full')\n"
        "content = [rows.products, rows.attributes, rows.human]\n"
        "print(sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16])\n"
    )
    environment = os.environ | {"PYTHONHASHSEED": "4711", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == digest(generated(60, 3, "full"))


@each_difficulty
def test_a_larger_shop_begins_with_the_smaller_one(difficulty):
    fewer, more = generated(40, 1, difficulty), generated(90, 1, difficulty)
    assert fewer.products[:37] == more.products[:37]  # the last family may have been cut short
    assert len(fewer.products) == 40


def test_another_seed_is_another_shop():
    assert digest(generated(50, 1, "tiny")) != digest(generated(50, 2, "tiny"))


def test_a_new_ware_leaves_the_families_that_it_does_not_attract_as_they_were(monkeypatch):
    before = generated(1000, 0, "full").products
    level = generate._LEVELS["full"]
    newcomer = replace(WARES[0], query="unheard of things", names=("unheard of thing",))
    monkeypatch.setattr(
        generate, "_LEVELS", {"full": replace(level, wares=(newcomer, *level.wares))}
    )
    after = generated(1000, 0, "full").products
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert 0 < len(changed) < 50
    assert {row["query"] for row in changed} == {"unheard of things"}


@each_difficulty
def test_product_ids_are_what_the_official_loader_takes(difficulty):
    asins = [row["asin"] for row in shop(difficulty).products]
    assert len({*asins}) == len(asins) == SIZES[difficulty]
    assert all(asin.isalnum() and asin.upper() == asin and len(asin) <= 10 for asin in asins)


@each_difficulty
def test_every_attribute_stands_in_the_texts_of_its_product(difficulty):
    rows = shop(difficulty)
    for row in rows.products:
        for attribute in rows.attributes[row["asin"]]["attributes"]:
            assert any(attribute in text.lower() for text in texts_of(row))


@each_difficulty
def test_options_are_lower_case_few_and_never_mistaken_for_something_else(difficulty):
    for row in shop(difficulty).products:
        options = options_of(row)
        values = [value for listed in options.values() for value in listed]
        assert len({*values}) == len(values)
        assert prod(map(len, options.values())) <= MOST_GOALS[difficulty]
        assert len(options) <= 3
        for value in values:
            assert value.isascii()
            assert value == value.lower().strip()
            assert value not in BUTTONS
            assert not {*'/[]"'} & {*value}


@each_difficulty
def test_prices_are_read_as_they_are_written(difficulty):
    for row in shop(difficulty).products:
        prices, _ = clean_price(row["pricing"])
        assert 0 < prices[0] <= prices[-1] < 2000
        if row["pricing"]:
            assert row["pricing"] == " - ".join(f"${price:.2f}" for price in prices)


@each_difficulty
def test_an_instruction_asks_for_what_the_product_has_and_not_for_its_title(difficulty):
    rows = shop(difficulty)
    asked = 0
    for row in rows.products:
        entry = rows.attributes[row["asin"]]
        assert ("instruction" in entry) == ("instruction_attributes" in entry)
        if "instruction" not in entry:
            continue
        asked += 1
        assert {*entry["instruction_attributes"]} <= {*entry["attributes"]}
        assert all(trait in entry["instruction"] for trait in entry["instruction_attributes"])
        assert row["query"] in entry["instruction"]
        assert row["name"].lower() not in entry["instruction"].lower()
        assert entry["instruction"].isascii()
    assert len(rows.products) // 2 < asked < len(rows.products)


@each_difficulty
def test_spoken_instructions_name_attributes_and_option_values(difficulty):
    rows = shop(difficulty)
    by_asin = {row["asin"]: row for row in rows.products}
    assert rows.human
    for asin, spoken in rows.human.items():
        values = [value for listed in options_of(by_asin[asin]).values() for value in listed]
        for entry in spoken:
            assert entry["asin"] == asin
            assert {*entry["instruction_options"]} <= {*values}
            assert {*entry["instruction_attributes"]} <= {*rows.attributes[asin]["attributes"]}
            said = (*entry["instruction_options"], *entry["instruction_attributes"])
            assert all(words in entry["instruction"] for words in said)
            assert by_asin[asin]["name"].lower() not in entry["instruction"].lower()


def test_there_are_many_kinds_of_ware_and_each_is_complete():
    assert len(WARES) >= 60
    assert 20 <= len(FEW_WARES) < len(WARES)
    for ware in (*WARES, *TINY_WARES):
        assert len(ware.features) >= 4
        assert ware.materials
        assert 0 < ware.price[0] < ware.price[1]
    for wares in (WARES, TINY_WARES):
        assert len({ware.query for ware in wares}) == len(wares)


def test_the_tiny_shop_is_small_talk():
    rows = shop("tiny")
    spoken = [entry["instruction"] for entries in rows.human.values() for entry in entries]
    asked = [entry.get("instruction", "") for entry in rows.attributes.values()]
    texts = [text for row in rows.products for text in texts_of(row)]
    values = [value for row in rows.products for v in options_of(row).values() for value in v]
    words = {
        word.strip(".,")
        for text in (*texts, *spoken, *asked, *values)
        for word in text.lower().split()
    }
    assert len(words) < 400
    for row in rows.products:
        assert 3 <= len(row["name"].split()) <= 5
        assert row["asin"].rstrip("0123456789").isalpha()
        assert 1 <= len(options_of(row)) <= 2


def test_searching_a_kind_of_the_tiny_shop_finds_that_kind_on_one_page():
    rows = generated(None, 0, "tiny")
    full = Catalogue.build(rows.products, rows.attributes, rows.human)
    for ware in TINY_WARES:
        kind = {row["asin"] for row in rows.products if row["query"] == ware.query}
        assert {*full.search(ware.query)} == kind
        assert len(kind) <= 8


@each_difficulty
def test_a_look_alike_beyond_the_price_limit_is_on_the_shelf(difficulty):
    """Same attributes and options as another product, but 45 dollars more or above."""
    rows = shop(difficulty)
    alike: dict[str, list[float]] = {}
    for row in rows.products:
        entry = rows.attributes[row["asin"]]["attributes"]
        key = json.dumps([row["query"], entry, options_of(row)])
        alike.setdefault(key, []).append(clean_price(row["pricing"])[0][-1])
    apart = [max(prices) - min(prices) for prices in alike.values() if len(prices) > 1]
    assert sum(gap >= 45 for gap in apart) > SIZES[difficulty] // 20


def judged(goals: GoalSet, goal: Goal, bought: Product, options: dict[str, str]) -> float:
    nouns = RuleNouns()
    wanted = goals.catalogue.product(goal.asin)
    purchase = Purchase(asin=bought.asin, options=options, price=goals.price(bought.asin))
    return parts(
        goal_record(goal, wanted, nouns(wanted.title)),
        purchase_record(purchase, bought, nouns(bought.title)),
    )["reward"]


def named_options(product: Product, instruction: str) -> dict[str, str]:
    values = [value for listed in product.options.values() for value in listed]
    named = named_values(instruction, values)
    return {
        name: value
        for name, listed in product.options.items()
        for value in listed
        if value in named
    }


@each_kind
@each_difficulty
def test_every_goal_is_met_by_buying_its_product_with_its_options(difficulty, kind):
    goals = GoalSet(catalogue(difficulty), kind)
    assert len(goals) > 50
    for goal in goals:
        product = catalogue(difficulty).product(goal.asin)
        values = {option if isinstance(option, str) else option[1] for option in goal.options}
        chosen = {
            name: value
            for name, listed in product.options.items()
            for value in listed
            if value in values
        }
        assert judged(goals, goal, product, chosen) == 1


def test_every_option_value_there_is_meets_itself():
    goal = {
        "asin": "X",
        "attributes": ["a b"],
        "price_limit": 1,
        "title": "x",
        "query": "x",
        "category_path": "x",
        "nouns": ["x"],
    }
    for scale in (*SCALES.values(), *(scale for ware in TINY_WARES for scale in ware.scales)):
        for value in scale.values:
            bought = goal | {
                "options": {scale.name: value},
                "price": 1,
                "bullets": [],
                "description": "a b",
            }
            wanted = goal | {"options": [(scale.name, value)]}
            assert parts(wanted, bought)["reward"] == 1, (scale.name, value)


@each_difficulty
def test_the_first_hit_with_the_named_options_is_right_about_half_of_the_time(difficulty):
    goals = GoalSet(catalogue(difficulty), "synthetic")
    met = tried = 0
    for index in range(0, len(goals), 3):
        goal = goals.goal(index)
        text = without_price(goal.instruction)
        first = catalogue(difficulty).product(catalogue(difficulty).search(text)[0])
        met += judged(goals, goal, first, named_options(first, text)) == 1
        tried += 1
    assert 0.35 < met / tried < 0.65


def test_the_official_files_hold_the_same_shop(tmp_path):
    folder = tmp_path / "shop"
    write_official(shop("small"), folder)
    write_official(shop("small"), folder)  # files of these names are replaced
    assert Catalogue.load(folder).fingerprint == catalogue("small").fingerprint
    assert sorted(path.name for path in folder.iterdir()) == [
        "items_human_ins.json",
        "items_ins_v2_1000.json",
        "items_shuffle_1000.json",
    ]


def test_what_cannot_be_generated_is_said():
    assert {*SIZES} == {*DIFFICULTIES}
    with pytest.raises(ValueError, match="no difficulty 'huge'; there are: tiny, small, full"):
        generated(10, 0, "huge")
    with pytest.raises(ValueError, match="0 or more, got -1"):
        generated(-1)
    assert generated(0).products == []


def test_dice_show_the_same_on_every_machine():
    dice = Dice("webshop", 1, "example")
    assert [dice.below(100) for _ in range(12)] == [65, 0, 1, 97, 58, 3, 91, 61, 82, 47, 20, 4]


def test_dice_are_fair_and_draw_without_repeats():
    dice = Dice("fair")
    throws = [dice.below(6) for _ in range(6000)]
    assert all(850 < throws.count(side) < 1150 for side in range(6))
    drawn = [dice.lot({"often": 3, "never": 0, "seldom": 1}) for _ in range(4000)]
    assert drawn.count("never") == 0
    assert 2800 < drawn.count("often") < 3200
    assert sorted(dice.few(range(9), 20)) == [*range(9)]
