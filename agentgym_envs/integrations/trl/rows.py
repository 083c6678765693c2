"""Tasks as rows of a data set, and rows as tasks again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agentgym_envs.drivers.setup import Row, Setup

if TYPE_CHECKING:
    from datasets import Dataset  # pyright: ignore[reportMissingImports]

_KEY = "task"  # the key of a prompt's message that holds its row, which no chat template reads
_REMEDY = "make the data set with agentgym_envs.integrations.trl.task_dataset"


def task_dataset(
    setup: Setup,
    count: int | None = None,
    *,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> "Dataset":
    """The first `count` tasks of the environment's split (None: all), a row each, for both routes.

    seed: what every episode is reset with. settings: in addition to the setup's, such as
    `{"split": "valid_unseen"}` for evaluation.

    Columns: those of `Setup.row`, and `prompt`, one user message. Its text is empty, since the
    episode brings its own: as the first observation (tools), or as the style's opening
    (plain text). Besides its text it holds the row, which is all that TRL's rollout functions see.

    Raises ValueError where there are fewer tasks than asked for.
    """
    from datasets import Dataset  # pyright: ignore[reportMissingImports]

    rows = replace(setup, settings={**setup.settings, **(settings or {})}).rows(count, seed)
    if count is not None and len(rows) != count:
        raise ValueError(f"count = {count}, and {setup.env_id} has {len(rows)} such tasks")
    return Dataset.from_list([{"prompt": [_message(row)], **row} for row in rows])


def _message(row: Row) -> dict[str, str]:
    return {"role": "user", "content": "", _KEY: json.dumps(row)}


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedTask:
    """What a row names: a task, its seed, and the setup to play it in."""

    setup: Setup
    task_id: str
    seed: int

    @classmethod
    def of(cls, row: Mapping[str, Any], expected: Setup) -> "NamedTask":
        """The row's task. Its settings may differ from the expected setup's, and nothing else.

        Raises ValueError for a column that is missing, broken, or not as expected.
        """
        missing = [name for name in expected.row("") if name not in row]
        if missing:
            raise ValueError(f"a row of the data set has no column {missing[0]!r}: {_REMEDY}")
        setup = Setup.of(row)
        for name in ("env_id", "prompt", "layout"):
            found, wanted = getattr(setup, name), getattr(expected, name)
            if found != wanted:
                raise ValueError(
                    f"a row of the data set has {name} = {found!r}, and this was made for "
                    f"{wanted!r}: use one setup for both"
                )
        return cls(setup=setup, task_id=row["task_id"], seed=row["seed"])

    @classmethod
    def in_prompt(cls, prompt: Any, expected: Setup) -> "NamedTask":
        """The task of the row that a prompt's message holds. Raises ValueError where none does."""
        messages = prompt if isinstance(prompt, Sequence) and not isinstance(prompt, str) else ()
        for message in messages:
            if message.get(_KEY):
                return cls.of(json.loads(message[_KEY]), expected)
        raise ValueError(f"the prompt {prompt!r} names no task: {_REMEDY}")
