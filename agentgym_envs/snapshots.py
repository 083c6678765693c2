"""What a snapshot of an environment holds, and how that becomes bytes."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Where an episode stands, as what leads there from its beginning.

    env: which environment, and how it plays. order: a permutation's count and key, and the place
    in it. dice, dice_at_start: states of the generator now and when the episode began. scene: the
    hash of what was shown last.
    """

    env: str
    seed: int | None
    task_id: str
    task_hash: str
    order: tuple[int, int, int]
    dice: dict[str, Any]
    dice_at_start: dict[str, Any]
    responses: tuple[str, ...]
    scene: str

    def written(self) -> bytes:
        return json.dumps({"format": _FORMAT, **asdict(self)}).encode()

    @classmethod
    def read(cls, written: bytes) -> "Snapshot":
        """Raises ValueError for what is no snapshot, or one of another format."""
        try:
            content = dict(json.loads(written))
        except (TypeError, ValueError) as error:  # also what is no UTF-8
            raise ValueError(f"this is no snapshot: {error}") from None
        found = content.pop("format", None)
        if found != _FORMAT:
            raise ValueError(f"snapshot format {found}, expected {_FORMAT}")
        try:
            listed = {name: tuple(content[name]) for name in ("order", "responses")}
            saved = cls(**{**content, **listed})
            saved._check()
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"this snapshot is damaged: {error}") from None
        return saved

    def _check(self) -> None:
        """Raises ValueError where a field is not what it says, and what numpy raises for dice."""
        for state in (self.dice, self.dice_at_start):
            np.random.PCG64().state = state  # type: ignore[assignment]
        texts = (self.env, self.task_id, self.task_hash, self.scene, *self.responses)
        numbers = (*self.order, 0 if self.seed is None else self.seed)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a text is none")
        if not all(type(number) is int for number in numbers):
            raise ValueError("a number is none")
        count, _, place = self.order
        if not 0 <= place <= count:
            raise ValueError(f"place {place} of {count} tasks")
