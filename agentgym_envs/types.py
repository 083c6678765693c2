"""The text side of everything: a task, its turns, the episode they make, the verdict on it.

All four are plain values: they compare by content, survive JSON, and hold no engine and no tensor,
so that an episode stored last month can be judged again today.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Something to do.

    `goal` is shown to the policy. `answer` (what counts as right) and `expert` (actions that solve
    it) never are. `kind` groups tasks in reports; `facts` are public and go into every info.
    `hash` names the content: two tasks with one hash are the same task, whatever their ids.
    """

    id: str
    goal: str
    answer: Any = None
    expert: tuple[str, ...] = ()
    split: str = ""
    kind: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    hash: str = ""

    def __post_init__(self) -> None:
        if not self.hash:
            content = json.dumps([self.goal, self.answer, self.expert], default=str)
            object.__setattr__(self, "hash", content_hash(content))


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One observation and one response.

    `observation` and `admissible` are what the policy saw before it spoke. `action` is what was
    sent to the engine, `valid` whether the response kept the format: two different questions.
    `facts` are what the engine reported afterwards.
    """

    observation: str
    response: str
    action: str
    valid: bool
    admissible: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A task and its turns, as text. `outcome` is what the environment said last."""

    task: Task
    turns: tuple[Turn, ...]
    outcome: str = ""
    stop_reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier concludes: success, a score in [0, 1], and the reason in a few words."""

    success: bool
    score: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Advice:
    """What an environment's own expert would do next, and the short thought behind it."""

    action: str
    thought: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """What an engine shows after an action.

    `done` ends the episode (won, lost, bought, answered). `facts` must have the same keys at every
    turn of an environment; they are public.
    """

    text: str
    admissible: tuple[str, ...] = ()
    done: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


def content_hash(text: str) -> str:
    """Sixteen hexadecimal digits that name a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
