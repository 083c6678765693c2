"""AgentGym/ALFWorld-v0: household tasks in text, six kinds, official games or generated ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from agentgym_envs.alfworld.data import GameLibrary, Library, split_name
from agentgym_envs.alfworld.explorer import Explorer
from agentgym_envs.alfworld.generate import GeneratedLibrary
from agentgym_envs.alfworld.solver import PlanFollower
from agentgym_envs.alfworld.textworld_engine import TextWorldEngine
from agentgym_envs.alfworld.verify import verify
from agentgym_envs.alfworld.world import Engine, NativeEngine
from agentgym_envs.core import TextEnv
from agentgym_envs.types import Advice, Scene, Task, content_hash
from agentgym_envs.vector import TextVectorEnv


class GameTasks:
    """The games of one split as tasks, made when asked for."""

    def __init__(self, library: Library, split: str, task_types: Sequence[str] | None) -> None:
        self.library = library
        self.ids = library.ids(split, task_types)
        if not self.ids:
            raise ValueError(f"split {split!r} has no games of types {task_types}")
        self._known = frozenset(self.ids)

    def task(self, task_id: str) -> Task:
        if task_id not in self._known:
            raise KeyError(f"no game {task_id!r} here; the first of {len(self.ids)}: {self.ids[0]!r}")
        game = self.library.game(task_id)
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
    (`difficulty`, `game_seed`). split: `train`, `valid_seen`, `valid_unseen` or an alias of those.
    task_types: only these. engine: `native` (compiled, fast) or `textworld` (the official stack,
    extra `[alfworld]`). expert: `explore` (sees what a policy sees) or `solve` (knows all).

    Infos, besides those of every TextEnv: `won`, `task_type`, `action_executable` (the action was
    admissible), `goal_condition_success_rate` (share of ALFRED's goal conditions met now),
    `dead_end` (the task can no longer be solved), `dialect`. The textworld engine reports the last
    two rates as None.
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
        library = open_library(data, difficulty, game_seed)
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

    def start(self, task: Task) -> Scene:
        text = self._engine.start(self._library.game(task.id))
        self._expert = (
            Explorer(task.goal, self.np_random)
            if self._expert_kind == "explore"
            else PlanFollower(self._engine)
        )
        self._done_before: str | None = None
        return self._scene_after(text, executed=True)

    def act(self, action: str) -> Scene:
        executed = action in self.scene.admissible
        self._done_before = action
        return self._scene_after(self._engine.act(action), executed)

    def advise(self) -> Advice:
        """The expert's next action. The exploring expert must be asked at every turn."""
        return self._expert.advise(self.scene.text, self.scene.admissible, self._done_before)

    def close(self) -> None:
        self._engine.close()

    def _scene_after(self, text: str, executed: bool) -> Scene:
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


_ENGINES = {"native": NativeEngine, "textworld": TextWorldEngine}


class ALFWorldVectorEnv(TextVectorEnv):
    """Many ALFWorld games in one process; they share the compiled games."""

    env_type = ALFWorldEnv
