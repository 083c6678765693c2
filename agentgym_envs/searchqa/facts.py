"""What is true in a generated world: one array per relation, drawn from the seed."""

from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from agentgym_envs.searchqa.dice import Dice
from agentgym_envs.searchqa.names import Names, is_namesake, shares_name
from agentgym_envs.searchqa.presets import Preset
from agentgym_envs.searchqa.wording import PROFESSIONS, RELATIONS, Relation

NOBODY = -1
CAST = 3  # actors of a film
_GENERATIONS = 5
_GENERATION_YEARS = 32
_FIRST_YEAR = 1820
# a year that follows another one: (whose year, by how much at least, and how much more at most)
_FOLLOWS = {
    "released": ("director", "born", 24, 30),
    "published": ("author", "born", 24, 30),
    "formed": ("singer", "born", 18, 12),
    "recorded": ("performer", "formed", 1, 20),
    "founded": ("founder", "born", 24, 30),
}

_MANY_TO_FEW = {"city", "university", "company", "band"}  # some of them are named more than others

Ints = NDArray[np.int64]


class Facts:
    """The facts of one world.

    `values[relation]` is [subjects] (number of the value's entity, or the number itself; NOBODY
    where the subject has none), for "actors" [subjects, CAST].
    """

    def __init__(self, preset: Preset, seed: int) -> None:
        self.preset, self.seed = preset, seed
        self.names = Names(preset, seed)
        self.relations = {
            relation.name: relation
            for relation in RELATIONS
            if relation.subject in preset.sizes
            and (relation.target == "" or relation.target in preset.sizes)
            and (
                relation.name in preset.relations
                if preset.relations
                else relation.name != "teacher"
            )
        }
        sizes = preset.sizes
        self.offsets = dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))
        self.professions = self._professions()
        self.values: dict[str, Ints] = {}
        for name in sorted(self.relations, key=lambda name: (name in _FOLLOWS, name == "recorded")):
            self.values[name] = self._draw(self.relations[name])

    def of(self, type: str) -> list[Relation]:
        """What there is to know about a type, in the order pages tell it."""
        return [relation for relation in self.relations.values() if relation.subject == type]

    def value(self, relation: str, number: int) -> int:
        """The value of a relation with one value, NOBODY where there is none."""
        return int(self.values[relation][number])

    def id(self, type: str, number: int) -> str:
        """The passage id of an entity's page."""
        return str(self.offsets[type] + number)

    def title(self, type: str, number: int) -> str:
        """The name, with the profession in brackets where two people share it."""
        name = self.names.name(type, number)
        if shares_name(self.preset, type, number):
            return f"{name} ({self.profession(number)})"
        return name

    def mention(self, type: str, number: int) -> str:
        """The name as other pages and questions write it: no two entities have equal ones."""
        name = self.names.name(type, number)
        if shares_name(self.preset, type, number):
            return f"the {self.profession(number)} {name}"
        return with_article(type, name)

    def profession(self, number: int) -> str:
        """What a person works as."""
        return PROFESSIONS[self.professions[number]]

    def written(self, relation: str, number: int) -> str:
        """The value of a relation as pages write it; "" where there is none."""
        known = self.relations[relation]
        if known.name == "actors":
            *most, last = (self.mention("person", int(p)) for p in self.values["actors"][number])
            return f"{', '.join(most)} and {last}"
        value = self.value(relation, number)
        if value == NOBODY:
            return ""
        return self.mention(known.target, value) if known.target else plain(known, value)

    @cached_property
    def surname_counts(self) -> dict[str, int]:
        """Surname -> number of people who bear it."""
        counts: dict[str, int] = {}
        for number in range(self.preset.sizes["person"]):
            surname = self.names.surname(number)
            counts[surname] = counts.get(surname, 0) + 1
        return counts

    def _professions(self) -> Ints:
        """Drawn; of two people of one name, never the same."""
        count, kinds = self.preset.sizes["person"], len(PROFESSIONS)
        drawn = self._dice("profession").many_below(count, kinds)
        other = 1 + self._dice("other profession").many_below(count, kinds - 1)
        late = [i for i in range(15, count, 16) if is_namesake(self.preset, "person", i)]
        if late:
            at = np.array(late)
            drawn[at] = (drawn[at - 8] + other[at]) % kinds
        return drawn

    def _dice(self, *purpose: object) -> Dice:
        return Dice(self.seed, self.preset.name, *purpose)

    def _draw(self, relation: Relation) -> Ints:
        count = self.preset.sizes[relation.subject]
        dice = self._dice("fact", relation.name)
        if relation.name in _FOLLOWS:
            link, year, least, more = _FOLLOWS[relation.name]
            return self.values[year][self.values[link]] + least + dice.many_below(count, more)
        match relation.name:
            case "born":
                generation = self._generation(np.arange(count))
                return _FIRST_YEAR + _GENERATION_YEARS * generation + dice.many_below(count, 12)
            case "father":
                return self._fathers(dice)
            case "spouse":
                return self._spouses(dice)
            case "teacher":  # never each other's, and nobody their own
                return (np.arange(count) + 1 + dice.many_below(count, (count - 1) // 2)) % count
            case "actors":
                return self._casts(count)
            case "population":
                return 5_000 + 100 * dice.many_below(count, 9_000) + dice.many_below(count, 97)
            case "opened":
                return 1500 + dice.many_below(count, 400)
            case "length":
                return 40 + dice.many_below(count, 3_000)
        drawn = dice.many_below(count, self.preset.sizes[relation.target])
        if relation.target in _MANY_TO_FEW and not self.preset.terse:
            again = self._dice("fact again", relation.name)
            drawn = np.minimum(drawn, again.many_below(count, self.preset.sizes[relation.target]))
        return drawn

    def _generation(self, number: Ints) -> Ints:
        return number * _GENERATIONS // self.preset.sizes["person"]

    def _fathers(self, dice: Dice) -> Ints:
        """A man of the generation before; the first generation's are not known."""
        count = self.preset.sizes["person"]
        borders = -(-np.arange(_GENERATIONS + 1) * count // _GENERATIONS)
        generation = self._generation(np.arange(count))
        low, high = borders[np.maximum(generation - 1, 0)], borders[generation]
        first = low + low % 2  # men have even numbers
        men = np.maximum((high - first + 1) // 2, 1)
        drawn = first + 2 * (dice.many_below(count, 1 << 30) % men)
        return np.where(generation == 0, NOBODY, drawn)

    def _spouses(self, dice: Dice) -> Ints:
        """Couples are 2n and 2n + 1; at most one page of the two tells of the marriage."""
        count = self.preset.sizes["person"]
        number = np.arange(count)
        teller = dice.numbers((count + 1) // 2)[number // 2] % np.uint64(3)  # 2: neither does
        partner = number ^ 1
        told = (teller == (number % 2).astype(np.uint64)) & (partner < count)
        return np.where(told, partner, NOBODY)

    def _casts(self, films: int) -> Ints:
        """CAST different people each, some of whom act often."""
        people = self.preset.sizes["person"]
        parts = []
        for part in range(CAST):  # of the people whose number is `part` modulo CAST
            room = (people - part + CAST - 1) // CAST
            one, two = (self._dice("actor", part, again) for again in (0, 1))
            drawn = np.minimum(one.many_below(films, room), two.many_below(films, room))
            parts.append(part + CAST * drawn)
        return np.stack(parts, axis=1)


def plain(relation: Relation, value: int) -> str:
    """A number as pages write it: years bare, amounts with commas."""
    return f"{value:,}" if relation.unit else str(value)


def with_article(type: str, name: str) -> str:
    """The name as a sentence has it."""
    return f"the {name}" if type in ("university", "river") else name
