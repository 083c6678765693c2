"""Skill banks as files, what a task finds in them, and a bandit that goes on where it stopped."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs.alfworld.game import TASK_TYPES
from agentgym_envs.types import Task
from agentgym_train.bank import BankError, load_bank, read_bank
from agentgym_train.hints import Arms
from agentgym_train.skills import Choice, Skills, SkillSettings, privileged

# general, mistakes, blocks: the sizes of section 6.2
SIZES = {"alfworld": (12, 11, 6), "webshop": (15, 12, 7), "searchqa": (10, 11, 4)}
SMALL = """
name = "small"
match = "first"

[[general]]
id = "g1"
title = "Look first"
principle = "Open each cupboard once."
when = "at the start."

[types.honey]
title = "Honey"
kinds = ["sweet"]
sources = ["Hive"]
keywords = ["honey"]

[[types.honey.skills]]
id = "h1"
title = "Listen"
principle = "Follow the bees."
when = "it hums."

[types.salt]
title = "Salt"
paths = ["Cellar-"]
words = ["which", "or"]
without = ["for"]
fallback_sources = ["sea"]
keywords = ["salt", "honey"]

[[types.salt.skills]]
id = "s1"
title = "Taste"
principle = "It is not sugar."
when = "in doubt."

[[mistakes]]
id = "m1"
mistake = "Opening twice."
instead = "go on."
"""
SMALL_TEXT = """\
General skills
- Look first: Open each cupboard once. When: at the start.

Common mistakes
- Opening twice. Instead: go on.

Honey
- Listen: Follow the bees. When: it hums."""


def small(text: str = SMALL):
    return read_bank(text.encode(), "small.toml")


def skills(retrieval: str, seed: int = 0, bank: str = "alfworld", **settings) -> Skills:
    return Skills(SkillSettings(bank=bank, retrieval=retrieval, **settings), seed)


def asked(goal: str = "", *, id: str = "t", kind: str = "", **facts) -> Task:
    return Task(id=id, goal=goal, kind=kind, facts=facts)


# --- the banks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIZES)
def test_a_built_in_bank_has_the_sizes_of_the_specification(name):
    bank = load_bank(name)
    assert (len(bank.general), len(bank.mistakes), len(bank.types)) == SIZES[name]
    assert all(len(kind.skills) in (5, 6) for kind in bank.types)
    assert 400 <= len(bank.general_text.split()) <= 600
    assert all(200 <= len(bank.text_of(kind).split()) <= 430 for kind in bank.kinds)


@pytest.mark.parametrize("kind", TASK_TYPES.values())
def test_every_alfworld_task_type_has_a_block(kind):
    bank = load_bank("alfworld")
    by_kind = bank.suited(asked("a sentence that says nothing", kind=kind))
    by_path = bank.suited(asked("nothing either", id=f"train/{kind}-Mug-None-Desk-3/trial_1"))
    assert len(by_kind) == 1
    assert by_path == by_kind


@pytest.mark.parametrize(
    ("goal", "kind"),
    [
        ("look at book under the desklamp.", "look_at_object_in_light"),
        ("Put a clean mug in desk.", "clean"),
        ("heat some egg and put it in fridge.", "heat"),
        ("put a hot egg in fridge.", "heat"),
        ("cool some pan and put it in stoveburner.", "cool"),
        ("put two pen in drawer.", "pick_and_place"),
        ("find two pen and put them in drawer.", "pick_and_place"),
        ("examine the book with the desklamp.", "examine"),
    ],
)
def test_an_alfworld_sentence_is_read_where_nothing_else_tells(goal, kind):
    assert load_bank("alfworld").suited(asked(goal)) == (kind,)


def test_webshop_takes_every_category_that_is_named_in_bank_order():
    bank = load_bank("webshop")
    assert bank.suited(asked("a USB lamp in the shape of a boot")) == (
        "footwear",
        "home_decor",
        "electronics",
    )
    assert bank.suited(asked("a sofa")) == ()


@pytest.mark.parametrize(
    ("source", "question", "kind"),
    [
        ("popqa", "Which is older, this or that?", "entity_attribute"),
        ("nq", "who sang it", "direct_retrieval"),
        ("TriviaQA", "who sang it", "direct_retrieval"),
        ("hotpotqa", "Which is older, this or that?", "multi_hop"),
        ("2wikimultihopqa", "Which film came out first, Blind or Deaf?", "comparison"),
        ("2wikimultihopqa", "Which director was born later?", "multi_hop"),
        ("musique", "Which is known for wool or silk?", "multi_hop"),
        ("bamboogle", "Who was first?", "multi_hop"),
        ("mine", "Which is longer, Po or Rhine?", "comparison"),
        ("mine", "Who was first?", None),
    ],
)
def test_searchqa_asks_the_source_then_the_question(source, question, kind):
    expected = () if kind is None else (kind,)
    bank = load_bank("searchqa")
    assert bank.suited(asked(question, data_source=source)) == expected
    assert bank.suited(asked(question, kind=source)) == expected


# --- the format -----------------------------------------------------------------------------------


def test_the_text_of_a_bank():
    assert small().text(["honey"]) == SMALL_TEXT
    assert privileged("advice") == "[Privileged Skill Information]\nadvice\n\n"


def test_rules_are_tried_in_order_over_all_types():
    bank = small()
    assert bank.suited(asked("salt", kind="sweet", data_source="sea")) == ("honey",)
    assert bank.suited(asked("salt", data_source="hive")) == ("honey",)
    assert bank.suited(asked("honey", id="a/cellar-3")) == ("salt",)
    assert bank.suited(asked("Which, honey or not?")) == ("salt",)
    assert bank.suited(asked("honey", data_source="SEA")) == ("salt",)
    assert bank.suited(asked("Salted honeycomb")) == ("honey",)
    assert small(SMALL.replace('"first"', '"all"')).suited(asked("honey")) == ("honey", "salt")


def test_anyones_bank_is_one_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(SMALL)
    chosen = skills("keyword", bank=str(path)).choose(asked("the honey"), 1, 0)
    assert chosen == Choice(("honey",), SMALL_TEXT)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('name = "small"', "", "small.toml: key 'name' is missing"),
        ('"first"', '"some"', "match: 'first' or 'all', got 'some'"),
        ("[[general]]", "[[generel]]", "unknown key 'generel'; did you mean 'general'?"),
        ('when = "it hums."', "", "types.honey.skills[1]: key 'when' is missing"),
        ('keywords = ["honey"]', 'keyword = ["honey"]', "types.honey: unknown key 'keyword'; did"),
        ('keywords = ["honey"]', 'keywords = "honey"', "types.honey.keywords: expected a list"),
        ('keywords = ["honey"]', 'keywords = ["a", ""]', "types.honey.keywords: expected a list"),
        ('keywords = ["honey"]', 'keywords = ["a", "A"]', "keywords: 'a' stands there twice"),
        ('title = "Taste"', "title = 3", "types.salt.skills[1].title: expected text, got 3"),
        ('words = ["which", "or"]', "", "types.salt.without: says nothing"),
        ('id = "s1"', 'id = "g1"', "id: 'g1' stands there twice"),
        ('paths = ["Cellar-"]', 'kinds = ["sweet"]', "kinds: 'sweet' stands there twice"),
        ('["sea"]', '["hive"]', "sources: 'hive' stands there twice"),
        ("[types.salt]", "[types.honey]", "small.toml: Cannot declare"),
    ],
)
def test_what_is_wrong_with_a_bank_is_said(old, new, told):
    assert old in SMALL
    with pytest.raises(BankError) as error:
        small(SMALL.replace(old, new, 1))
    assert str(error.value).startswith("small.toml: ")
    assert told in str(error.value)


def test_what_is_not_there_is_said():
    with pytest.raises(BankError, match="no skill bank 'alfwrld'; did you mean 'alfworld'"):
        load_bank("alfwrld")
    with pytest.raises(BankError, match=r"no skill bank file nowhere\.toml"):
        load_bank("nowhere.toml")
    with pytest.raises(KeyError, match="no type 'hony'; did you mean 'honey'"):
        small().text_of("hony")
    with pytest.raises(ValueError, match="retrieval is one of keyword, ucb, all, random"):
        SkillSettings(bank="alfworld", retrieval="best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="curiosity must be at least 0"):
        SkillSettings(bank="alfworld", curiosity=-1.0)


@pytest.mark.parametrize("retrieval", ["ucb", "random"])
def test_one_block_cannot_be_chosen_from_none(tmp_path, retrieval):
    path = tmp_path / "bare.toml"
    path.write_text(SMALL[: SMALL.index("[types.honey]")] + "[types]\n")
    with pytest.raises(ValueError, match="has no types"):
        skills(retrieval, bank=str(path))
    assert skills("keyword", bank=str(path)).choose(asked("honey"), 1, 0).arms == ()


# --- the strategies -------------------------------------------------------------------------------


places = st.tuples(st.integers(1, 10**6), st.integers(0, 10**4))


@pytest.mark.parametrize("retrieval", ["keyword", "ucb", "all", "random"])
def test_general_skills_come_first_whatever_is_chosen(retrieval):
    found = skills(retrieval)
    chosen = found.choose(asked(kind=TASK_TYPES[4]), 3, 2)
    blocks = [found.bank.text_of(name) for name in chosen.arms]
    assert chosen.text == "\n\n".join([found.bank.general_text, *blocks])


def test_all_shows_every_block_in_bank_order():
    found = skills("all", bank="webshop")
    assert found.choose(asked("a sofa"), 1, 0).arms == found.bank.kinds


@given(goal=st.text(), seeds=st.tuples(st.integers(), st.integers()), here=places, there=places)
def test_keywords_ask_the_task_only(goal, seeds, here, there):
    one, other = (skills("keyword", seed, bank="webshop") for seed in seeds)
    assert one.choose(asked(goal), *here) == other.choose(asked(goal, id="other"), *there)


@given(seed=st.integers(), asked_at=st.lists(places, min_size=1, max_size=20), data=st.data())
def test_random_does_not_care_when_it_is_asked(seed, asked_at, data):
    one, other = skills("random", seed), skills("random", seed)
    found = {place: one.choose(asked(), *place) for place in asked_at}
    shuffled = data.draw(st.permutations(asked_at))
    assert {place: other.choose(asked("another"), *place) for place in shuffled} == found
    assert all(len(choice.arms) == 1 for choice in found.values())


def test_random_is_even_and_moves_with_seed_step_and_group():
    found = skills("random")
    drawn = Counter(found.choose(asked(), s, g).arms for s in range(60) for g in range(20))
    assert set(drawn) == {(kind,) for kind in found.bank.kinds}
    assert all(abs(count - 200) < 60 for count in drawn.values())  # 4.6 deviations

    def line(seed: int, step: int) -> list[tuple[str, ...]]:
        return [skills("random", seed).choose(asked(), step, group).arms for group in range(20)]

    assert line(0, 1) != line(1, 1)
    assert line(0, 1) != line(0, 2)


rounds = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=4), max_size=25)


@given(rounds=rounds, stop=st.integers(0, 25), c=st.floats(0, 3))
def test_ucb_is_the_bandit_and_goes_on_where_it_stopped(rounds, stop, c):
    found = skills("ucb", curiosity=c)
    arms = Arms.fresh(found.bank.kinds, c)
    for step, outcomes in enumerate(rounds):
        if step == stop:
            saved = json.loads(json.dumps(found.state()))
            found = skills("ucb", seed=7, curiosity=c)
            found.restore(saved)
        chosen = found.choose(asked(), step, 0)
        assert chosen.arms == (arms.pick(),)
        found.learn((chosen, outcome) for outcome in outcomes)
        for outcome in outcomes:
            arms = arms.after(chosen.arms[0], outcome)
        assert found.arms == arms


def test_ucb_shows_every_block_once_then_the_earlier_of_equals():
    found = skills("ucb")
    for step, kind in enumerate(found.bank.kinds):
        chosen = found.choose(asked(), step, 0)
        assert chosen.arms == (kind,)
        found.learn([(chosen, 1.0)])
    assert found.choose(asked(), 9, 0).arms == found.bank.kinds[:1]


@pytest.mark.parametrize("retrieval", ["keyword", "all", "random"])
def test_the_others_learn_nothing(retrieval):
    found = skills(retrieval)
    before = found.state()
    found.learn([(found.choose(asked(kind=TASK_TYPES[1]), 1, 0), 1.0)])
    assert found.state() == before
    found.restore(json.loads(json.dumps(before)))
    assert found.state() == before


def test_a_checkpoint_of_another_bank_or_strategy_is_refused():
    with pytest.raises(ValueError, match="skills have bank"):
        skills("ucb").restore(skills("ucb", bank="webshop").state())
    with pytest.raises(ValueError, match="skills have retrieval 'all', this run 'ucb'"):
        skills("ucb").restore(skills("all").state())
