"""Averages over the Search-QA sets: every question counts once, with counts and intervals.

`mean_of_batch_means` is the other rule, by which many published tables were made; it is here to
reproduce and to correct those, and nothing else uses it. See docs/search-qa-averages.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentgym_envs.statistics import wilson
from agentgym_envs.types import Episode, Verdict


@dataclass(frozen=True, slots=True)
class Share:
    """Questions answered rightly among all; `interval` is Wilson's at 95 %."""

    right: int
    questions: int
    mean_score: float

    @property
    def rate(self) -> float:
        return self.right / self.questions

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.questions)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.rate:.3f} [{low:.3f}, {high:.3f}] ({self.right}/{self.questions})"


@dataclass(frozen=True, slots=True)
class Averages:
    """Per set, over all questions (micro), and over the sets (macro)."""

    sets: Mapping[str, Share]

    @property
    def micro(self) -> Share:
        """All questions together: a large set weighs more than a small one."""
        total = sum(share.questions for share in self.sets.values())
        return Share(
            right=sum(share.right for share in self.sets.values()),
            questions=total,
            mean_score=sum(s.mean_score * s.questions for s in self.sets.values()) / total,
        )

    @property
    def macro(self) -> float:
        """The mean of the sets' rates: every set weighs the same (the usual "avg" of tables)."""
        return sum(share.rate for share in self.sets.values()) / len(self.sets)

    @property
    def macro_interval(self) -> tuple[float, float]:
        """A 95 % interval of `macro`: the sets' Wilson distances added as squares (MOVER)."""
        below = math.hypot(*(share.rate - share.interval[0] for share in self.sets.values()))
        above = math.hypot(*(share.interval[1] - share.rate for share in self.sets.values()))
        return self.macro - below / len(self.sets), self.macro + above / len(self.sets)

    def without(self, *names: str) -> "Averages":
        """The averages over the other sets (Bamboogle's 125 questions move a macro average)."""
        return self._of({name: s for name, s in self.sets.items() if name not in names})

    def of(self, names: Sequence[str]) -> "Averages":
        """The averages over these sets, such as `datasets.GROUPS["in_domain"]`, that are there."""
        return self._of({name: s for name, s in self.sets.items() if name in names})

    def _of(self, sets: Mapping[str, Share]) -> "Averages":
        if not sets:
            raise ValueError(f"no set is left to average; there are: {', '.join(self.sets)}")
        return Averages(sets)


def averages(judged: Sequence[tuple[Episode, Verdict]]) -> Averages:
    """Count judged episodes by `task.facts["data_source"]`, each question once.

    Raises ValueError where there is no episode, or a question was played more than once: its
    attempts are not independent, and an interval over them would be too narrow.
    """
    if not judged:
        raise ValueError("there are no episodes to average")
    verdicts: dict[str, dict[str, Verdict]] = {}
    for episode, verdict in judged:
        of_set = verdicts.setdefault(episode.task.facts["data_source"], {})
        if episode.task.id in of_set:
            raise ValueError(f"question {episode.task.id!r} was played twice: judge each once")
        of_set[episode.task.id] = verdict
    return Averages({name: _share(list(found.values())) for name, found in verdicts.items()})


def mean_of_batch_means(
    outcomes: Sequence[tuple[str, bool]], batch_size: int = 512
) -> dict[str, float]:
    """The published rule: per batch the rate of each set in it, then the mean of those rates.

    `outcomes`: (set, right) in the order of evaluation. A set's last batch weighs as much as a full
    one, however few of its questions are in it: of no use but to reproduce a published figure.
    """
    rates: dict[str, list[float]] = {}
    for start in range(0, len(outcomes), batch_size):
        batch: dict[str, list[bool]] = {}
        for name, right in outcomes[start : start + batch_size]:
            batch.setdefault(name, []).append(right)
        for name, rights in batch.items():
            rates.setdefault(name, []).append(sum(rights) / len(rights))
    return {name: sum(found) / len(found) for name, found in rates.items()}


def effective_sample(parts: Sequence[int]) -> float:
    """How many equally weighted questions are as precise as a mean of means over such batches."""
    return len(parts) ** 2 / sum(1 / part for part in parts)


def bamboogle_as_published(right_of_124: int, last_right: bool) -> float:
    """Bamboogle's percentage by the published rule: 124 questions weigh as much as the last one."""
    return 100 * (right_of_124 / 124 + last_right) / 2


def bamboogle_corrected(published: float) -> list[float]:
    """The true percentages (of 125) behind a published one with one decimal.

    The figure may have been rounded or cut off (68.95 is in print as 68.9). Empty where no count
    gives it by that rule: it was made by another. More than one only at 50.0, which 124 right and
    the last wrong give as well as only the last right.
    """
    return [
        100 * (right + last) / 125
        for last in (False, True)
        for right in range(125)
        if -0.05 <= bamboogle_as_published(right, last) - published < 0.1
    ]


def _share(verdicts: Sequence[Verdict]) -> Share:
    return Share(
        right=sum(verdict.success for verdict in verdicts),
        questions=len(verdicts),
        mean_score=sum(verdict.score for verdict in verdicts) / len(verdicts),
    )
