"""Goals: recognising one in PDDL, and asking how far a state is from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentgym_envs.alfworld.pddl import Expression, canonical

if TYPE_CHECKING:
    from agentgym_envs.alfworld.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What has to hold. Types are lower case without the suffix "type".

    kind: an official task type, one of `game.TASK_TYPES`. object_type: what to place or to hold.
    receptacle_type: where to place it ("" for look). lamp_type: what must be on (look only).
    mark: "clean", "hot", "cool" or "". count: how many objects in one receptacle.
    """

    kind: str
    object_type: str
    receptacle_type: str = ""
    lamp_type: str = ""
    mark: str = ""
    count: int = 1


_PLACED = {"(inreceptacle o r)", "(objecttype o *)", "(receptacletype r *)"}
_TWO = {
    "(inreceptacle o r)", "(inreceptacle p r)", "(not (= o p))",
    "(objecttype o *)", "(objecttype p *)", "(receptacletype r *)",
}  # fmt: skip
_LOOK = {
    "(atlocation a l)", "(holds a o)", "(inreceptacle lamp r)", "(istoggled lamp)",
    "(objecttype lamp *)", "(objecttype o *)", "(receptacleatlocation r l)", "(toggleable lamp)",
}  # fmt: skip
_SHAPES: dict[frozenset[str], tuple[str, str]] = {
    frozenset(_PLACED): ("pick_and_place_simple", ""),
    frozenset(_LOOK): ("look_at_obj_in_light", ""),
    frozenset(_PLACED | {"(cleanable o)", "(isclean o)"}): (
        "pick_clean_then_place_in_recep",
        "clean",
    ),
    frozenset(_PLACED | {"(heatable o)", "(ishot o)"}): ("pick_heat_then_place_in_recep", "hot"),
    frozenset(_PLACED | {"(coolable o)", "(iscool o)"}): ("pick_cool_then_place_in_recep", "cool"),
    frozenset(_TWO): ("pick_two_obj_and_place", ""),
}


def read_goal(expression: Expression) -> Goal:
    """Recognise a goal by its literals, whatever its variables are called and however it nests.

    Raises ValueError when it is none of the six official shapes.
    """
    variables: list[tuple[str, str]] = []
    literals = list(_literals(expression, {}, variables))
    lamps = {lit[1] for lit in literals if lit[0] == "istoggled"}
    roles = _roles(variables, lamps)
    types: dict[str, str] = {}
    shape: set[str] = set()
    for literal in literals:
        words = [roles.get(word, word) if isinstance(word, str) else word for word in literal]
        match words:
            case ["not", ["=", str(one), str(two)]]:
                names = sorted([roles.get(one, one), roles.get(two, two)])
                shape.add(f"(not (= {' '.join(names)}))")
            case [("objecttype" | "receptacletype") as predicate, str(role), str(kind)]:
                known = types.setdefault(role, kind.removesuffix("type"))
                shape.add(f"({predicate} {role} *)")
                if known != kind.removesuffix("type"):
                    raise ValueError(f"goal: {role} has two types, {known} and {kind}")
            case _:
                shape.add(canonical(words))
    found = _SHAPES.get(frozenset(shape))
    if found is None or types.get("p", types["o"]) != types["o"]:
        raise ValueError(f"goal: not one of the six known shapes: {' '.join(sorted(shape))}")
    kind, mark = found
    return Goal(
        kind=kind,
        object_type=types["o"],
        receptacle_type=types.get("r", ""),
        lamp_type=types.get("lamp", ""),
        mark=mark,
        count=2 if kind == "pick_two_obj_and_place" else 1,
    )


def _literals(
    expression: Expression, scope: dict[str, str], variables: list[tuple[str, str]]
) -> Iterator[list]:
    """The literals of a conjunctive formula; each bound variable gets a number of its own."""
    match expression:
        case ["and", *parts]:
            for part in parts:
                yield from _literals(part, scope, variables)
        case ["exists", list(parameters), body]:
            inner = dict(scope)
            names: list[str] = []
            words = iter(parameters)
            for word in words:
                if word == "-":
                    kind = str(next(words, ""))
                    for name in names:
                        inner[name] = f"{name}#{len(variables)}"
                        variables.append((inner[name], kind))
                    names = []
                else:
                    names.append(str(word))
            yield from _literals(body, inner, variables)
        case ["not", ["=", str(one), str(two)]]:
            yield ["not", ["=", scope.get(one, one), scope.get(two, two)]]
        case [str(), *words] if all(isinstance(word, str) for word in words):
            yield [scope.get(str(word), word) for word in expression]
        case _:
            raise ValueError(f"goal: {canonical(expression)[:80]!r} is not understood")


def _roles(variables: list[tuple[str, str]], lamps: set[str]) -> dict[str, str]:
    """Variable -> a, l, r, lamp, o or p. There is one agent, so all agent variables are one."""
    spare = {"agent": ["a"] * len(variables), "location": ["l"], "receptacle": ["r"]}
    spare["object"] = ["o", "p"]
    roles: dict[str, str] = {}
    for name, kind in variables:
        if name in lamps:
            roles[name] = "lamp"
        elif spare.get(kind):
            roles[name] = spare[kind].pop(0)
        else:
            raise ValueError(f"goal: one variable of type {kind!r} too many")
    return roles


def holds(state: State) -> bool:
    """The goal is met in this state."""
    world, goal = state.world, state.world.goal
    if goal.lamp_type:
        return _holds_target(state) and _lamp_in_view(state)
    if goal.count == 2:
        return any(_count_in(state, r, world.targets) >= 2 for r in world.goal_receptacles)
    return _any_placed(state, world.targets & _marked(state))


def conditions(state: State) -> tuple[int, int]:
    """How many of the goal's conditions hold, and how many there are, counted as ALFRED does.

    place: 1 (in place). look: 2 (target held, its lamp on in view). clean, heat, cool: 3 (a target
    in place, a target with the mark, one target with both). two: 2 (the most targets in one
    receptacle, at most two).
    """
    world, goal = state.world, state.world.goal
    if goal.lamp_type:
        return _holds_target(state) + _lamp_in_view(state), 2
    if goal.count == 2:
        counts = [_count_in(state, r, world.targets) for r in world.goal_receptacles]
        return min(max(counts, default=0), 2), 2
    placed = _any_placed(state, world.of_type)
    if not goal.mark:
        return int(placed), 1
    marked = world.targets & _marked(state)
    return placed + bool(marked) + _any_placed(state, marked), 3


def out_of_reach(state: State) -> bool:
    """Hands full for good, as the held object fits nowhere, and the goal cannot be met like that.

    Never true where the game can still be won.
    """
    world, held = state.world, state.holding
    if held < 0 or state.won or world.fitting[held]:
        return False
    if world.goal.lamp_type:
        return not _holds_target(state)
    # The held object may count as lying in the goal receptacle and only lack its mark.
    may_be_marked = bool(world.goal.mark and world.targets >> held & 1)
    return not (may_be_marked and _any_placed(state, 1 << held))


def _marked(state: State) -> int:
    """Bits of the objects with the mark that the goal asks for; all objects where it asks none."""
    match state.world.goal.mark:
        case "clean":
            return state.clean
        case "hot":
            return state.hot
        case "cool":
            return state.cool
    return -1


def _any_placed(state: State, wanted: int) -> bool:
    if not wanted:
        return False
    for receptacle in state.world.goal_receptacles:
        for thing in state.contents[receptacle]:
            if wanted >> thing & 1:
                return True
    return False


def _count_in(state: State, receptacle: int, wanted: int) -> int:
    return sum(wanted >> thing & 1 for thing in state.contents[receptacle])


def _holds_target(state: State) -> bool:
    return state.holding >= 0 and bool(state.world.targets >> state.holding & 1)


def _lamp_in_view(state: State) -> bool:
    lit = state.world.lamps & state.toggled
    if not lit:
        return False
    receptacles = state.world.places[state.location].receptacles
    return any(lit >> thing & 1 for r in receptacles for thing in state.contents[r])
