"""Games without a download: rooms, things and tasks drawn from a seed, in the official format.

A game is a function of (seed, difficulty, split, index) and of nothing else. Its scene, task type,
object and goal are drawn first and give its id, so a library knows its ids without making a game.
Then things are placed, the game is compiled, solved and replayed; what fails is drawn again.

Splits never share a game: rooms with a scene number ending in 9 or 0 appear in `valid_unseen` only,
and a game's layout (which types lie in which receptacle, and the task) decides by its checksum
whether it may stand in `train`, in `valid_seen` or in `valid_unseen`. Rooms of few receptacles are
much alike: under "tiny" an unseen room may hold the same furniture as a seen one, never a game.
"""

import threading
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from random import Random

from agentgym_envs.alfworld.briefs import LOOK, SPLITS, Brief, brief, dice, known_split, portable
from agentgym_envs.alfworld.export import write_games
from agentgym_envs.alfworld.game import Game
from agentgym_envs.alfworld.grammar import Dialect, read_dialect, split_goal
from agentgym_envs.alfworld.library import WorldCache, ids_of
from agentgym_envs.alfworld.pddl_text import DOMAIN, grammar
from agentgym_envs.alfworld.problem import Thing, goal_text, problem_text
from agentgym_envs.alfworld.rooms import (
    Difficulty,
    Fixture,
    Room,
    amount,
    entity_id,
    find_difficulty,
    furnish,
    lamp_place,
)
from agentgym_envs.alfworld.solver import Unsolvable, solve
from agentgym_envs.alfworld.tables import COOLABLE, FITS, LIES
from agentgym_envs.alfworld.world import World, compile_world

__all__ = [
    "SPLITS",
    "Difficulty",
    "GeneratedLibrary",
    "generate_game",
    "write_games",
]

_SHARES = {"train": (0, 1), "valid_seen": (2,), "valid_unseen": (3,)}  # checksums modulo 4
_ATTEMPTS = 400
_TWO = "pick_two_obj_and_place"
_COOL_AT_FIRST = 0.05  # of what lies in a fridge, in lifelike rooms
_LAMP_SHARE = 0.7  # of lifelike rooms where lamps are at home

_SENTENCES = {
    "pick_and_place_simple": ("put a {o} in {r}.", "put some {o} on {r}."),
    LOOK: ("look at {o} under the {r}.", "examine the {o} with the {r}."),
    "pick_clean_then_place_in_recep": (
        "put a clean {o} in {r}.",
        "clean some {o} and put it in {r}.",
    ),
    "pick_heat_then_place_in_recep": ("put a hot {o} in {r}.", "heat some {o} and put it in {r}."),
    "pick_cool_then_place_in_recep": ("put a cool {o} in {r}.", "cool some {o} and put it in {r}."),
    _TWO: ("put two {o} in {r}.", "find two {o} and put them in {r}."),
}


def generate_game(seed: int, difficulty: str | Difficulty, split: str, index: int) -> Game:
    """One game, solved and replayed. The same arguments give the same text in any process.

    Raises ValueError like `brief`.
    """
    level, split = find_difficulty(difficulty), known_split(split)
    task = brief(seed, level, split, index)
    room = furnish(task.scene, level)
    rng = dice("game", seed, level, split, index)
    for _ in range(_ATTEMPTS):
        things = _fill(rng, room, task, level)
        sentence = rng.choice(_SENTENCES[task.task_type])
        if _checksum(room, task, things) % 4 in _SHARES[split]:
            game = _validated(task, room, things, sentence)
            if game is not None:
                return game
    raise RuntimeError(f"game {task.id}: none of {_ATTEMPTS} layouts can be played")


def _validated(task: Brief, room: Room, things: list[Thing], sentence: str) -> Game | None:
    """The game with its walkthrough, None where it is won at once, early or never."""
    goal = sentence.format(o=task.object.lower(), r=task.receptacle.lower())
    name = task.id.rpartition("/")[2]
    formula = goal_text(task.task_type, task.object, task.receptacle)
    text = problem_text(name, room, things, formula)
    state = compile_world(_game(task, goal, text, ())).start()
    try:
        plan = solve(state)
    except Unsolvable:
        return None
    for command in plan:
        if state.won:
            return None
        state.act(command)
    return _game(task, goal, text, tuple(plan)) if plan and state.won else None


def _game(task: Brief, goal: str, problem: str, walkthrough: tuple[str, ...]) -> Game:
    return Game(
        id=task.id,
        split=task.split,
        task_type=task.task_type,
        goal=goal,
        problem=problem,
        walkthrough=walkthrough,
        dialect=_dialect(),
        solvable=True,
        domain=DOMAIN,
        grammar=grammar(goal),
    )


@lru_cache(maxsize=1)
def _dialect() -> Dialect:
    return read_dialect(DOMAIN, split_goal(grammar("look."))[0])


def _fill(rng: Random, room: Room, task: Brief, level: Difficulty) -> list[Thing]:
    """Things in places: never a target where the task wants it."""
    by_type: dict[str, list[Fixture]] = {}
    for fixture in room.fixtures:
        by_type.setdefault(fixture.type, []).append(fixture)
    counts = _counts(rng, room, task, level)
    things: dict[str, Thing] = {}
    for kind, count in counts.items():
        banned = task.receptacle if kind == task.object else ""
        homes = [name for name in by_type if kind in FITS[name] and name != banned]
        usual = LIES.get(kind, {})
        weights = [usual.get(name, 0) + 1 for name in homes]
        for _ in range(count):
            if homes:
                fixture = rng.choice(by_type[rng.choices(homes, weights)[0]])
            else:  # fits nowhere: it lies where it cannot be put back
                fixture = rng.choice(room.fixtures)
            chilled = level.lifelike and fixture.type == "Fridge" and kind in COOLABLE
            cool = chilled and rng.random() < _COOL_AT_FIRST
            _add(rng, things, kind, fixture, cool=cool)
    lamp = room.kind.lamp if level.lifelike and rng.random() < _LAMP_SHARE else None
    if task.task_type == LOOK:
        lamp = task.receptacle
    if lamp:
        _add(rng, things, lamp, lamp_place(rng, room), portable=False)
    if level.lifelike:
        for often in room.kind.floor:
            if rng.random() < often.share:
                place = rng.choice(room.fixtures)
                _add(rng, things, often.type, place, inside=False)
    return list(things.values())


def _add(
    rng: Random,
    things: dict[str, Thing],
    kind: str,
    fixture: Fixture,
    *,
    inside: bool = True,
    portable: bool = True,
    cool: bool = False,
) -> None:
    x, y, z = fixture.place
    while True:
        place = (x + rng.uniform(-0.5, 0.5), y + rng.uniform(0, 0.5), z + rng.uniform(-0.5, 0.5))
        id = entity_id(kind, place)
        if id not in things:
            break
    where = fixture.id if inside else ""
    things[id] = Thing(id, kind, where, fixture.spot, portable=portable, cool=cool)


def _counts(rng: Random, room: Room, task: Brief, level: Difficulty) -> dict[str, int]:
    """How many of each object type, targets first."""
    fewest = 2 if task.task_type == _TWO else 1
    if level.objects is None:
        counts = {
            often.type: min(amount(rng, often), level.instances)
            for often in room.kind.objects
            if rng.random() < often.share
            and (not level.object_types or often.type in level.object_types)
        }
        return {task.object: max(counts.pop(task.object, 1), fewest)} | counts
    total = rng.randint(*level.objects)
    counts = Counter({task.object: rng.randint(fewest, level.instances)})
    pool = portable(room, level)
    total = min(total, len(pool) * level.instances)
    while counts.total() < total:
        kind = rng.choice(pool)
        if kind != task.object and counts[kind] < level.instances:
            counts[kind] += 1
        elif all(counts[name] >= level.instances for name in pool if name != task.object):
            break
    return dict(counts)


def _checksum(room: Room, task: Brief, things: list[Thing]) -> int:
    """Of what a player can tell games apart by, but for the numbers in names."""
    inside: dict[str, list[str]] = {fixture.id: [] for fixture in room.fixtures}
    for thing in things:
        if thing.receptacle:
            inside[thing.receptacle].append(thing.type)
    layout = sorted(
        (fixture.type, fixture.closable, tuple(sorted(inside[fixture.id])))
        for fixture in room.fixtures
    )
    return zlib.crc32(repr((task.task_type, task.object, task.receptacle, layout)).encode())


class GeneratedLibrary:
    """Generated games with the interface of `data.GameLibrary`, made when asked for.

    difficulty: a preset's name or a `Difficulty`. seed: another seed, other games in the same
    rooms. games: split -> number of games. The `keep` most recently used games stay compiled. Safe
    to share between threads; pickles as its arguments.
    Raises ValueError for an unknown split or a negative count, KeyError for an unknown difficulty.
    """

    def __init__(
        self,
        difficulty: str | Difficulty = "medium",
        *,
        seed: int = 0,
        games: Mapping[str, int] = SPLITS,
        keep: int = 256,
    ) -> None:
        self.difficulty = find_difficulty(difficulty)
        self.seed = seed
        self._sizes = {known_split(split): count for split, count in games.items()}
        if min(self._sizes.values(), default=0) < 0:
            raise ValueError(f"games should be 0 or more for every split, got {dict(games)}")
        self._lock = threading.RLock()
        self._briefs: dict[str, dict[str, tuple[int, str]]] = {}  # split -> id -> (index, type)
        self.keep = keep
        self._worlds = WorldCache(keep)

    def __reduce__(self):
        return _reopen, (self.difficulty, self.seed, self._sizes, self.keep)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits there are."""
        return tuple(self._sizes)

    def ids(self, split: str, task_types: Sequence[str | int] | None = None) -> tuple[str, ...]:
        """Ids of a split's games by index; only of the given task types where some are given."""
        kinds = {id: kind for id, (_, kind) in self._split(split).items()}
        return ids_of(kinds, task_types)

    def game(self, id: str) -> Game:
        """One game. Raises KeyError for an unknown id."""
        return self.world(id).game

    def world(self, id: str) -> World:
        """One game compiled, from memory where used recently. Raises KeyError like `game`."""
        return self._worlds.get(id, lambda: compile_world(self._generated(id)))

    def _generated(self, id: str) -> Game:
        split = id.partition("/")[0]
        index = self._split(split).get(id) if split in self._sizes else None
        if index is None:
            raise KeyError(f"no generated game {id!r}; splits: {', '.join(self.splits)}")
        return generate_game(self.seed, self.difficulty, split, index[0])

    def _split(self, split: str) -> dict[str, tuple[int, str]]:
        name = known_split(split)
        if name not in self._sizes:
            raise ValueError(f"no split {split!r} here; there are: {', '.join(self.splits)}")
        with self._lock:
            if name not in self._briefs:
                briefs = [
                    brief(self.seed, self.difficulty, name, index)
                    for index in range(self._sizes[name])
                ]
                self._briefs[name] = {
                    task.id: (index, task.task_type) for index, task in enumerate(briefs)
                }
            return self._briefs[name]


def _reopen(level: Difficulty, seed: int, sizes: dict[str, int], keep: int) -> GeneratedLibrary:
    return GeneratedLibrary(level, seed=seed, games=sizes, keep=keep)
