"""The pages of a generated world: each fact once, on the page of who it is about."""

from collections.abc import Iterator, Sequence
from typing import overload

from agentgym_envs.retrieval.types import Passage
from agentgym_envs.searchqa.dice import Dice, Roll
from agentgym_envs.searchqa.facts import Facts, plain, with_article
from agentgym_envs.searchqa.wording import (
    FILLER,
    LEADS,
    LIST_LEAD,
    LOOKS,
    MOODS,
    PLURALS,
    STRANGER,
    TERSE_FORM,
    TERSE_PAGE,
    Relation,
)

_STALE = 20  # pages in a hundred that call a wrong value wrong, for each relation that can
_LISTED = 8  # entities on a list
_LISTS = ("person", "city")  # types whose names share few words: other lists crowd pages out


class Pages(Sequence[Passage]):
    """The passages of a world by number, written when asked for. Ids are the numbers as text."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        preset = facts.preset
        self._places = [
            (facts.offsets[type], type, count) for type, count in preset.sizes.items() if count
        ]
        self._entities = sum(preset.sizes.values())
        self._dice = {
            type: Dice(facts.seed, preset.name, "page", type) for type in (*preset.sizes, "list")
        }

    def __len__(self) -> int:
        return self._entities + self._facts.preset.lists

    @overload
    def __getitem__(self, index: int) -> Passage: ...

    @overload
    def __getitem__(self, index: slice) -> list[Passage]: ...

    def __getitem__(self, index: int | slice) -> Passage | list[Passage]:
        if isinstance(index, slice):
            return [self._written(number) for number in range(len(self))[index]]
        return self._written(range(len(self))[index])

    def __iter__(self) -> Iterator[Passage]:
        return map(self._written, range(len(self)))

    def _written(self, number: int) -> Passage:
        if number >= self._entities:
            title, text = self._list(number - self._entities)
        else:
            type, local = self._entity(number)
            title = self._facts.title(type, local)
            text = self._terse(type, local) if self._facts.preset.terse else self._page(type, local)
        return Passage(str(number), f'"{title}"\n{text}')

    def _entity(self, number: int) -> tuple[str, int]:
        for offset, type, count in self._places:
            if number < offset + count:
                return type, number - offset
        raise IndexError(number)

    def _terse(self, type: str, number: int) -> str:
        facts, name = self._facts, self._facts.names.name(type, number)
        told = [
            TERSE_FORM.format(
                relation=relation.name, s=name, v=facts.written(relation.name, number)
            )
            for relation in facts.of(type)
        ]
        return " ".join(told) or TERSE_PAGE.format(s=name, type=type)

    def _page(self, type: str, number: int) -> str:
        facts, roll = self._facts, self._dice[type].roll(number)
        name = with_article(type, facts.names.name(type, number))
        pronoun = _pronoun(type, number)
        profession = facts.profession(number) if type == "person" else ""
        look, lead = roll.pick(LOOKS), roll.pick(LEADS[type])
        told = [_capital(lead.format(s=name, look=look, profession=profession))]
        for relation in facts.of(type):
            value = facts.written(relation.name, number)
            if value:
                told.append(_sentence(roll.pick(relation.forms), name, value, pronoun, roll))
                if relation.stale and roll.chance(_STALE):
                    told.extend(self._stale_claim(relation, number, roll))
        filler = roll.pick(FILLER[type])
        told.append(_capital(filler.format(s=name, mood=roll.pick(MOODS))))
        if "strangers" in facts.preset.distractors:
            told.extend(self._stranger(type, roll))
        return " ".join(told)

    def _stale_claim(self, relation: Relation, number: int, roll: Roll) -> list[str]:
        """A sentence that names another value of the type and says that it is wrong."""
        facts = self._facts
        if "stale claims" not in facts.preset.distractors:
            return []
        wrong = roll.below(facts.preset.sizes[relation.target])
        if wrong == facts.value(relation.name, number):
            return []
        return [relation.stale.format(v=facts.mention(relation.target, wrong))]

    def _stranger(self, type: str, roll: Roll) -> list[str]:
        """An entity of the type that has no page, and a fact about it."""
        facts = self._facts
        stranger = self._strange_name(type, roll)
        relation = roll.pick(facts.of(type))
        if relation.target:
            value = self._strange_name(relation.target, roll, man=relation.name == "father")
        else:
            value = plain(
                relation, facts.value(relation.name, roll.below(facts.preset.sizes[type]))
            )
        return [
            _capital(roll.pick(STRANGER).format(s=stranger, type=type)),
            _capital(roll.pick(relation.forms).format(s=stranger, v=value)),
        ]

    def _strange_name(self, type: str, roll: Roll, man: bool = False) -> str:
        facts = self._facts
        number = facts.preset.sizes[type] + roll.below(facts.preset.sizes[type] - 1)
        number += man and number % 2
        return with_article(type, facts.names.name(type, number))

    def _list(self, number: int) -> tuple[str, str]:
        facts, roll = self._facts, self._dice["list"].roll(number)
        type = roll.pick(_LISTS)
        numbers = {roll.below(facts.preset.sizes[type]): None for _ in range(_LISTED)}
        named = "; ".join(facts.title(type, local) for local in numbers)
        lead = roll.pick(LIST_LEAD).format(types=PLURALS[type])
        return f"List of {PLURALS[type]} ({number + 1})", f"{lead} {named}."


def _sentence(form: str, name: str, value: str, pronoun: str, roll: Roll) -> str:
    subject = pronoun if form.startswith("{s}") and roll.chance(50) else name
    return _capital(form.format(s=subject, v=value))


def _pronoun(type: str, number: int) -> str:
    if type == "person":
        return "He" if number % 2 == 0 else "She"
    return "The band" if type == "band" else "It"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
