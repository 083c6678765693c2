"""Which skills to show: by keyword, or by what has worked (UCB). Pure: text and counts only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log, sqrt


def matching(text: str, rules: Mapping[str, Sequence[str]]) -> list[str]:
    """The types with at least one keyword in the text, in the order of the rules.

    Case does not matter; a keyword may be part of a longer word. Empty: general skills only.
    """
    lowered = text.lower()
    return [kind for kind, words in rules.items() if any(w.lower() in lowered for w in words)]


@dataclass(frozen=True, slots=True)
class Arms:
    """A bandit over the blocks of a skill bank, in bank order (UCB1).

    pulls, total: how often each arm was shown, and the sum of its outcomes. c: weight of
    curiosity against success.
    """

    names: tuple[str, ...]
    pulls: tuple[int, ...]
    total: tuple[float, ...]
    c: float = 1.0

    @classmethod
    def fresh(cls, names: Sequence[str], c: float = 1.0) -> Arms:
        if not names:
            raise ValueError("a bandit needs at least one arm: the skill bank has no type blocks")
        return cls(tuple(names), (0,) * len(names), (0.0,) * len(names), c)

    @property
    def means(self) -> list[float]:
        """Mean outcome of each arm; 0 for one never pulled."""
        return [t / max(n, 1) for t, n in zip(self.total, self.pulls, strict=True)]

    def scores(self) -> list[float] | None:
        """mean + c sqrt(ln N / n) of each arm; None while one has never been pulled."""
        if 0 in self.pulls:
            return None
        curiosity = log(sum(self.pulls))
        pairs = zip(self.means, self.pulls, strict=True)
        return [mean + self.c * sqrt(curiosity / n) for mean, n in pairs]

    def pick(self) -> str:
        """The first arm never pulled, else the one with the best score, the earlier in a tie."""
        scores = self.scores()
        if scores is None:
            return self.names[self.pulls.index(0)]
        return self.names[scores.index(max(scores))]

    def after(self, name: str, outcome: float) -> Arms:
        """With one more pull of an arm and its outcome (success: 0 or 1)."""
        if name not in self.names:
            raise KeyError(f"no arm {name!r}; the bank has {', '.join(self.names)}")
        here = self.names.index(name)
        pulls, total = list(self.pulls), list(self.total)
        pulls[here] += 1
        total[here] += outcome
        return replace(self, pulls=tuple(pulls), total=tuple(total))
