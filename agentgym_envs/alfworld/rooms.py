"""Rooms for generated games: which receptacles stand where, by scene number and difficulty.

A scene number is a place: under one difficulty it is furnished the same in every game and for every
seed. Kitchens are 1-30, living rooms 201-230, bedrooms 301-330, bathrooms 401-430, as in ALFRED.
"""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from agentgym_envs.alfworld.game import TASK_TYPES
from agentgym_envs.alfworld.tables import (
    CLOSABLE,
    FITS,
    LAMP_PLACES,
    PART_OF,
    ROOM_KINDS,
    SOMETIMES_OPEN,
    Often,
    RoomKind,
)

TYPES = tuple(TASK_TYPES.values())
_ROOMY = 25  # a surface holds at least so many types of object


@dataclass(frozen=True, slots=True, kw_only=True)
class Difficulty:
    """How large and how cluttered the rooms are. Ranges include both ends.

    plain, closable: receptacles without and with a door; None for both: as in ALFRED's rooms.
    objects: things to carry, targets included; None: as in ALFRED's rooms. instances: at most so
    many of one type. object_types: only these are things to carry; empty: all the room can hold.
    doorless: share of cabinets and drawers that stand open for good (about 0.25 in ALFRED).
    shared_spots: share of receptacles reached from where another one is reached. lifelike: add
    scenery, things on the floor, things that fit nowhere and things that are cool from the start.
    """

    name: str
    task_types: tuple[str, ...] = TYPES
    kinds: tuple[str, ...] = tuple(ROOM_KINDS)
    plain: tuple[int, int] | None = None
    closable: tuple[int, int] | None = None
    objects: tuple[int, int] | None = None
    instances: int = 3
    object_types: frozenset[str] = frozenset()
    doorless: float = 0.0
    shared_spots: float = 0.0
    lifelike: bool = False

    def __post_init__(self) -> None:
        unknown = [*(set(self.task_types) - set(TYPES)), *(set(self.kinds) - set(ROOM_KINDS))]
        if unknown or not self.task_types or not self.kinds:
            raise ValueError(
                f"difficulty {self.name!r}: unknown or missing task types or kinds of room: "
                f"{unknown}; task types: {', '.join(TYPES)}; kinds: {', '.join(ROOM_KINDS)}"
            )
        if (self.plain is None) != (self.closable is None):
            raise ValueError(f"difficulty {self.name!r}: give both `plain` and `closable`, or none")
        for low, high in filter(None, (self.plain, self.closable, self.objects)):
            if not 1 <= low <= high:
                raise ValueError(f"difficulty {self.name!r}: ({low}, {high}) is no range of counts")
        if self.instances < 2:
            raise ValueError(f"difficulty {self.name!r}: instances must be at least 2")


DIFFICULTIES = {
    level.name: level
    for level in (
        Difficulty(
            name="tiny",
            task_types=(
                "pick_and_place_simple",
                "pick_clean_then_place_in_recep",
                "pick_heat_then_place_in_recep",
                "pick_cool_then_place_in_recep",
            ),
            kinds=("kitchen",),
            plain=(2, 2),
            closable=(1, 2),
            objects=(4, 6),
            instances=2,
            object_types=frozenset(
                {"Apple", "Bowl", "Cup", "Egg", "Mug", "Plate", "Potato", "Tomato"}
            ),
        ),
        Difficulty(name="small", plain=(3, 4), closable=(2, 3), objects=(6, 9), instances=2),
        Difficulty(
            name="medium",
            plain=(4, 7),
            closable=(3, 6),
            objects=(12, 20),
            shared_spots=0.1,
            doorless=0.1,
        ),
        Difficulty(name="full", doorless=0.25, shared_spots=0.15, lifelike=True),
    )
}


def find_difficulty(level: str | Difficulty) -> Difficulty:
    """A preset by name; a `Difficulty` passes. Raises KeyError listing the presets."""
    if isinstance(level, Difficulty):
        return level
    if level not in DIFFICULTIES:
        raise KeyError(f"no difficulty {level!r}; there are: {', '.join(DIFFICULTIES)}")
    return DIFFICULTIES[level]


@dataclass(frozen=True, slots=True)
class Fixture:
    """A receptacle: its id, type, whether it has a door, and the spot it is reached from."""

    id: str
    type: str
    closable: bool
    spot: str
    place: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A furnished room. scenery: (object id, type, spot). start: where the agent begins."""

    scene: int
    kind: RoomKind
    fixtures: tuple[Fixture, ...]
    scenery: tuple[tuple[str, str, str], ...]
    start: str

    @property
    def types(self) -> frozenset[str]:
        """Receptacle types present."""
        return frozenset(fixture.type for fixture in self.fixtures)


def entity_id(kind: str, place: tuple[float, float, float]) -> str:
    """An id as ALFRED writes it in PDDL, from a type and coordinates in metres (two decimals)."""
    base = PART_OF.get(kind, kind)
    numbers = "|".join(f"{number:+06.2f}" for number in place)
    return _pddl(f"{base}|{numbers}" if base == kind else f"{base}|{numbers}|{kind}")


def _pddl(name: str) -> str:
    bars = name.replace("|", "_bar_").replace("+", "_plus_")
    return bars.replace("-", "_minus_").replace(".", "_dot_")


def amount(rng: Random, often: Often) -> int:
    """How many of a type there are, once there is one: between 1 and `most`, `mean` on average."""
    more = often.most - 1
    chance = (often.mean - 1) / more if more else 0.0
    return 1 + sum(rng.random() < chance for _ in range(more))


@lru_cache(maxsize=512)
def furnish(scene: int, level: Difficulty) -> Room:
    """The room with this scene number. Raises ValueError for a number no kind of room has."""
    kind = kind_of(scene)
    rng = Random(f"agentgym room {level.name} {scene}")
    types = _real_types(rng, kind) if level.plain is None else _sized_types(rng, kind, scene, level)
    spots = _Spots(rng)
    start = spots.new()
    fixtures: list[Fixture] = []
    for name in types:
        share = bool(fixtures) and rng.random() < level.shared_spots
        spot = rng.choice(fixtures).spot if share else spots.new()
        place = (_metres(rng, 3), round(rng.uniform(0, 2), 2), _metres(rng, 3))
        open_for_good = name in SOMETIMES_OPEN and rng.random() < level.doorless
        closable = name in CLOSABLE and not open_for_good
        fixtures.append(Fixture(entity_id(name, place), name, closable, spot, place))
    fixtures = list({fixture.id: fixture for fixture in fixtures}.values())  # ids must differ
    scenery = _scenery(rng, kind, fixtures) if level.lifelike else ()
    return Room(
        scene=scene, kind=kind, fixtures=tuple(fixtures), scenery=tuple(scenery), start=start
    )


def kind_of(scene: int) -> RoomKind:
    """The kind of room a scene number stands for. Raises ValueError for an unknown number."""
    for kind in ROOM_KINDS.values():
        if scene in kind.scenes:
            return kind
    raise ValueError(f"no scene {scene}; scenes are 1-30, 201-230, 301-330 and 401-430")


def _metres(rng: Random, limit: float) -> float:
    return round(rng.uniform(-limit, limit), 2)


class _Spots:
    """Places to stand, each given out once: grid cell, facing, camera tilt."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._taken: set[str] = set()

    def new(self) -> str:
        rng = self._rng
        while True:
            cell = f"{rng.randint(-9, 9)}|{rng.randint(-9, 9)}|{rng.randrange(4)}"
            spot = _pddl(f"loc|{cell}|{rng.choice((-30, 0, 30, 45, 60))}")
            if spot not in self._taken:
                self._taken.add(spot)
                return spot


def _real_types(rng: Random, kind: RoomKind) -> list[str]:
    """Receptacle types with the frequencies of ALFRED's rooms."""
    counts = {
        often.type: amount(rng, often) for often in kind.receptacles if rng.random() < often.share
    }
    for core in kind.core:
        counts.setdefault(core, 1)
    return [name for name, count in counts.items() for _ in range(count)]


def _sized_types(rng: Random, kind: RoomKind, scene: int, level: Difficulty) -> list[str]:
    """A given number of receptacles: the kind's core ones, a surface, then what is usual there."""
    assert level.plain and level.closable
    doors = [core for core in kind.core if core in CLOSABLE]
    doors = doors[scene % 2 :] + doors[: scene % 2]  # where one fits, rooms take turns
    want_doors = rng.randint(*level.closable)
    doors = doors[:want_doors]
    plain = [core for core in kind.core if core not in CLOSABLE]
    want_plain = rng.randint(*level.plain)
    surfaces = [
        often.type
        for often in kind.receptacles
        if often.type not in CLOSABLE and len(FITS[often.type]) >= _ROOMY
    ]
    if len(plain) < want_plain and surfaces:
        plain.append(rng.choice(surfaces))
    carried = level.object_types or frozenset().union(*FITS.values())
    useful = [often for often in kind.receptacles if FITS[often.type] & carried]
    _fill(rng, plain, want_plain, [often for often in useful if often.type not in CLOSABLE])
    _fill(rng, doors, want_doors, [often for often in useful if often.type in CLOSABLE])
    return plain + doors


def _fill(rng: Random, chosen: list[str], count: int, pool: list[Often]) -> None:
    """Add types from the pool until there are `count`, none more often than the pool allows."""
    while len(chosen) < count:
        have = Counter(chosen)
        left = [often for often in pool if have[often.type] < often.most]
        if not left:
            return
        chosen.append(rng.choices(left, [often.share * often.mean for often in left])[0].type)


def _scenery(rng: Random, kind: RoomKind, fixtures: list[Fixture]) -> list[tuple[str, str, str]]:
    """Windows, chairs and the like: at a spot, in no receptacle, never to be carried."""
    scenery: dict[str, tuple[str, str, str]] = {}
    for often in kind.scenery:
        if rng.random() < often.share:
            for _ in range(amount(rng, often)):
                thing = entity_id(often.type, (_metres(rng, 3), 1.0, _metres(rng, 3)))
                scenery[thing] = (thing, often.type, rng.choice(fixtures).spot)
    return list(scenery.values())


def lamp_place(rng: Random, room: Room) -> Fixture:
    """Where a lamp stands: on the likeliest furniture the room has, else on anything open."""
    open_ones = [fixture for fixture in room.fixtures if not fixture.closable]
    for name in LAMP_PLACES:
        here = [fixture for fixture in open_ones if fixture.type == name]
        if here:
            return rng.choice(here)
    return rng.choice(open_ones)
