"""The official stack as an engine: TextWorld's PDDL environment with ALFWorld's names on top.

About 40 ms a step and half a second to two seconds a start, where the native engine needs
microseconds. It is here for comparison: what the official stack says is what is right. It plays
the games that the native engine plays, since a file with an unknown domain or grammar is refused
when it is read. Needs the extra [alfworld].
"""

import contextlib
import json
import random
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from agentgym_envs.alfworld.game import Game
from agentgym_envs.alfworld.goals import Goal, read_goal
from agentgym_envs.alfworld.pddl import read_problem
from agentgym_envs.alfworld.world import Worlds
from agentgym_envs.extras import install

# The planner's translator and TextWorld's parsers keep state in modules, sys.argv and sys.stdout.
_ONE_AT_A_TIME = threading.Lock()


class TextWorldEngine:
    """Plays games in the official stack, one at a time in a process.

    No limit of turns. `dead_end` is None: the official stack never computes it. `goal_conditions`
    are counted on the official stack's own facts. sys.argv, sys.stdout and Python's global random
    state are left as they were. Pickles as the game and the commands played, which are played
    again where it is unpickled.
    """

    def __init__(self, worlds: Worlds | None = None) -> None:
        self._env: Any = None
        self._state: Any = None
        self._loaded: Game | None = None
        self._goal: Goal | None = None
        self._commands: list[str] = []

    def __reduce__(self):
        return _replayed, (self._loaded, tuple(self._commands))

    @property
    def won(self) -> bool:
        return bool(self._playing()["won"])

    def start(self, game: Game) -> str:
        """Raises ImportError with the command to run where the official stack is not installed."""
        with _undisturbed():
            if game != self._loaded:
                self._load(game)
            self._state = self._env.reset()
        self._commands = []
        return self._state.feedback

    def act(self, command: str) -> str:
        self._playing()
        with _undisturbed():
            self._state, _, _ = self._env.step(command)
        self._commands.append(command)
        return self._state.feedback

    def admissible(self) -> tuple[str, ...]:
        return tuple(self._playing()["admissible_commands"])

    def goal_conditions(self) -> tuple[int, int]:
        state = self._playing()
        assert self._goal is not None
        return _count_conditions(self._goal, state["_facts"])

    def dead_end(self) -> None:
        return None

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
        self._env = self._state = self._loaded = None
        self._commands = []

    def _load(self, game: Game) -> None:
        if self._env is None:  # one for all games: every new one maps another copy of the planner
            self._env = _open()
        self._env.load(json.loads(game.file_text()))
        self._goal = read_goal(read_problem(game.problem)[1])
        self._loaded = game

    def _playing(self) -> Any:
        if self._state is None:
            raise RuntimeError("no game in progress: call start(game) first")
        return self._state


def _replayed(game: Game | None, commands: Sequence[str]) -> TextWorldEngine:
    engine = TextWorldEngine()
    if game is not None:
        engine.start(game)
        for command in commands:
            engine.act(command)
    return engine


def _open() -> Any:
    try:
        import textworld
        from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
        from textworld.envs import PddlEnv
    except ImportError as error:
        raise ImportError(
            f"the textworld engine needs the official ALFWorld stack ({error}): "
            f"{install('alfworld')}"
        ) from error
    return AlfredDemangler()(PddlEnv(textworld.EnvInfos(won=True, admissible_commands=True)))


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    with _ONE_AT_A_TIME:
        argv, stdout, dice = sys.argv, sys.stdout, random.getstate()
        try:
            yield
        finally:
            sys.argv, sys.stdout = argv, stdout
            random.setstate(dice)


def _count_conditions(goal: Goal, facts: list[Any]) -> tuple[int, int]:
    """`goals.conditions`, on TextWorld propositions."""
    rows: dict[str, set[tuple[str, ...]]] = {}
    for fact in facts:
        names = tuple(argument.name for argument in fact.arguments)
        rows.setdefault(fact.name, set()).add(names)

    def ids(predicate: str) -> set[str]:
        return {row[-1] for row in rows.get(predicate, ())}

    def typed(predicate: str, kind: str) -> set[str]:
        return {row[0] for row in rows.get(predicate, ()) if row[1] == f"{kind}type"}

    targets = typed("objecttype", goal.object_type)
    contents = rows.get("inreceptacle", set())
    if goal.lamp_type:
        lit = typed("objecttype", goal.lamp_type) & ids("toggleable") & ids("istoggled")
        places = ids("atlocation")
        nearby = {r for r, where in rows.get("receptacleatlocation", ()) if where in places}
        held = bool(targets & ids("holds"))
        return held + any(thing in lit and where in nearby for thing, where in contents), 2
    boxes = typed("receptacletype", goal.receptacle_type)
    placed = [(thing, where) for thing, where in contents if thing in targets and where in boxes]
    if goal.count == 2:
        most = max((sum(where == box for _, where in placed) for box in boxes), default=0)
        return min(most, 2), 2
    if not goal.mark:
        return int(bool(placed)), 1
    able = {"clean": "cleanable", "hot": "heatable", "cool": "coolable"}[goal.mark]
    marked = targets & ids(able) & ids(f"is{goal.mark}")
    return bool(placed) + bool(marked) + any(thing in marked for thing, _ in placed), 3
