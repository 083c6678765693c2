"""Which skills a task is shown, and how they stand in a prompt. The bank is one file: `bank.py`.

General skills are always shown; the strategy chooses the blocks of task types beside them:

- keyword: those whose rules fit the task; decided by the task and nothing else
- ucb: one, by what has worked so far; learns from outcomes
- all: every one
- random: one, from dice of its own that (seed, step, group) throw, in whatever order it is asked
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from agentgym_envs.types import Task
from agentgym_train.bank import SkillBank, load_bank
from agentgym_train.hints import Arms

Retrieval = Literal["keyword", "ucb", "all", "random"]
Placement = Literal["user", "raw_prefix"]
HEADING = "[Privileged Skill Information]"


@dataclass(frozen=True, kw_only=True)
class SkillSettings:
    """Which bank, how a task finds its skills there, and where they stand in the prompt.

    bank: "alfworld", "webshop", "searchqa", or a path to a .toml file. placement: "user" (at the
    start of the user message, nothing is ever cut) or "raw_prefix" (before the templated prompt,
    as in SDAR's code). curiosity: UCB's c.
    """

    bank: str
    retrieval: Retrieval = "keyword"
    placement: Placement = "user"
    curiosity: float = 1.0

    def __post_init__(self) -> None:
        for key, known in (("retrieval", Retrieval), ("placement", Placement)):
            if getattr(self, key) not in get_args(known):
                names = ", ".join(get_args(known))
                raise ValueError(f"{key} is one of {names}, got {getattr(self, key)!r}")
        if not (math.isfinite(self.curiosity) and self.curiosity >= 0):
            raise ValueError(f"curiosity must be at least 0, got {self.curiosity}")


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen: the names of the type blocks, and the whole text with the general skills."""

    arms: tuple[str, ...]
    text: str


class Skills:
    """A bank and, under UCB, what is known of its blocks.

    Raises BankError for a bank that cannot be read, ValueError when one block is to be chosen from
    a bank that has none.
    """

    def __init__(self, settings: SkillSettings, seed: int) -> None:
        self.settings = settings
        self.seed = seed
        self.bank: SkillBank = load_bank(settings.bank)
        if settings.retrieval in ("ucb", "random") and not self.bank.types:
            raise ValueError(f"retrieval {settings.retrieval!r}: {settings.bank} has no types")
        learns = settings.retrieval == "ucb"
        self.arms = Arms.fresh(self.bank.kinds, settings.curiosity) if learns else None

    def demand_fit(self, tasks: Iterable[Task]) -> None:
        """Raises ValueError where keywords find a type of the bank for none of these tasks."""
        chosen_by_task = self.settings.retrieval == "keyword" and self.bank.types
        if chosen_by_task and not any(self.bank.suited(task) for task in tasks):
            raise ValueError(
                f"skills.bank = {self.settings.bank!r} has no type for any of the environment's "
                "tasks: it is another environment's bank (how a bank is written is told in "
                "agentgym_train/bank.py; skills.retrieval = 'all' shows all of it to every task)"
            )

    def choose(self, task: Task, step: int, group: int) -> Choice:
        """The skills for a group's task at a step. Learns nothing and moves nobody's dice."""
        names = self._names(task, step, group)
        return Choice(names, self.bank.text(names))

    def learn(self, outcomes: Iterable[tuple[Choice, float]]) -> None:
        """After a rollout: each trajectory's choice and outcome (success: 0 or 1), a pull each.

        Only UCB learns; the others have nothing to.
        """
        if self.arms is None:
            return
        for choice, outcome in outcomes:
            (name,) = choice.arms
            self.arms = self.arms.after(name, float(outcome))

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON: which bank (by content), and what UCB has counted."""
        if self.arms is None:
            return self._identity
        return self._identity | {"pulls": list(self.arms.pulls), "total": list(self.arms.total)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`. Raises ValueError when it is of another bank or strategy."""
        for key, here in self._identity.items():
            if state.get(key) != here:
                raise ValueError(
                    f"the checkpoint's skills have {key} {state.get(key)!r}, this run {here!r}: "
                    f"resume with the skill bank and settings that the run began with"
                )
        if self.arms is not None:
            pulls, total = tuple(state["pulls"]), tuple(state["total"])
            self.arms = replace(self.arms, pulls=pulls, total=total)

    @property
    def _identity(self) -> dict[str, Any]:
        return {"bank": self.bank.fingerprint, "retrieval": self.settings.retrieval}

    def _names(self, task: Task, step: int, group: int) -> tuple[str, ...]:
        match self.settings.retrieval:
            case "all":
                return self.bank.kinds
            case "random":
                dice = random.Random(f"skills, seed {self.seed}, step {step}, group {group}")
                return (dice.choice(self.bank.kinds),)
            case "ucb" if self.arms is not None:
                return (self.arms.pick(),)
        return self.bank.suited(task)


def privileged(text: str) -> str:
    """The block at the start of a user message: a heading, the skills, an empty line."""
    return f"{HEADING}\n{text}\n\n"
