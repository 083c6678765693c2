"""TextEnv: the turn loop, written once.

An environment says how an episode starts, what an action does, and how an episode is judged.
Choosing the task, parsing, limits, reward, infos, rendering and snapshots are here and the same
everywhere.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding

from agentgym_envs.order import Permutation
from agentgym_envs.parsing import find_parser
from agentgym_envs.spaces import Unicode
from agentgym_envs.types import Advice, Episode, Scene, Task, Turn, Verdict, content_hash

Observation = str | dict[str, Any]
SNAPSHOT_FORMAT = 1


class TaskSource(Protocol):
    """Where tasks come from: ids in a fixed order, each task made when asked for."""

    @property
    def ids(self) -> Sequence[str]: ...

    def task(self, task_id: str) -> Task: ...


class TaskList:
    """Tasks that are few enough to be held."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = {task.id: task for task in tasks}
        self.ids: tuple[str, ...] = tuple(self._tasks)

    def task(self, task_id: str) -> Task:
        return self._tasks[task_id]


class TextEnv(gym.Env[Observation, str]):
    """A multi-turn text environment; a subclass gives `start`, `act` and `verify`.

    Observation: the new turn's text and nothing older ("text"), or a dictionary of `text`,
    `admissible` (actions, possibly none) and `turn` ("dict").
    Action: any string. What cannot be parsed is a turn with `info["action_valid"]` False.
    Reward: `reward_scale` times the verdict's score on the last turn, else 0; less
    `invalid_penalty` on an invalid turn. `info["reward_terms"]` has the parts.
    `terminated`: the engine ended the episode. `truncated`: `max_turns` were played. `success` in
    the info is the verdict's, and neither of the two.

    `reset(seed=s)` draws a permutation of the tasks and starts with its first; `reset()` goes on
    along it, drawing the next permutation after the last task; `reset(options={"task_id": id})`
    plays that task and leaves the permutation where it was.

    `prompt_folder` ("package:folder") holds the prompt styles. `yardsticks` are scripted policies
    to hold a trained one against: name -> "package.module:Policy", made with a seed.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "human"], "render_fps": 4}  # noqa: RUF012 (Gymnasium's own shape)
    version: ClassVar[str] = "0"
    prompt_folder: ClassVar[str] = ""
    yardsticks: ClassVar[Mapping[str, str]] = {
        "random": "agentgym_envs.evaluate:RandomPolicy",
        "expert": "agentgym_envs.evaluate:ExpertPolicy",
    }

    def __init__(
        self,
        tasks: TaskSource | Sequence[Task],
        *,
        max_turns: int,
        parser: str = "text",
        observation_mode: Literal["text", "dict"] = "text",
        reward_scale: float = 1.0,
        invalid_penalty: float = 0.0,
        info_level: Literal["public", "debug"] = "public",
        render_mode: str | None = None,
        max_length: int = 1_000_000,
    ) -> None:
        if max_turns < 1:
            raise ValueError(f"max_turns must be at least 1, got {max_turns}")
        if observation_mode not in ("text", "dict"):
            raise ValueError(f"observation_mode is 'text' or 'dict', got {observation_mode!r}")
        if info_level not in ("public", "debug"):
            raise ValueError(f"info_level is 'public' or 'debug', got {info_level!r}")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode is 'ansi', 'human' or None, got {render_mode!r}")
        self.tasks: TaskSource = TaskList(tasks) if isinstance(tasks, Sequence) else tasks
        if not self.tasks.ids:
            raise ValueError(f"{type(self).__name__} has no tasks")
        self.max_turns = max_turns
        self.reward_scale = reward_scale
        self.invalid_penalty = invalid_penalty
        self.observation_mode = observation_mode
        self.info_level = info_level
        self.render_mode = render_mode
        self._parser_name = parser
        self._parse = find_parser(parser)
        self._max_length = max_length
        self._order = Permutation(0, 0)
        self._place = 0
        self._seed: int | None = None
        self._run: _Run | None = None
        # Gymnasium's, set here too: instances of the same attributes share their layout.
        self.spec = None
        self._np_random, self._np_random_seed = None, None

    # Gymnasium's spaces, made when asked for: thousands of environments never are.

    @cached_property
    def action_space(self) -> spaces.Space[str]:  # type: ignore[override]
        return Unicode(self._max_length)

    @cached_property
    def observation_space(self) -> spaces.Space[Any]:  # type: ignore[override]
        if self.observation_mode == "text":
            return Unicode(self._max_length)
        return spaces.Dict(
            text=Unicode(self._max_length),
            admissible=spaces.Sequence(Unicode(self._max_length)),
            turn=spaces.Discrete(self.max_turns + 1),
        )

    # What a subclass gives.

    def start(self, task: Task) -> Scene:
        """Begin the task. Draw randomness from `self.np_random` only."""
        raise NotImplementedError

    def act(self, action: str) -> Scene:
        """Do the action ("" when nothing could be parsed). Never raises on a policy's mistake."""
        raise NotImplementedError

    @staticmethod
    def verify(episode: Episode) -> Verdict:
        """Judge an episode: a pure function, usable on a stored file."""
        raise NotImplementedError

    def advise(self) -> Advice | None:
        """What the environment's own expert would do now; None when it has no advice."""
        played = len(self._playing.turns)
        return Advice(self.task.expert[played]) if played < len(self.task.expert) else None

    def wander(self, dice: np.random.Generator) -> str:
        """A random action that could be tried now: one of the admissible, "" where none are."""
        actions = self.scene.admissible
        return actions[int(dice.integers(len(actions)))] if actions else ""

    # What a subclass may look at.

    @property
    def task(self) -> Task:
        """The task being played."""
        return self._playing.task

    @property
    def scene(self) -> Scene:
        """What the engine showed last."""
        return self._playing.scene

    # The turn loop.

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode. Options: `task_id`.

        Raises ValueError on an unknown option and KeyError on an unknown task id.
        """
        super().reset(seed=seed)
        if seed is not None:
            self._seed = seed
            self._place = self._order.count  # the next task begins another permutation
        chosen = self._chosen(options or {})
        return self._begin(self._next_in_order() if chosen is None else chosen)

    def step(self, action: str) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Play one turn. Raises ResetNeeded after the end, TypeError when the action is no str."""
        run = self._run
        if run is None or run.terminated or run.truncated:
            raise ResetNeeded("the episode is over or not begun: call reset() before step()")
        if not isinstance(action, str):
            raise TypeError(f"an action is a str, got {type(action).__name__}")
        before = run.scene
        run.action, run.valid = self._parse(action, before.admissible)
        run.scene = self.act(run.action)
        run.invalid_turns += not run.valid
        penalty = 0.0 if run.valid else -self.invalid_penalty
        run.turns.append(
            Turn(
                observation=before.text,
                response=action,
                action=run.action,
                valid=run.valid,
                admissible=before.admissible,
                facts=run.scene.facts,
            )
        )
        run.terminated = run.scene.done
        run.truncated = not run.terminated and len(run.turns) >= self.max_turns
        if run.terminated or run.truncated:
            run.verdict = self.verify(self.episode)
        earned = self.reward_scale * run.verdict.score
        run.terms = {"score": earned, "invalid": penalty}
        if self.render_mode == "human":
            print(f"> {run.action}\n{run.scene.text}\n")
        return self._observe(), earned + penalty, run.terminated, run.truncated, self._info()

    @property
    def episode(self) -> Episode:
        """The episode so far. Raises ResetNeeded before the first reset."""
        run = self._playing
        return Episode(
            task=run.task,
            turns=tuple(run.turns),
            outcome=run.scene.text,
            stop_reason=run.stop_reason,
        )

    def render(self) -> str | None:  # type: ignore[override]
        """The transcript so far ("ansi"); "human" prints each turn as it is played."""
        if self.render_mode != "ansi":
            return None
        lines = [f"{turn.observation}\n\n> {turn.action}\n" for turn in self._playing.turns]
        return "\n".join([*lines, self.scene.text])

    # Snapshots.

    def snapshot(self) -> bytes:
        """Everything needed to go on from here, exactly, also in another process."""
        run = self._playing
        return json.dumps(
            {
                "format": SNAPSHOT_FORMAT,
                "env": self._identity(),
                "seed": self._seed,
                "task_id": run.task.id,
                "task_hash": run.task.hash,
                "order": [self._order.count, self._order.key, self._place],
                "dice": self.np_random.bit_generator.state,
                "dice_at_start": self._dice_at_start(),
                "responses": [turn.response for turn in run.turns],
                "scene": content_hash(self.scene.text),
            }
        ).encode()

    def restore(self, snapshot: bytes) -> tuple[Observation, dict[str, Any]]:
        """Go back to where `snapshot` was taken, by playing its responses again.

        Returns the observation and info of that moment. Raises ValueError when the snapshot is of
        another environment, task content or version, or does not play the same.
        """
        saved = json.loads(snapshot)
        if saved.get("format") != SNAPSHOT_FORMAT:
            raise ValueError(f"snapshot format {saved.get('format')}, expected {SNAPSHOT_FORMAT}")
        if saved["env"] != self._identity():
            raise ValueError(f"snapshot of {saved['env']}, this environment is {self._identity()}")
        self._seed = saved["seed"]
        count, key, place = saved["order"]
        if count not in (0, len(self.tasks.ids)):
            raise ValueError(
                f"snapshot of {count} tasks, this environment has {len(self.tasks.ids)}"
            )
        self.np_random.bit_generator.state = saved["dice_at_start"]
        observation, info = self._begin(saved["task_id"])
        if self.task.hash != saved["task_hash"]:
            raise ValueError(f"task {self.task.id!r} has other content than in the snapshot")
        self._order, self._place = Permutation(count, key), place
        quiet, self.render_mode = self.render_mode, None
        for response in saved["responses"]:
            observation, _, _, _, info = self.step(response)
        self.render_mode = quiet
        dice = dict(self.np_random.bit_generator.state)
        if dice != saved["dice"] or content_hash(self.scene.text) != saved["scene"]:
            raise ValueError(f"task {self.task.id!r} does not play as it did for the snapshot")
        return observation, info

    # Inside.

    def _chosen(self, options: Mapping[str, Any]) -> str | None:
        unknown = sorted(set(options) - {"task_id"})
        if unknown:
            raise ValueError(f"unknown reset option {unknown[0]!r}; known: 'task_id'")
        return options.get("task_id")

    def _next_in_order(self) -> str:
        ids = self.tasks.ids
        if self._place >= self._order.count:
            self._order, self._place = (
                Permutation(len(ids), int(self.np_random.integers(1 << 63))),
                0,
            )
        self._place += 1
        return ids[self._order[self._place - 1]]

    def _begin(self, task_id: str) -> tuple[Observation, dict[str, Any]]:
        task = self.tasks.task(task_id)
        # No dice are made for this: an environment that never draws never has any.
        dice = self._np_random
        self._run = _Run(task, Scene(""), "" if dice is None else _written(dice))
        self._run.scene = self.start(task)
        if self.render_mode == "human":
            print(f"{self.scene.text}\n")
        return self._observe(), self._info()

    def _dice_at_start(self) -> dict[str, Any]:
        """The dice's state when the episode began; dice made since then began with their seed."""
        written = self._playing.dice_at_start
        return json.loads(written or _written(seeding.np_random(self.np_random_seed)[0]))

    @property
    def _playing(self) -> "_Run":
        if self._run is None:
            raise ResetNeeded("there is no episode yet: call reset()")
        return self._run

    def _observe(self) -> Observation:
        run = self._playing
        if self.observation_mode == "text":
            return run.scene.text
        return {
            "text": run.scene.text,
            "admissible": run.scene.admissible,
            "turn": np.int64(len(run.turns)),
        }

    def _info(self) -> dict[str, Any]:
        run = self._playing
        task, scene = run.task, run.scene
        info = {
            "task_id": task.id,
            "task_hash": task.hash,
            "split": task.split,
            "goal": task.goal,
            "seed": self._seed,
            "turn": len(run.turns),
            "admissible_actions": scene.admissible,
            "action_parsed": run.action,
            "action_valid": run.valid,
            "invalid_turns": run.invalid_turns,
            "score": run.verdict.score,
            "success": run.verdict.success,
            "stop_reason": run.stop_reason,
            "reward_terms": run.terms,
            "env_version": self.version,
            **task.facts,
            **scene.facts,
        }
        if self.info_level == "debug":
            advice = None if run.stop_reason else self.advise()
            info["answer"] = task.answer
            info["expert_action"] = advice.action if advice else None
        return info

    def _identity(self) -> str:
        kind = type(self)
        return f"{kind.__module__}:{kind.__qualname__} v{self.version}, parser {self._parser_name}"


@dataclass(slots=True)
class _Run:
    """The episode being played. `dice_at_start`: a state as JSON, a third of its size."""

    task: Task
    scene: Scene
    dice_at_start: str
    turns: list[Turn] = field(default_factory=list)
    invalid_turns: int = 0
    action: str = ""
    valid: bool = True
    terminated: bool = False
    truncated: bool = False
    verdict: Verdict = Verdict(False, 0.0)
    terms: dict[str, float] = field(default_factory=lambda: {"score": 0.0, "invalid": 0.0})

    @property
    def stop_reason(self) -> str:
        """Why the episode ended: "done" by the engine, "max_turns", or "" while it runs."""
        if self.terminated:
            return "done"
        return "max_turns" if self.truncated else ""


def _written(dice: np.random.Generator) -> str:
    return json.dumps(dice.bit_generator.state)
