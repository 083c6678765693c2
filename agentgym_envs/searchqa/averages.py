"""Averages over the Search-QA sets: every question counts once, with counts and intervals."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agentgym_envs.searchqa.datasets import GROUPS, SETS
from agentgym_envs.statistics import Rate
from agentgym_envs.types import Episode, Verdict

SMALL = "bamboogle"  # 125 questions, which move an average of seven sets by points


@dataclass(frozen=True, slots=True)
class Macro(Rate):
    """The mean of the rates of several sets: each weighs the same (the usual "avg" of tables).

    Successes and episodes are counted over all of them; turns and score are means of the sets'.
    """

    sets: tuple[Rate, ...]

    @classmethod
    def of(cls, sets: Iterable[Rate]) -> "Macro":
        """Raises ValueError where there is none."""
        sets = tuple(sets)
        if not sets:
            raise ValueError("there is no set to average")
        return cls(
            successes=sum(one.successes for one in sets),
            episodes=sum(one.episodes for one in sets),
            mean_turns=sum(one.mean_turns for one in sets) / len(sets),
            mean_score=sum(one.mean_score for one in sets) / len(sets),
            sets=sets,
        )

    @property
    def rate(self) -> float:
        return sum(one.rate for one in self.sets) / len(self.sets)

    @property
    def interval(self) -> tuple[float, float]:
        """At 95 %: the sets' Wilson distances, added as squares (MOVER)."""
        below = math.hypot(*(one.rate - one.interval[0] for one in self.sets))
        above = math.hypot(*(one.interval[1] - one.rate for one in self.sets))
        return self.rate - below / len(self.sets), self.rate + above / len(self.sets)

    def __str__(self) -> str:
        low, high = self.interval
        size = f"{len(self.sets)} sets, {self.episodes} questions"
        return f"{self.rate:.3f} [{low:.3f}, {high:.3f}] ({size})"


def aggregates(judged: Sequence[tuple[Episode, Verdict]]) -> dict[str, Rate]:
    """The averages over those of the published sets that there are; empty for other questions.

    "macro", and "macro, in_domain", "macro, out_of_domain" and "macro without bamboogle" where they
    average other sets than it does; none of them of fewer than two sets.
    """
    sets = by_set(judged)
    if not set(sets) <= set(SETS):
        return {}
    groups = {
        "macro": SETS,
        **{f"macro, {name}": group for name, group in GROUPS.items()},
        f"macro without {SMALL}": tuple(name for name in SETS if name != SMALL),
    }
    told: dict[tuple[str, ...], str] = {}
    for name, group in groups.items():
        there = tuple(one for one in group if one in sets)
        if len(there) > 1:
            told.setdefault(there, name)
    return {name: Macro.of(sets[one] for one in there) for there, name in told.items()}


def by_set(judged: Sequence[tuple[Episode, Verdict]]) -> dict[str, Rate]:
    """Each set's rate: judged episodes by `task.facts["data_source"]`, the published sets first.

    Raises ValueError where a question was played more than once: its attempts are not independent,
    and an interval over them would be too narrow.
    """
    found: dict[str, dict[str, tuple[Episode, Verdict]]] = {}
    for episode, verdict in judged:
        of_set = found.setdefault(episode.task.facts["data_source"], {})
        if episode.task.id in of_set:
            raise ValueError(f"question {episode.task.id!r} was played twice: judge each once")
        of_set[episode.task.id] = episode, verdict
    order = sorted(found, key=lambda name: SETS.index(name) if name in SETS else len(SETS))
    return {name: _rate(list(found[name].values())) for name in order}


def _rate(judged: Sequence[tuple[Episode, Verdict]]) -> Rate:
    return Rate(
        successes=sum(verdict.success for _, verdict in judged),
        episodes=len(judged),
        mean_turns=sum(len(episode.turns) for episode, _ in judged) / len(judged),
        mean_score=sum(verdict.score for _, verdict in judged) / len(judged),
    )
