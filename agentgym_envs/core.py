"""TextEnv: the turn loop, written once.

An environment says how an episode starts, what an action does, and how an episode is judged.
Choosing the task, parsing, limits, reward, infos, rendering and snapshots are here and the same
everywhere.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import index
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding

from agentgym_envs.order import Permutation
from agentgym_envs.parsing import find_parser
from agentgym_envs.snapshots import Snapshot
from agentgym_envs.spaces import Unicode
from agentgym_envs.statistics import Rate
from agentgym_envs.types import Advice, Episode, Scene, Task, Turn, Verdict, content_hash

Observation = str | dict[str, Any]
T = TypeVar("T")
# What every info has, and of which type; object: of several.
INFO_TYPES: Mapping[str, type] = {
    **{"task_id": str, "task_hash": str, "split": str, "goal": str, "seed": object, "turn": int},
    **{"admissible_actions": tuple, "action_parsed": str, "action_valid": bool},
    **{"invalid_turns": int, "score": float, "success": bool, "stop_reason": str},
    **{"reward_terms": dict, "env_version": str},
}
DEBUG_TYPES: Mapping[str, type] = {"answer": object, "expert_action": object}
_RESERVED = frozenset({*INFO_TYPES, *DEBUG_TYPES})
# `info["stop_reason"]` -> terminated, truncated.
ENDS = {"": (False, False), "done": (True, False), "max_turns": (False, True)}


class TaskSource(Protocol):
    """Where tasks come from: ids in a fixed order, each task made when asked for."""

    @property
    def ids(self) -> Sequence[str]: ...

    def task(self, task_id: str) -> Task: ...


class TaskList:
    """Tasks that are few enough to be held."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        """Raises ValueError where two tasks have one id."""
        self._tasks: dict[str, Task] = {}
        for task in tasks:
            if task.id in self._tasks:
                raise ValueError(f"task id {task.id!r} is given twice")
            self._tasks[task.id] = task
        self.ids: tuple[str, ...] = tuple(self._tasks)

    def task(self, task_id: str) -> Task:
        if task_id not in self._tasks:
            raise KeyError(f"no task {task_id!r}; the first of {len(self.ids)}: {self.ids[0]!r}")
        return self._tasks[task_id]


class TextEnv(gym.Env[Observation, str]):
    """A multi-turn text environment; a subclass gives `start`, `act` and `verify`.

    Its constructor hands the tasks on, and all settings that are not its own:
    `def __init__(self, *, size=3, **settings): super().__init__(tasks(size), **settings)`.

    Observation: the new turn's text and nothing older ("text"), or a dictionary of `text`,
    `admissible` (actions, possibly none) and `turn` ("dict").
    Action: any string. What cannot be parsed is a turn with `info["action_valid"]` False.
    Reward: `reward_scale` times the verdict's score on the last turn, else 0; less
    `invalid_penalty` on an invalid turn. `info["reward_terms"]` has the parts.
    `terminated`: the engine ended the episode. `truncated`: `max_turns` were played. `success` in
    the info is the verdict's, and neither of the two. (A limit given as Gymnasium's
    `max_episode_steps` is a wrapper's, of which the environment knows nothing: `stop_reason` stays
    "". Give `max_turns`.)

    `reset(seed=s)` draws a permutation of the tasks and starts with its first; `reset()` goes on
    along it, drawing the next permutation after the last task; `reset(options={"task_id": id})`
    plays that task and leaves the permutation where it was.

    `prompt_folder` ("package:folder") holds the prompt styles. `yardsticks` are scripted policies
    to hold a trained one against: name -> "package.module:Policy", made with a seed; that of
    `expert` is for those that have one.
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
        max_turns: int = 50,
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
        self.parser = parser
        self._parse = find_parser(parser)
        self._max_length = max_length
        self._order = Permutation(0, 0)
        self._place = 0
        self._seed: int | None = None
        self._run: Running | None = None
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
        """Begin the task: set whatever an episode changes. Draw from `self.np_random` only."""
        raise NotImplementedError(f"{type(self).__name__} needs `def start(self, task) -> Scene`")

    def act(self, action: str) -> Scene:
        """Do the action ("" when nothing could be parsed). Never raises on a policy's mistake."""
        raise NotImplementedError(f"{type(self).__name__} needs `def act(self, action) -> Scene`")

    @staticmethod
    def verify(episode: Episode) -> Verdict:
        """Judge an episode: a pure function, usable on a stored file."""
        raise NotImplementedError(
            f"the environment of {episode.task.id!r} needs a @staticmethod "
            "`def verify(episode) -> Verdict`"
        )

    @classmethod
    def prepare(cls, envs: Sequence[Any], responses: Sequence[str]) -> None:
        """Do at once what the next turn of several environments needs, before each is stepped with
        its response; nothing by default. It changes no result.
        """

    @staticmethod
    def aggregates(judged: Sequence[tuple[Episode, Verdict]]) -> dict[str, Rate]:
        """The environment's own averages by name, shown below success over all and by kind."""
        return {}

    @property
    def provenance(self) -> dict[str, Any]:
        """What a run's record should hold of the data behind the environment, as JSON values."""
        return {}

    def advise(self) -> Advice | None:
        """What the environment's own expert would do now; None when it has no advice."""
        played = len(self._playing.turns)
        return Advice(self.task.expert[played]) if played < len(self.task.expert) else None

    def wander(self, dice: np.random.Generator) -> str:
        """A random action that could be tried now: one of the admissible, "" where none are."""
        actions = self.scene.admissible
        return actions[int(dice.integers(len(actions)))] if actions else ""

    @property
    def has_expert(self) -> bool:
        """Whether somebody advises: the subclass's own `advise`, or the plan of its first task."""
        own = type(self).advise is not TextEnv.advise
        return own or bool(self.tasks.task(self.tasks.ids[0]).expert)

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

        Raises ValueError on an unknown option, TypeError where a task id is no str and KeyError
        where it is unknown; then nothing has changed.
        """
        chosen = self.chosen(options or {})
        seed = None if seed is None else index(seed)  # of a numpy integer, too
        super().reset(seed=seed)
        if seed is not None:
            self._seed = seed
            self._place = self._order.count  # the next task begins another permutation
        return self._begin(self.tasks.task(self._next_in_order()) if chosen is None else chosen)

    def chosen(self, options: Mapping[str, Any]) -> Task | None:
        """The task that a reset with these options plays, if they name one. Raises as it does."""
        unknown = sorted(map(str, set(options) - {"task_id"}))
        if unknown:
            raise ValueError(f"unknown reset option {unknown[0]!r}; known: 'task_id'")
        task_id = options.get("task_id")
        if not isinstance(task_id, str | None):
            raise TypeError(f"a task id is a str, got {task_id!r}")
        return None if task_id is None else self.tasks.task(task_id)

    def step(self, action: str) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Play one turn. Raises ResetNeeded after the end, TypeError when the action is no str."""
        run = self._run
        if run is None or run.terminated or run.truncated:
            raise ResetNeeded("the episode is over or not begun: call reset() before step()")
        if not isinstance(action, str):
            raise TypeError(f"an action is a str, got {type(action).__name__}")
        reward = self._play(run, action)
        if self.render_mode == "human":
            print(f"> {run.action}\n{run.scene.text}\n")
        return self._observe(run), reward, run.terminated, run.truncated, self._info(run)

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
        return Snapshot(
            env=self._identity(),
            seed=self._seed,
            task_id=run.task.id,
            task_hash=run.task.hash,
            order=(self._order.count, self._order.key, self._place),
            dice=dict(self.np_random.bit_generator.state),
            dice_at_start=self._dice_at_start(),
            responses=tuple(turn.response for turn in run.turns),
            scene=content_hash(self.scene.text),
        ).written()

    def restore(self, snapshot: bytes) -> tuple[Observation, dict[str, Any]]:
        """Go back to where `snapshot` was taken, by playing its responses again.

        Returns the observation and info of that moment. Raises ValueError when it is no snapshot,
        of another environment, task content or version, or does not play the same; then there is
        no episode until the next reset.
        """
        self._run = None
        saved = Snapshot.read(snapshot)
        if saved.env != self._identity():
            raise ValueError(f"snapshot of {saved.env}, this environment is {self._identity()}")
        if saved.order[0] not in (0, len(self.tasks.ids)):
            raise ValueError(
                f"snapshot of {saved.order[0]} tasks, this environment has {len(self.tasks.ids)}"
            )
        task = self._restorable(saved)
        shown, self.render_mode = self.render_mode, None  # what is played again is not shown again
        try:
            return self._replayed(saved, task)
        except BaseException:
            self._run = None
            raise
        finally:
            self.render_mode = shown

    # Inside.

    def _play(self, run: "Running", response: str) -> float:
        """Play a turn and write it down. Returns its reward."""
        before = run.scene
        run.action, run.valid = self._parse(response, before.admissible)
        run.scene = _returned(Scene, self, "act", run.action)
        run.invalid_turns += not run.valid
        penalty = 0.0 if run.valid else -self.invalid_penalty
        run.write_down(before, response)
        run.terminated = run.scene.done
        run.truncated = not run.terminated and len(run.turns) >= self.max_turns
        if run.terminated or run.truncated:
            run.verdict = _returned(Verdict, self, "verify", self.episode)
        earned = self.reward_scale * run.verdict.score
        run.terms = {"score": earned, "invalid": penalty}
        return earned + penalty

    def _next_in_order(self) -> str:
        ids = self.tasks.ids
        if self._place >= self._order.count:
            self._order, self._place = (
                Permutation(len(ids), int(self.np_random.integers(1 << 63))),
                0,
            )
        self._place += 1
        return ids[self._order[self._place - 1]]

    def _begin(self, task: Task) -> tuple[Observation, dict[str, Any]]:
        # No dice are made for this: an environment that never draws never has any.
        dice = self._np_random
        run = Running(task, Scene(""), dice_at_start="" if dice is None else _written(dice))
        self._run = run
        try:
            run.scene = _returned(Scene, self, "start", task)
        except BaseException:
            self._run = None
            raise
        if self.render_mode == "human":
            print(f"{run.scene.text}\n")
        return self._observe(run), self._info(run)

    def _restorable(self, saved: Snapshot) -> Task:
        """The snapshot's task. Raises ValueError where it is not what it was."""
        try:
            task = self.tasks.task(saved.task_id)
        except KeyError:
            raise ValueError(f"snapshot of a task that is not here: {saved.task_id!r}") from None
        if task.hash != saved.task_hash:
            raise ValueError(f"task {task.id!r} has other content than in the snapshot")
        return task

    def _replayed(self, saved: Snapshot, task: Task) -> tuple[Observation, dict[str, Any]]:
        self.np_random.bit_generator.state = saved.dice_at_start
        self._seed = saved.seed
        count, key, place = saved.order
        self._order, self._place = Permutation(count, key), place
        observation, info = self._begin(task)
        for response in saved.responses:
            observation, _, _, _, info = self.step(response)
        dice = dict(self.np_random.bit_generator.state)
        if dice != saved.dice or content_hash(self.scene.text) != saved.scene:
            raise ValueError(f"task {task.id!r} does not play as it did for the snapshot")
        return observation, info

    def _dice_at_start(self) -> dict[str, Any]:
        """The dice's state when the episode began; dice made since then began with their seed."""
        written = self._playing.dice_at_start
        return json.loads(written or _written(seeding.np_random(self.np_random_seed)[0]))

    @property
    def _playing(self) -> "Running":
        if self._run is None:
            raise ResetNeeded("there is no episode yet: call reset()")
        return self._run

    def _observe(self, run: "Running") -> Observation:
        if self.observation_mode == "text":
            return run.scene.text
        return {
            "text": run.scene.text,
            "admissible": run.scene.admissible,
            "turn": np.int64(len(run.turns)),
        }

    def _info(self, run: "Running") -> dict[str, Any]:
        task, scene = run.task, run.scene
        if not (_RESERVED.isdisjoint(scene.facts) and _RESERVED.isdisjoint(task.facts)):
            names = sorted(_RESERVED.intersection({*task.facts, *scene.facts}))
            raise ValueError(
                f"{type(self).__name__} reports a fact called {names[0]!r}, which every info has "
                "already: give it another name"
            )
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
        return (
            f"{kind.__module__}:{kind.__qualname__} v{self.version}, parser {self.parser}, "
            f"{self.max_turns} turns"
        )


@dataclass(slots=True)
class Running:
    """The episode being played. `dice_at_start`: a state as JSON, a third of its size."""

    task: Task
    scene: Scene
    dice_at_start: str = ""
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

    def write_down(self, before: Scene, response: str) -> None:
        """Add the turn that has led from `before` to the scene there is now."""
        self.turns.append(
            Turn(
                observation=before.text,
                response=response,
                action=self.action,
                valid=self.valid,
                admissible=before.admissible,
                facts=self.scene.facts,
            )
        )


def _returned(kind: type[T], env: TextEnv, method: str, argument: Any) -> T:
    """What a subclass's method gives. Raises TypeError where that is nothing of the kind."""
    value = getattr(env, method)(argument)
    if not isinstance(value, kind):
        raise TypeError(
            f"{type(env).__name__}.{method} should return a {kind.__name__}, got {value!r:.80}"
        )
    return value


def _written(dice: np.random.Generator) -> str:
    return json.dumps(dice.bit_generator.state)
