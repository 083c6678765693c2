"""Random numbers that are looked up by name, never drawn from a stream.

A number is a hash of (version, seed, purpose, index): sha256 of the first three gives a key,
splitmix64 mixes the index into it. So a new relation moves no other one, any entity of a world of a
million is made alone, and the same world comes out of every Python and NumPy.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

VERSION = 1  # of generated worlds: another version, other worlds

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB

T = TypeVar("T")


def _mix(x: int) -> int:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014)."""
    x = (x ^ (x >> 30)) * _FIRST & _MASK
    x = (x ^ (x >> 27)) * _SECOND & _MASK
    return x ^ (x >> 31)


class Dice:
    """The numbers of one purpose in one world."""

    __slots__ = ("key",)

    def __init__(self, seed: int, *purpose: object) -> None:
        name = "\x1f".join(map(str, (VERSION, seed, *purpose)))
        self.key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")

    def number(self, index: int) -> int:
        """The 64 bits at `index`, 0 or more."""
        return _mix((self.key + (index + 1) * _STEP) & _MASK)

    def below(self, index: int, limit: int) -> int:
        """A whole number in [0, limit) at `index`."""
        return self.number(index) * limit >> 64

    def numbers(self, count: int) -> NDArray[np.uint64]:
        """`number` of 0 .. count - 1.  -> uint64 [count]"""
        x = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_STEP) + np.uint64(self.key)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(_FIRST)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(_SECOND)
        return x ^ (x >> np.uint64(31))

    def many_below(self, count: int, limit: int) -> NDArray[np.int64]:
        """Whole numbers in [0, limit), limit under 2^31.  -> int64 [count]"""
        high = (self.numbers(count) >> np.uint64(32)) * np.uint64(limit)
        return (high >> np.uint64(32)).astype(np.int64)

    def roll(self, index: int) -> "Roll":
        """As many numbers as wanted, all at `index`."""
        return Roll(self.number(index))


class Roll:
    """Numbers one after the other, for the small choices within one page or question."""

    __slots__ = ("_state",)

    def __init__(self, state: int) -> None:
        self._state = state

    def below(self, limit: int) -> int:
        """A whole number in [0, limit)."""
        self._state = (self._state + _STEP) & _MASK
        return _mix(self._state) * limit >> 64

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, which are not empty."""
        return options[self.below(len(options))]

    def chance(self, percent: int) -> bool:
        """True in so many of a hundred cases."""
        return self.below(100) < percent


@dataclass(frozen=True, slots=True)
class Shuffle:
    """A permutation of 0 .. size - 1, computed, not stored: i -> (i step + start) mod size."""

    size: int
    step: int
    start: int

    @classmethod
    def of(cls, size: int, dice: Dice) -> "Shuffle":
        """The permutation that these dice choose. Its step is near the golden section of `size`,
        so that neighbours land far apart."""
        step = max(1, (size * 618 + dice.below(0, max(1, size * 40))) // 1000)
        while gcd(step, size) != 1:
            step += 1
        return cls(size, step, dice.below(1, size))

    def at(self, index: int) -> int:
        """Where `index` lands."""
        return (index * self.step + self.start) % self.size
