"""Questions about a generated world, each with its chain of evidence and an expert's searches.

A candidate becomes a question only if its answer is the only one by the facts, neither the answer
nor what leads to it stands in the question, and no page before the last one of a chain tells the
answer. Two entities that a question connects (its first and its last, or the two it names) decide
by a hash whether it is for training or for testing, so the splits share no pair.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np

from agentgym_envs.retrieval.types import Passage
from agentgym_envs.searchqa.dice import Dice, Roll, Shuffle
from agentgym_envs.searchqa.facts import NOBODY, Facts, Ints
from agentgym_envs.searchqa.names import shares_name
from agentgym_envs.searchqa.question import Question
from agentgym_envs.searchqa.speak import Entity, Fact, Speaker
from agentgym_envs.searchqa.wording import (
    ACTOR_PHRASE,
    BRIDGE_COMPARISONS,
    COMPARISONS,
    INTERSECTION,
    KINSHIP,
    SHARED,
    SHARED_BRIDGE,
)

SPLITS = ("train", "test")
_ATTEMPTS = 80  # candidates per wanted question, where candidates are drawn and not counted off


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A question that may be asked, before it has a place in a split."""

    kind: str
    question: str
    answers: tuple[str, ...]
    facts: tuple[Fact, ...]  # in the order they are needed
    searches: tuple[tuple[Entity, ...], ...]  # whom the expert searches for, at most two at once
    pair: tuple[Entity, Entity]


class Asker:
    """Asks about the facts of one world."""

    def __init__(self, facts: Facts, pages: Sequence[Passage]) -> None:
        self._facts, self._pages, self._words = facts, pages, Speaker(facts)
        self._groups: dict[tuple[str, ...], tuple[Ints, Ints, Ints]] = {}
        self._split_dice = self._dice("split")
        self._makers: dict[str, Callable[[int], Iterator[_Draft | None]]] = {
            "single": lambda _: self._chained("single", self._chains(1)),
            "bridge_2": lambda _: self._chained("bridge_2", self._chains(2)),
            "bridge_3": lambda _: self._chained("bridge_3", self._chains(3)),
            "kinship": lambda _: self._chained("kinship", list(KINSHIP)),
            "bridge_4": self._rooted,
            "comparison": self._comparisons,
            "bridge_comparison": self._bridge_comparisons,
            "shared": lambda wanted: self._shared("shared", SHARED, wanted),
            "shared_bridge": lambda wanted: self._shared("shared_bridge", SHARED_BRIDGE, wanted),
            "intersection": self._intersections,
        }

    def ask(self) -> dict[str, tuple[Question, ...]]:
        """Every split's questions, kinds mixed."""
        preset = self._facts.preset
        drafts: dict[str, list[_Draft]] = {split: [] for split in SPLITS}
        whole = sum(preset.shares.values())
        for kind, share in preset.shares.items():
            wanted = {split: preset.questions[split] * share // whole for split in SPLITS}
            for split, found in self._collected(kind, wanted).items():
                drafts[split] += found
        return {split: self._numbered(split, found) for split, found in drafts.items()}

    def _numbered(self, split: str, drafts: list[_Draft]) -> tuple[Question, ...]:
        places = np.argsort(self._dice("order", split).numbers(len(drafts)), kind="stable")
        return tuple(
            self._question(drafts[int(place)], split, index) for index, place in enumerate(places)
        )

    def _question(self, draft: _Draft, split: str, index: int) -> Question:
        facts = self._facts
        gold = dict.fromkeys(facts.id(type, number) for _, type, number in draft.facts)
        metadata: dict[str, Any] = {
            "searches": len(draft.searches),
            "relations": tuple(relation for relation, _, _ in draft.facts),
            "evidence": tuple(
                (facts.title(type, number), relation, facts.written(relation, number))
                for relation, type, number in draft.facts
            ),
            "sub_questions": tuple(self._words.sub_question(fact) for fact in draft.facts),
            "pair": tuple(facts.id(type, number) for type, number in draft.pair),
        }
        return Question(
            id=f"{split}_{index}",
            question=draft.question,
            answers=draft.answers,
            data_source=f"world_{facts.preset.name}",
            gold=tuple(gold),
            queries=tuple(" ".join(map(self._words.searched, both)) for both in draft.searches),
            kind=draft.kind,
            split=split,
            metadata=metadata,
        )

    def _collected(self, kind: str, wanted: dict[str, int]) -> dict[str, list[_Draft]]:
        """Drafts of one kind; where the answer is yes or no, as many of the one as of the other."""
        found: dict[str, dict[bool, list[_Draft]]] = {
            split: {True: [], False: []} for split in wanted
        }
        seen: set[tuple[Entity, Entity]] = set()
        for draft in self._makers[kind](sum(wanted.values())):
            if draft is None:
                continue
            drawn_by_pair = kind not in ("single", "bridge_2", "bridge_3", "kinship")
            if drawn_by_pair and draft.pair in seen:
                continue
            split, yes = self._split(draft.pair), draft.answers[0] == "yes"
            room = wanted[split] // 2 if kind.startswith("shared") else wanted[split]
            if len(found[split][yes]) < room:
                seen.add(draft.pair)
                found[split][yes].append(draft)
            if all(self._full(kind, found[name], count) for name, count in wanted.items()):
                break
        return {split: self._fair(kind, both) for split, both in found.items()}

    @staticmethod
    def _full(kind: str, both: dict[bool, list[_Draft]], wanted: int) -> bool:
        if kind.startswith("shared"):
            return min(map(len, both.values())) >= wanted // 2
        return len(both[False]) >= wanted

    @staticmethod
    def _fair(kind: str, both: dict[bool, list[_Draft]]) -> list[_Draft]:
        if not kind.startswith("shared"):
            return both[False]
        fewer = min(map(len, both.values()))
        return both[True][:fewer] + both[False][:fewer]

    def _split(self, pair: tuple[Entity, Entity]) -> str:
        low, high = sorted(int(self._facts.id(*entity)) for entity in pair)
        share = self._facts.preset.test_share
        return "test" if self._split_dice.below((low << 32) + high, share) == 0 else "train"

    # One, two or more facts, each about the value of the one before.

    def _chains(self, length: int) -> list[tuple[str, ...]]:
        """Relations that follow on each other; kinship has words of its own, see KINSHIP."""
        known = [name for name in self._facts.relations if name != "actors"]
        return [
            chain
            for chain in product(known, repeat=length)
            if self._follows(chain)
            and not any(kin == chain[i : i + 2] for kin in KINSHIP for i in range(length - 1))
        ]

    def _follows(self, chain: tuple[str, ...]) -> bool:
        relations = [self._facts.relations[name] for name in chain]
        return all(one.target == two.subject for one, two in pairwise(relations))

    def _chained(self, kind: str, chains: Sequence[tuple[str, ...]]) -> Iterator[_Draft | None]:
        """Every chain from every subject, chains taking turns."""
        sizes = [self._facts.preset.sizes[self._facts.relations[c[0]].subject] for c in chains]
        orders = [
            Shuffle.of(size, self._dice(kind, *chain))
            for size, chain in zip(sizes, chains, strict=True)
        ]
        dice = self._dice("words", kind)
        for turn in range(max(sizes)):
            for place, chain in enumerate(chains):
                if turn < sizes[place]:
                    roll = dice.roll(turn * len(chains) + place)
                    yield self._chain(kind, chain, orders[place].at(turn), roll)

    def _chain(self, kind: str, chain: tuple[str, ...], start: int, roll: Roll) -> _Draft | None:
        facts = self._facts
        path = self._path(chain, start)
        if path is None:
            return None
        told, end = path
        first: Entity = (told[0][1], start)
        if chain in KINSHIP:
            question = roll.pick(KINSHIP[chain]).format(s=facts.mention(*first))
        else:
            question = self._words.asked(chain, facts.mention(*first), roll)
        last = self._last(chain[-1], end, told[-1])
        draft = _Draft(
            kind=kind,
            question=question,
            answers=self._words.answers(chain[-1], end),
            facts=told,
            searches=tuple((fact[1:],) for fact in told),
            pair=(first, last),
        )
        return draft if self._fair_chain(draft, [first]) else None

    def _path(self, chain: tuple[str, ...], start: int) -> tuple[tuple[Fact, ...], int] | None:
        """The facts on the way and the value at its end; None where one lacks or it turns back."""
        told: list[Fact] = []
        number = start
        seen: set[Entity] = set()
        for name in chain:
            relation = self._facts.relations[name]
            seen.add((relation.subject, number))
            told.append((name, relation.subject, number))
            number = self._facts.value(name, number)
            if number == NOBODY or (relation.target, number) in seen:
                return None
        return tuple(told), number

    def _last(self, relation: str, end: int, fact: Fact) -> Entity:
        target = self._facts.relations[relation].target
        return (target, end) if target else fact[1:]

    def _fair_chain(self, draft: _Draft, named: Sequence[Entity]) -> bool:
        """Neither answer nor bridges in the question, the answer on no page before the last."""
        facts = self._facts
        answer = draft.answers[0]
        bridges = [
            facts.names.name(type, number)
            for _, type, number in draft.facts
            if (type, number) not in named
        ]
        if any(name in draft.question for name in (answer, *bridges)):
            return False
        return not any(
            answer in self._pages[int(facts.id(type, number))].contents
            for _, type, number in draft.facts[:-1]
        )

    # Two entities compared by a number.

    def _comparisons(self, wanted: int) -> Iterator[_Draft | None]:
        facts = self._facts
        known = [one for one in COMPARISONS if one.relation in facts.relations]
        dice = self._dice("comparison")
        for index in range(wanted * _ATTEMPTS):
            roll, comparison = dice.roll(index), known[index % len(known)]
            relation = facts.relations[comparison.relation]
            a, b = self._two(relation.subject, roll)
            told = ((relation.name, *a), (relation.name, *b))
            question = comparison.ask.format(a=facts.mention(*a), b=facts.mention(*b))
            yield self._compared("comparison", question, told, told, comparison.low)

    def _bridge_comparisons(self, wanted: int) -> Iterator[_Draft | None]:
        facts = self._facts
        known = [name for name in BRIDGE_COMPARISONS if name in facts.relations]
        dice = self._dice("bridge_comparison")
        for index in range(wanted * _ATTEMPTS):
            roll, link = dice.roll(index), known[index % len(known)]
            a, b = self._two(facts.relations[link].subject, roll)
            bridges = [facts.value(link, entity[1]) for entity in (a, b)]
            links = ((link, *a), (link, *b))
            born = tuple(("born", "person", number) for number in bridges)
            ask = roll.pick(BRIDGE_COMPARISONS[link])
            question = ask.format(a=facts.mention(*a), b=facts.mention(*b))
            yield self._compared("bridge_comparison", question, links, born, True)

    def _compared(
        self,
        kind: str,
        question: str,
        links: tuple[Fact, ...],
        numbers: tuple[Fact, ...],
        low: bool,
    ) -> _Draft | None:
        """`links` are about the two that are named, `numbers` about those that are compared."""
        facts = self._facts
        a, b = (fact[1:] for fact in links)
        x, y = (facts.value(name, number) for name, _, number in numbers)
        if x == y or not self._differ(a, b) or not self._differ(*(fact[1:] for fact in numbers)):
            return None
        told = links if links == numbers else (*links, *numbers)
        pairs = (links,) if links == numbers else (links, numbers)
        return _Draft(
            kind=kind,
            question=question,
            answers=self._words.spellings(*(a if (x < y) == low else b)),
            facts=told,
            searches=self._searches(*(tuple(fact[1:] for fact in both) for both in pairs)),
            pair=self._ordered(a, b),
        )

    # Two entities asked whether something is the same.

    def _shared(
        self, kind: str, asks: dict[tuple[str, ...], str], wanted: int
    ) -> Iterator[_Draft | None]:
        facts = self._facts
        known = [chain for chain in asks if all(name in facts.relations for name in chain)]
        dice = self._dice(kind)
        for index in range(wanted * _ATTEMPTS):
            roll, chain = dice.roll(index), known[index // 2 % len(known)]
            a, b = self._two(facts.relations[chain[0]].subject, roll)
            if index % 2 == 0:
                b = (a[0], self._fellow(chain, a[1], roll))
            yield self._same(kind, asks[chain], chain, a, b)

    def _same(
        self, kind: str, ask: str, chain: tuple[str, ...], a: Entity, b: Entity
    ) -> _Draft | None:
        facts = self._facts
        paths = [self._path(chain, entity[1]) for entity in (a, b)]
        if not self._differ(a, b) or paths[0] is None or paths[1] is None:
            return None
        (one, x), (two, y) = paths[0], paths[1]
        steps = tuple(zip(one, two, strict=True))
        if any(p[2] == q[2] for p, q in steps):  # they meet on the way
            return None
        return _Draft(
            kind=kind,
            question=ask.format(a=facts.mention(*a), b=facts.mention(*b)),
            answers=("yes",) if x == y else ("no",),
            facts=tuple(fact for step in steps for fact in step),
            searches=self._searches(*((p[1:], q[1:]) for p, q in steps)),
            pair=self._ordered(a, b),
        )

    def _fellow(self, chain: tuple[str, ...], number: int, roll: Roll) -> int:
        """An entity whose chain ends where that of `number` does; possibly `number` itself."""
        if chain not in self._groups:
            ends = self._facts.values[chain[0]]
            for name in chain[1:]:
                ends = self._facts.values[name][ends]
            order = np.argsort(ends, kind="stable")
            self._groups[chain] = ends, order, ends[order]
        ends, order, sorted_ends = self._groups[chain]
        low, high = np.searchsorted(sorted_ends, (ends[number], ends[number] + 1))
        return int(order[int(low) + roll.below(int(high - low))])

    # Two films and the one actor they share.

    def _intersections(self, wanted: int) -> Iterator[_Draft | None]:
        facts = self._facts
        for roll, a, b, actor in self._shared_actors("intersection", wanted):
            draft = _Draft(
                kind="intersection",
                question=roll.pick(INTERSECTION).format(a=facts.mention(*a), b=facts.mention(*b)),
                answers=self._words.spellings("person", actor),
                facts=(("actors", *a), ("actors", *b)),
                searches=((a, b),),
                pair=self._ordered(a, b),
            )
            yield draft if draft.answers[0] not in draft.question else None

    def _rooted(self, wanted: int) -> Iterator[_Draft | None]:
        """Two films, their actor, and two facts from there: four pages in three searches."""
        facts = self._facts
        chains = [c for c in self._chains(2) if facts.relations[c[0]].subject == "person"]
        for index, (roll, a, b, actor) in enumerate(self._shared_actors("bridge_4", wanted)):
            chain = chains[index % len(chains)]
            path = self._path(chain, actor)
            if path is None:
                continue
            told, end = path
            about = ACTOR_PHRASE.format(a=facts.mention(*a), b=facts.mention(*b))
            draft = _Draft(
                kind="bridge_4",
                question=self._words.asked(chain, about, roll),
                answers=self._words.answers(chain[-1], end),
                facts=(("actors", *a), ("actors", *b), *told),
                searches=((a, b), *((fact[1:],) for fact in told)),
                pair=self._ordered(a, b),
            )
            yield draft if self._fair_chain(draft, [a, b]) else None

    def _shared_actors(self, kind: str, wanted: int) -> Iterator[tuple[Roll, Entity, Entity, int]]:
        """Pairs of films whose casts have exactly one person in common, and that person."""
        casts = self._facts.values["actors"]
        films, width = casts.shape
        order = np.argsort(casts.ravel(), kind="stable")
        actors = casts.ravel()[order]
        dice = self._dice(kind)
        for index in range(wanted * _ATTEMPTS):
            roll = dice.roll(index)
            a = roll.below(films)
            actor = int(casts[a, roll.below(width)])
            low, high = np.searchsorted(actors, (actor, actor + 1))
            b = int(order[int(low) + roll.below(int(high - low))]) // width
            if a != b and len(set(casts[a].tolist()) & set(casts[b].tolist())) == 1:
                yield roll, ("film", a), ("film", b), actor

    # What all kinds need.

    def _dice(self, *purpose: object) -> Dice:
        return Dice(self._facts.seed, self._facts.preset.name, "ask", *purpose)

    def _two(self, type: str, roll: Roll) -> tuple[Entity, Entity]:
        count = self._facts.preset.sizes[type]
        return (type, roll.below(count)), (type, roll.below(count))

    def _differ(self, a: Entity, b: Entity) -> bool:
        return a != b and self._facts.names.name(*a) != self._facts.names.name(*b)

    def _ordered(self, a: Entity, b: Entity) -> tuple[Entity, Entity]:
        return (a, b) if a <= b else (b, a)

    def _searches(self, *pairs: tuple[Entity, ...]) -> tuple[tuple[Entity, ...], ...]:
        """Two entities in one search, or in two where a namesake would crowd one of them out."""
        found: list[tuple[Entity, ...]] = []
        for both in pairs:
            alone = any(shares_name(self._facts.preset, *entity) for entity in both)
            found += [(entity,) for entity in both] if alone else [both]
        return tuple(found)
