"""The PDDL problem of a generated game: its facts and its goal."""

from collections.abc import Iterable
from dataclasses import dataclass

from agentgym_envs.alfworld.rooms import Room
from agentgym_envs.alfworld.tables import (
    CLEANABLE,
    COOLABLE,
    FITS,
    HEATABLE,
    HOLLOW,
    LAMPS,
    SLICEABLE,
)

_ABLE = (
    ("cleanable", CLEANABLE),
    ("heatable", HEATABLE),
    ("coolable", COOLABLE),
    ("sliceable", SLICEABLE),
    ("isReceptacleObject", HOLLOW),
    ("toggleable", LAMPS),
)
# Types that the domain's actions name, so that a planner has to find them declared.
_NAMED = ("Knife", "ButterKnife")
_STATIONS = ("SinkBasin", "Microwave", "Fridge")

_PLACED = (
    "(exists (?r - receptacle) (exists (?o - object) (and {able}(objectType ?o {object}Type) "
    "(receptacleType ?r {receptacle}Type) {mark}(inReceptacle ?o ?r))))"
)
_TWO = (
    "(exists (?r - receptacle) (exists (?o1 - object) (and (objectType ?o1 {object}Type) "
    "(receptacleType ?r {receptacle}Type) (inReceptacle ?o1 ?r) (exists (?o2 - object) "
    "(and (not (= ?o1 ?o2)) (objectType ?o2 {object}Type) (receptacleType ?r {receptacle}Type) "
    "(inReceptacle ?o2 ?r))))))"
)
_LOOK = (
    "(exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and "
    "(objectType ?ot {receptacle}Type) (toggleable ?ot) (isToggled ?ot) "
    "(receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r))) "
    "(exists (?o - object ?a - agent) (and (objectType ?o {object}Type) (holds ?a ?o)))"
)
_MARKS = {
    "pick_clean_then_place_in_recep": ("(cleanable ?o) ", "(isClean ?o) "),
    "pick_heat_then_place_in_recep": ("(heatable ?o) ", "(isHot ?o) "),
    "pick_cool_then_place_in_recep": ("(coolable ?o) ", "(isCool ?o) "),
}


@dataclass(frozen=True, slots=True)
class Thing:
    """An object of a game. receptacle: the id of what it lies in, "" for the floor."""

    id: str
    type: str
    receptacle: str
    spot: str
    portable: bool = True
    cool: bool = False


def goal_text(task_type: str, object_type: str, receptacle_type: str) -> str:
    """The goal formula. receptacle_type: the lamp's type for look_at_obj_in_light."""
    names = {"object": object_type, "receptacle": receptacle_type}
    match task_type:
        case "look_at_obj_in_light":
            return _LOOK.format(**names)
        case "pick_two_obj_and_place":
            return _TWO.format(**names)
    able, mark = _MARKS.get(task_type, ("", ""))
    return _PLACED.format(able=able, mark=mark, **names)


def problem_text(name: str, room: Room, things: list[Thing], goal: str) -> str:
    """The whole problem. name: the trial's; goal: a formula made by `goal_text`."""
    scenery = [Thing(id, kind, "", spot, portable=False) for id, kind, spot in room.scenery]
    everything = [*things, *scenery]
    object_types = sorted({thing.type for thing in everything})
    spots = sorted({room.start, *(fixture.spot for fixture in room.fixtures)})
    declared = [
        "agent1 - agent",
        *(f"{kind}Type - otype" for kind in sorted({*object_types, *_NAMED})),
        *(f"{kind}Type - rtype" for kind in sorted({*room.types, *_STATIONS})),
        *(f"{thing.id} - object" for thing in everything),
        *(f"{fixture.id} - receptacle" for fixture in room.fixtures),
        *(f"{spot} - location" for spot in spots),
    ]
    facts = [*_room_facts(room, object_types), *_thing_facts(everything)]
    return (
        f"(define (problem plan_{name})\n(:domain alfred)\n(:objects\n{_lines(declared)})\n"
        f"(:init\n{_lines(facts)})\n(:goal (and {goal}))\n)\n"
    )


def _room_facts(room: Room, object_types: list[str]) -> list[str]:
    facts = [f"(atLocation agent1 {room.start})"]
    for fixture in room.fixtures:
        facts.append(f"(receptacleType {fixture.id} {fixture.type}Type)")
        facts.append(f"(receptacleAtLocation {fixture.id} {fixture.spot})")
        if fixture.closable:
            facts.append(f"(openable {fixture.id})")
    for outer in sorted(room.types):
        inner = [kind for kind in object_types if kind in FITS[outer]]
        facts += [f"(canContain {outer}Type {kind}Type)" for kind in inner]
    return facts


def _thing_facts(things: list[Thing]) -> list[str]:
    facts: list[str] = []
    for thing in things:
        facts.append(f"(objectType {thing.id} {thing.type}Type)")
        facts.append(f"(objectAtLocation {thing.id} {thing.spot})")
        facts += [f"({able} {thing.id})" for able, types in _ABLE if thing.type in types]
        if thing.portable:
            facts.append(f"(pickupable {thing.id})")
        if thing.receptacle:
            facts.append(f"(inReceptacle {thing.id} {thing.receptacle})")
        if thing.cool:
            facts.append(f"(isCool {thing.id})")
    return facts


def _lines(items: Iterable[str]) -> str:
    return "".join(f"    {item}\n" for item in items)
