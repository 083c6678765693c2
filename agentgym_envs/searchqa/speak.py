"""How questions, searches and answers name things."""

from agentgym_envs.searchqa.dice import Roll
from agentgym_envs.searchqa.facts import Facts, plain
from agentgym_envs.searchqa.names import shares_name
from agentgym_envs.searchqa.wording import TERSE_ASK, TERSE_PHRASE, Relation

Entity = tuple[str, int]  # type, number
Fact = tuple[str, str, int]  # relation, type and number of its subject


class Speaker:
    """Puts the facts of one world into words."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def asked(self, chain: tuple[str, ...], about: str, roll: Roll) -> str:
        """A question for what a chain of relations leads to from `about`, a name or a phrase."""
        *links, last = (self._facts.relations[name] for name in chain)
        for link in links:
            about = self._phrase(link, about, roll)
        if self._facts.preset.terse:
            form = TERSE_ASK.get(last.target, TERSE_ASK[""])
            return form.format(relation=last.name, s=about)
        return roll.pick(last.asks).format(s=about)

    def _phrase(self, link: Relation, about: str, roll: Roll) -> str:
        if self._facts.preset.terse:
            return TERSE_PHRASE.format(relation=link.name, s=about)
        return roll.pick(link.phrases).format(s=about)

    def sub_question(self, fact: Fact) -> str:
        """A question for one fact alone."""
        relation = self._facts.relations[fact[0]]
        about = self._facts.mention(*fact[1:])
        if relation.name == "actors":
            return f"Who acted in {about}?"
        if self._facts.preset.terse:
            return self.asked((relation.name,), about, Roll(0))
        return relation.asks[0].format(s=about)

    def searched(self, entity: Entity) -> str:
        """What finds an entity's page: its name, and the profession where two bear the name."""
        name = self._facts.names.name(*entity)
        if shares_name(self._facts.preset, *entity):
            return f"{name} {self._facts.profession(entity[1])}"
        return name

    def answers(self, relation: str, value: int) -> tuple[str, ...]:
        """Right ways to write the value of a relation."""
        known = self._facts.relations[relation]
        if known.target:
            return self.spellings(known.target, value)
        if not known.unit:
            return (str(value),)
        number = plain(known, value)
        return (number, str(value), f"{number} {known.unit}")

    def spellings(self, type: str, number: int) -> tuple[str, ...]:
        """A name and other right ways to write it: none that could mean somebody else."""
        facts = self._facts
        name = facts.names.name(type, number)
        if facts.preset.terse:
            return (name,)
        match type:
            case "person":
                surname = facts.names.surname(number)
                alone = facts.surname_counts[surname] == 1
                return tuple(dict.fromkeys((name, facts.title(type, number)))) + (
                    (surname,) if alone else ()
                )
            case "university":
                return (name, f"{facts.names.word(type, number)} University")
            case "river" | "company":
                return (name, facts.names.word(type, number))
            case "band" | "film":
                return (name, name.removeprefix("The "))
        return (name,)
