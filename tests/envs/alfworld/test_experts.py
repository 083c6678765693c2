"""The solver knows everything, the explorer only what a policy sees; both win."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym_envs.alfworld.explorer import Explorer, Wish, read_goal_sentence
from agentgym_envs.alfworld.game import make_game, read_game
from agentgym_envs.alfworld.generate import GeneratedLibrary, generate_game
from agentgym_envs.alfworld.rooms import DIFFICULTIES
from agentgym_envs.alfworld.solver import PlanFollower, Unsolvable, plan_length, solve
from agentgym_envs.alfworld.thoughts import aim
from agentgym_envs.alfworld.world import NativeEngine, World, compile_world

PRESETS = tuple(DIFFICULTIES)
seeds = st.integers(0, 10**9)


@pytest.fixture(scope="module")
def real_worlds(real_data: Path) -> list[World]:
    files = sorted((real_data / "alfworld").rglob("game.tw-pddl"))
    if not files:
        pytest.skip(f"no ALFWorld games under {real_data}")
    return [compile_world(read_game(path)) for path in files]


def wander(world: World, rng: random.Random, turns: int):
    """A state some random commands away from the start, at most at the first win."""
    state = world.start()
    for _ in range(turns):
        if state.won:
            break
        options = state.admissible()
        handling = [option for option in options if not option.startswith("go to")]
        state.act(rng.choice(handling if rng.random() < 0.6 else options))
    return state


def explore(world: World, rng, noise: float = 0.0, limit: int = 200) -> tuple[int, list[str]]:
    """Turns until won (limit + 1 if never) and the thoughts on the way."""
    state, dice = world.start(), random.Random(0)
    expert = Explorer(world.game.goal, rng)
    observation, last, thoughts = world.intro, None, []
    for turn in range(limit):
        if state.won:
            return turn, thoughts
        admissible = state.admissible()
        advice = expert.advise(observation, admissible, last)
        assert advice.action in admissible
        thoughts.append(advice.thought)
        last = advice.action if dice.random() >= noise else dice.choice(admissible)
        observation = state.act(last)
    return (limit if state.won else limit + 1), thoughts


# -- the solver


def test_the_solver_wins_every_real_game_in_as_few_steps_as_its_walkthrough(real_worlds):
    longer = 0
    for world in real_worlds:
        state = world.start()
        plan = solve(state)
        for command in plan:
            assert command in state.admissible()
            state.act(command)
        assert state.won
        longer += len(plan) > len(world.game.walkthrough)
    assert longer <= 0.05 * len(real_worlds)


@given(seeds, st.sampled_from(PRESETS), st.integers(0, 5), st.integers(0, 60))
@settings(max_examples=150)
def test_the_solver_wins_from_any_state_that_is_no_dead_end(seed, preset, index, turns):
    state = wander(
        compile_world(generate_game(seed, preset, "train", index)), random.Random(seed), turns
    )
    if state.dead_end():
        with pytest.raises(Unsolvable):
            solve(state)
        return
    plan = solve(state)
    assert (plan == []) == state.won
    for command in plan:
        assert command in state.admissible()
        state.act(command)
    assert state.won


def test_the_solver_wins_real_games_from_wherever_a_policy_got_them(real_worlds):
    rng = random.Random(1)
    for world in real_worlds:
        state = wander(world, rng, 40)
        if not state.dead_end():
            for command in solve(state):
                state.act(command)
            assert state.won


@given(seeds, st.sampled_from(PRESETS), st.integers(0, 5), st.integers(0, 30))
@settings(max_examples=60)
def test_following_the_plan_shortens_it_by_at_least_one(seed, preset, index, turns):
    state = wander(
        compile_world(generate_game(seed, preset, "train", index)), random.Random(seed), turns
    )
    if state.dead_end() or state.won:
        return
    before = plan_length(state)
    state.act(solve(state)[0])
    assert plan_length(state) <= before - 1


def test_solving_changes_nothing():
    world = compile_world(generate_game(0, "full", "train", 5))
    state = world.start()
    first = solve(state)
    assert solve(state) == first
    assert state.contents == world.first.contents
    assert state.location == world.first.location


def test_a_plan_follower_wins_and_says_what_it_is_after():
    library = GeneratedLibrary("small", games={"train": 12})
    engine = NativeEngine(library)
    with pytest.raises(RuntimeError, match="no game in progress"):
        PlanFollower(engine).advise("", ())
    for id in library.ids("train"):
        text = engine.start(library.game(id))
        follower = PlanFollower(engine)
        for _ in library.game(id).walkthrough:
            advice = follower.advise(text, engine.admissible())
            assert len(advice.thought.split()) <= 5
            text = engine.act(advice.action)
        assert engine.won
        assert follower.advise(text, engine.admissible()).thought == "done"


# -- the explorer


def test_the_explorer_wins_every_real_game(real_worlds):
    turns = [explore(world, random.Random(0))[0] for world in real_worlds]
    assert max(turns) <= 200
    assert sum(count <= 50 for count in turns) >= 0.94 * len(turns)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_explorer_wins_generated_games_even_when_a_third_of_its_advice_is_ignored(preset):
    library = GeneratedLibrary(preset, games={"train": 60})
    worlds = [library.world(id) for id in library.ids("train")]
    assert all(explore(world, random.Random(0))[0] <= 200 for world in worlds)
    lost = 0
    for world in worlds:
        lost += explore(world, random.Random(0), noise=0.33)[0] > 200
    assert lost <= 1  # a random command may pick up what fits nowhere


def test_the_explorer_depends_on_its_dice_alone():
    world = compile_world(generate_game(0, "full", "train", 0))
    one, two = (explore(world, random.Random(3)) for _ in range(2))
    assert one == two
    assert explore(world, np.random.default_rng(3))[0] <= 200


def test_both_experts_speak_the_old_wording_too():
    """Before data release 2.1.3 it was "put mug 1 in/on desk 1", and one arrived at "loc 8"."""
    game = generate_game(0, "small", "train", 2)
    text = game.file_text()
    for new, old in {
        "move {o} to {r}": "put {o} in/on {r}",
        "You move the {o.name} to the {r.name}.": "You put the {o.name} in/on the {r.name}.",
        "You arrive at {r.name}.": "You arrive at {lend.name}.",
    }.items():
        assert new in text
        text = text.replace(new, old)
    world = compile_world(make_game(text, id=game.id, task_type=game.task_type))
    plan = solve(world.start())
    assert len(plan) == len(game.walkthrough)
    assert " in/on " in plan[-1]
    assert explore(world, random.Random(0))[0] <= 50


def test_asking_twice_about_one_turn_changes_nothing():
    world = compile_world(generate_game(1, "medium", "train", 5))
    state, expert = world.start(), Explorer(world.game.goal, random.Random(0))
    observation = world.intro
    while not state.won:
        advice = expert.advise(observation, state.admissible())
        assert expert.advise(observation, state.admissible()) == advice
        observation = state.act(advice.action)


def test_thoughts_are_a_small_language():
    verbs = {"find", "take", "open", "clean", "heat", "cool", "put", "use", "drop"}
    library = GeneratedLibrary("medium", games={"train": 30})
    for id in library.ids("train"):
        for thought in explore(library.world(id), random.Random(0), noise=0.2)[1]:
            words = thought.split()
            assert words[0] in verbs
            assert 2 <= len(words) <= 5
    assert aim("put", "mug 1", "desk 2") == "put mug 1 in desk"
    assert aim("heat", "mug 1") == "heat mug 1"


def test_an_explorer_acts_as_a_person_would():
    """Find in a drawer, carry to the sink, clean, bring to the table; hands show in `examine`."""
    expert = Explorer("put a clean fork in diningtable.", random.Random(0))
    intro = (
        "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly "
        "around you, you see a diningtable 1, a drawer 1, and a sinkbasin 1.\n\n"
        "Your task is to: put a clean fork in diningtable."
    )
    table, drawer, sink = "go to diningtable 1", "go to drawer 1", "go to sinkbasin 1"
    first = expert.advise(intro, (table, drawer, sink, "look"))
    assert (first.action, first.thought) == (table, "find fork")
    at_table = ("examine diningtable 1", drawer, sink, "look")
    seen = "You arrive at diningtable 1. On the diningtable 1, you see nothing."
    assert expert.advise(seen, at_table).action in (drawer, sink)
    # Somebody goes to the drawer instead: it is closed.
    closed = ("examine drawer 1", table, sink, "look", "open drawer 1")
    told = expert.advise("You arrive at drawer 1. The drawer 1 is closed.", closed, drawer)
    assert told.action in ("open drawer 1", sink)
    inside = "You open the drawer 1. The drawer 1 is open. In it, you see a fork 2, and a pen 1."
    opened = (
        "close drawer 1", "examine drawer 1", table, sink, "look", "take fork 2 from drawer 1",
        "take pen 1 from drawer 1",
    )  # fmt: skip
    taking = expert.advise(inside, opened, "open drawer 1")
    assert (taking.action, taking.thought) == ("take fork 2 from drawer 1", "take fork 2")
    carrying = (
        "close drawer 1", "examine drawer 1", "examine fork 2", table, sink, "look",
        "move fork 2 to drawer 1",
    )  # fmt: skip
    going = expert.advise("You pick up the fork 2 from the drawer 1.", carrying, taking.action)
    assert (going.action, going.thought) == (sink, "clean fork 2")
    # The wrong thing in the hands is put away first.
    wrong = tuple(command.replace("fork 2", "pen 1") for command in carrying)
    away = expert.advise("You pick up the pen 1 from the drawer 1.", wrong)
    assert (away.action, away.thought) == ("move pen 1 to drawer 1", "drop pen 1")


@pytest.mark.parametrize(
    ("sentence", "wish"),
    [
        ("put a mug in desk.", Wish(verb="", object="mug", place="desk")),
        ("put some mug on desk.", Wish(verb="", object="mug", place="desk")),
        ("put a hot egg in fridge.", Wish(verb="heat", object="egg", place="fridge")),
        ("cool some egg and put it in shelf.", Wish(verb="cool", object="egg", place="shelf")),
        ("find two pen and put them in bed.", Wish(verb="", object="pen", place="bed", count=2)),
        ("examine the cd with the desklamp.", Wish(verb="look", object="cd", place="desklamp")),
    ],
)
def test_goal_sentences_are_understood(sentence, wish):
    assert read_goal_sentence(sentence) == wish


def test_a_persons_own_words_are_refused():
    with pytest.raises(ValueError, match="none of the templated sentences"):
        Explorer("Put the clean cup next to the sink, please", random.Random(0))
