"""Reading one game file: what is accepted, and what is refused by name."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from agentgym_envs.alfworld import known, pddl_text
from agentgym_envs.alfworld.game import (
    TASK_TYPES,
    Game,
    find_task_type,
    make_game,
    read_game,
)
from agentgym_envs.alfworld.goals import read_goal
from agentgym_envs.alfworld.grammar import read_dialect, split_goal
from agentgym_envs.alfworld.pddl import canonical, parse, read_domain


@pytest.fixture
def file() -> dict:
    """The contents of a game file in our generator's wording; its problem is not read here."""
    return {
        "pddl_domain": pddl_text.DOMAIN,
        "grammar": pddl_text.grammar('put a "mug" in shelf.'.replace('"', "")),
        "pddl_problem": "(define (problem p))",
        "solvable": True,
        "walkthrough": ["look"],
    }


def make(file: dict) -> Game:
    return make_game(json.dumps(file), id="made/task/trial", task_type=TASK_TYPES[1])


def test_every_real_game_reads_back_byte_for_byte(game_files):
    for path in game_files:
        game = read_game(path)
        assert game.file_text().encode() == path.read_bytes()
        assert game.task_type in path.parts[-3]
        assert game.id == "/".join(path.parts[-4:-1])
        assert game.dialect.name == "move"
        assert game.solvable
        assert game.walkthrough
        assert game.goal.endswith(".")
        assert f"Your task is to: {game.goal}" in game.grammar


def test_games_of_one_domain_share_its_text(game_files):
    assert len({id(read_game(path).domain) for path in game_files}) == 1


def test_a_trial_folder_will_do_for_its_file(game_files):
    assert read_game(game_files[0].parent) == read_game(str(game_files[0]))


def test_our_own_wording_is_known(file):
    game = make(file)
    assert game.goal == "put a mug in shelf."
    assert game.split == "made"
    assert game.dialect.washers == {"sinkbasin"}


@pytest.mark.skipif(importlib.util.find_spec("alfworld") is None, reason="no alfworld package")
def test_the_wording_in_the_alfworld_package_is_known(file):
    spec = importlib.util.find_spec("alfworld")
    assert spec is not None
    assert spec.origin is not None
    data = Path(spec.origin).parent / "data"
    file["pddl_domain"] = (data / "alfred.pddl").read_text()
    file["grammar"] = (data / "alfred.twl2").read_text()
    game = make(file)
    assert game.goal == "UNKNOWN GOAL."
    assert game.dialect == replace(make(file).dialect, washers=frozenset({"sinkbasin"}))


def test_comments_and_layout_of_a_domain_do_not_matter():
    plain = read_domain(pddl_text.DOMAIN)
    spread = pddl_text.DOMAIN.replace("(", "\n ; a remark (\n (").upper()
    assert read_domain(spread).actions == plain.actions


def test_the_help_text_starts_with_its_first_word(file):
    text = make(file).dialect.help
    assert text is not None
    assert text.startswith("Available commands:\n  look:")
    assert text.endswith("using a sharp object\n")


def test_a_game_without_help_has_none(file):
    start = file["pddl_domain"].index("(:action help")
    end = file["pddl_domain"].index("(:action", start + 1)
    file["pddl_domain"] = file["pddl_domain"][:start] + file["pddl_domain"][end:]
    assert make(file).dialect.help is None


@pytest.mark.parametrize(
    ("key", "before", "after", "message"),
    [
        ("pddl_domain", "(not (holdsAny ?a))", "", "action 'pickupobject' differs"),
        (
            "pddl_domain",
            "(isHot ?o) (not (isCool ?o))",
            "(isHot ?o)",
            "action 'heatobject' differs",
        ),
        ("pddl_domain", ":action help", ":action smell", "'smell' is not one this engine knows"),
        ("pddl_domain", ":action look", ":derived look", "section .* is not known"),
        ("pddl_domain", "(define", "(define (", "never closed"),
        ("pddl_domain", "(define", "(describe", "expected one"),
        ("grammar", "You close the", "You shut the", "rule 'CloseObject.feedback' differs"),
        ("grammar", "open {r}", "unlock {r}", "'openobject' has unknown wording"),
        ("grammar", "move {o} to {r}", "{o} -> {r}", "putting down is worded"),
        ("grammar", "move {o} to {r}", "take {o} to {r}", "putting down is worded"),
        ("grammar", "You arrive at {r.", "You arrive at {a.", "arriving is worded"),
        ("grammar", '"list_empty"', '"list_void"', "rule 'list_empty' is used but not given"),
        ("grammar", "Your task is to: ", "Do: ", "does not start with"),
        ("grammar", '"task"', '"job"', "one task rule"),
        ("grammar", "action help", "act help", "is not understood"),
        ("grammar", '"intro": [', '"intro": ', "malformed"),
    ],
)
def test_an_unknown_domain_or_grammar_is_refused_by_name(file, key, before, after, message):
    assert before in file[key]
    file[key] = file[key].replace(before, after)
    with pytest.raises(ValueError, match=f"made/task/trial: .*{message}"):
        make(file)


def test_the_examine_branch_mended_would_be_another_world():
    """The published domain lets nothing be examined but what is held, thanks to one comma."""
    broken = "(or (exists (?l - location, ?r - receptacle) (inReceptacle ?o ?r)) (holds ?a ?o))"
    domain = pddl_text.DOMAIN.replace("(and (holds ?a ?o))\n    :effect (and (checked", broken)
    domain = domain.replace(broken, f"{broken.replace(',', '')}\n    :effect (and (checked", 1)
    with pytest.raises(ValueError, match="action 'examineobject' differs"):
        read_domain(domain)


@pytest.mark.parametrize(
    "key", ["pddl_domain", "grammar", "pddl_problem", "solvable", "walkthrough"]
)
def test_a_missing_or_mistyped_key_is_named(file, key):
    with pytest.raises(ValueError, match=f"made/task/trial: key '{key}' should be"):
        make(file | {key: 3})
    del file[key]
    with pytest.raises(ValueError, match=f"made/task/trial: key '{key}' is missing"):
        make(file)


def test_a_broken_file_is_named(tmp_path):
    trial = tmp_path / "train" / "pick_and_place_simple-Mug-None-Shelf-1" / "trial_1"
    trial.mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"no game file .*trial_1"):
        read_game(trial)
    path = trial / "game.tw-pddl"
    for content, message in [
        (b"{", "not JSON"),
        (b"[]", "expected a JSON object"),
        (b"\xff", "not UTF-8"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"trial_1.game.tw-pddl: {message}"):
            read_game(path)


def test_the_record_says_the_task_type_and_may_not_contradict_the_folder(tmp_path, file):
    trial = tmp_path / "train" / "somewhere" / "trial_1"
    trial.mkdir(parents=True)
    (trial / "game.tw-pddl").write_text(json.dumps(file))
    with pytest.raises(ValueError, match="no known task type starts 'somewhere'"):
        read_game(trial)
    (trial / "traj_data.json").write_text('{"task_type": "pick_two_obj_and_place"}')
    assert read_game(trial).task_type == "pick_two_obj_and_place"
    (trial / "traj_data.json").write_text("{}")
    with pytest.raises(ValueError, match=r"traj_data.json: key 'task_type' is missing"):
        read_game(trial)
    named = trial.parent.rename(tmp_path / "train" / "look_at_obj_in_light-Mug-None-Lamp-3")
    (named / "trial_1" / "traj_data.json").write_text('{"task_type": "pick_two_obj_and_place"}')
    with pytest.raises(ValueError, match="but the folder says 'look_at_obj_in_light'"):
        read_game(named / "trial_1")


def test_task_types_go_by_number_or_name():
    assert find_task_type(4) == find_task_type("pick_heat_then_place_in_recep")
    for unknown in (0, 7, "pick_up"):
        with pytest.raises(ValueError, match="known: 1 = pick_and_place_simple"):
            find_task_type(unknown)


def test_a_goal_sentence_may_hold_escapes():
    blank, goal = split_goal(json.dumps({"task": [{"rhs": 'Your task is to: say "é".'}]}))
    assert goal == 'say "é".'
    assert split_goal(blank.replace('""', '"Your task is to: "'))[1] == ""


def test_goals_are_recognised_whatever_their_variables_and_nesting():
    (goal,) = parse(
        "(exists (?b - receptacle ?x - object) (and (receptacleType ?b FridgeType)"
        " (and (inReceptacle ?x ?b) (objectType ?x EggType))))",
        "a goal",
    )
    found = read_goal(goal)
    assert (found.kind, found.object_type, found.receptacle_type) == (
        TASK_TYPES[1],
        "egg",
        "fridge",
    )


def test_canonical_forms_forget_order_nesting_and_cost_but_not_meaning():
    def form(text: str) -> str:
        return canonical(parse(text, "here")[0])

    assert form("(and (b) (and (A)) (increase (total-cost) 5))") == form("(and (a) (b))")
    assert form("(or (a) (b))") != form("(and (a) (b))")
    assert form("(p ?a ?b)") != form("(p ?b ?a)")
    assert form("(when (a) (b))") != form("(when (b) (a))")


def test_every_known_fingerprint_is_short_hex():
    for table in (known.ACTIONS, known.RULES, known.COMMANDS):
        for prints in table.values():
            assert all(len(print_) == 16 and int(print_, 16) >= 0 for print_ in prints)


def test_dialects_are_read_once_per_wording(game_files):
    read_dialect.cache_clear()
    for path in game_files:
        read_game(path)
    assert read_dialect.cache_info().misses == 1
