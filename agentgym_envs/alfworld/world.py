"""The compiled ALFWorld engine: a game becomes a `World`, and a `State` moves through it.

Text, order and admissible commands equal the official stack's, oddities included. Receptacles and
objects are numbered in the order of their PDDL ids, which is the order of every list the game
prints. Sets of objects are integers with one bit per object.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from agentgym_envs.alfworld.game import Game
from agentgym_envs.alfworld.goals import Goal, read_goal
from agentgym_envs.alfworld.pddl import Facts, read_problem
from agentgym_envs.alfworld.state import State

_MEMO = 512  # entries kept per world and kind of text; bounded, so that memory stays flat


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A location: which receptacles share it, and what can always be said there."""

    receptacles: tuple[int, ...]
    openable: int  # bit per receptacle
    goes: tuple[str, ...]  # "go to X" for every receptacle elsewhere, sorted
    examines: tuple[str, ...]
    facing: str  # what `look` says, up to the list of things next to it


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class World:
    """A compiled game. Never changes; shared by any number of states and threads.

    receptacles, objects: names ("cabinet 6"); a receptacle or object is its index there.
    receptacle_types, object_types: "sinkbasin", "mug". location_of: receptacle -> location, -1
    where the game gives none. openable: per receptacle. pickupable ... sliceable: objects.
    knives: objects that slice. washers, heaters, coolers: receptacles. lamps: the objects of the
    goal's lamp type that can be toggled. insides: object -> objects printed as lying in it.
    containers: objects that can hold others. fitting: object -> receptacles it may be put in.
    intro: the whole first observation.
    """

    game: Game
    goal: Goal
    receptacles: tuple[str, ...]
    objects: tuple[str, ...]
    receptacle_types: tuple[str, ...]
    object_types: tuple[str, ...]
    location_of: tuple[int, ...]
    openable: tuple[bool, ...]
    pickupable: frozenset[int]
    cleanable: frozenset[int]
    heatable: frozenset[int]
    coolable: frozenset[int]
    toggleable: frozenset[int]
    sliceable: frozenset[int]
    knives: frozenset[int]
    washers: frozenset[int]
    heaters: frozenset[int]
    coolers: frozenset[int]
    containers: frozenset[int]
    insides: tuple[tuple[int, ...], ...]
    fitting: tuple[tuple[int, ...], ...]
    targets: int  # bit per object that may satisfy the goal: type and affordance
    of_type: int  # bit per object of the goal's object type
    lamps: int
    goal_receptacles: tuple[int, ...]
    places: tuple[Place, ...]
    receptacle_index: dict[str, int]
    object_index: dict[str, int]
    location_names: tuple[str, ...]
    sliceable_bits: int
    first: State = field(init=False)
    intro: str = field(init=False)
    listings: dict[tuple[int, ...], str] = field(default_factory=dict, repr=False)
    commands: dict[tuple, tuple[str, ...]] = field(default_factory=dict, repr=False)

    def __reduce__(self):
        return compile_world, (self.game,)

    def start(self) -> State:
        """A fresh state: the game before its first command."""
        return self.first.copy()

    def fits(self, thing: int) -> tuple[int, ...]:
        """Receptacles that the rules allow this object to be put in."""
        return self.fitting[thing]

    def listing(self, things: tuple[int, ...]) -> str:
        """ "nothing", "a x", "a x, and a y", "a x, a y, and a z"."""
        known = self.listings.get(things)
        if known is None:
            if len(self.listings) >= _MEMO:
                self.listings.clear()
            known = enumerate_names([f"a {self.objects[thing]}" for thing in things])
            self.listings[things] = known
        return known

    def remember(self, key: tuple, commands: tuple[str, ...]) -> None:
        """Keep an admissible list for states that look alike from where the agent stands."""
        if len(self.commands) >= _MEMO:
            self.commands.clear()
        self.commands[key] = commands


def enumerate_names(names: list[str]) -> str:
    """Names as the official grammar lists them, with a comma before every "and"."""
    if not names:
        return "nothing"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])}, and {names[-1]}"


def compile_world(game: Game) -> World:
    """Compile a game. Raises ValueError, naming the game, where its problem is malformed."""
    try:
        facts, goal = read_problem(game.problem)
        return _compile(game, facts, read_goal(goal))
    except ValueError as error:
        raise ValueError(f"game {game.id}: {error}") from error


def _compile(game: Game, facts: Facts, goal: Goal) -> World:
    if goal.kind != game.task_type:
        raise ValueError(f"its goal is of type {goal.kind}, its record says {game.task_type}")
    names = _names(facts)
    receptacle_ids = sorted(facts.things("receptacle"))
    object_ids = sorted(facts.things("object"))
    location_ids = sorted(facts.things("location"))
    receptacle = {id: index for index, id in enumerate(receptacle_ids)}
    thing = {id: index for index, id in enumerate(object_ids)}
    location = {id: index for index, id in enumerate(location_ids)}

    place_of = _single(facts, "receptacleatlocation")
    location_of = tuple(location[place_of[id]] if id in place_of else -1 for id in receptacle_ids)
    receptacle_types = _types(facts, "receptacletype", receptacle_ids)
    object_types = _types(facts, "objecttype", object_ids)
    receptacles = tuple(names[id] for id in receptacle_ids)
    openable = {receptacle[id] for id in facts.ids("openable")}
    marked = {
        predicate: frozenset(thing[id] for id in facts.ids(predicate))
        for predicate in (
            "pickupable", "cleanable", "heatable", "coolable", "toggleable", "sliceable",
            "isreceptacleobject", "isclean", "ishot", "iscool", "issliced", "istoggled",
        )
    }  # fmt: skip
    insides: list[list[int]] = [[] for _ in object_ids]
    for inner, outer in facts.pairs("inreceptacleobject"):
        insides[thing[outer]].append(thing[inner])
    goal_things = {i for i, kind in enumerate(object_types) if kind == goal.object_type}
    affordance = {"clean": "cleanable", "hot": "heatable", "cool": "coolable"}.get(goal.mark)
    able = goal_things & marked[affordance] if affordance else goal_things
    lamps = {i for i in marked["toggleable"] if object_types[i] == goal.lamp_type}
    objects = tuple(names[id] for id in object_ids)

    def receptacles_of(*kinds: str) -> frozenset[int]:
        return frozenset(i for i, kind in enumerate(receptacle_types) if kind in kinds)

    world = World(
        game=game,
        goal=goal,
        receptacles=receptacles,
        objects=objects,
        receptacle_types=receptacle_types,
        object_types=object_types,
        location_of=location_of,
        openable=tuple(index in openable for index in range(len(receptacle_ids))),
        pickupable=marked["pickupable"],
        cleanable=marked["cleanable"],
        heatable=marked["heatable"],
        coolable=marked["coolable"],
        toggleable=marked["toggleable"],
        sliceable=marked["sliceable"],
        knives=frozenset(i for i, t in enumerate(object_types) if t in ("knife", "butterknife")),
        washers=receptacles_of(*game.dialect.washers),
        heaters=receptacles_of("microwave"),
        coolers=receptacles_of("fridge"),
        containers=marked["isreceptacleobject"],
        insides=tuple(tuple(sorted(set(inner))) for inner in insides),
        fitting=_fitting(facts, object_types, receptacle_types, location_of),
        targets=bits(able),
        of_type=bits(goal_things),
        lamps=bits(lamps),
        goal_receptacles=tuple(
            i for i, kind in enumerate(receptacle_types) if kind == goal.receptacle_type
        ),
        places=_places(len(location_ids), location_of, receptacles, openable),
        receptacle_index={name: index for index, name in enumerate(receptacles)},
        object_index={name: index for index, name in enumerate(objects)},
        location_names=tuple(names[id] for id in location_ids),
        sliceable_bits=bits(marked["sliceable"]),
    )
    contents: list[set[int]] = [set() for _ in receptacle_ids]
    for inner, outer in facts.pairs("inreceptacle"):
        contents[receptacle[outer]].add(thing[inner])
    here: list[set[int]] = [set() for _ in location_ids]
    for what, where in facts.pairs("objectatlocation"):
        here[location[where]].add(thing[what])
    stands = {where for _, where in facts.pairs("atlocation")}
    if len(stands) != 1:
        raise ValueError(f"the agent should start at one location, it starts at {len(stands)}")
    first = State(
        world,
        location=location[stands.pop()],
        opened=bits(receptacle[id] for id in facts.ids("opened")),
        contents=[tuple(sorted(inner)) for inner in contents],
        here=[bits(inner) for inner in here],
        clean=bits(marked["isclean"]),
        hot=bits(marked["ishot"]),
        cool=bits(marked["iscool"]),
        sliced=bits(marked["issliced"]),
        toggled=bits(marked["istoggled"]),
    )
    object.__setattr__(world, "first", first)
    object.__setattr__(world, "intro", _intro(world))
    return world


def bits(members: Iterable[int]) -> int:
    """A set of small numbers as one integer."""
    total = 0
    for member in members:
        total |= 1 << member
    return total


def _names(facts: Facts) -> dict[str, str]:
    """PDDL id -> "cabinet 6". Numbers go down over the sorted ids of all kinds together.

    The kind is what stands before the first "|" of the id, plus "basin" where the id says so.
    """
    kinds: dict[str, str] = {}
    counts: dict[str, int] = {}
    things = facts.things("receptacle") | facts.things("object") | facts.things("location")
    for id in sorted(things):
        kind, bar, _ = id.partition("_bar_")
        if not bar:
            raise ValueError(f"pddl_problem: {id!r} has no position, so it cannot be named")
        kinds[id] = kind = kind + "basin" if "basin" in id else kind
        counts[kind] = counts.get(kind, 0) + 1
    names = {}
    for id, kind in kinds.items():
        names[id] = f"{kind} {counts[kind]}"
        counts[kind] -= 1
    return names


def _single(facts: Facts, predicate: str) -> dict[str, str]:
    """A two-argument predicate as a function. Raises ValueError where one id has two values."""
    found: dict[str, str] = {}
    for first, second in facts.pairs(predicate):
        if found.setdefault(first, second) != second:
            raise ValueError(f"pddl_problem: {predicate} gives {first} two values")
    return found


def _types(facts: Facts, predicate: str, ids: list[str]) -> tuple[str, ...]:
    found = _single(facts, predicate)
    return tuple(found.get(id, "").removesuffix("type") for id in ids)


def _fitting(
    facts: Facts,
    object_types: tuple[str, ...],
    receptacle_types: tuple[str, ...],
    location_of: tuple[int, ...],
) -> tuple[tuple[int, ...], ...]:
    allowed: dict[str, set[str]] = {}
    for outer, inner in facts.pairs("cancontain"):
        allowed.setdefault(inner.removesuffix("type"), set()).add(outer.removesuffix("type"))
    by_type = {
        kind: tuple(
            index
            for index, outer in enumerate(receptacle_types)
            if outer in allowed.get(kind, ()) and location_of[index] >= 0
        )
        for kind in set(object_types)
    }
    return tuple(by_type[kind] for kind in object_types)


def _places(
    count: int, location_of: tuple[int, ...], receptacles: tuple[str, ...], openable: set[int]
) -> tuple[Place, ...]:
    residents: list[list[int]] = [[] for _ in range(count)]
    for index, where in enumerate(location_of):
        if where >= 0:
            residents[where].append(index)
    reachable = sorted((f"go to {receptacles[i]}", w) for i, w in enumerate(location_of) if w >= 0)
    everywhere = tuple(command for command, _ in reachable)  # shared by all empty locations
    places = []
    for where, inside in enumerate(residents):
        elsewhere = tuple(command for command, at in reachable if at != where)
        facing = enumerate_names([receptacles[i] for i in inside])
        places.append(
            Place(
                receptacles=tuple(inside),
                openable=bits(i for i in inside if i in openable),
                goes=elsewhere if inside else everywhere,
                examines=tuple(f"examine {receptacles[i]}" for i in inside),
                facing=f"You are facing the {facing}. Next to it, you see " if inside else "",
            )
        )
    return tuple(places)


def _intro(world: World) -> str:
    """The first observation. Its look differs from the command: it lists the whole room."""
    if world.places[world.first.location].receptacles:
        seen = world.first.act("look")
    else:
        rooms = [
            f"a {n}" for n, w in zip(world.receptacles, world.location_of, strict=True) if w >= 0
        ]
        listed = enumerate_names(rooms)
        seen = f"You are in the middle of a room. Looking quickly around you, you see {listed}."
    task = f"Your task is to: {world.game.goal}"
    return f"-= Welcome to TextWorld, ALFRED! =-\n\n{seen}\n\n{task}"


class Engine(Protocol):
    """What plays a game: one at a time, started as often as wanted. Both engines are one.

    won: the goal holds now. An engine has no limit of turns and no memory of being done.
    """

    @property
    def won(self) -> bool: ...

    def start(self, game: Game) -> str:
        """Begin a game anew and return its first observation."""
        ...

    def act(self, command: str) -> str:
        """Carry out one command and return the feedback, "Nothing happens." if it cannot be."""
        ...

    def admissible(self) -> tuple[str, ...]:
        """Every command that does something now, sorted, each once."""
        ...

    def goal_conditions(self) -> tuple[int, int]:
        """Goal conditions that hold now, and how many there are."""
        ...

    def dead_end(self) -> bool | None:
        """The game can no longer be won; None where the engine cannot tell."""
        ...

    def close(self) -> None:
        """Let go of what the engine holds. It may be started again."""
        ...


class Worlds(Protocol):
    """Where compiled games come from."""

    def world(self, id: str) -> World: ...


class NativeEngine:
    """The compiled engine. `state` is the game in progress, for solvers; None before `start`."""

    def __init__(self, worlds: Worlds) -> None:
        self._worlds = worlds
        self.state: State | None = None

    @property
    def won(self) -> bool:
        return self._playing().won

    def start(self, game: Game) -> str:
        world = self._worlds.world(game.id)
        self.state = world.start()
        return world.intro

    def act(self, command: str) -> str:
        return self._playing().act(command)

    def admissible(self) -> tuple[str, ...]:
        return self._playing().admissible()

    def goal_conditions(self) -> tuple[int, int]:
        return self._playing().goal_conditions()

    def dead_end(self) -> bool:
        return self._playing().dead_end()

    def close(self) -> None:
        self.state = None

    def _playing(self) -> State:
        if self.state is None:
            raise RuntimeError("no game in progress: call start(game) first")
        return self.state
