"""The official reward of a purchase, with all its parts.

    reward = r_type * (matched attributes + matched options + [price <= limit]) / (A + O + 1)

for A attributes and O options of the goal. Plain mappings in, so that a purchase of last month is
judged from its record alone; the texts that matter were written down when it was made.

What is read of a goal and of a purchase is what `goal_record` and `purchase_record` write. Options
of a human goal are values, those of a synthetic goal are (name, value) pairs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from agentgym_envs.webshop.fuzzy import alike
from agentgym_envs.webshop.product import Product

WITHOUT_NOUNS = 0.2  # title score against a goal title that has no noun

# A value is shortened to the first of these that occurs in it: "rectangular" to "tan".
_SHADES = """
alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown
burgundy camel camo caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac
copper coral cranberry cream crystal dark denim eggplant elephant espresso fuchsia gold granite
grape graphite grass gray green grey heather indigo ivory ivy khaki lavender lemon leopard light
lilac lime magenta maroon mauve merlot midnight mint mocha multicolor mushroom mustard natural
navy nude olive orange peach pewter pink plum purple rainbow red rose royal rust sand sapphire
seashell silver skull slate steel stone stonewash sunflower tan taupe teal tiger turquoise violet
walnut wheat white wine yellow
"""
SHADES = tuple(_SHADES.split())

Option = str | Sequence[str]  # a value, or a name and a value


class Wanted(Protocol):
    """What a record needs of a goal.

    Options: values (human), or (name, value) pairs (synthetic). price_limit in dollars.
    """

    @property
    def asin(self) -> str: ...
    @property
    def attributes(self) -> Sequence[str]: ...
    @property
    def options(self) -> Sequence[Option]: ...
    @property
    def price_limit(self) -> float: ...


class Bought(Protocol):
    """What a record needs of a purchase. Options: name -> value; price in dollars."""

    @property
    def asin(self) -> str: ...
    @property
    def options(self) -> Mapping[str, str]: ...
    @property
    def price(self) -> float: ...


def goal_record(
    goal: Wanted,
    product: Product,
    nouns: Sequence[str],
    *,
    nouns_by: str = "rule",
    fixed_options: bool = False,
    success_only: bool = False,
) -> dict[str, Any]:
    """What `Task.answer` holds, as JSON values.

    product: the goal's own. nouns: those of its title; nouns_by: who found them. fixed_options:
    see `parts`. success_only: a reward below 1 counts as 0.
    """
    return {
        "asin": goal.asin,
        "attributes": list(goal.attributes),
        "options": [option if isinstance(option, str) else list(option) for option in goal.options],
        "price_limit": goal.price_limit,
        "title": product.title,
        "query": product.query,
        "category_path": product.category_path,
        "nouns": list(nouns),
        "nouns_by": nouns_by,
        "fixed_options": fixed_options,
        "success_only": success_only,
    }


def purchase_record(purchase: Bought, product: Product, nouns: Sequence[str]) -> dict[str, Any]:
    """What the facts of the buying turn hold under `purchase`, as JSON values.

    product: the one bought. nouns: those of its title, by whoever found the goal's.
    """
    return {
        "asin": purchase.asin,
        "options": dict(purchase.options),
        "price": purchase.price,
        "title": product.title,
        "description": product.description,
        "bullets": list(product.bullets),
        "attributes": list(product.attributes),
        "query": product.query,
        "category_path": product.category_path,
        "nouns": list(nouns),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A purchase held against a goal. `attributes` and `options`: those of the goal that it lacks.

    `parts`: the official numbers under their official names, and `reward`.
    """

    parts: Mapping[str, Any]
    attributes: tuple[str, ...]
    options: tuple[Option, ...]


def parts(
    goal: Mapping[str, Any], bought: Mapping[str, Any], *, fixed_options: bool = False
) -> dict[str, Any]:
    """`reward` in [0, 1] and its parts, under the keys of the official info.

    `r_type`, `r_att`, `r_option`: shares in [0, 1]; `r_price`: whether the price is within the
    limit; `w_att`, `w_option`, `w_price`: what share of the whole each can give; `title_score`,
    `query_match`, `category_match`: what `r_type` was made of. `r_option` and `w_option` are absent
    where the goal has no options.

    fixed_options: compare the values of synthetic goals as those of human ones, and let a value
    always match itself. Officially the printed pair is compared with a chosen value that was
    shortened to a colour, so that for one synthetic goal in fifteen even the right purchase falls
    short of 1. Not the official reward: name it with results.

    Raises ValueError for a goal without attributes.
    """
    return dict(judge(goal, bought, fixed_options=fixed_options).parts)


def judge(
    goal: Mapping[str, Any], bought: Mapping[str, Any], *, fixed_options: bool = False
) -> Judgement:
    """As `parts`, and what was missing."""
    attributes, options = goal["attributes"], goal["options"]
    if not attributes:
        raise ValueError("a goal has at least one attribute, this one has none")
    lacking = _lacking_attributes(attributes, bought)
    missing = _missing_options(options, bought["options"].values(), fixed_options)
    kind = kind_parts(goal, bought)
    within = bought["price"] <= goal["price_limit"]
    met = len(attributes) - len(lacking)
    chosen = len(options) - len(missing)
    whole = len(attributes) + len(options) + 1
    found = {
        "r_type": kind["r_type"],
        "r_att": met / len(attributes),
        "w_att": len(attributes) / whole,
        "query_match": kind["query_match"],
        "category_match": kind["category_match"],
        "title_score": kind["title_score"],
    }
    if options:
        found |= {"r_option": chosen / len(options), "w_option": len(options) / whole}
    found |= {"r_price": within, "w_price": 1 / whole}
    found["reward"] = (met + chosen + within) / whole * kind["r_type"]
    return Judgement(parts=found, attributes=lacking, options=missing)


def kind_parts(goal: Mapping[str, Any], bought: Mapping[str, Any]) -> dict[str, Any]:
    """Whether it is the same kind of thing: `r_type` 1, 0.5, 0.1 or 0, and what it was made of.

    The shared nouns of the titles have the last word: without any, an equal query does not help.
    """
    score = _title_score(goal["nouns"], bought["nouns"])
    same_query = bought["query"] == goal["query"]
    shared = _categories(goal["category_path"]) & _categories(bought["category_path"])
    same_category = len(shared) >= 2
    if score == 0:
        likeness = 0.0
    elif score < 0.1:
        likeness = 0.1
    elif same_query or same_category or score > 0.2:
        likeness = 1.0
    else:
        likeness = 0.5
    return {
        "r_type": likeness,
        "query_match": same_query,
        "category_match": same_category,
        "title_score": score,
    }


def _title_score(wanted: Sequence[str], found: Sequence[str]) -> float:
    """Share of the goal title's nouns, counted with repeats, that both titles have, counted once.

    So a title that repeats a noun scores below 1 even against itself.
    """
    return len(set(wanted) & set(found)) / len(wanted) if wanted else WITHOUT_NOUNS


@lru_cache(maxsize=1 << 14)
def _categories(path: str) -> frozenset[str]:
    return frozenset(part.strip() for part in path.split("›"))


def _lacking_attributes(wanted: Sequence[str], bought: Mapping[str, Any]) -> tuple[str, ...]:
    listed = bought["attributes"]
    lacking = [want for want in wanted if not any(alike(own, want) for own in listed)]
    if not lacking:
        return ()
    texts = (
        bought["title"].lower(),
        " ".join(bought["bullets"]).lower(),
        bought["description"].lower(),
    )
    return tuple(want for want in lacking if not any(want in text for text in texts))


def _missing_options(
    wanted: Sequence[Option], chosen: Iterable[str], fixed: bool
) -> tuple[Option, ...]:
    values = tuple(chosen)
    plain = [shade(value) for value in values]
    missing = []
    for option in wanted:
        if fixed and _value(option) in values:
            continue
        want = shade(_value(option)) if fixed or isinstance(option, str) else printed(*option)
        if not any(alike(value, want) for value in plain):
            missing.append(option)
    return tuple(missing)


def _value(option: Option) -> str:
    return option if isinstance(option, str) else option[1]


@lru_cache(maxsize=1 << 14)
def shade(value: str) -> str:
    """The alphabetically first of the colour words that is part of the value, or the value."""
    return next((word for word in SHADES if word in value), value)


@lru_cache(maxsize=1 << 14)
def printed(name: str, value: str) -> str:
    """What a pair becomes: a colour word that equals its name or value, else its Python text.

    The official code hands the pair to functions meant for a value, and this is what they do.
    """
    pair = (name, value)
    return next((word for word in SHADES if word in pair), str(pair))
