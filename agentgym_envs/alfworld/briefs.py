"""What a generated game is about, decided before its room is filled: scene, task, object, goal."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from types import MappingProxyType

from agentgym_envs.alfworld.data import split_name
from agentgym_envs.alfworld.rooms import Difficulty, Room, find_difficulty, furnish
from agentgym_envs.alfworld.tables import FITS, ROOM_KINDS, STATIONS

#: split -> number of games, about as many as ALFWorld has
SPLITS: Mapping[str, int] = MappingProxyType(
    {"train": 3000, "valid_seen": 140, "valid_unseen": 134}
)
LOOK = "look_at_obj_in_light"


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What a game is about, before a room is filled. receptacle: the lamp's type for look tasks."""

    id: str
    split: str
    scene: int
    task_type: str
    object: str
    receptacle: str


def brief(seed: int, difficulty: str | Difficulty, split: str, index: int) -> Brief:
    """The task of one game, without making it. Task types take turns over the indices.

    Raises ValueError for an unknown split or a negative index, and when the difficulty has no room
    in which a task of this type is possible.
    """
    level, split = find_difficulty(difficulty), known_split(split)
    if index < 0:
        raise ValueError(f"index should be 0 or more, got {index}")
    task_type = level.task_types[index % len(level.task_types)]
    rng = dice("brief", seed, level, split, index)
    rooms = _rooms_for(task_type, level, split == "valid_unseen")
    scene, pairs = rooms[int(rng.random() * len(rooms))]
    thing = rng.choice(list(pairs))
    receptacle = rng.choice(pairs[thing])
    return Brief(
        id=f"{split}/{task_type}-{thing}-None-{receptacle}-{scene}/trial_G{seed}_{index}",
        split=split,
        scene=scene,
        task_type=task_type,
        object=thing,
        receptacle=receptacle,
    )


def dice(purpose: str, seed: int, level: Difficulty, split: str, index: int) -> Random:
    """Random numbers for one purpose of one game, the same in every process."""
    return Random(f"agentgym {purpose} {seed} {level.name} {split} {index}")


def known_split(split: str) -> str:
    """A split by name or alias. Raises ValueError listing those there are."""
    name = split_name(split)
    if name not in SPLITS:
        raise ValueError(f"no split {split!r} of generated games; there are: {', '.join(SPLITS)}")
    return name


@lru_cache(maxsize=256)
def _rooms_for(
    task_type: str, level: Difficulty, unseen: bool
) -> list[tuple[int, dict[str, list[str]]]]:
    """(scene number, object type -> goal types) of every room where such a task is possible."""
    kinds = [ROOM_KINDS[name] for name in level.kinds]
    if task_type == LOOK:  # where lamps are at home, if the difficulty has such rooms
        kinds = [kind for kind in kinds if kind.lamp] or kinds
    found = []
    for kind in kinds:
        for scene in kind.scenes:
            if (scene % 10 in (0, 9)) == unseen:
                pairs = _pairs(task_type, furnish(scene, level), level)
                if pairs:
                    found.append((scene, pairs))
    if not found:
        where = "unseen" if unseen else "seen"
        raise ValueError(f"difficulty {level.name!r}: no {where} room allows {task_type}")
    return found


def _pairs(task_type: str, room: Room, level: Difficulty) -> dict[str, list[str]]:
    """Object type -> where it can be asked to go, given what is in the room."""
    station, able = STATIONS.get(task_type, ("", None))
    if station and station not in room.types:
        return {}
    pairs: dict[str, list[str]] = {}
    for thing in portable(room, level):
        homes = [kind for kind in sorted(room.types) if thing in FITS[kind]]
        if able is not None and thing not in able:
            continue
        if task_type == LOOK:
            goals = [room.kind.lamp or "DeskLamp"] if homes else []
        else:  # it must be able to start somewhere else
            goals = [kind for kind in homes if kind != station] if len(homes) > 1 else []
        if goals:
            pairs[thing] = goals
    return pairs


def portable(room: Room, level: Difficulty) -> list[str]:
    """Object types to carry that this kind of room has and the difficulty allows."""
    types = [often.type for often in room.kind.objects]
    if level.object_types:
        types = [name for name in types if name in level.object_types]
    return [name for name in types if any(name in FITS[kind] for kind in room.types)]
