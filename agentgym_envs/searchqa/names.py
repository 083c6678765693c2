"""Names from a grammar of syllables: every name of a type is different, and no search of a list is
needed to know it.

A word is a head (consonant, vowel, consonant, and once more in large worlds) and an ending. Each
role has endings of its own, chosen so that Porter's stemmer keeps words apart. For every ending
there is a near one, kept for entities that must look like another one.
"""

from math import isqrt

from agentgym_envs.searchqa.dice import Dice, Shuffle
from agentgym_envs.searchqa.presets import Preset

_ONSETS = (
    *("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "t", "v", "z"),
    *("br", "dr", "gr", "kr", "tr", "st", "sk"),
)
_VOWELS = "aeiou"
_SHORT = len(_ONSETS) ** 2 * len(_VOWELS)
_LONG = _SHORT * len(_ONSETS) * len(_VOWELS)

_ENDINGS = {
    "man": "an ar ek im ok un",
    "woman": "ina ela ora uma ita eva",
    "surname": "and eck olt und arn ost irk elm",
    "city": "amar odur ivik uholm eburg oford aport iwick",
    "country": "aland istan omark unia",
    "river": "ava una oda iza",
    "work": "ith ash oth ush",
    "band": "ix ox ax ux",
    "company": "etek ocorp adyn inet",
    "university": "amoor ohart ecliff ubrook",
}
_NEAR_ENDINGS = {
    "surname": "orn ack elt ind urn ast ork olm",
    "city": "amor odar ivok uhelm eberg ofort apart iwack",
}
_ROLES = {"film": "work", "book": "work", "album": "work"}

_NOUNS = (
    "Lantern Harbor Garden Mirror Winter Bridge Shadow Orchard Letter Island Tower Summer "
    "Crown Desert Forest Window Candle Market Valley Storm Castle Meadow Whisper Journey "
    "Anchor Compass Feather Gallery Hunter Ladder Melody Needle Ocean Pilgrim Quarry Raven "
    "Saddle Temple Village Wagon"
)
_ADJECTIVES = (
    "Silent Crimson Golden Broken Hidden Distant Frozen Gentle Hollow Ivory Lonely Mortal "
    "Narrow Patient Quiet Restless Sacred Tender Velvet Wandering Ancient Bitter Clever "
    "Daring Emerald Fragile Graceful Humble Iron Jagged"
)
_PLURALS = (
    "Foxes",
    "Rockets",
    "Sailors",
    "Tigers",
    "Wolves",
    "Pilots",
    "Drummers",
    "Giants",
    "Poets",
    "Rebels",
)
_BUSINESSES = (
    "Industries",
    "Motors",
    "Foods",
    "Mining",
    "Textiles",
    "Optics",
    "Shipping",
    "Chemicals",
)

# the common word that a title of each type has beside its own
_COMMON = {"film": _NOUNS.split(), "book": _ADJECTIVES.split(), "album": _NOUNS.split()}

_FIXED = 0  # the seed of what is the same in every world: which words there are


class Words:
    """The words of one role that a world may use: numbers 0 .. size - 1, each its own word."""

    def __init__(self, role: str, size: int) -> None:
        self._endings = _ENDINGS[role].split()
        self._near = _NEAR_ENDINGS.get(role, "").split() or self._endings
        self._heads = _SHORT if size <= _SHORT * len(self._endings) // 4 else _LONG
        room = self._heads * len(self._endings)
        if size > room:
            raise ValueError(f"only {room} names of a {role} can be made, {size} are wanted")
        self._spread = Shuffle.of(room, Dice(_FIXED, "words", role, self._heads))

    def word(self, number: int, near: bool = False) -> str:
        """Word `number`; `near`: one that differs from it in the last syllable."""
        head, ending = divmod(self._spread.at(number), len(self._endings))
        return (_head(head, self._heads) + (self._near if near else self._endings)[ending]).title()


def _head(number: int, room: int) -> str:
    sounds = []
    while room > 1:
        number, onset = divmod(number, len(_ONSETS))
        sounds.append(_ONSETS[onset])
        room //= len(_ONSETS)
        if room > 1:
            number, vowel = divmod(number, len(_VOWELS))
            sounds.append(_VOWELS[vowel])
            room //= len(_VOWELS)
    return "".join(sounds)


class Names:
    """What the entities of one world are called. An entity is a type and a number; numbers from
    the preset's size on are strangers, who have a name and no page."""

    def __init__(self, preset: Preset, seed: int) -> None:
        self.preset = preset
        self._words: dict[str, Words] = {}
        self._order: dict[str, Shuffle] = {}
        for type in preset.sizes:
            first, second = self._parts(type)
            self._order[type] = Shuffle.of(first * second, Dice(seed, "names", type))
        self._firsts = {type: self._parts(type)[0] for type in preset.sizes}

    def _parts(self, type: str) -> tuple[int, int]:
        """How many first and second parts names of this type have."""
        preset = self.preset
        wanted = preset.sizes[type] * (1 if preset.terse else 2)  # twice: strangers have names too
        if preset.terse:
            self._words[type] = Words(
                "woman" if type == "person" else _ROLES.get(type, type), wanted
            )
            return 1, wanted
        if type == "person":
            given, surnames = max(20, isqrt(4 * wanted)), max(40, wanted * 2 // 3)
            self._words["man"] = Words("man", given)
            self._words["woman"] = Words("woman", given)
            self._words["surname"] = Words("surname", surnames)
            return given, surnames
        self._words[type] = Words(_ROLES.get(type, type), wanted)
        return len(_COMMON.get(type, ("",))), wanted

    def surname_number(self, number: int) -> int:
        """Which surname a person has: equal numbers, equal surnames."""
        return self._order["person"].at(number) // self._firsts["person"]

    def surname(self, number: int) -> str:
        """A person's surname."""
        model, near = self._model("person", number)
        return self._words["surname"].word(self.surname_number(model), near)

    def word(self, type: str, number: int) -> str:
        """The one word of a name that no other entity of its type has; not for people and works."""
        model, near = self._model(type, number)
        return self._words[type].word(self._order[type].at(model), near)

    def name(self, type: str, number: int) -> str:
        """The name of an entity. Two people may share one, two entities of other types never."""
        if self.preset.terse:
            return self.word(type, number)
        part, rest = self._part(type, number)
        match type:
            case "person":
                given = self._words["man" if number % 2 == 0 else "woman"]
                return f"{given.word(part)} {self.surname(number)}"
            case "film":
                return f"The {_COMMON[type][part]} of {self._words[type].word(rest)}"
            case "book":
                return f"{_COMMON[type][part]} {self._words[type].word(rest)}"
            case "album":
                return f"{self._words[type].word(rest)} {_COMMON[type][part]}"
        word = self.word(type, number)
        choice = self._order[type].at(number)
        match type:
            case "river":
                return f"{word} River"
            case "band":
                return f"The {word} {_PLURALS[choice % len(_PLURALS)]}"
            case "company":
                return f"{word} {_BUSINESSES[choice % len(_BUSINESSES)]}"
            case "university":
                return f"University of {word}"
        return word

    def _part(self, type: str, number: int) -> tuple[int, int]:
        rest, part = divmod(self._order[type].at(self._model(type, number)[0]), self._firsts[type])
        return part, rest

    def _model(self, type: str, number: int) -> tuple[int, bool]:
        """Whose name this entity bears, and whether with a near ending."""
        preset = self.preset
        if number < preset.sizes[type]:
            if is_namesake(preset, type, number):
                return number - 8, False
            if is_near_name(preset, type, number):
                return number - 8, True
        return number, False


def is_namesake(preset: Preset, type: str, number: int) -> bool:
    """Whether this person bears the name of person `number - 8`."""
    return (
        "namesakes" in preset.distractors
        and type == "person"
        and number % 16 == 15
        and number < preset.sizes[type]
    )


def is_near_name(preset: Preset, type: str, number: int) -> bool:
    """Whether this person or city is called like number - 8, but for the last syllable."""
    known = type in ("person", "city") and "near names" in preset.distractors
    return known and number % 16 == 11 and number < preset.sizes[type]


def shares_name(preset: Preset, type: str, number: int) -> bool:
    """Whether another person bears the same name."""
    return is_namesake(preset, type, number) or is_namesake(preset, type, number + 8)
