"""For the tests of the WebShop shop: recorded sessions to play again, and a stall of odd goods."""

import gzip
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agentgym_envs.parsing import Parsed
from agentgym_envs.webshop.catalogue import Catalogue, open_catalogue
from agentgym_envs.webshop.goals import GoalSet
from agentgym_envs.webshop.product import Product
from agentgym_envs.webshop.shop import Session


def recorded_sessions(shop_data: Path) -> Iterator[dict[str, Any]]:
    """Every line with steps in every recording, the verl-agent line's too."""
    for path in sorted((shop_data / "recordings").iterdir()):
        if path.name.endswith((".jsonl", ".jsonl.gz")):
            opened = gzip.open if path.suffix == ".gz" else open
            with opened(path, "rt", encoding="utf-8") as file:
                for line in file:
                    record = json.loads(line)
                    if not isinstance(record, dict) or "steps" not in record:
                        break  # a table of something else
                    yield record


def is_fork(record: Mapping[str, Any]) -> bool:
    return record["config"].get("env") == "fork"


def as_written(response: str, admissible: tuple[str, ...]) -> Parsed:
    """A parser that changes nothing; the official shop refuses " search[x]" for its blank."""
    return Parsed(response, True)


class Replays:
    """Opens sessions as they were recorded; one catalogue and goal set for all that share them."""

    def __init__(self, shop_data: Path) -> None:
        self._folder = shop_data
        self._goals: dict[tuple, GoalSet] = {}

    def open(self, record: Mapping[str, Any]) -> Session:
        config, name = record["config"], record["dataset"].partition("-")[0]
        catalogue = open_catalogue(self._folder / name)
        return Session(
            catalogue,
            str(record["goal_index"]),
            record["goal"]["instruction_text"],
            prices=self._goal_set(catalogue, name, config).price,
            show_attributes=bool(config.get("show_attrs", 0)),
            hidden_commands=True,
            dice=random.Random(0),
        )

    def _goal_set(self, catalogue: Catalogue, name: str, config: Mapping[str, Any]) -> GoalSet:
        key = (name, config["human_goals"], config["seed"])
        if key not in self._goals:
            kind = "human" if config["human_goals"] else "synthetic"
            self._goals[key] = GoalSet(catalogue, kind, price_seed=config["seed"])
        return self._goals[key]


def goods(asin: str, **facts: Any) -> Product:
    """A product of which only some facts matter."""
    plain = {
        "title": f"Thing {asin}",
        "description": "A thing.",
        "bullets": ("One.", "Two."),
        "prices": (10.0,),
        "price_tag": "$10.0",
        "options": {},
        "category_path": "Home › Things",
        "category": "garden",
        "query": "things",
        "attributes": ("handy",),
        "image": "https://img.example/thing.jpg",
    }
    return Product(asin=asin, **(plain | facts))


class Stall:
    """A shelf of few products. Every search finds all of them, in order; "nothing" finds none."""

    def __init__(self, *products: Product) -> None:
        self._products = {product.asin: product for product in products}
        self.asins = tuple(self._products)

    def product(self, asin: str) -> Product:
        return self._products[asin]

    def search(self, query: str) -> tuple[str, ...]:
        return () if query == "nothing" else self.asins

    def by_category(self, name: str) -> tuple[str, ...]:
        return tuple(a for a in self.asins if self._products[a].category == name)

    def by_query(self, name: str) -> tuple[str, ...]:
        return tuple(a for a in self.asins if self._products[a].query == name)


def shopper(*products: Product, instruction: str = "Buy a thing", **settings: Any) -> Session:
    return Session(Stall(*products), "7", instruction, prices=lambda asin: 10.0, **settings)
