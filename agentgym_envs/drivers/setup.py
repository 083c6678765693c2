"""What is played and how it speaks to a model; and the rows that name tasks in other stacks."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium as gym

from agentgym_envs.core import TextEnv
from agentgym_envs.drivers.conversation import Conversation
from agentgym_envs.fitting import demand_fit
from agentgym_envs.prompts import PromptStyle, load_style
from agentgym_envs.registration import importable, maker_of

Layout = Literal["chat", "turns"]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """An environment, its settings, and its way to talk to a model.

    env_id: as for `gym.make`, "module:Namespace/Name-v0" included. settings: constructor
    arguments that JSON can hold. prompt: a style's name or path. The style says how replies are
    parsed, unless the settings do.
    """

    env_id: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    prompt: str = "default"
    layout: Layout = "chat"

    def __post_init__(self) -> None:
        if self.layout not in ("chat", "turns"):
            raise ValueError(f"layout is 'chat' or 'turns', got {self.layout!r}")

    @property
    def style(self) -> PromptStyle:
        """The prompt style. Raises ValueError where there is none of that name."""
        return style_of(self.env_id, self.prompt)

    def make(self) -> TextEnv:
        """A new environment.

        Raises TypeError where the id is not a TextEnv's, ValueError where the settings contradict
        the prompt style's.
        """
        return make_text_env(self.env_id, self.style.fitted(self.settings))

    def conversation(self) -> Conversation:
        """A new environment, as a chat."""
        return Conversation(self.make(), self.style, self.layout)

    def row(self, task_id: str, seed: int = 0) -> Row:
        """One task as a row of a data set: plain strings and numbers, and all it takes to play."""
        return {
            "env_id": self.env_id,
            "task_id": task_id,
            "seed": seed,
            "settings": json.dumps(dict(self.settings), sort_keys=True),
            "prompt_style": self.prompt,
            "layout": self.layout,
        }

    def rows(self, count: int | None = None, seed: int = 0) -> list[Row]:
        """A row for each of the first `count` tasks of the environment's split (None: all)."""
        return [self.row(task_id, seed) for task_id in self.make().tasks.ids[:count]]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Setup":
        """The setup that a row names; columns of the stack's own are left alone.

        Raises ValueError naming the column that is missing or broken.
        """
        try:
            settings = json.loads(row["settings"])
            return cls(
                env_id=row["env_id"],
                settings=settings,
                prompt=row["prompt_style"],
                layout=row["layout"],
            )
        except KeyError as error:
            raise ValueError(
                f"a task row has no column {error}: write rows with Setup.rows()"
            ) from error
        except json.JSONDecodeError as error:
            raise ValueError(f"a task row's column 'settings' is not JSON: {error}") from error


def make_text_env(env_id: str, settings: Mapping[str, Any]) -> TextEnv:
    """`gym.make` without wrappers.

    Raises TypeError where the id is not a TextEnv's, and naming a setting that is unknown, missing
    or of the wrong type, before anything is made; else what the constructor raises.
    """
    name = importable(env_id)
    demand_fit(env_id, _kind(env_id), {**gym.spec(name).kwargs, **settings})
    env = gym.make(name, **settings).unwrapped
    if not isinstance(env, TextEnv):
        raise TypeError(f"{env_id} is a {type(env).__name__}, not a TextEnv")
    return env


def style_of(env_id: str, name: str) -> PromptStyle:
    """A prompt style of an environment by name, or any by path.

    Raises ValueError where there is none of that name, TypeError where the id is not a TextEnv's.
    """
    return load_style(name, getattr(_kind(env_id), "prompt_folder", ""))


def _kind(env_id: str) -> Any:
    """What makes the environment. Raises TypeError where that is another class than a TextEnv."""
    kind = maker_of(env_id)
    if isinstance(kind, type) and not issubclass(kind, TextEnv):
        raise TypeError(f"{env_id} is a {kind.__name__}, not a TextEnv")
    return kind
