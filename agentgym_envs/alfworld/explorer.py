"""An expert that sees what a policy sees: the goal, the observations, the admissible commands.

It remembers what it saw, looks for things where such things usually lie, opens what is closed, and
carries, treats and places what it finds. It does not assume that its advice was followed: what is
in the hands, what is near and which doors are open it reads off the admissible commands each time.
"""

import re
from dataclasses import dataclass
from typing import Protocol

from agentgym_envs.alfworld.tables import CLOSABLE, FITS, LIES
from agentgym_envs.alfworld.thoughts import aim
from agentgym_envs.types import Advice


class Dice(Protocol):
    """Both `random.Random` and `numpy.random.Generator` are such."""

    def random(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a goal sentence asks for; types as in names. place: goal receptacle, or the lamp.

    verb: clean, heat, cool, look, or "" when nothing is to be done but to put.
    """

    verb: str
    object: str
    place: str
    count: int = 1


_SENTENCES = (
    (re.compile(r"put two (\w+) in (\w+)\."), "", 2),
    (re.compile(r"find two (\w+) and put them in (\w+)\."), "", 2),
    (re.compile(r"look at (\w+) under the (\w+)\."), "look", 1),
    (re.compile(r"examine the (\w+) with the (\w+)\."), "look", 1),
    (re.compile(r"put a clean (\w+) in (\w+)\."), "clean", 1),
    (re.compile(r"clean some (\w+) and put it in (\w+)\."), "clean", 1),
    (re.compile(r"put a hot (\w+) in (\w+)\."), "heat", 1),
    (re.compile(r"heat some (\w+) and put it in (\w+)\."), "heat", 1),
    (re.compile(r"put a cool (\w+) in (\w+)\."), "cool", 1),
    (re.compile(r"cool some (\w+) and put it in (\w+)\."), "cool", 1),
    (re.compile(r"put (?:a|some) (\w+) (?:in|on) (\w+)\."), "", 1),
)
_STATION = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}

_NAME = re.compile(r"\ba (\w+ \d+)")
_ROOM = re.compile(r"Looking quickly around you, you see (.*?)\.")
_INSIDE = re.compile(r"(?:On the (\w+ \d+)|The (\w+ \d+) is open\. In it), you see (.*?)\.(?:\s|$)")
_TAKEN = re.compile(r"You pick up the (\w+ \d+) from the (\w+ \d+)\.")
_PUT = re.compile(r"You (?:move|put) the (\w+ \d+) (?:to|in/on|in|on) the (\w+ \d+)\.")
_TREATED = re.compile(r"You (clean|heat|cool) the (\w+ \d+) using the (\w+ \d+)\.")

_FITS = {
    receptacle.lower(): frozenset(thing.lower() for thing in things)
    for receptacle, things in FITS.items()
}
_LIES = {
    thing.lower(): {receptacle.lower(): count for receptacle, count in places.items()}
    for thing, places in LIES.items()
}
_CLOSABLE = frozenset(kind.lower() for kind in CLOSABLE)


def read_goal_sentence(goal: str) -> Wish:
    """What a templated goal sentence asks for. Raises ValueError for any other sentence."""
    for pattern, verb, count in _SENTENCES:
        found = pattern.fullmatch(goal.strip())
        if found:
            return Wish(verb=verb, object=found[1], place=found[2], count=count)
    raise ValueError(f"goal {goal!r} is none of the templated sentences this expert understands")


class Explorer:
    """Advises one command at a time from what has been seen since the first observation.

    goal: the goal sentence. rng: breaks ties between places that look alike; drawn from while the
    first observation is read. Raises ValueError for a goal that is no templated sentence.
    """

    def __init__(self, goal: str, rng: Dice) -> None:
        self.wish = read_goal_sentence(goal)
        self._rng = rng
        self._luck: dict[str, float] = {}  # receptacle -> tie-breaker
        self._seen: dict[str, set[str]] = {}  # receptacle -> what it held when last seen
        self._treated: set[str] = set()
        self._unfit: set[tuple[str, str]] = set()  # (object, receptacle that does not take it)
        self._fixed: set[str] = set()  # objects that cannot be taken
        self._here: frozenset[str] = frozenset()
        self._held = ""
        self._admissible: frozenset[str] = frozenset()

    def advise(
        self, observation: str, admissible: tuple[str, ...], last_action: str | None = None
    ) -> Advice:
        """The next command and the thought behind it, always an admissible one.

        observation: what the last command answered, or the intro. last_action: the command that
        was carried out, whoever chose it. To be asked at every turn, in order; asking twice about
        the same turn changes nothing.
        """
        self._admissible = frozenset(admissible)
        self._read(observation)
        self._feel()
        if self._held:
            return self._with_full_hands()
        return self._with_empty_hands()

    # -- what there is to know

    def _read(self, observation: str) -> None:
        """Remember what an observation says."""
        if not self._luck:
            listed = _ROOM.search(observation)
            for name in _NAME.findall(listed[1]) if listed else ():
                self._luck[name] = self._rng.random()
        for plain, opened, inside in _INSIDE.findall(observation):
            self._seen[plain or opened] = set(_NAME.findall(inside))
        for thing, receptacle in _TAKEN.findall(observation):
            self._seen.setdefault(receptacle, set()).discard(thing)
        for thing, receptacle in _PUT.findall(observation):
            self._seen.setdefault(receptacle, set()).add(thing)
        for verb, thing, _ in _TREATED.findall(observation):
            if verb == self.wish.verb:
                self._treated.add(thing)
            elif {verb, self.wish.verb} == {"heat", "cool"}:
                self._treated.discard(thing)

    def _feel(self) -> None:
        """Read hands, surroundings and doors off the admissible commands."""
        near = [c.removeprefix("examine ") for c in self._admissible if c.startswith("examine ")]
        self._here = frozenset(name for name in near if name in self._luck)
        held = [name for name in near if name not in self._luck]
        self._held = held[0] if held else ""
        if self._held:
            self._feel_what_fits()
        else:
            self._feel_what_lies()

    def _feel_what_lies(self) -> None:
        takes: dict[str, set[str]] = {name: set() for name in self._here}
        for command in self._admissible:
            if command.startswith("take "):
                thing, _, receptacle = command.removeprefix("take ").partition(" from ")
                takes.setdefault(receptacle, set()).add(thing)
        for receptacle, things in takes.items():
            if self._is_closed(receptacle):
                continue
            known = self._seen.get(receptacle, set())
            self._fixed |= known - things
            self._seen[receptacle] = known | things
            self._fixed -= things

    def _feel_what_fits(self) -> None:
        for receptacle in self._here:
            if not self._is_closed(receptacle) and not self._putting(receptacle):
                self._unfit.add((self._held, receptacle))

    def _is_closed(self, receptacle: str) -> bool:
        return f"open {receptacle}" in self._admissible

    def _putting(self, receptacle: str) -> str:
        """The admissible command that puts the held object there, "" if there is none."""
        start, end = f" {self._held} ", f" {receptacle}"
        for verb in ("move", "put"):
            for command in self._admissible:
                if command.startswith(verb + start) and command.endswith(end):
                    return command
        return ""

    # -- what to do

    def _with_full_hands(self) -> Advice:
        held, wish = self._held, self.wish
        if _kind(held) != wish.object:
            return self._drop()
        if wish.verb == "look":
            return self._use_lamp()
        if wish.verb and held not in self._treated:
            stations = self._named(_STATION[wish.verb])
            for station in stations:
                command = f"{wish.verb} {held} with {station}"
                if command in self._admissible:
                    return Advice(command, aim(wish.verb, held))
            away = [station for station in stations if station not in self._here]
            if away:
                return Advice(f"go to {away[0]}", aim(wish.verb, held))
            return self._drop()  # this room cannot treat it
        goals = [name for name in self._goals() if (held, name) not in self._unfit]
        if not goals:
            return self._drop()
        return self._bring(goals[0], aim("put", held, goals[0]))

    def _with_empty_hands(self) -> Advice:
        wish = self.wish
        done = set(self._goals()[:1]) if wish.count > 1 else set()
        sources = [
            (thing not in self._treated, self._steps_to(receptacle), receptacle, thing)
            for receptacle, things in self._seen.items()
            if receptacle not in done
            for thing in things
            if _kind(thing) == wish.object and thing not in self._fixed
        ]
        for _, _, receptacle, thing in sorted(sources):
            take = f"take {thing} from {receptacle}"
            if take in self._admissible:
                return Advice(take, aim("take", thing))
            advice = self._reach(receptacle, aim("take", thing))
            if advice:
                return advice
        return self._search(wish.object)

    def _use_lamp(self) -> Advice:
        lamp = self.wish.place
        uses = [c for c in self._admissible if c.startswith(f"use {lamp} ")]
        if uses:
            return Advice(min(uses), aim("use", min(uses).removeprefix("use ")))
        for receptacle, things in self._seen.items():
            if receptacle not in self._here:
                for thing in things:
                    if _kind(thing) == lamp:
                        return Advice(f"go to {receptacle}", aim("use", thing))
        return self._search(lamp)

    def _bring(self, receptacle: str, thought: str) -> Advice:
        """Put what is held into a receptacle, going there and opening it first."""
        put = self._putting(receptacle) if receptacle in self._here else ""
        if put:
            return Advice(put, thought)
        return self._reach(receptacle, thought) or Advice("look", thought)

    def _drop(self) -> Advice:
        """Get rid of what is held, where it is least trouble."""
        thought = aim("drop", self._held)
        places = [
            (
                _kind(self._held) not in _FITS.get(_kind(name), ()),
                self._steps_to(name),
                self._luck[name],
                name,
            )
            for name in self._luck
            if (self._held, name) not in self._unfit
        ]
        return self._bring(min(places)[-1], thought) if places else Advice("look", thought)

    def _search(self, kind: str) -> Advice:
        """Look for a type of object in the place where finding one costs least."""
        for _ in range(2):
            unknown = [name for name in self._luck if name not in self._seen]
            for place in sorted(unknown, key=lambda name: self._promise(kind, name), reverse=True):
                advice = self._reach(place, aim("find", kind))
                if advice:
                    return advice
                if f"examine {place}" in self._admissible:
                    return Advice(f"examine {place}", aim("find", kind))
            self._seen.clear()  # everything was seen and it was nowhere: look again
            self._fixed.clear()
        return Advice("look", aim("find", kind))

    def _reach(self, receptacle: str, thought: str) -> Advice | None:
        """Go there or open it; None when a hand can already reach into it."""
        if receptacle not in self._here:
            return Advice(f"go to {receptacle}", thought)
        if self._is_closed(receptacle):
            return Advice(f"open {receptacle}", aim("open", receptacle))
        return None

    # -- preferences

    def _goals(self) -> list[str]:
        """Goal receptacles, best first: where targets already lie, then the least trouble."""

        def rank(name: str) -> tuple[int, int, float]:
            lying = sum(_kind(thing) == self.wish.object for thing in self._seen.get(name, ()))
            already = -lying if self.wish.count > 1 else 0
            return already, self._steps_to(name), self._luck[name]

        return sorted(self._named(self.wish.place), key=rank)

    def _named(self, kind: str) -> list[str]:
        return [name for name in self._luck if _kind(name) == kind]

    def _steps_to(self, receptacle: str) -> int:
        """Commands before a hand reaches into it, as far as is known."""
        if receptacle in self._here:
            return int(self._is_closed(receptacle))
        return 1 + (_kind(receptacle) in _CLOSABLE and receptacle not in self._seen)

    def _promise(self, kind: str, receptacle: str) -> tuple[float, float]:
        """Chance to find one there for each command it takes to look."""
        where = _kind(receptacle)
        usual = _LIES.get(kind, {})
        unheard_of = 0.5 if kind in _FITS.get(where, ()) else 0.02  # never seen there, yet possible
        chance = usual.get(where, 0) + unheard_of
        alike = len(self._named(where))
        return chance / alike / max(self._steps_to(receptacle), 1), self._luck[receptacle]


def _kind(name: str) -> str:
    """ "mug" of "mug 1"."""
    return name.partition(" ")[0]
