"""What a model reads, as the observation: for code that speaks Gymnasium and nothing else."""

from typing import Any, Literal

import gymnasium as gym
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from agentgym_envs.core import TextEnv
from agentgym_envs.prompts import Message, load_style
from agentgym_envs.spaces import Unicode

_LONGEST = 10_000_000  # characters of a prompt


class PromptWrapper(gym.ObservationWrapper, RecordConstructorArgs):
    """The observation is the turn's prompt, as one of the environment's styles writes it.

    style: its name or path. layout "turns": a fresh prompt with a window of history; "chat": the
    whole conversation so far. messages: a tuple of chat messages; False: one text, the contents of
    the messages with blank lines between them.

    Raises TypeError unless a TextEnv is inside, and ValueError where that does not read replies as
    the style asks for them.
    """

    def __init__(
        self,
        env: gym.Env[Any, str],
        *,
        style: str = "default",
        layout: Literal["turns", "chat"] = "turns",
        messages: bool = False,
    ) -> None:
        RecordConstructorArgs.__init__(self, style=style, layout=layout, messages=messages)
        super().__init__(env)
        inner = env.unwrapped
        if not isinstance(inner, TextEnv):
            raise TypeError(f"a prompt needs a TextEnv, got {type(inner).__name__}")
        self._inner, self._layout, self._messages = inner, layout, messages
        self._style = load_style(style, inner.prompt_folder)
        if inner.parser != self._style.parser:
            raise ValueError(
                f"the style {style!r} asks for replies that the parser {self._style.parser!r} "
                f"reads, and the environment has {inner.parser!r}: make it with that parser"
            )
        text = Unicode(_LONGEST)
        message = spaces.Dict(role=text, content=text)
        self.observation_space = spaces.Sequence(message) if messages else text

    def observation(self, observation: Any) -> tuple[Message, ...] | str:
        """The prompt. (What the environment shows is in its episode and scene.)"""
        said = self._chat() if self._layout == "chat" else self._fresh()
        if self._messages:
            return tuple(said)
        return "\n\n".join(message["content"] for message in said)

    def _fresh(self) -> list[Message]:
        env, scene = self._inner, self._inner.scene
        past = env.episode.turns
        return self._style.turn_messages(env.task.goal, past, scene.text, scene.admissible)

    def _chat(self) -> list[Message]:
        env, scene = self._inner, self._inner.scene
        goal, past = env.task.goal, env.episode.turns
        shown = [(turn.observation, turn.admissible) for turn in past]
        first, *later = [*shown, (scene.text, scene.admissible)]
        said = self._style.opening_messages(goal, *first)
        for turn, (text, admissible) in zip(past, later, strict=True):
            asked = self._style.following_text(goal, text, admissible)
            said += [
                {"role": "assistant", "content": turn.response},
                {"role": "user", "content": asked},
            ]
        return said
