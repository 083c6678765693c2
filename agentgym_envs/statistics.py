"""How sure a success rate is."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentgym_envs.types import Episode, Verdict


def wilson(successes: int, trials: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The Wilson score interval of a proportion; z = 1.96 gives 95 %.

    Raises ValueError unless 0 <= successes <= trials and trials >= 1.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} successes in {trials} trials is no proportion")
    rate = successes / trials
    spread = 1 + z * z / trials
    middle = (rate + z * z / (2 * trials)) / spread
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / spread
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == trials else middle + half
    return low, high


@dataclass(frozen=True, slots=True)
class Rate:
    """Successes among episodes, with a 95 % Wilson interval; their mean turns and mean score."""

    successes: int
    episodes: int
    mean_turns: float
    mean_score: float

    @property
    def rate(self) -> float:
        return self.successes / self.episodes

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.successes, self.episodes)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.rate:.3f} [{low:.3f}, {high:.3f}] ({self.successes}/{self.episodes})"


@dataclass(frozen=True, slots=True)
class Summary:
    """Success over all episodes and by kind of task; the share of invalid turns; averages of the
    environment's own (`TextEnv.aggregates`)."""

    overall: Rate
    by_kind: dict[str, Rate]
    invalid_share: float
    aggregates: Mapping[str, Rate] = field(default_factory=dict)


def summarise(judged: Sequence[tuple[Episode, Verdict]], env: Any = None) -> Summary:
    """Count each judged episode once. Raises ValueError when there is none.

    env: a TextEnv or its class, whose own averages are wanted, too.
    """
    if not judged:
        raise ValueError("there are no episodes to summarise")
    kinds = sorted({episode.task.kind for episode, _ in judged})
    turns = [turn for episode, _ in judged for turn in episode.turns]
    return Summary(
        overall=_rate(judged, lambda kind: True),
        by_kind={kind: _rate(judged, kind.__eq__) for kind in kinds if kind},
        invalid_share=sum(not turn.valid for turn in turns) / max(len(turns), 1),
        aggregates={} if env is None else env.aggregates(judged),
    )


def _rate(judged: Sequence[tuple[Episode, Verdict]], wanted: Callable[[str], bool]) -> Rate:
    chosen = [(episode, verdict) for episode, verdict in judged if wanted(episode.task.kind)]
    return Rate(
        successes=sum(verdict.success for _, verdict in chosen),
        episodes=len(chosen),
        mean_turns=sum(len(episode.turns) for episode, _ in chosen) / len(chosen),
        mean_score=sum(verdict.score for _, verdict in chosen) / len(chosen),
    )
