"""What every environment promises, one method each; `check` asks for all of them.

A promise raises where it is broken, and returns why where it is not asked for: each begins with
`p_`, and its docstring is what is shown. The first two are what the others stand on.
"""

import contextlib
import io
import json
import pickle
import random
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from inspect import getattr_static
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from agentgym_envs.core import INFO_TYPES, TextEnv
from agentgym_envs.drivers.setup import make_text_env
from agentgym_envs.episodes import from_record, to_record
from agentgym_envs.evaluate import NO_EXPERT, ExpertPolicy, RandomPolicy, evaluate, play
from agentgym_envs.fitting import HAND_ON, arguments
from agentgym_envs.prompts import load_style
from agentgym_envs.registration import maker_of, package_of
from agentgym_envs.traces import Player, Trace, chosen, plain, trace
from agentgym_envs.types import Episode
from agentgym_envs.vector import TextVectorEnv

Promise = Callable[[], str | None]

GARBAGE = (
    "",
    " ",
    "\n\t\r",
    "\x00\x1b[2J",
    "</action><action>",
    "<action>" * 50,
    "\ud800 lone surrogate",
    "動作 🙂 ‮",
    "{observation} %s {0}",
    "a" * 100_000,
    "go to " * 15_000,
)
# What every constructor takes, each with a value that is not its default.
HANDED_ON = {
    **{"max_turns": 3, "parser": "line", "observation_mode": "dict", "reward_scale": 2.0},
    **{"invalid_penalty": 0.5, "info_level": "debug", "render_mode": "ansi"},
}
FOUNDATIONS = ("p_settings", "p_plays")
_SEEDS = [7, 8, 9]


@dataclass(frozen=True)
class Kit:
    """The promises of one environment. episodes: how many are played where several are needed."""

    env_id: str
    settings: dict[str, Any]
    episodes: int

    def make(self, **more: Any) -> TextEnv:
        return make_text_env(self.env_id, {**self.settings, **more})

    def promises(self) -> Iterator[tuple[str, Promise]]:
        """Name and promise, in order."""
        for name in vars(Kit):
            if name.startswith("p_"):
                yield name, getattr(self, name)

    def p_settings(self) -> str | None:
        """its constructor takes what every TextEnv's does, and hands it on"""
        taken = arguments(maker_of(self.env_id))
        lacking = [name for name in HANDED_ON if taken is not None and name not in taken]
        assert not lacking, f"it does not take {', '.join(lacking)}: {HAND_ON}"
        env = self.make(**HANDED_ON)
        lost = [name for name, value in HANDED_ON.items() if getattr(env, name) != value]
        assert not lost, f"{', '.join(lost)} does not reach super().__init__"

    def p_plays(self) -> str | None:
        """an episode starts, takes an action, and is judged"""
        env = self.make(max_turns=1)
        assert isinstance(getattr_static(type(env), "verify"), staticmethod), (
            "verify should be a @staticmethod: it also judges stored episodes, with no environment"
        )
        env.reset(seed=0)
        env.step(chosen(env, 0))

    def p_gymnasium(self) -> str | None:
        """passes gymnasium's check_env with zero warnings"""
        env = self.make()
        # The checker renders in every mode, also for people to read.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("error")
            check_env(env)

    def p_spec(self) -> str | None:
        """its spec becomes JSON and makes the same environment again; it pickles"""
        env = self.make()
        spec = env.spec
        assert spec is not None, "the environment has no spec"
        again = gym.make(type(spec).from_json(spec.to_json())).unwrapped
        assert isinstance(again, TextEnv)
        assert again.reset(seed=3)[0] == env.reset(seed=3)[0], "the spec makes another environment"
        copy = pickle.loads(pickle.dumps(env))
        assert trace(copy, 5) == trace(env, 5), "a pickled environment plays differently"

    def p_repeatable(self) -> str | None:
        """the same seed and actions give the same episode, here, in threads and elsewhere"""
        with _global_dice_left_alone():
            expected = self._traces()
            again = self._traces()
        assert again == expected, "a second instance plays differently"
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(lambda _: self._traces(), range(4)))
        assert all(traces == expected for traces in found), "threads disturb each other"
        code = (
            "import json, sys; asked = json.loads(sys.stdin.read()); sys.path[:] = asked.pop();"
            "from agentgym_envs.traces import trace_elsewhere; print(trace_elsewhere(*asked))"
        )
        named = f"{package_of(self.env_id)}:{self.env_id}"
        ran = subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps([named, self.settings, _SEEDS, sys.path]),
            capture_output=True,
            text=True,
            check=False,
        )
        said = (ran.stderr.strip().splitlines() or [""])[-1]
        assert ran.returncode == 0, f"it cannot be made in another process: {said}"
        assert ran.stdout.strip().splitlines()[-1] == json.dumps(expected), (
            "another process plays differently: does it hang on the order of a set, or on a clock?"
        )

    def p_afresh(self) -> str | None:
        """an episode is the same whatever its instance has played before"""
        used = self.make(parser="text")
        ids = used.tasks.ids[: self.episodes]
        fresh = {one: Player(self.make(parser="text"), 5, one).play() for one in ids}
        for task_id in (*ids, *reversed(ids)):
            again = Player(used, 5, task_id).play()
            same = (again.trace, again.infos) == (fresh[task_id].trace, fresh[task_id].infos)
            assert same, (
                f"task {task_id!r} plays differently after others: something is left over from the "
                "episode before: set it in `start`"
            )
            if used.has_expert:  # whoever solves a task leaves most behind
                play(used, ExpertPolicy(), task_id)

    def p_isolated(self) -> str | None:
        """instances do not share state, and global generators are left alone"""
        with _global_dice_left_alone():
            alone = [trace(self.make(), seed) for seed in (11, 12)]
        pair = [Player(self.make(), seed) for seed in (11, 12)]
        while any(player.play_turn() for player in pair):
            pass
        assert [player.trace for player in pair] == alone, "interleaved instances differ"

    def p_tasks(self) -> str | None:
        """a task can be chosen by id, and ids and hashes are stable; an unknown id is an error"""
        env, other = self.make(), self.make()
        for task_id in env.tasks.ids[:3]:
            first = env.reset(seed=1, options={"task_id": task_id})[1]
            second = other.reset(options={"task_id": task_id})[1]
            assert first["task_id"] == task_id, "options['task_id'] was not obeyed"
            assert first["task_hash"] == second["task_hash"], "the task's hash changes"
        _must_raise(KeyError, lambda: env.reset(options={"task_id": "no such task"}))
        _must_raise(ValueError, lambda: env.reset(options={"misspelt": 1}))

    def p_permutation(self) -> str | None:
        """reset() walks through every task before it repeats one"""
        env = self.make()
        count = min(len(env.tasks.ids), 50)
        met = [env.reset(seed=2 if i == 0 else None)[1]["task_id"] for i in range(count)]
        assert len(set(met)) == count, "a task came twice in one pass"

    def p_infos(self) -> str | None:
        """every info has the same keys, is JSON, and repeats"""
        env = self.make()
        infos = [info for seed in range(self.episodes) for info in Player(env, seed).play().infos]
        missing = INFO_TYPES.keys() - infos[0].keys()
        assert not missing, f"the info lacks {sorted(missing)}"
        for info in infos:
            assert set(info) == set(infos[0]), f"info keys differ: {set(info) ^ set(infos[0])}"
            json.dumps(info)

    def p_secrets(self) -> str | None:
        """neither the answer nor the expert's actions are in a public info"""
        env = self.make()
        for info in Player(env, 4).play().infos:
            assert "answer" not in info, "the answer is in a public info"
            assert "expert_action" not in info, "the expert is in a public info"
            secret = env.task.expert
            assert not secret or json.dumps(list(secret)) not in json.dumps(info), "the plan is"

    def p_garbage(self) -> str | None:
        """any string is a turn: garbage raises nothing, and is invalid unless text is free"""
        env = self.make(max_turns=len(GARBAGE) + 1)
        env.reset(seed=0)
        invalid = 0
        for action in GARBAGE:
            listed = env.scene.admissible
            _, _, terminated, truncated, info = env.step(action)
            invalid += not info["action_valid"]
            assert info["invalid_turns"] == invalid, "invalid turns are not counted"
            assert not truncated, f"{action[:20]!r} ended the episode before its turns were played"
            if listed or not action.strip():
                assert info["action_valid"] is False, f"{action[:20]!r} was called valid"
                assert not (listed and terminated), f"{action[:20]!r} ended the episode"
            if terminated:  # where nothing is listed, any text may be an answer
                env.reset(seed=0)
                invalid = 0

    def p_ends(self) -> str | None:
        """terminated, truncated and success are three facts; no step goes past the end"""
        env = self.make(max_turns=2)
        env.reset(seed=0)
        _must_raise(TypeError, lambda: env.step(None))  # type: ignore[arg-type]
        terminated, truncated, info = env.step("")[2:]
        if not terminated:
            assert not truncated, "it was truncated after the first of two turns"
            terminated, truncated, info = env.step("")[2:]
        if terminated:
            assert not truncated, "it was terminated and truncated at once"
            assert info["stop_reason"] == "done", f"stop_reason is {info['stop_reason']!r}"
        else:
            assert truncated, "the turn limit must truncate"
            assert info["success"] is False, "running out of turns was called success"
            assert info["stop_reason"] == "max_turns", f"stop_reason is {info['stop_reason']!r}"
        _must_raise(ResetNeeded, lambda: env.step(""))
        _must_raise(ResetNeeded, lambda: self.make().step(""))

    def p_snapshot(self) -> str | None:
        """a snapshot restores exactly, in another instance and after other play"""
        player = Player(self.make(), 21)
        for _ in range(4):
            player.play_turn()
        saved, turns = player.env.snapshot(), len(player.trace)
        player.play()
        after = [player.env.reset()[1]["task_id"] for _ in range(3)]
        for env in (self.make(), player.env):
            again = Player(env, 21)
            again.resume(saved)
            again.play()
            assert again.trace[1:] == player.trace[turns:], "play goes on differently"
            assert again.trace[0] in player.trace[turns - 1], "restore shows something else"
            tasks = [env.reset()[1]["task_id"] for _ in range(3)]
            assert tasks == after, "the order of tasks differs after restore"

    def p_verifier(self) -> str | None:
        """the verifier is pure: the same verdict twice, and on the stored episode; also on none"""
        env = self.make()
        nothing = Episode(task=env.tasks.task(env.tasks.ids[0]), turns=())
        assert not env.verify(nothing).success, "an episode without turns is called a success"
        for seed in range(self.episodes):
            trace(env, seed)
            episode = env.episode
            verdict = env.verify(episode)
            stored = from_record(json.loads(json.dumps(to_record(episode, verdict))))
            assert env.verify(episode) == verdict == env.verify(stored), "verdicts differ"
            assert 0.0 <= verdict.score <= 1.0, f"the score {verdict.score} is outside [0, 1]"

    def p_silence(self) -> str | None:
        """who says nothing solves nothing"""
        env = self.make()
        silent = evaluate(env, lambda *_: "", env.tasks.ids[: self.episodes]).overall
        assert silent.successes == 0, f"silence solves {silent}"

    def p_expert(self) -> str | None:
        """the expert solves its tasks; a random policy does not do as well"""
        env = self.make(parser="text")
        if not env.has_expert:
            return NO_EXPERT
        ids = env.tasks.ids[: self.episodes]
        expert = evaluate(env, ExpertPolicy(), ids).overall
        assert expert.successes >= 0.8 * len(ids), f"the expert solves only {expert}"
        lucky = evaluate(env, RandomPolicy(0), ids).overall
        assert lucky.successes < expert.successes, f"random play solves {lucky}"

    def p_vector(self) -> str | None:
        """make_vec gives the same episodes for any number of environments, in both modes"""
        if (spec := gym.spec(self.env_id)).vector_entry_point is None:
            raise AssertionError(f"{spec.id} has no vector_entry_point")
        alone = [trace(self.make(), seed) for seed in range(5)]
        for mode in ("Disabled", "NextStep"):
            for count in (1, 5):
                traces = self._vector_traces(count, mode)
                assert traces == alone[:count], (
                    f"{count} of them in mode {mode} play differently from each alone"
                )

    def p_vector_infos(self) -> str | None:
        """make_vec gives the same infos for any number of environments, to the last turn"""
        ids = self.make().tasks.ids[: self.episodes]
        together = self._vector_infos(ids)
        for task_id, infos in zip(ids, together, strict=True):
            for turn, (alone, beside) in enumerate(
                zip(self._vector_infos([task_id])[0], infos, strict=True)
            ):
                differ = [key for key in {**alone, **beside} if alone.get(key) != beside.get(key)]
                assert not differ, f"{differ[0]!r} of task {task_id!r} at turn {turn} differs"

    def p_prompts(self) -> str | None:
        """its prompt styles load and render"""
        env = self.make()
        if not env.prompt_folder:
            return "no prompt styles: give `prompt_folder`"
        style = load_style("default", env.prompt_folder)
        _, info = env.reset(seed=0)
        scene = env.episode.outcome
        style.opening_messages(info["goal"], scene, info["admissible_actions"])
        env.step("")
        messages = style.turn_messages(info["goal"], env.episode.turns, scene, ())
        assert messages[-1]["content"], "a later prompt is empty"

    def p_closes(self) -> str | None:
        """close() may be called twice"""
        env = self.make()
        env.reset(seed=0)
        env.close()
        env.close()

    def _traces(self) -> list[Trace]:
        """Episodes of a new instance each."""
        return [trace(self.make(), seed) for seed in _SEEDS]

    def _make_vec(self, count: int, mode: str = "Disabled") -> TextVectorEnv:
        envs = gym.make_vec(
            self.env_id,
            num_envs=count,
            vectorization_mode="vector_entry_point",
            autoreset_mode=mode,
            **self.settings,
        )
        assert isinstance(envs, TextVectorEnv), f"make_vec gives a {type(envs).__name__}"
        return envs

    def _vector_traces(self, count: int, mode: str) -> list[Trace]:
        envs = self._make_vec(count, mode)
        observations, _ = envs.reset(seed=0)
        traces: list[Trace] = [[plain(one)] for one in _each(observations, count)]
        over = np.zeros(count, dtype=bool)
        while not over.all():
            assert observations in envs.observation_space, "observations outside their space"
            actions = [
                None if over[i] and mode == "Disabled" else chosen(envs.envs[i], i)
                for i in range(count)
            ]
            observations, rewards, terminated, truncated, _ = envs.step(actions)
            listed = _each(observations, count)
            for i in np.flatnonzero(~over):
                traces[i].append([plain(listed[i]), float(rewards[i])])
            over |= terminated | truncated
        envs.close()
        return traces

    def _vector_infos(self, task_ids: Sequence[str]) -> list[list[dict[str, Any]]]:
        """What the infos tell of each environment while its expert plays, if it has one."""
        envs, expert = self._make_vec(len(task_ids)), ExpertPolicy()
        seeds = [0] * len(task_ids)
        _, infos = envs.reset(seed=seeds, options={"task_id": list(task_ids)})
        told = [[_told(infos, i)] for i in range(len(task_ids))]
        over = np.zeros(len(task_ids), dtype=bool)
        while not over.all():
            actions = [
                None if over[i] else expert(env, "", {}) if env.has_expert else chosen(env, 0)
                for i, env in enumerate(envs.envs)
            ]
            _, _, terminated, truncated, infos = envs.step(actions)
            for i in np.flatnonzero(~over).tolist():
                told[i].append(_told(infos, i))
            over |= terminated | truncated
        envs.close()
        return told


@contextlib.contextmanager
def _global_dice_left_alone() -> Iterator[None]:
    """Raise AssertionError where a generator that everybody shares was used."""

    def state() -> tuple[Any, Any]:
        return random.getstate(), pickle.dumps(np.random.get_state())

    before = state()
    yield
    for name, now, then in zip(("random", "numpy.random"), state(), before, strict=True):
        assert now == then, f"the global generator of {name} was used: draw from self.np_random"


def _told(columns: dict[str, Any], i: int) -> dict[str, Any]:
    """The info of environment i, each value with its column's type."""
    return {
        key: _told(column, i) if isinstance(column, dict) else (column.dtype, column[i])
        for key, column in columns.items()
        if not key.startswith("_") and columns["_" + key][i]
    }


def _each(observations: Any, count: int) -> list[Any]:
    """The observations of a vector environment, one by one."""
    if not isinstance(observations, dict):
        return list(observations)
    return [{key: listed[i] for key, listed in observations.items()} for i in range(count)]


def _must_raise(kind: type[Exception], call: Callable[[], Any]) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(f"expected {kind.__name__}, nothing was raised")
