"""WebShop's verdict, from two records: the goal's in the task's answer, and the purchase's in the
facts of the buying turn. Both are JSON and complete, so no catalogue is opened.
"""

from collections.abc import Callable, Mapping
from typing import Any

from agentgym_envs.types import Episode, Verdict
from agentgym_envs.webshop.reward import Judgement, judge


def verify(episode: Episode) -> Verdict:
    """Score: the official reward of the first purchase, which ends the episode; 0 without one.

    Success: a reward of exactly 1; the score itself where the answer says `success_only`. Raises
    ValueError naming what is wrong with a record.
    """
    for number, turn in enumerate(episode.turns, start=1):
        bought = turn.facts.get("purchase")
        if bought is not None:
            check_goal(episode.task.answer)
            check_purchase(bought, f"the purchase of turn {number}")
            answer = episode.task.answer
            judgement = judge(answer, bought, fixed_options=answer["fixed_options"])
            reward = judgement.parts["reward"]
            success = reward == 1
            score = float(success) if answer["success_only"] else reward
            return Verdict(success, score, _reason(judgement))
    return Verdict(False, 0.0, "nothing bought")


def check_goal(record: Any) -> None:
    """Raises ValueError unless `record` is one that `goal_record` could have made."""
    _check(record, _GOAL, "the task's answer")
    if not record["attributes"]:
        raise ValueError("the task's answer: a goal has at least one attribute, this one has none")


def check_purchase(record: Any, where: str = "a purchase") -> None:
    """Raises ValueError unless `record` is one that `purchase_record` could have made."""
    _check(record, _PURCHASE, where)


def _reason(judgement: Judgement) -> str:
    """In a few words: what was bought, and what it lacked."""
    found = judgement.parts
    if found["reward"] == 1:
        return "bought as asked"
    lacks = []
    if found["r_type"] < 1:
        lacks.append("another kind of thing" if found["r_type"] else "quite another thing")
    if judgement.attributes:
        lacks.append(f"attribute missing: {', '.join(judgement.attributes)}")
    if judgement.options:
        names = [option if isinstance(option, str) else option[0] for option in judgement.options]
        lacks.append(f"option missing: {', '.join(names)}")
    if not found["r_price"]:
        lacks.append("price above the limit")
    return f"bought, {'; '.join(lacks)}"


# -- what a record looks like


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def _are_goal_options(value: Any) -> bool:
    if not isinstance(value, list | tuple):
        return False
    return all(isinstance(item, str) or (_are_texts(item) and len(item) == 2) for item in value)


def _are_choices(value: Any) -> bool:
    return isinstance(value, Mapping) and _are_texts([*value, *value.values()])


_Check = tuple[Callable[[Any], bool], str]
_TEXT: _Check = (_is_text, "a text")
_NUMBER: _Check = (_is_number, "a number")
_FLAG: _Check = (_is_flag, "true or false")
_TEXTS: _Check = (_are_texts, "a list of texts")

_BOTH = {
    "asin": _TEXT,
    "title": _TEXT,
    "attributes": _TEXTS,
    "query": _TEXT,
    "category_path": _TEXT,
    "nouns": _TEXTS,
}
_GOAL: Mapping[str, _Check] = {
    **_BOTH,
    "options": (_are_goal_options, "a list of values, or of [name, value] pairs"),
    "price_limit": _NUMBER,
    "nouns_by": _TEXT,
    "fixed_options": _FLAG,
    "success_only": _FLAG,
}
_PURCHASE: Mapping[str, _Check] = {
    **_BOTH,
    "options": (_are_choices, "a mapping from names to values"),
    "price": _NUMBER,
    "description": _TEXT,
    "bullets": _TEXTS,
}


def _check(record: Any, fields: Mapping[str, _Check], where: str) -> None:
    if not isinstance(record, Mapping):
        raise ValueError(f"{where} is a mapping of facts, got {type(record).__name__}")
    for name, (fits, shape) in fields.items():
        if name not in record:
            raise ValueError(f"{where} lacks {name!r}; was it recorded by another version?")
        if not fits(record[name]):
            raise ValueError(f"{where}: {name!r} should be {shape}, got {record[name]!r:.80}")
