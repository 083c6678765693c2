"""What the runs say: how each algorithm stands, which differ, what they cost. Numbers only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from agentgym_train.report.runs import Arm, Evaluation, best_of
from agentgym_train.report.stats import (
    LEVEL,
    Array,
    Difference,
    Interval,
    Part,
    Rank,
    Swaps,
    holm,
    over_seeds,
    over_seeds_and_tasks,
    over_tasks,
    paired_difference,
    pooled,
    rank_stability,
    swap_test,
)
from agentgym_train.report.study import Study

PHASES = ("rollout", "score", "update", "evaluate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An algorithm on an environment, over its finished seeds. Rates are means over seeds.

    tasks_interval: of these runs on other tasks. seeds_interval, both_interval: None where there
    is no word on new seeds. rank: 1 for the highest final rate; equals share the better rank.
    """

    algorithm: str
    arms: tuple[Arm, ...]
    rate: float
    tasks_interval: Interval | None
    seeds_interval: Interval | None
    both_interval: Interval | None
    best: float
    best_steps: tuple[int, ...]
    turns: float
    score: float
    invalid: float
    rank: int
    stability: Rank | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Helped:
    """An algorithm's finished seeds with skills in the student's prompt at evaluation, too."""

    algorithm: str
    seeds: int
    rate: float
    best: float
    best_steps: tuple[int, ...]
    turns: float
    invalid: float
    kinds: Mapping[str, float]

    @property
    def name(self) -> str:
        return f"{self.algorithm}, skills at evaluation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two algorithms on the same tasks. p-values also after Holm, over an environment's pairs;
    None where there is no word on new seeds."""

    first: str
    second: str
    seeds: tuple[int, int]
    difference: Difference
    runs: Swaps
    p_holm: float | None
    runs_p_holm: float

    @property
    def ahead(self) -> str:
        """Which algorithm would be ahead with new seeds and tasks; "" where that is not told."""
        return self._better if self.p_holm is not None and self.p_holm < LEVEL else ""

    @property
    def ahead_here(self) -> str:
        """Which algorithm's runs are ahead; "" where that is not told."""
        return self._better if self.runs_p_holm < LEVEL else ""

    @property
    def _better(self) -> str:
        mean = self.difference.mean
        return self.first if mean > 0 else self.second if mean < 0 else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one run of an algorithm took, on average over the runs that were given."""

    runs: int
    steps: float
    sampled: float
    taught: float
    seconds: Mapping[str, float]


class Findings:
    """An environment's results. Only finished runs are compared; all are drawn and counted."""

    def __init__(self, study: Study, env: str) -> None:
        self.env = env
        self.algorithms = study.algorithms(env)
        self.arms = {name: study.of(env, name) for name in self.algorithms}
        self.done = {
            name: kept
            for name, arms in self.arms.items()
            if (kept := [arm for arm in arms if arm.final])
        }
        self.yardsticks = study.yardsticks.get(env, ())
        baseline = study.baselines.get(env, "")
        self.baseline = baseline if baseline in self.done else ""

    @cached_property
    def tasks(self) -> list[tuple[str, str]]:
        """The held-out tasks (id, hash) that every finished run played last, in order."""
        played = [_tasks(arm) for arms in self.done.values() for arm in arms]
        if not played:
            return []
        everyone = set(played[0]).intersection(*played[1:])
        return [task for task in played[0] if task in everyone]

    @cached_property
    def same_tasks(self) -> bool:
        """Whether no finished run played a task that another did not."""
        return all(len(_tasks(a)) == len(self.tasks) for arms in self.done.values() for a in arms)

    @cached_property
    def outcomes(self) -> dict[str, Array]:
        """algorithm -> final outcomes [S, T] on the common tasks; {} where there are none."""
        if not self.tasks:
            return {}
        return {
            name: np.stack([self._row(arm) for arm in arms]) for name, arms in self.done.items()
        }

    @cached_property
    def rates(self) -> dict[str, list[float]]:
        """algorithm -> each seed's rate: on the common tasks, where they are known."""
        if self.outcomes:
            return {name: one.mean(axis=1).tolist() for name, one in self.outcomes.items()}
        return {name: [_final(arm).rate for arm in arms] for name, arms in self.done.items()}

    @cached_property
    def scatter(self) -> Part | None:
        """The variance of a run's rate, pooled over the algorithms."""
        return pooled(self.rates.values())

    @cached_property
    def standings(self) -> list[Standing]:
        """Finished algorithms, best first."""
        stable = rank_stability(self.outcomes)
        rates = {
            name: _mean([_final(arm).rate for arm in arms]) for name, arms in self.done.items()
        }
        found = [self._standing(name, rates, stable.get(name)) for name in self.done]
        return sorted(found, key=lambda one: one.rank)

    @cached_property
    def helped(self) -> list[Helped]:
        """Algorithms that were evaluated with skills as well."""
        every = {
            name: [arm.helped for arm in arms if arm.helped] for name, arms in self.done.items()
        }
        return [_helped(name, seeds) for name, seeds in every.items() if seeds]

    @cached_property
    def pairs(self) -> list[Pair]:
        """Every two algorithms; where there is a baseline, every other one and it."""
        compared = []
        for first, second in combinations(self.outcomes, 2):
            if self.baseline in ("", first, second):
                if first == self.baseline:
                    first, second = second, first
                a, b = self.outcomes[first], self.outcomes[second]
                difference = paired_difference(a, b, self.scatter)
                compared.append((first, second, difference, swap_test(a, b)))
        known = [difference.p for *_, difference, _ in compared if difference.p is not None]
        adjusted = iter(holm(known))
        adjusted_runs = holm([test.p for *_, test in compared])
        return [
            Pair(
                first=first,
                second=second,
                seeds=(len(self.done[first]), len(self.done[second])),
                difference=difference,
                runs=test,
                p_holm=None if difference.p is None else next(adjusted),
                runs_p_holm=runs_p,
            )
            for (first, second, difference, test), runs_p in zip(
                compared, adjusted_runs, strict=True
            )
        ]

    @cached_property
    def kinds(self) -> dict[str, int]:
        """Kinds of task among the held-out ones, with their number."""
        arms = [arm for found in self.done.values() for arm in found]
        counts: dict[str, int] = {}
        for one in _final(arms[0]).outcomes if arms else ():
            counts[one.kind] = counts.get(one.kind, 0) + 1
        return {kind: counts[kind] for kind in sorted(counts) if kind}

    @property
    def untrained(self) -> tuple[float, float] | None:
        """Success and turns before training, mean over the runs that have begun."""
        firsts = [one for arms in self.arms.values() for arm in arms if (one := arm.first)]
        if not firsts:
            return None
        return _mean([one.rate for one in firsts]), _mean([one.turns for one in firsts])

    def kind_rate(self, algorithm: str, kind: str) -> float | None:
        """Final success on one kind of task, mean over seeds."""
        rates = []
        for arm in self.done[algorithm]:
            won = [one.success for one in _final(arm).outcomes if one.kind == kind]
            if won:
                rates.append(sum(won) / len(won))
        return _mean(rates) if rates else None

    def cost(self, algorithm: str) -> Cost | None:
        """Of the finished runs; of all that have begun where none is finished."""
        arms = self.done.get(algorithm) or [a for a in self.arms[algorithm] if a.metrics]
        if not arms:
            return None
        return Cost(
            runs=len(arms),
            steps=_mean([arm.reached for arm in arms]),
            sampled=_mean([_total(arm, sampled_tokens) for arm in arms]),
            taught=_mean([_total(arm, taught_tokens) for arm in arms]),
            seconds={phase: _mean([_seconds(arm, phase) for arm in arms]) for phase in PHASES},
        )

    def _row(self, arm: Arm) -> Array:
        won = {(one.task, one.hash): one.success for one in _final(arm).outcomes}
        return np.array([float(won[task]) for task in self.tasks])

    def _standing(self, name: str, rates: Mapping[str, float], stability: Rank | None) -> Standing:
        arms, outcomes = self.done[name], self.outcomes.get(name)
        finals = [_final(arm) for arm in arms]
        bests = [best for arm in arms if (best := arm.best)]
        both = None if outcomes is None else over_seeds_and_tasks(outcomes, self.scatter)
        return Standing(
            algorithm=name,
            arms=tuple(arms),
            rate=rates[name],
            tasks_interval=None if outcomes is None else over_tasks(outcomes),
            seeds_interval=over_seeds(self.rates[name], self.scatter),
            both_interval=both,
            best=_mean([one.rate for one in bests]),
            best_steps=tuple(one.step for one in bests),
            turns=_mean([one.turns for one in finals]),
            score=_mean([one.score for one in finals]),
            invalid=_mean([one.invalid for one in finals]),
            rank=1 + sum(other > rates[name] + 1e-12 for other in rates.values()),
            stability=stability,
        )


def sampled_tokens(record: Mapping[str, float]) -> float:
    """Tokens the student wrote in a step."""
    return record.get("tokens/sampled", 0.0)


def taught_tokens(record: Mapping[str, float]) -> float:
    """Tokens that the teacher's forward passes read in a step, prompts included."""
    return record.get("teacher/tokens_read", 0.0)


def training_seconds(record: Mapping[str, float]) -> float:
    """Of a line of the timings, what training took: evaluation left out."""
    return sum(record.get(f"seconds/{phase}", 0.0) for phase in PHASES if phase != "evaluate")


def _helped(name: str, seeds: Sequence[Sequence[Evaluation]]) -> Helped:
    finals = [evaluations[-1] for evaluations in seeds]
    bests = [best for evaluations in seeds if (best := best_of(evaluations))]
    kinds = dict.fromkeys(kind for one in finals for kind in one.kinds)
    return Helped(
        algorithm=name,
        seeds=len(seeds),
        rate=_mean([one.rate for one in finals]),
        best=_mean([one.rate for one in bests]),
        best_steps=tuple(one.step for one in bests),
        turns=_mean([one.turns for one in finals]),
        invalid=_mean([one.invalid for one in finals]),
        kinds={
            kind: _mean([one.kinds[kind] for one in finals if kind in one.kinds]) for kind in kinds
        },
    )


def _final(arm: Arm) -> Evaluation:
    assert arm.final is not None, arm.folder
    return arm.final


def _tasks(arm: Arm) -> list[tuple[str, str]]:
    return [(one.task, one.hash) for one in _final(arm).outcomes]


def _total(arm: Arm, tokens: Callable[[Mapping[str, float]], float]) -> float:
    return sum(tokens(record) for record in arm.metrics)


def _seconds(arm: Arm, phase: str) -> float:
    return sum(record.get(f"seconds/{phase}", 0.0) for record in arm.seconds)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
