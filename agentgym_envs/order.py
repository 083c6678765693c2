"""Orders of tasks: some of a list, drawn once for all; a permutation that is never written out."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_MASK = (1 << 64) - 1
_ROUNDS = 6


def subset(items: Sequence[T], count: int) -> Sequence[T]:
    """So many of the items, always the same ones, in their order; all where count is 0 or more.

    Drawn, since tasks often stand data set after data set, or kind by kind in turns: the first so
    many would be of one set, and every second one of half the kinds.
    """
    if not 0 < count < len(items):
        return items
    order = Permutation(len(items), 0)
    return [items[i] for i in sorted(order[place] for place in range(count))]


class Permutation:
    """A permutation of range(count), chosen by a key below 2**63.

    A Feistel network over the next even number of bits, walked until it lands below `count`
    (cycle walking), so that the places of a few or of ten million tasks cost the same: nothing.
    """

    __slots__ = ("count", "half", "key")

    def __init__(self, count: int, key: int) -> None:
        self.count, self.key = count, key
        self.half = max(1, ((count - 1).bit_length() + 1) // 2)

    def __getitem__(self, place: int) -> int:
        if not 0 <= place < self.count:
            raise IndexError(f"place {place} of {self.count}")
        low_bits = (1 << self.half) - 1
        value = place
        while True:
            left, right = value >> self.half, value & low_bits
            for turn in range(_ROUNDS):
                left, right = right, left ^ (_mixed(right, turn, self.key) & low_bits)
            value = left << self.half | right
            if value < self.count:
                return value


def _mixed(value: int, turn: int, key: int) -> int:
    """Sixty-four well mixed bits (the finaliser of splitmix64)."""
    mixed = (key + (value << 3 | turn) * 0x9E3779B97F4A7C15) & _MASK
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK
    return mixed ^ mixed >> 31
