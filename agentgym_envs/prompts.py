"""From an observation to what a model reads.

The environment says what is true; a prompt style says it to a model. A style is one TOML file
beside its environment (or anywhere: give the path). Two layouts are made from it:

- *turns*: every turn is a fresh prompt with a window of the turns before it (verl-agent's layout);
- *chat*: one conversation that only grows (`opening`, then `following` for each new turn).
"""

import re
import string
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from agentgym_envs.types import Advice, Turn

Message = dict[str, str]

_PARTS = re.compile(r"(\w+)\[(.*)\]|<(\w+)>(.*)</\3>", re.DOTALL)
_FIELDS = {
    "first": {"goal", "observation", "admissible"},
    "later": {
        "goal",
        "observation",
        "admissible",
        "history",
        "history_length",
        "turns_played",
        "turn",
    },
    "pair": {"turn", "observation", "action", "outcome"},
    "opening": {"goal", "observation", "admissible"},
    "following": {"goal", "observation", "admissible"},
    "reply": {"thought", "action", "name", "argument"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptStyle:
    """The templates of one way to talk to a model; `{names}` are filled in.

    `first`, `later` and `pair` (one past turn: its `observation`, its `action`, and the `outcome`,
    which the next turn saw) make the turns layout; `opening` and `following` make the chat layout.
    `reply` is how an expert's advice is written (`{thought}` and `{action}`, or an action's
    `{name}` and `{argument}`); `parser` reads replies.
    `admissible_item` and `admissible_join` render the admissible actions, without those in `hide`.
    `history` is how many past turns `later` shows; where that makes the text longer than
    `longest` characters, `first` is used in its stead (0: no limit).
    `stop` are texts that end a reply (see `cut`); `settings` are arguments that the environment's
    constructor must have for this style.
    """

    first: str
    later: str
    pair: str
    opening: str
    following: str
    reply: str
    parser: str
    system: str = ""
    history: int = 2
    longest: int = 0
    pair_join: str = "\n"
    admissible_item: str = "'{action}'"
    admissible_join: str = "\n "
    hide: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, known in _FIELDS.items():
            used = {
                placeholder
                for _, placeholder, _, _ in string.Formatter().parse(getattr(self, name))
                if placeholder is not None
            }
            if used - known:
                raise ValueError(
                    f"prompt template {name!r} uses {{{sorted(used - known)[0]}}}; "
                    f"it may use {', '.join(sorted(known))}"
                )

    def turn_messages(
        self, goal: str, turns: Sequence[Turn], observation: str, admissible: Sequence[str]
    ) -> list[Message]:
        """The prompt of the turn after `turns`, in the turns layout."""
        first = self.first.format(
            goal=goal, observation=observation, admissible=self._actions(admissible)
        )
        later = self._later(goal, turns, observation, admissible) if turns else first
        return self._with_system(first if 0 < self.longest < len(later) else later)

    def _later(
        self, goal: str, turns: Sequence[Turn], observation: str, admissible: Sequence[str]
    ) -> str:
        shown = turns[-self.history :] if self.history else []
        number = len(turns) - len(shown)
        seen = [*(turn.observation for turn in shown), observation]
        pairs = [
            self.pair.format(
                turn=number + i,
                observation=turn.observation,
                action=turn.action,
                outcome=seen[i],
            )
            for i, turn in enumerate(shown, start=1)
        ]
        return self.later.format(
            goal=goal,
            observation=observation,
            admissible=self._actions(admissible),
            history=self.pair_join.join(pairs),
            history_length=len(shown),
            turns_played=len(turns),
            turn=len(turns) + 1,
        )

    def opening_messages(
        self, goal: str, observation: str, admissible: Sequence[str]
    ) -> list[Message]:
        """How the conversation begins, in the chat layout."""
        text = self.opening.format(
            goal=goal, observation=observation, admissible=self._actions(admissible)
        )
        return self._with_system(text)

    def following_text(self, goal: str, observation: str, admissible: Sequence[str]) -> str:
        """The next user message, in the chat layout."""
        return self.following.format(
            goal=goal, observation=observation, admissible=self._actions(admissible)
        )

    def cut(self, response: str) -> str:
        """The response up to and with the first `stop` text in it; the earlier in `stop`, the more
        it counts, wherever it stands."""
        for text in self.stop:
            end = response.find(text)
            if end >= 0:
                return response[: end + len(text)]
        return response

    def fitted(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Constructor arguments of an environment that is talked to in this style.

        The style's parser, unless the settings name one, and its own settings. Raises ValueError
        where those given are others.
        """
        for name, value in self.settings.items():
            if settings.get(name, value) != value:
                raise ValueError(
                    f"this prompt style is for {name} = {value!r}, and the settings say "
                    f"{settings[name]!r}: choose another style, or leave {name} out"
                )
        return {"parser": self.parser, **self.settings, **settings}

    def written(self, advice: Advice) -> str:
        """An expert's advice as the reply that this style's parser reads.

        `{name}` and `{argument}` are the parts of an action `name[argument]` or
        `<name>argument</name>`.
        """
        parts = _PARTS.fullmatch(advice.action)
        return self.reply.format(
            thought=advice.thought,
            action=advice.action,
            name=(parts[1] or parts[3]) if parts else advice.action,
            argument=(parts[2] or parts[4] or "") if parts else "",
        )

    def _actions(self, admissible: Sequence[str]) -> str:
        return self.admissible_join.join(
            self.admissible_item.format(action=action)
            for action in admissible
            if action not in self.hide
        )

    def _with_system(self, text: str) -> list[Message]:
        user = {"role": "user", "content": text}
        return [{"role": "system", "content": self.system}, user] if self.system else [user]


def load_style(name: str, folder: str = "") -> PromptStyle:
    """A style by name, from the environment's `prompt_folder` ("package:folder"), of any package
    ("package:folder/name"), or by file path.

    Raises ValueError naming the file and what is wrong with it.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise ValueError(f"no prompt style file {name}")
        return _read(path.read_text(encoding="utf-8"), name)
    if ":" in name:
        folder, _, name = name.rpartition("/")
    package, _, inside = folder.partition(":")
    home = files(package).joinpath(inside) if package else None
    known = sorted(p.name[:-5] for p in home.iterdir() if p.name.endswith(".toml")) if home else []
    if home is None or name not in known:
        listed = ", ".join(known) or "none"
        raise ValueError(
            f"no prompt style {name!r}; built in: {listed}; yours: a path to a .toml, or a file in "
            "the environment's `prompt_folder`"
        )
    return _read(home.joinpath(name + ".toml").read_text(encoding="utf-8"), name)


def _read(text: str, name: str) -> PromptStyle:
    values = {
        key: value.strip("\n") if isinstance(value, str) else value
        for key, value in tomllib.loads(text).items()
    }
    known = {one.name for one in fields(PromptStyle)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"prompt style {name}: unknown key {unknown[0]!r}; known: {sorted(known)}")
    lists = {key: tuple(values[key]) for key in ("hide", "stop") if key in values}
    try:
        return PromptStyle(**{**values, **lists})
    except TypeError as error:
        raise ValueError(f"prompt style {name}: {error}") from error
