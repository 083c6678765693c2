"""One episode as chat messages: what to send to a model, and what its reply does."""

from collections.abc import Mapping
from typing import Any, Literal

from agentgym_envs.core import TextEnv
from agentgym_envs.prompts import Message, PromptStyle
from agentgym_envs.types import Episode, Verdict


class Conversation:
    """An environment as a chat.

    `begin` starts an episode; `messages` is what the model replies to; `take` plays its reply.
    layout "chat": the messages only grow. "turns": a fresh prompt every turn, with a window of
    history. Rewards, ends and verdicts are the environment's own.

    The environment must give text observations, and parse what the style asks for.
    """

    def __init__(
        self, env: TextEnv, style: PromptStyle, layout: Literal["chat", "turns"] = "chat"
    ) -> None:
        if env.observation_mode != "text":
            raise ValueError("a conversation needs observation_mode='text'")
        self.env, self.style, self.layout = env, style, layout
        self.messages: list[Message] = []
        self.rewards: list[float] = []
        self.terminated = self.truncated = False
        self.info: dict[str, Any] = {}

    def begin(self, *, task_id: str | None = None, seed: int | None = None) -> list[Message]:
        """Start an episode: the task of that id, or as `reset(seed=seed)` chooses.

        Returns `messages`. Raises KeyError for an unknown task.
        """
        options = None if task_id is None else {"task_id": task_id}
        _, self.info = self.env.reset(seed=seed, options=options)
        self.rewards = []
        self.terminated = self.truncated = False
        goal, scene = self.env.task.goal, self.env.scene
        self.messages = (
            self.style.opening_messages(goal, scene.text, scene.admissible)
            if self.layout == "chat"
            else self.style.turn_messages(goal, (), scene.text, scene.admissible)
        )
        return self.messages

    def take(self, response: str) -> list[Message]:
        """Play one turn. Returns the messages that are new for the model, none after the end.

        A response that goes on behind what ends one in this style (`PromptStyle.stop`) is cut. In
        a chat that is one user message; in turns, the whole fresh prompt. Raises ResetNeeded
        after the end.
        """
        response = self.style.cut(response)
        _, reward, self.terminated, self.truncated, self.info = self.env.step(response)
        self.rewards.append(reward)
        goal, scene = self.env.task.goal, self.env.scene
        if self.layout == "chat":
            self.messages = [*self.messages, {"role": "assistant", "content": response}]
        if self.over:
            return []
        if self.layout == "turns":
            past = self.env.episode.turns
            self.messages = self.style.turn_messages(goal, past, scene.text, scene.admissible)
            return self.messages
        text = self.style.following_text(goal, scene.text, scene.admissible)
        message = {"role": "user", "content": text}
        self.messages = [*self.messages, message]
        return [message]

    @property
    def over(self) -> bool:
        """The episode has ended, one way or the other."""
        return self.terminated or self.truncated

    @property
    def reward(self) -> float:
        """The rewards so far, added up."""
        return sum(self.rewards)

    @property
    def episode(self) -> Episode:
        """The episode so far."""
        return self.env.episode

    @property
    def verdict(self) -> Verdict:
        """What the environment's verifier says of the episode so far."""
        return self.env.verify(self.env.episode)

    @property
    def summary(self) -> Mapping[str, Any]:
        """How the episode stands, as plain values under the names of `info`."""
        names = ("task_id", "task_hash", "split", "turn", "score", "success", "stop_reason")
        told = {name: self.info[name] for name in (*names, "invalid_turns", "env_version")}
        ends = {"terminated": self.terminated, "truncated": self.truncated}
        return {**told, **ends, "reward": self.reward}
