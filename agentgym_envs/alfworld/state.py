"""Where a game stands: small, mutable, copied in microseconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agentgym_envs.alfworld import goals

if TYPE_CHECKING:
    from agentgym_envs.alfworld.world import World

NOTHING_HAPPENS = "Nothing happens."


class State:
    """A game in progress. Objects and receptacles are indices into the world's tuples.

    location: where the agent stands. holding: the object held, -1 for none. opened: bit per open
    receptacle. contents: receptacle -> sorted objects in it. here: location -> bits of the objects
    recorded there. left: receptacle -> bits of the objects that were taken out of it and not put
    back. clean, hot, cool, sliced, toggled: bits of the objects so marked. won: the goal holds now.
    """

    __slots__ = (
        "clean",
        "contents",
        "cool",
        "here",
        "holding",
        "hot",
        "left",
        "location",
        "opened",
        "sliced",
        "toggled",
        "won",
        "world",
    )  # fmt: skip

    def __init__(
        self,
        world: World,
        *,
        location: int,
        opened: int,
        contents: list[tuple[int, ...]],
        here: list[int],
        clean: int,
        hot: int,
        cool: int,
        sliced: int,
        toggled: int,
    ):
        self.world = world
        self.location = location
        self.holding = -1
        self.opened = opened
        self.contents = contents
        self.here = here
        self.left: dict[int, int] = {}
        self.clean = clean
        self.hot = hot
        self.cool = cool
        self.sliced = sliced
        self.toggled = toggled
        self.won = goals.holds(self)

    def copy(self) -> State:
        """An independent state of the same world."""
        twin = State.__new__(State)
        twin.world = self.world
        twin.location = self.location
        twin.holding = self.holding
        twin.opened = self.opened
        twin.contents = self.contents.copy()
        twin.here = self.here.copy()
        twin.left = self.left.copy()
        twin.clean = self.clean
        twin.hot = self.hot
        twin.cool = self.cool
        twin.sliced = self.sliced
        twin.toggled = self.toggled
        twin.won = self.won
        return twin

    def act(self, command: str) -> str:
        """Carry out one command and return the feedback.

        Outer white space is dropped, the rest must match exactly. Whatever is unknown, malformed
        or impossible here answers "Nothing happens." and changes nothing.
        """
        verb, _, rest = command.strip().partition(" ")
        handler = _HANDLERS.get(verb)
        if handler is not None:
            return handler(self, rest)
        if verb == self.world.game.dialect.put[0]:
            return self._put(rest)
        return NOTHING_HAPPENS

    def admissible(self) -> tuple[str, ...]:
        """Every command that does something here, sorted, each once."""
        world = self.world
        place = world.places[self.location]
        sliceable = 0
        if self.holding in world.knives:
            sliceable = self.here[self.location] & world.sliceable_bits
        contents = self.contents
        key = (
            self.location,
            self.holding,
            self.opened & place.openable,
            sliceable,
            *[contents[r] for r in place.receptacles],
        )
        known = world.commands.get(key)
        if known is None:
            known = self._list_commands(sliceable)
            world.remember(key, known)
        return known

    def goal_conditions(self) -> tuple[int, int]:
        """How many of the goal's conditions hold, and how many there are: `goals.conditions`."""
        return goals.conditions(self)

    def dead_end(self) -> bool:
        """Hands full for good and the goal out of reach: `goals.out_of_reach`."""
        return goals.out_of_reach(self)

    # -- commands; each takes what follows the verb

    def _go(self, rest: str) -> str:
        world = self.world
        receptacle = world.receptacle_index.get(rest[3:], -1) if rest.startswith("to ") else -1
        if receptacle < 0:
            return NOTHING_HAPPENS
        target = world.location_of[receptacle]
        if target < 0 or target == self.location:
            return NOTHING_HAPPENS
        self.location = target
        if world.goal.lamp_type:
            self.won = goals.holds(self)
        arrive = world.game.dialect.arrive
        arrived = arrive.format(r=rest[3:], l=world.location_names[target])
        return arrived + self._describe(receptacle)

    def _open(self, rest: str) -> str:
        receptacle = self._at_hand(rest)
        if receptacle < 0 or not self.world.openable[receptacle] or self.opened >> receptacle & 1:
            return NOTHING_HAPPENS
        self.opened |= 1 << receptacle
        return f"You open the {rest}. {self._describe(receptacle)}"

    def _close(self, rest: str) -> str:
        receptacle = self._at_hand(rest)
        if receptacle < 0 or not self.world.openable[receptacle]:
            return NOTHING_HAPPENS
        if not self.opened >> receptacle & 1:
            return NOTHING_HAPPENS
        self.opened &= ~(1 << receptacle)
        return f"You close the {rest}."

    def _take(self, rest: str) -> str:
        name, _, source = rest.partition(" from ")
        thing = self.world.object_index.get(name, -1)
        receptacle = self._at_hand(source)
        if thing < 0 or receptacle < 0 or self.holding >= 0 or not self._accessible(receptacle):
            return NOTHING_HAPPENS
        inside = self.contents[receptacle]
        if thing not in inside or thing not in self.world.pickupable:
            return NOTHING_HAPPENS
        self.contents[receptacle] = tuple([other for other in inside if other != thing])
        self.here[self.location] &= ~(1 << thing)
        self.left[receptacle] = self.left.get(receptacle, 0) | 1 << thing
        self.holding = thing
        self.won = goals.holds(self)
        return f"You pick up the {name} from the {source}."

    def _put(self, rest: str) -> str:
        world = self.world
        dialect = world.game.dialect
        name, _, target = rest.partition(f" {dialect.put[1]} ")
        thing = world.object_index.get(name, -1)
        receptacle = self._at_hand(target)
        if thing < 0 or thing != self.holding or receptacle not in world.fitting[thing]:
            return NOTHING_HAPPENS
        if not self._accessible(receptacle):
            return NOTHING_HAPPENS
        self.contents[receptacle] = tuple(sorted({*self.contents[receptacle], thing}))
        self.here[self.location] |= 1 << thing
        if receptacle in self.left:
            self.left[receptacle] &= ~(1 << thing)
        self.holding = -1
        self.won = goals.holds(self)
        return dialect.put_text.format(o=name, r=target)

    def _clean(self, rest: str) -> str:
        thing, text = self._treat(rest, self.world.cleanable, self.world.washers, "clean")
        if thing >= 0:
            self.clean |= 1 << thing
            self.won = goals.holds(self)
        return text

    def _heat(self, rest: str) -> str:
        thing, text = self._treat(rest, self.world.heatable, self.world.heaters, "heat")
        if thing >= 0:
            self.hot |= 1 << thing
            self.cool &= ~(1 << thing)
            self.won = goals.holds(self)
        return text

    def _cool(self, rest: str) -> str:
        thing, text = self._treat(rest, self.world.coolable, self.world.coolers, "cool")
        if thing >= 0:
            self.cool |= 1 << thing
            self.hot &= ~(1 << thing)
            self.won = goals.holds(self)
        return text

    def _treat(
        self, rest: str, able: frozenset[int], stations: frozenset[int], verb: str
    ) -> tuple[int, str]:
        name, _, station = rest.partition(" with ")
        thing = self.world.object_index.get(name, -1)
        if thing < 0 or thing != self.holding or thing not in able:
            return -1, NOTHING_HAPPENS
        if self._at_hand(station) not in stations:
            return -1, NOTHING_HAPPENS
        return thing, f"You {verb} the {name} using the {station}."

    def _use(self, rest: str) -> str:
        thing = self.world.object_index.get(rest, -1)
        if thing not in self.world.toggleable:
            return NOTHING_HAPPENS
        receptacles = self.world.places[self.location].receptacles
        if not any(thing in self.contents[receptacle] for receptacle in receptacles):
            return NOTHING_HAPPENS
        self.toggled |= 1 << thing
        self.won = goals.holds(self)
        return f"You turn on the {rest}."

    def _slice(self, rest: str) -> str:
        name, _, knife = rest.partition(" with ")
        thing = self.world.object_index.get(name, -1)
        held = self.world.object_index.get(knife, -1)
        if held < 0 or held != self.holding or held not in self.world.knives:
            return NOTHING_HAPPENS
        if thing not in self.world.sliceable or not self.here[self.location] >> thing & 1:
            return NOTHING_HAPPENS
        self.sliced |= 1 << thing
        return f"You sliced the {name} with the {knife}."

    def _examine(self, rest: str) -> str:
        receptacle = self._at_hand(rest)
        if receptacle >= 0:
            return self._describe(receptacle)
        thing = self.world.object_index.get(rest, -1)
        if thing < 0 or thing != self.holding:
            return NOTHING_HAPPENS
        return self._describe_held(thing, rest)

    def _look(self, rest: str) -> str:
        if rest:
            return NOTHING_HAPPENS
        world = self.world
        place = world.places[self.location]
        if not place.receptacles:
            return "You are in the middle of a room. Looking quickly around you, you see nothing."
        # An object shows once per receptacle here that it was taken from.
        here, strays = self.here[self.location], []
        for receptacle in place.receptacles:
            stray = self.left.get(receptacle, 0) & here
            while stray:
                low = stray & -stray
                strays.append(low.bit_length() - 1)
                stray ^= low
        return f"{place.facing}{world.listing(tuple(sorted(strays)))}."

    def _inventory(self, rest: str) -> str:
        if rest:
            return NOTHING_HAPPENS
        if self.holding < 0:
            return "You are not carrying anything."
        return f"You are carrying: a {self.world.objects[self.holding]}."

    def _help(self, rest: str) -> str:
        text = self.world.game.dialect.help
        return NOTHING_HAPPENS if rest or text is None else text

    # -- what is where

    def _at_hand(self, name: str) -> int:
        """The receptacle of this name where the agent stands, else -1."""
        receptacle = self.world.receptacle_index.get(name, -1)
        if receptacle >= 0 and self.world.location_of[receptacle] == self.location:
            return receptacle
        return -1

    def _accessible(self, receptacle: int) -> bool:
        return not self.world.openable[receptacle] or bool(self.opened >> receptacle & 1)

    def _describe(self, receptacle: int) -> str:
        world = self.world
        name = world.receptacles[receptacle]
        if not world.openable[receptacle]:
            return f"On the {name}, you see {world.listing(self.contents[receptacle])}."
        if self.opened >> receptacle & 1:
            inside = world.listing(self.contents[receptacle])
            return f"The {name} is open. In it, you see {inside}."
        return f"The {name} is closed."

    def _describe_held(self, thing: int, name: str) -> str:
        world = self.world
        if thing in world.containers:
            return f"This is a normal {name}. In it, you see {world.listing(world.insides[thing])}."
        clean, hot = self.clean >> thing & 1, self.hot >> thing & 1
        cool, sliced = self.cool >> thing & 1, self.sliced >> thing & 1
        warmth = "hot" if hot else "cool" if cool else ""
        if sliced and (clean or warmth):
            return f"This is a {_both(warmth, clean)} sliced {name}."
        if clean and warmth:
            return f"This is a {_both(warmth, clean)} {name}."
        if warmth or clean:
            return f"This is a {'hot' if hot else 'clean' if clean else 'cold'} {name}."
        if thing in world.toggleable and self.toggled >> thing & 1:
            return f"This {name} is on."
        if thing in world.sliceable and sliced:
            return f"This is a sliced {name}."
        return f"There's nothing special about {name}."

    def _list_commands(self, sliceable: int) -> tuple[str, ...]:
        world, held = self.world, self.holding
        place = world.places[self.location]
        found = ["inventory", "look", *place.goes, *place.examines]
        if world.game.dialect.help is not None:
            found.append("help")
        name = world.objects[held] if held >= 0 else ""
        if held >= 0:
            found.append(f"examine {name}")
        for receptacle in place.receptacles:
            label = world.receptacles[receptacle]
            if world.openable[receptacle]:
                found.append(f"{'close' if self.opened >> receptacle & 1 else 'open'} {label}")
            inside = self.contents[receptacle]
            found += [
                f"use {world.objects[thing]}" for thing in inside if thing in world.toggleable
            ]
            if held >= 0:
                found += self._uses_of_held(held, receptacle)
            elif self._accessible(receptacle):
                takes = [thing for thing in inside if thing in world.pickupable]
                found += [f"take {world.objects[thing]} from {label}" for thing in takes]
        for thing, other in enumerate(world.objects):
            if sliceable >> thing & 1:
                found.append(f"slice {other} with {name}")
        return tuple(sorted(set(found)))

    def _uses_of_held(self, held: int, receptacle: int) -> list[str]:
        world = self.world
        name, label = world.objects[held], world.receptacles[receptacle]
        found = []
        if receptacle in world.fitting[held] and self._accessible(receptacle):
            verb, to = world.game.dialect.put
            found.append(f"{verb} {name} {to} {label}")
        if held in world.cleanable and receptacle in world.washers:
            found.append(f"clean {name} with {label}")
        if held in world.heatable and receptacle in world.heaters:
            found.append(f"heat {name} with {label}")
        if held in world.coolable and receptacle in world.coolers:
            found.append(f"cool {name} with {label}")
        return found


def _both(warmth: str, clean: int) -> str:
    return f"{warmth} and clean" if warmth and clean else warmth or "clean"


_HANDLERS: dict[str, Callable[[State, str], str]] = {
    "go": State._go,
    "open": State._open,
    "close": State._close,
    "take": State._take,
    "examine": State._examine,
    "use": State._use,
    "heat": State._heat,
    "clean": State._clean,
    "cool": State._cool,
    "slice": State._slice,
    "look": State._look,
    "inventory": State._inventory,
    "help": State._help,
}
