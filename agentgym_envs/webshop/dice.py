"""Dice with names: what they show depends on their name alone, not on what was drawn elsewhere.

Integers only, from BLAKE2b (RFC 7693), so a draw is the same on any machine and Python version.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from struct import unpack
from typing import TypeVar

Thing = TypeVar("Thing")

_WORDS = 8  # 64-bit words in one digest


def rank(*name: object) -> int:
    """A 64-bit number that belongs to this name."""
    return int.from_bytes(blake2b(_spelt(name), digest_size=8).digest(), "big")


def _spelt(name: tuple[object, ...]) -> bytes:
    return "/".join(map(str, name)).encode()


class Dice:
    """A stream of draws for one purpose: `Dice("webshop", 1, seed, "price", 17)`."""

    __slots__ = ("_count", "_name", "_words")

    def __init__(self, *name: object) -> None:
        self._name = _spelt(name)
        self._count = 0
        self._words: list[int] = []

    def below(self, n: int) -> int:
        """0, 1, ... n - 1."""
        if not self._words:
            digest = blake2b(self._name, salt=self._count.to_bytes(8, "big")).digest()
            self._words = list(unpack(f">{_WORDS}Q", digest))
            self._count += 1
        return self._words.pop() * n >> 64

    def between(self, low: int, high: int) -> int:
        """low, ... high, both possible."""
        return low + self.below(high - low + 1)

    def percent(self, share: int) -> bool:
        """True in `share` of 100 draws."""
        return self.below(100) < share

    def pick(self, things: Sequence[Thing]) -> Thing:
        """One of the things."""
        return things[self.below(len(things))]

    def lot(self, weights: Mapping[Thing, int]) -> Thing:
        """One of the keys, as often as its weight says."""
        left = self.below(sum(weights.values()))
        for thing, weight in weights.items():
            left -= weight
            if left < 0:
                return thing
        raise AssertionError("weights add up to more than their sum")

    def few(self, things: Sequence[Thing], count: int) -> tuple[Thing, ...]:
        """`count` of the things (all where there are fewer), without repeats, in drawn order."""
        rest = list(things)
        return tuple(rest.pop(self.below(len(rest))) for _ in range(min(count, len(rest))))
