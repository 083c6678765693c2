"""Any text as a Gymnasium space.

`gymnasium.spaces.Text` fixes an alphabet: one accent and an observation lies outside it.
`Unicode` holds every string up to a length, and samples printable ones.
"""

from typing import Any

import numpy as np
from gymnasium.spaces import Space

_SAMPLED = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;!?'\"()<>/-_"
    + "äéñçßøЖдλπ中文日本語한글🙂"
)


class Unicode(Space[str]):
    """Every `str` of at most `max_length` characters.

    Samples have between 1 and 32 characters (or `max_length` if that is less), drawn from letters,
    digits, punctuation and a few characters outside ASCII.
    """

    def __init__(
        self, max_length: int = 1_000_000, seed: int | np.random.Generator | None = None
    ) -> None:
        if max_length < 1:
            raise ValueError(f"max_length must be at least 1, got {max_length}")
        self.max_length = max_length
        super().__init__(shape=None, dtype=None, seed=seed)

    @property
    def is_np_flattenable(self) -> bool:
        return False

    def sample(self, mask: None = None, probability: None = None) -> str:
        if mask is not None or probability is not None:
            raise ValueError("Unicode.sample takes neither a mask nor probabilities")
        length = int(self.np_random.integers(1, min(self.max_length, 32) + 1))
        return "".join(_SAMPLED[i] for i in self.np_random.integers(0, len(_SAMPLED), length))

    def contains(self, x: Any) -> bool:
        return isinstance(x, str) and len(x) <= self.max_length

    def to_jsonable(self, sample_n: Any) -> list[str]:
        return list(sample_n)

    def from_jsonable(self, sample_n: list[Any]) -> list[str]:
        return [str(text) for text in sample_n]

    def __repr__(self) -> str:
        return f"Unicode({self.max_length})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unicode) and other.max_length == self.max_length

    def __hash__(self) -> int:
        return hash((Unicode, self.max_length))
