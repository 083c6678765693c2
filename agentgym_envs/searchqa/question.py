"""A question, what answers it, and where its evidence lies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Question:
    """A question of one of the sets, or of a generated world.

    `answers` are all right, the first is the one an expert gives. `data_source` names the set
    ("nq", "hotpotqa", ... or a generated kind). `gold` are ids of passages that hold the evidence,
    `queries` the expert's searches in order; both may be empty. `kind` groups questions in reports.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    data_source: str = ""
    gold: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    kind: str = ""
    split: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise ValueError(f"question {self.id!r} is blank")
        if not self.answers or not all(self.answers):
            raise ValueError(f"question {self.id!r} has no answer, or an empty one")
