# pyright: reportMissingImports=false
"""GEM, and ROLL, which plays GEM's environments: ours by name, or any by its Gymnasium id.

    import agentgym_envs.integrations.gem  # registers the names below
    env = gem.make("agentgym:WebShop-v0", settings={"max_turns": 10})
    env = gem.make("agentgym", gym_id="my_lab:MyLab/Maze-v0")

Names: `agentgym:ALFWorld-v0`, `agentgym:WebShop-v0`, `agentgym:SearchQA-v0`; `register_setup` adds
one for a setup of yours. GEM keeps terminated and truncated apart; success is in the info.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from agentgym_envs.drivers.setup import Layout, Setup
from agentgym_envs.integrations.needs import require
from agentgym_envs.prompts import PromptStyle
from agentgym_envs.types import Advice

require("gem-llm", (0, 1), (0, 2))

from gem.core import Env  # noqa: E402
from gem.envs.registration import ENV_REGISTRY, register  # noqa: E402

__all__ = ["AgentGymEnv", "register_setup"]

# How ROLL gathers `info["metrics"]` over an episode.
_GATHERED = {"action_is_valid": "mean", "success": "last", "score": "last", "truncated": "last"}


class AgentGymEnv(Env):
    """One of our environments behind GEM's `reset(seed)` and `step(text)`.

    gym_id, settings, prompt, layout: as `Setup`. task_id: play that task only. seed: of a first
    `reset()` that names none (`gem.make_vec` gives one to each environment).

    Observations are what a model reads: in the layout "chat" the opening of a conversation, then
    one user message a turn; in "turns" a whole prompt every turn, for use without a wrapper that
    remembers. A style's system text stands before the first. After the end it is the environment's
    bare text.

    admissible: "suffix" moves what a style writes behind `{observation}`, the list of admissible
    actions, into `info["suffix"]`, where GEM's wrappers show the newest only; observation and
    suffix together are the style's message. "observation" leaves it in its place and the suffix
    empty, which GEM's "concat_chat" needs: that wrapper writes a suffix into the model's own turn.

    The info is Gymnasium's, with `suffix`, and `metrics` and `metrics_agg_mode` for ROLL. GEM's
    vector environments begin the next episode at once and drop the last info, so every reset's
    info has `final_info`: that of the episode before, where it came to its end, or None.
    """

    def __init__(
        self,
        gym_id: str,
        *,
        settings: Mapping[str, Any] | None = None,
        prompt: str = "default",
        layout: Layout = "chat",
        admissible: Literal["suffix", "observation"] = "suffix",
        task_id: str | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if admissible not in ("suffix", "observation"):
            raise ValueError(f"admissible is 'suffix' or 'observation', got {admissible!r}")
        self.setup = Setup(env_id=gym_id, settings=settings or {}, prompt=prompt, layout=layout)
        self.text_env = self.setup.make()
        self._admissible: Literal["suffix", "observation"] = admissible
        self._task_id, self._seed = task_id, seed
        self._style, self._suffix = self.setup.style, None
        if admissible == "suffix" and layout == "chat":
            self._style, self._suffix = _cut(self._style)
        self._dice = np.random.default_rng(seed)
        self._final_info: dict[str, Any] | None = None

    def reset(self, seed: int | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode, as the environment's `reset(seed=seed)` does.

        GEM's own reset is not called: it would seed the generators that everybody shares.
        """
        seed, self._seed = self._seed if seed is None else seed, None
        if seed is not None:
            self._dice = np.random.default_rng(seed)
        options = None if self._task_id is None else {"task_id": self._task_id}
        _, info = self.text_env.reset(seed=seed, options=options)
        final, self._final_info = self._final_info, None
        return self._text(), {**self._told(info, False), "final_info": final}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play one reply. Raises ResetNeeded after the end."""
        text, reward, terminated, truncated, info = self.text_env.step(action)
        told = self._told(info, truncated)
        if terminated or truncated:
            self._final_info = told
            return str(text), float(reward), terminated, truncated, told
        return self._text(), float(reward), terminated, truncated, told

    def sample_random_action(self) -> str:
        """A random action that could be tried now, written as the style asks."""
        return self._style.written(Advice(self.text_env.wander(self._dice)))

    def spawn(self, same_state: bool = False, **kwargs: Any) -> "AgentGymEnv":
        """Another like this one, with the constructor's arguments in `kwargs` changed.

        same_state: in the middle of the same episode. Raises ResetNeeded where none was begun and
        ValueError where the changes make it another environment.
        """
        own = {
            "gym_id": self.setup.env_id,
            "settings": self.setup.settings,
            "prompt": self.setup.prompt,
            "layout": self.setup.layout,
            "admissible": self._admissible,
            "task_id": self._task_id,
            "seed": self._seed,
        }
        env = type(self)(**{**own, **kwargs})
        if same_state:
            env.text_env.restore(self.text_env.snapshot())
        return env

    def close(self) -> None:
        self.text_env.close()

    def _text(self) -> str:
        env, scene = self.text_env, self.text_env.scene
        goal, turns = env.task.goal, env.episode.turns
        if self.setup.layout == "turns":
            said = self._style.turn_messages(goal, turns, scene.text, scene.admissible)
        elif turns:
            return self._style.following_text(goal, scene.text, scene.admissible)
        else:
            said = self._style.opening_messages(goal, scene.text, scene.admissible)
        return "\n\n".join(message["content"] for message in said)

    def _told(self, info: Mapping[str, Any], truncated: bool) -> dict[str, Any]:
        metrics = {
            "action_is_valid": info["action_valid"],
            "success": info["success"],
            "score": info["score"],
            "truncated": truncated,
        }
        suffix = "" if info["stop_reason"] else self._behind(info["turn"])
        return {**info, "suffix": suffix, "metrics": metrics, "metrics_agg_mode": {**_GATHERED}}

    def _behind(self, turn: int) -> str:
        if self._suffix is None:
            return ""
        goal, scene = self.text_env.task.goal, self.text_env.scene
        if turn:
            return self._suffix.following_text(goal, scene.text, scene.admissible)
        return self._suffix.opening_messages(goal, scene.text, scene.admissible)[0]["content"]


def register_setup(name: str, setup: Setup) -> None:
    """Give a setup a name for `gem.make`. Raises ValueError where the name is taken.

    `gem.make(name, settings=...)` replaces all of the setup's settings.
    """
    register(
        name,
        _ENTRY_POINT,
        gym_id=setup.env_id,
        settings=dict(setup.settings),
        prompt=setup.prompt,
        layout=setup.layout,
    )


def _cut(style: PromptStyle) -> tuple[PromptStyle, PromptStyle]:
    """The style up to the observation, and the style of the list of actions behind it."""
    opening, opening_suffix = _cut_text(style.opening)
    following, following_suffix = _cut_text(style.following)
    return (
        replace(style, opening=opening, following=following),
        replace(style, opening=opening_suffix, following=following_suffix, system=""),
    )


def _cut_text(template: str) -> tuple[str, str]:
    before, mark, behind = template.partition("{observation}")
    if "{admissible}" not in behind:
        return template, ""
    return before + mark, behind


_ENTRY_POINT = f"{__name__}:AgentGymEnv"
if "agentgym" not in ENV_REGISTRY:
    register("agentgym", _ENTRY_POINT)
    for _name in ("ALFWorld-v0", "WebShop-v0", "SearchQA-v0"):
        register_setup(f"agentgym:{_name}", Setup(env_id=f"AgentGym/{_name}"))
