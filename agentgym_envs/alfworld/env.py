"""AgentGym/ALFWorld-v0: household tasks in text, six kinds, official games or generated ones."""

import functools
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Protocol

from agentgym_envs.alfworld.data import GameLibrary, split_name
from agentgym_envs.alfworld.explorer import Explorer
from agentgym_envs.alfworld.generate import SPLITS, GeneratedLibrary
from agentgym_envs.alfworld.library import Library
from agentgym_envs.alfworld.solver import PlanFollower
from agentgym_envs.alfworld.textworld_engine import TextWorldEngine
from agentgym_envs.alfworld.verify import verify
from agentgym_envs.alfworld.world import Engine, NativeEngine
from agentgym_envs.core import TextEnv
from agentgym_envs.types import Advice, Scene, Task, content_hash
from agentgym_envs.vector import TextVectorEnv

KEPT_TASKS = 4096  # tasks remembered by an environment, so that memory stays flat


class GameTasks:
    """The games of one split as tasks, made when asked for."""

    def __init__(self, library: Library, split: str, task_types: Sequence[str] | None) -> None:
        self.library = library
        self.ids = library.ids(split, task_types)
        if not self.ids:
            raise ValueError(f"split {split!r} has no games of types {task_types}")
        self._known = frozenset(self.ids)
        self._made: dict[str, Task] = {}

    def task(self, task_id: str) -> Task:
        if task_id not in self._known:
            raise KeyError(f"no game {task_id!r}; the first of {len(self.ids)}: {self.ids[0]!r}")
        if task_id not in self._made:
            if len(self._made) >= KEPT_TASKS:
                self._made.clear()
            self._made[task_id] = self._make(task_id)
        return self._made[task_id]

    def _make(self, task_id: str) -> Task:
        game = self.library.world(task_id).game  # about to be played: compiled, and kept
        return Task(
            id=game.id,
            goal=game.goal,
            expert=game.walkthrough,
            split=game.split,
            kind=game.task_type,
            facts={"task_type": game.task_type, "dialect": game.dialect.name},
            hash=content_hash(game.problem + game.goal),
        )


class ALFWorldEnv(TextEnv):
    """Find, carry, clean, heat, cool and place things in a room of receptacles.

    Actions, as the official text environment has them: `go to R`, `open R`, `close R`,
    `take O from R`, `move O to R`, `clean|heat|cool O with R`, `use O`, `slice O with K`,
    `examine X`, `look`, `inventory`, `help`. Anything else: "Nothing happens.".

    data: a folder in the official layout, a pack made from one, or None for generated games
    (`difficulty`, `game_seed`, and `games`: how many of each split). split: `train`, `valid_seen`,
    `valid_unseen` or an alias of those. task_types: only these. engine: `native` (compiled, fast)
    or `textworld` (the official stack, extra `[alfworld]`). expert: `explore` (sees what a policy
    sees) or `solve` (knows all; native engine only).

    Raises ValueError for an unknown split, task type, engine or expert and for a split without
    games, KeyError for an unknown difficulty, FileNotFoundError or ValueError where `data` holds no
    games. Games are shared by the environments of a process and never change.

    Infos, besides those of every TextEnv: `won`, `task_type`, `action_executable` (the action was
    admissible), `goal_condition_success_rate` (share of ALFRED's goal conditions met now),
    `dead_end` (the task can no longer be solved; None from the textworld engine, which cannot
    tell), `dialect` (how the game words its put command).
    """

    version: ClassVar[str] = "0"
    prompt_folder: ClassVar[str] = "agentgym_envs.alfworld:prompts"
    verify = staticmethod(verify)

    def __init__(
        self,
        *,
        data: str | Path | None = None,
        split: str = "train",
        task_types: Sequence[str] | None = None,
        engine: Literal["native", "textworld"] = "native",
        expert: Literal["explore", "solve"] = "explore",
        difficulty: str = "medium",
        game_seed: int = 0,
        games: Mapping[str, int] | None = None,
        max_turns: int = 50,
        parser: str = "text",
        observation_mode: Literal["text", "dict"] = "text",
        reward_scale: float = 1.0,
        invalid_penalty: float = 0.0,
        info_level: Literal["public", "debug"] = "public",
        render_mode: str | None = None,
    ) -> None:
        if engine not in _ENGINES:
            raise ValueError(f"engine is 'native' or 'textworld', got {engine!r}")
        if expert not in ("explore", "solve"):
            raise ValueError(f"expert is 'explore' or 'solve', got {expert!r}")
        if expert == "solve" and engine != "native":
            raise ValueError("expert='solve' reads the native engine's state: set engine='native'")
        folder = None if data is None else str(data)
        counts = tuple(sorted((games or {}).items()))
        library = open_library(folder, difficulty, game_seed, counts)
        super().__init__(
            GameTasks(library, split_name(split), task_types),
            max_turns=max_turns,
            parser=parser,
            observation_mode=observation_mode,
            reward_scale=reward_scale,
            invalid_penalty=invalid_penalty,
            info_level=info_level,
            render_mode=render_mode,
        )
        self._library = library
        self._engine: Engine = _ENGINES[engine](library)
        self._expert_kind = expert
        self._expert: Expert | None = None

    def start(self, task: Task) -> Scene:
        text = self._engine.start(self._library.world(task.id).game)  # no file is read again
        self._expert = None
        return self._show(text, executed=True)

    def act(self, action: str) -> Scene:
        executed = action in self.scene.admissible
        return self._show(self._engine.act(action), executed)

    def advise(self) -> Advice:
        """The expert's next action. It is told every turn played so far, its own or not."""
        if self._expert is None:
            self._expert = self._new_expert()
            self._told, self._last_action = 0, None
        turns = self.episode.turns
        for turn in turns[self._told :]:
            self._expert.advise(turn.observation, turn.admissible, self._last_action)
            self._last_action = turn.action
        self._told = len(turns)
        return self._expert.advise(self.scene.text, self.scene.admissible, self._last_action)

    def close(self) -> None:
        self._engine.close()

    def _new_expert(self) -> "Expert":
        if isinstance(self._engine, NativeEngine) and self._expert_kind == "solve":
            return PlanFollower(self._engine)
        return Explorer(self.task.goal, random.Random(self.task.id))

    def _show(self, text: str, executed: bool) -> Scene:
        won = self._engine.won
        met, total = self._engine.goal_conditions()
        return Scene(
            text,
            self._engine.admissible(),
            done=won,
            facts={
                "won": won,
                "action_executable": executed,
                "goal_condition_success_rate": met / total,
                "dead_end": self._engine.dead_end(),
            },
        )


class Expert(Protocol):
    """What advises: an `Explorer` or a `PlanFollower`."""

    def advise(
        self, observation: str, admissible: tuple[str, ...], last_action: str | None = None
    ) -> Advice: ...


@functools.lru_cache(maxsize=16)
def open_library(
    data: str | None, difficulty: str, game_seed: int, games: tuple[tuple[str, int], ...]
) -> Library:
    """Games from a folder or a pack, or generated ones; opened once a process and shared."""
    if data is not None:
        return GameLibrary(data)
    return GeneratedLibrary(difficulty, seed=game_seed, games={**SPLITS, **dict(games)})


_ENGINES = {"native": NativeEngine, "textworld": TextWorldEngine}


class ALFWorldVectorEnv(TextVectorEnv):
    """Many ALFWorld games in one process; they share the compiled games."""

    env_type = ALFWorldEnv
