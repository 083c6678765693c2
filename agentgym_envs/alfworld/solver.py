"""A plan from any state of a game, with full knowledge: what is where, closed doors or not.

A task has few shapes, so a plan is chosen rather than searched for: for every object that could
serve, the sequence of hand movements is known, and walking and opening follow from it. Plans are
as long as the published walkthroughs in nearly all games.
"""

from collections.abc import Iterator
from itertools import permutations
from typing import Protocol

from agentgym_envs.alfworld.state import State
from agentgym_envs.alfworld.thoughts import aim
from agentgym_envs.types import Advice


class Unsolvable(Exception):
    """The goal is out of reach from this state."""


# A hand movement: verb (take, put, drop, clean, heat, cool, use), object, receptacle.
Move = tuple[str, int, int]


def solve(state: State) -> list[str]:
    """Commands that win from here; [] when already won. Does not change `state`.

    Raises Unsolvable when there is no plan.
    """
    return [command for command, _ in _plan(state)]


def plan_length(state: State) -> int:
    """How many commands `solve` needs. Raises Unsolvable like it."""
    return len(_plan(state))


class Playing(Protocol):
    """Anything with a game in progress, such as `world.NativeEngine`."""

    state: State | None


class PlanFollower:
    """Full knowledge behind the face of an `Explorer`: advises the first command of a plan.

    engine: what plays the game, asked at every turn for the state it is in.
    """

    def __init__(self, engine: Playing) -> None:
        self._engine = engine

    def advise(
        self, observation: str, admissible: tuple[str, ...], last_action: str | None = None
    ) -> Advice:
        """The next command of a plan; the arguments do not matter. Out of reach or won: "look".

        Raises RuntimeError when no game is in progress.
        """
        state = self._engine.state
        if state is None:
            raise RuntimeError("no game in progress to make a plan for")
        try:
            plan = _plan(state)
        except Unsolvable:
            return Advice("look", "stuck")
        return Advice(*plan[0]) if plan else Advice("look", "done")


def _plan(state: State) -> list[tuple[str, str]]:
    """(command, thought) of every step to the goal."""
    if state.won:
        return []
    plans = [_walk(state, moves) for moves in _candidates(state)]
    if not plans:
        raise Unsolvable(f"game {state.world.game.id}: the goal is out of reach from here")
    return min(plans, key=len)


def _walk(state: State, moves: list[Move]) -> list[tuple[str, str]]:
    """Hand movements with the walking and the opening of doors between them."""
    world = state.world
    at, opened = state.location, state.opened
    put, to = world.game.dialect.put
    steps: list[tuple[str, str]] = []
    for verb, thing, receptacle in moves:
        where, name = world.receptacles[receptacle], world.objects[thing]
        thought = aim(verb, name, where)
        if world.location_of[receptacle] != at:
            at = world.location_of[receptacle]
            steps.append((f"go to {where}", thought))
        if verb in ("take", "put", "drop") and world.openable[receptacle]:
            if not opened >> receptacle & 1:
                steps.append((f"open {where}", aim("open", where)))
            opened |= 1 << receptacle
        match verb:
            case "take":
                steps.append((f"take {name} from {where}", thought))
            case "put" | "drop":
                steps.append((f"{put} {name} {to} {where}", thought))
            case "use":
                steps.append((f"use {name}", thought))
            case _:
                steps.append((f"{verb} {name} with {where}", thought))
    return steps


def _candidates(state: State) -> Iterator[list[Move]]:
    """Sequences of hand movements that reach the goal, one of the shortest among them."""
    match state.world.goal.kind:
        case "look_at_obj_in_light":
            yield from _look(state)
        case "pick_two_obj_and_place":
            yield from _two(state)
        case _:
            yield from _place(state)


def _place(state: State) -> Iterator[list[Move]]:
    """A target with the mark, if one is asked for, in a goal receptacle."""
    world, held = state.world, state.holding
    for thing, source in _targets(state):
        before: list[Move] = []
        if thing != held:
            before = [*_free_hands(state, source), ("take", thing, source)]
        at = world.location_of[source] if before else state.location
        for treat, at_station in _treatments(state, thing, at):
            # An object in two receptacles stays in the other one while it is carried.
            if treat and any(
                thing in state.contents[r] and r != source for r in world.goal_receptacles
            ):
                yield before + treat
            goals = [r for r in world.goal_receptacles if r in world.fitting[thing]]
            if goals:
                goal = min(goals, key=lambda r: _effort(state, r, at_station))
                yield [*before, *treat, ("put", thing, goal)]


def _treatments(state: State, thing: int, at: int) -> Iterator[tuple[list[Move], int]]:
    """How the object gets the mark the goal asks for, and where the agent is then."""
    world = state.world
    verb, stations, marked = {
        "": ("", frozenset(), -1),
        "clean": ("clean", world.washers, state.clean),
        "hot": ("heat", world.heaters, state.hot),
        "cool": ("cool", world.coolers, state.cool),
    }[world.goal.mark]
    if marked >> thing & 1:
        yield [], at
        return
    for station in stations:
        if world.location_of[station] >= 0:
            yield [(verb, thing, station)], world.location_of[station]


def _two(state: State) -> Iterator[list[Move]]:
    """Two targets in one goal receptacle: for each, the nearest objects that are not there yet."""
    world, held = state.world, state.holding
    sources = _targets(state)
    for goal in world.goal_receptacles:
        inside = {thing for thing in state.contents[goal] if world.targets >> thing & 1}
        missing = 2 - len(inside)
        spare = [
            (thing, source)
            for thing, source in sources
            if thing not in inside and goal in world.fitting[thing]
        ]
        if missing == 2 and held >= 0 and any(thing == held for thing, _ in spare):
            spare.sort(key=lambda pair: pair[0] != held)  # what is held goes first
        for chosen in permutations(spare, missing):
            things = [thing for thing, _ in chosen]
            if len(set(things)) < missing or held in things[1:]:
                continue
            moves = [] if held in things else _free_hands(state, chosen[0][1])
            for thing, source in chosen:
                if thing != held:
                    moves.append(("take", thing, source))
                moves.append(("put", thing, goal))
            yield moves


def _look(state: State) -> Iterator[list[Move]]:
    """A target in hand where a lamp that was turned on lies."""
    world, held = state.world, state.holding
    lamps = [
        (lamp, r)
        for r, inside in enumerate(state.contents)
        for lamp in inside
        if world.lamps >> lamp & 1 and world.location_of[r] >= 0
    ]
    for thing, source in _targets(state):
        before: list[Move] = []
        if thing != held:
            before = [*_free_hands(state, source), ("take", thing, source)]
        for lamp, place in lamps:
            yield [*before, ("use", lamp, place)]


def _targets(state: State) -> list[tuple[int, int]]:
    """(target, receptacle it can be taken from), the held one with receptacle -1."""
    world, held = state.world, state.holding
    found = [(held, -1)] if held >= 0 and world.targets >> held & 1 else []
    if held >= 0 and not _droppable(state):
        return found
    for receptacle, inside in enumerate(state.contents):
        if world.location_of[receptacle] >= 0:
            for thing in inside:
                if world.targets >> thing & 1 and thing in world.pickupable and thing != held:
                    found.append((thing, receptacle))
    return found


def _droppable(state: State) -> list[int]:
    world = state.world
    return [r for r in world.fitting[state.holding] if world.location_of[r] >= 0]


def _free_hands(state: State, then: int) -> list[Move]:
    """Put what is held where it costs least, on the way to the receptacle `then`."""
    if state.holding < 0:
        return []
    near = state.world.location_of[then]
    cost = {
        r: _effort(state, r, state.location) + (state.world.location_of[r] != near)
        for r in _droppable(state)
    }
    return [("drop", state.holding, min(cost, key=cost.__getitem__))]


def _effort(state: State, receptacle: int, at: int) -> int:
    """Commands needed before a hand can reach into a receptacle, from location `at`."""
    world = state.world
    closed = world.openable[receptacle] and not state.opened >> receptacle & 1
    return (world.location_of[receptacle] != at) + closed
