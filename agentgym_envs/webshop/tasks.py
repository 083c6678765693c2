"""The goals of one split as tasks, and what they share: the shop, its shelf, its nouns."""

import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from agentgym_envs.seeds import InTurns
from agentgym_envs.types import Task, content_hash
from agentgym_envs.webshop.catalogue import FOUND, KINDS, Catalogue, open_catalogue
from agentgym_envs.webshop.generate import generated
from agentgym_envs.webshop.goals import GoalSet
from agentgym_envs.webshop.leaflets import Shelf
from agentgym_envs.webshop.nouns import NounFinder, find_nouns
from agentgym_envs.webshop.product import Product
from agentgym_envs.webshop.reward import goal_record
from agentgym_envs.webshop.splits import Rule, Split, split_indices

ENGINES = ("bm25", "lucene")
KEPT_TASKS = 1024  # of one split; 1 to 2 kB each


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """Which products, and who searches them. `products`: how many are generated; None: usual."""

    data: str | None
    difficulty: str
    catalogue_seeds: tuple[int, ...]
    products: int | None
    engine: str
    index: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which goals of a shop, and how purchases are judged."""

    shop: Shop
    kind: str
    price_seed: int
    shuffle_seed: int
    cap: int | None
    split: Split
    splits: Rule | None
    nouns: str
    fixed_options: bool
    success_only: bool


class GoalTasks:
    """Tasks made when asked for; ids are `<kind>/<place in the shuffled order>`.

    `shelf` is what a session shops from: the catalogue, with another search engine where one was
    chosen.
    """

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.catalogue = open_shop(choice.shop)
        self.shelf: Shelf = _shelf(self.catalogue, choice.shop)
        self.goals = open_goal_set(
            choice.shop, choice.kind, choice.price_seed, choice.shuffle_seed, choice.cap
        )
        self.price = self.goals.price  # one method object for all sessions
        self.nouns = _finder(choice.nouns, self.catalogue)
        rule = choice.splits or ("official" if choice.shop.data else "product_disjoint")
        self.ids = GoalIds(choice.kind, split_indices(self.goals, rule, choice.split))
        self._task = lru_cache(KEPT_TASKS)(self._make)

    def __reduce__(self):
        return open_goals, (self.choice,)

    def of(self, task_id: str) -> "GoalTasks":
        """The shop a task is played in."""
        return self

    def task(self, task_id: str) -> Task:
        """The same object for all who play it meanwhile. Raises KeyError for an unknown id."""
        return self._task(task_id)

    def _make(self, task_id: str) -> Task:
        index = self.ids.place(task_id)
        goal = self.goals.goal(index)
        product, nouns = self.looked_up(goal.asin)
        answer = goal_record(
            goal,
            product,
            nouns,
            nouns_by=self.nouns.name,
            fixed_options=self.choice.fixed_options,
            success_only=self.choice.success_only,
        )
        return Task(
            id=task_id,
            goal=goal.instruction,
            answer=answer,
            split=self.choice.split,
            kind=product.category,
            facts={
                "goal_index": index,
                "goal_kind": goal.kind,
                "fixed_options": self.choice.fixed_options,
            },
            hash=content_hash(
                # The seed decides what everything else in the shop costs.
                f"{self.catalogue.fingerprint} {self.goals.price_seed} {answer} {goal.instruction}"
            ),
        )

    def looked_up(self, asin: str) -> tuple[Product, Sequence[str]]:
        """A product and the nouns of its title."""
        product = self.catalogue.product(asin)
        return product, self.nouns(product.title)


class ShopsTasks(InTurns[GoalTasks]):
    """The goals of several generated shops."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        alone = {
            seed: replace(choice, shop=replace(choice.shop, catalogue_seeds=(seed,)))
            for seed in choice.shop.catalogue_seeds
        }
        super().__init__({seed: open_goals(one) for seed, one in alone.items()})

    def __reduce__(self):
        return open_goals, (self.choice,)

    def of(self, task_id: str) -> GoalTasks:
        """The shop a task is played in. Raises KeyError."""
        return self.find(task_id)[0]


Tasks = GoalTasks | ShopsTasks


class GoalIds(Sequence[str]):
    """The ids of a split, written when read: a million of them take no memory."""

    def __init__(self, kind: str, places: Sequence[int]) -> None:
        self._kind, self._places = kind, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        found = self._places[index]
        if isinstance(index, slice):
            return [f"{self._kind}/{place}" for place in found]
        return f"{self._kind}/{found}"

    def __iter__(self) -> Iterator[str]:
        return (f"{self._kind}/{place}" for place in self._places)

    def place(self, task_id: str) -> int:
        """The goal's place in the shuffled order. Raises KeyError for an id of no such goal."""
        kind, _, digits = task_id.rpartition("/")
        if kind == self._kind and digits.isdecimal() and str(int(digits)) == digits:
            place = int(digits)
            if _contains(self._places, place):
                return place
        raise KeyError(f"no goal {task_id!r} in this split; the first of {len(self)}: {self[0]!r}")


@lru_cache(maxsize=64)
def open_goals(choice: Choice) -> Any:
    """The tasks of a choice, once a process and shared. Raises ValueError for unknown settings."""
    if choice.kind not in KINDS:
        raise ValueError(f"goals is one of {', '.join(KINDS)}, got {choice.kind!r}")
    return (ShopsTasks if len(choice.shop.catalogue_seeds) > 1 else GoalTasks)(choice)


@lru_cache(maxsize=64)
def open_goal_set(
    shop: Shop, kind: Any, price_seed: int, shuffle_seed: int, cap: int | None
) -> GoalSet:
    """The goals of a shop, once a process and shared by its splits."""
    return GoalSet(open_shop(shop), kind, price_seed=price_seed, shuffle_seed=shuffle_seed, cap=cap)


def open_shop(shop: Shop) -> Catalogue:
    """The catalogue, once a process and shared."""
    if shop.engine not in ENGINES:
        raise ValueError(f"engine is one of {', '.join(ENGINES)}, got {shop.engine!r}")
    if (shop.index is None) != (shop.engine != "lucene"):
        raise ValueError("engine='lucene' needs index=FOLDER, and only that engine takes one")
    if shop.data is not None:
        return open_catalogue(shop.data)
    with _GENERATING:
        return _generated(shop.difficulty, shop.catalogue_seeds[0], shop.products)


_GENERATING = threading.Lock()


@lru_cache(maxsize=64)
def _generated(difficulty: str, seed: int, products: int | None) -> Catalogue:
    rows = generated(products, seed, difficulty)
    return Catalogue.build(rows.products, rows.attributes, rows.human)


class LuceneShelf:
    """A catalogue searched by pyserini on an index of the official kind."""

    def __init__(self, catalogue: Catalogue, index: str) -> None:
        from agentgym_envs.retrieval.lucene.retriever import LuceneRetriever

        self._catalogue, self._lucene = catalogue, LuceneRetriever(index)
        self.asins = catalogue.asins
        self.product = catalogue.product
        self.by_category, self.by_query = catalogue.by_category, catalogue.by_query

    def search(self, query: str) -> tuple[str, ...]:
        """The 50 best products; those the catalogue does not have are left out, as officially."""
        [(asins, _)] = self._lucene.search_ids([query], FOUND)
        return tuple(asin for asin in asins if asin in self._catalogue)


def _shelf(catalogue: Catalogue, shop: Shop) -> Shelf:
    return catalogue if shop.index is None else LuceneShelf(catalogue, shop.index)


def _finder(choice: str, catalogue: Catalogue) -> NounFinder:
    if choice != "table":
        return find_nouns(choice)
    if catalogue.nouns is None:
        raise ValueError("nouns='table': the catalogue has no nouns.json beside its files")
    return find_nouns(catalogue.nouns)


def _contains(places: Sequence[int], place: int) -> bool:
    """Whether an ascending sequence holds a place."""
    at = bisect_left(places, place)
    return at < len(places) and places[at] == place
