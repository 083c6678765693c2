"""Infos of many environments as Gymnasium's vector environments give them: an array a key."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from agentgym_envs.core import INFO_TYPES

Info = Mapping[str, Any]
_NUMBERS: Mapping[type, type] = {bool: np.bool_, int: np.int64, float: np.float64}
_FIT: Mapping[type, frozenset[type]] = {
    bool: frozenset({bool}),
    int: frozenset({int}),
    float: frozenset({float, int}),
}


class Columns:
    """The columns of infos that have the same keys and types as the first one.

    Numbers and truth values become an array of them, `reward_terms` columns of its own, and all
    else an array of objects, dictionaries included; so does a column in which somebody's number is
    none at that time. (What is None at times should be so in the first info: with it a column's
    type does not depend on whose infos are together.)
    """

    def __init__(self, first: Info, types: Mapping[str, type] = INFO_TYPES) -> None:
        self._types = {key: types.get(key, type(value)) for key, value in first.items()}
        self._nested = {
            key: Columns(value, {}) for key, value in first.items() if types.get(key) is dict
        }

    def of(self, infos: Sequence[Info], present: np.ndarray) -> dict[str, Any]:
        """A column for each key, and `_key`: who has it; the others have False, 0 or None there.

        infos: of those who are present [num_envs], in order. Raises ValueError where keys differ.
        """
        if any(len(info) != len(self._types) for info in infos):
            raise _differing(next(key for i in infos for key in self._types.keys() ^ i.keys()))
        columns: dict[str, Any] = {}
        for key, kind in self._types.items():
            try:
                values = list(map(itemgetter(key), infos))
            except KeyError:
                raise _differing(key) from None
            nested = self._nested.get(key)
            columns["_" + key] = present.copy()
            columns[key] = nested.of(values, present) if nested else _column(kind, values, present)
        return columns


def _differing(key: str) -> ValueError:
    return ValueError(
        f"some infos have {key!r} and others do not: a scene's facts have the same keys at every "
        "turn of every task"
    )


def _column(kind: type, values: Sequence[Any], present: np.ndarray) -> np.ndarray:
    if kind in _NUMBERS and _FIT[kind].issuperset(map(type, values)):
        column, nothing = np.array(values, _NUMBERS[kind]), 0
    else:
        column, nothing = np.fromiter(values, object, len(values)), None
    if len(values) == len(present):
        return column
    spread = np.full(len(present), nothing, column.dtype)
    spread[present] = column
    return spread
