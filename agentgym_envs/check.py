"""The conformance kit: what every registered environment promises, checked by playing it.

report = check_text_env("AgentGym/ALFWorld-v0")      # raises CheckFailed, naming each failure
agentgym-envs check AgentGym/ALFWorld-v0             # the same as a table
"""

import contextlib
import io
import json
import pickle
import random
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from agentgym_envs.core import TextEnv
from agentgym_envs.episodes import from_record, to_record
from agentgym_envs.evaluate import ExpertPolicy, RandomPolicy, evaluate
from agentgym_envs.prompts import load_style
from agentgym_envs.registration import importable
from agentgym_envs.vector import TextVectorEnv

INFO_KEYS = frozenset(
    {
        *("task_id", "task_hash", "split", "goal", "seed", "turn", "admissible_actions"),
        *("action_parsed", "action_valid", "invalid_turns", "score", "success"),
        *("stop_reason", "reward_terms", "env_version"),
    }
)
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


class CheckFailed(AssertionError):
    """Some promises are not kept; the message lists them."""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise and how it went; `problem` is empty when it is kept."""

    name: str
    problem: str = ""


@dataclass(frozen=True)
class _Kit:
    env_id: str
    settings: dict[str, Any]
    episodes: int

    def make(self, **more: Any) -> TextEnv:
        env = gym.make(self.env_id, **{**self.settings, **more}).unwrapped
        if not isinstance(env, TextEnv):
            raise TypeError(f"{self.env_id} is a {type(env).__name__}, not a TextEnv")
        return env

    # Each method whose name starts with `p_` is a promise; its docstring is shown.

    def p_gymnasium(self) -> None:
        """passes gymnasium's check_env with zero warnings"""
        env = self.make()
        # The checker renders in every mode, also for people to read.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("error")
            check_env(env)

    def p_spec(self) -> None:
        """its spec becomes JSON and makes the same environment again; it pickles"""
        env = self.make()
        spec = env.spec
        assert spec is not None, "the environment has no spec"
        again = gym.make(type(spec).from_json(spec.to_json())).unwrapped
        assert isinstance(again, TextEnv)
        assert again.reset(seed=3)[0] == env.reset(seed=3)[0], "the spec makes another environment"
        copy = pickle.loads(pickle.dumps(env))
        assert _trace(copy, 5) == _trace(env, 5), "a pickled environment plays differently"

    def p_repeatable(self) -> None:
        """the same seed and actions give the same episode, here, in threads and elsewhere"""
        expected = _trace(self.make(), 7)
        assert _trace(self.make(), 7) == expected, "a second instance plays differently"
        found: list[Any] = [None] * 4

        def run(i: int) -> None:
            found[i] = _trace(self.make(), 7)

        threads = [threading.Thread(target=run, args=(i,)) for i in range(len(found))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(trace == expected for trace in found), "threads disturb each other"
        code = (
            "import json, sys; asked = json.loads(sys.stdin.read()); sys.path[:] = asked.pop();"
            "from agentgym_envs.check import trace_elsewhere; print(trace_elsewhere(*asked))"
        )
        ran = subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps([self._package(), self.env_id, self.settings, 7, sys.path]),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, f"it cannot be made in another process: {ran.stderr[-400:]}"
        assert ran.stdout.strip().splitlines()[-1] == json.dumps(expected), (
            "another process plays differently"
        )

    def p_isolated(self) -> None:
        """instances do not share state, and global generators are left alone"""
        random.seed(0)
        np.random.seed(0)
        before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
        alone = [_trace(self.make(), seed) for seed in (11, 12)]
        after = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
        assert before == after, "a global random generator was used"
        pair = [_Player(self.make(), seed) for seed in (11, 12)]
        while any(player.play_turn() for player in pair):
            pass
        assert [player.trace for player in pair] == alone, "interleaved instances differ"

    def p_tasks(self) -> None:
        """a task can be chosen by id, and ids and hashes are stable; an unknown id is an error"""
        env, other = self.make(), self.make()
        for task_id in env.tasks.ids[:3]:
            first = env.reset(seed=1, options={"task_id": task_id})[1]
            second = other.reset(options={"task_id": task_id})[1]
            assert first["task_id"] == task_id, "options['task_id'] was not obeyed"
            assert first["task_hash"] == second["task_hash"], "the task's hash changes"
        _must_raise(KeyError, lambda: env.reset(options={"task_id": "no such task"}))
        _must_raise(ValueError, lambda: env.reset(options={"misspelt": 1}))

    def p_permutation(self) -> None:
        """reset() walks through every task before it repeats one"""
        env = self.make()
        count = min(len(env.tasks.ids), 50)
        met = [env.reset(seed=2 if i == 0 else None)[1]["task_id"] for i in range(count)]
        assert len(set(met)) == count, "a task came twice in one pass"

    def p_infos(self) -> None:
        """every info has the same keys, is JSON, and repeats"""
        env = self.make()
        infos = [info for seed in range(self.episodes) for info in _infos(env, seed)]
        missing = INFO_KEYS - set(infos[0])
        assert not missing, f"the info lacks {sorted(missing)}"
        for info in infos:
            assert set(info) == set(infos[0]), f"info keys differ: {set(info) ^ set(infos[0])}"
            json.dumps(info)

    def p_secrets(self) -> None:
        """neither the answer nor the expert's actions are in a public info"""
        env = self.make()
        for info in _infos(env, 4):
            assert "answer" not in info, "the answer is in a public info"
            assert "expert_action" not in info, "the expert is in a public info"
            secret = env.task.expert
            assert not secret or json.dumps(list(secret)) not in json.dumps(info), "the plan is"

    def p_garbage(self) -> None:
        """any string is a turn: garbage is counted as invalid and raises nothing"""
        env = self.make(max_turns=len(GARBAGE) + 1)
        env.reset(seed=0)
        for count, action in enumerate(GARBAGE, start=1):
            _, _, terminated, truncated, info = env.step(action)
            assert info["action_valid"] is False, f"{action[:20]!r} was called valid"
            assert info["invalid_turns"] == count, "invalid turns are not counted"
            assert not (terminated or truncated), f"{action[:20]!r} ended the episode"

    def p_ends(self) -> None:
        """terminated, truncated and success are three facts; no step goes past the end"""
        env = self.make(max_turns=2)
        env.reset(seed=0)
        _must_raise(TypeError, lambda: env.step(None))  # type: ignore[arg-type]
        env.step("")
        _, _, terminated, truncated, info = env.step("")
        assert (terminated, truncated) == (False, True), "the turn limit must truncate"
        assert info["success"] is False, "running out of turns was called success"
        assert info["stop_reason"] == "max_turns", f"stop_reason is {info['stop_reason']!r}"
        _must_raise(ResetNeeded, lambda: env.step(""))
        _must_raise(ResetNeeded, lambda: self.make().step(""))

    def p_snapshot(self) -> None:
        """a snapshot restores exactly, in another instance and after other play"""
        player = _Player(self.make(), 21)
        for _ in range(4):
            player.play_turn()
        saved, turns = player.env.snapshot(), len(player.trace)
        while player.play_turn():
            pass
        after = [player.env.reset()[1]["task_id"] for _ in range(3)]
        for env in (self.make(), player.env):
            again = _Player(env, 21)
            again.resume(saved)
            while again.play_turn():
                pass
            assert again.trace[1:] == player.trace[turns:], "play goes on differently"
            assert again.trace[0] in player.trace[turns - 1], "restore shows something else"
            tasks = [env.reset()[1]["task_id"] for _ in range(3)]
            assert tasks == after, "the order of tasks differs after restore"

    def p_verifier(self) -> None:
        """the verifier is pure: the same verdict twice, and on the stored episode"""
        env = self.make()
        for seed in range(self.episodes):
            _trace(env, seed)
            episode = env.episode
            verdict = env.verify(episode)
            stored = from_record(json.loads(json.dumps(to_record(episode, verdict))))
            assert env.verify(episode) == verdict == env.verify(stored), "verdicts differ"
            assert 0.0 <= verdict.score <= 1.0, f"the score {verdict.score} is outside [0, 1]"

    def p_expert(self) -> None:
        """the expert solves its tasks; silence and a random policy do not do as well"""
        env = self.make(parser="text")
        ids = env.tasks.ids[: self.episodes]
        expert = evaluate(env, ExpertPolicy(), ids).overall
        assert expert.successes >= 0.8 * len(ids), f"the expert solves only {expert}"
        assert evaluate(env, lambda *_: "", ids).overall.successes == 0, "silence succeeds"
        lucky = evaluate(env, RandomPolicy(0), ids).overall
        assert lucky.successes < expert.successes, f"random play solves {lucky}"

    def p_vector(self) -> None:
        """make_vec gives the same episodes for any number of environments, in both modes"""
        if (spec := gym.spec(self.env_id)).vector_entry_point is None:
            raise AssertionError(f"{spec.id} has no vector_entry_point")
        alone = [_trace(self.make(), seed) for seed in range(5)]
        for mode in ("Disabled", "NextStep"):
            for count in (1, 5):
                traces = self._vector_traces(count, mode)
                assert traces == alone[:count], f"{count} environments in mode {mode} differ"

    def p_prompts(self) -> None:
        """its prompt styles load and render"""
        env = self.make()
        if not env.prompt_folder:
            return
        style = load_style("default", env.prompt_folder)
        _, info = env.reset(seed=0)
        scene = env.episode.outcome
        style.opening_messages(info["goal"], scene, info["admissible_actions"])
        env.step("")
        messages = style.turn_messages(info["goal"], env.episode.turns, scene, ())
        assert messages[-1]["content"], "a later prompt is empty"

    def p_closes(self) -> None:
        """close() may be called twice"""
        env = self.make()
        env.reset(seed=0)
        env.close()
        env.close()

    def _package(self) -> str:
        entry_point = gym.spec(self.env_id).entry_point
        assert isinstance(entry_point, str), "register the entry point as 'package.module:Class'"
        return entry_point.partition(":")[0].partition(".")[0]

    def _vector_traces(self, count: int, mode: str) -> list[list[Any]]:
        envs = gym.make_vec(
            self.env_id,
            num_envs=count,
            vectorization_mode="vector_entry_point",
            autoreset_mode=mode,
            **self.settings,
        )
        assert isinstance(envs, TextVectorEnv), f"make_vec gives a {type(envs).__name__}"
        observations, _ = envs.reset(seed=0)
        traces: list[list[Any]] = [[_plain(text)] for text in observations]
        over = np.zeros(count, dtype=bool)
        while not over.all():
            actions = [
                None if over[i] and mode == "Disabled" else _choose(envs.envs[i], i)
                for i in range(count)
            ]
            observations, rewards, terminated, truncated, _ = envs.step(actions)
            for i in np.flatnonzero(~over):
                traces[i].append([_plain(observations[i]), float(rewards[i])])
            over |= terminated | truncated
        envs.close()
        return traces


def check_text_env(
    env_id: str,
    *,
    episodes: int = 5,
    on_check: Callable[[Check], None] | None = None,
    **settings: Any,
) -> list[Check]:
    """Check every promise of the environment made by `gym.make(env_id, **settings)`.

    `episodes` is how many are played where several are needed. Returns the checks in order;
    raises CheckFailed at the end when any promise is not kept.
    """
    kit = _Kit(importable(env_id), settings, episodes)
    checks = []
    for name, promise in _promises(kit):
        try:
            promise()
            check = Check(name)
        except Exception as error:
            check = Check(name, f"{type(error).__name__}: {error}")
        checks.append(check)
        if on_check is not None:
            on_check(check)
    broken = [check for check in checks if check.problem]
    if broken:
        listed = "\n".join(f"- {check.name}: {check.problem}" for check in broken)
        raise CheckFailed(f"{env_id} breaks {len(broken)} of {len(checks)} promises:\n{listed}")
    return checks


def trace_elsewhere(package: str, env_id: str, settings: dict[str, Any], seed: int) -> str:
    """What `p_repeatable` runs in another process: a trace as JSON."""
    env = gym.make(importable(f"{package}:{env_id}"), **settings).unwrapped
    assert isinstance(env, TextEnv)
    return json.dumps(_trace(env, seed))


def _promises(kit: _Kit) -> Iterator[tuple[str, Callable[[], None]]]:
    for name in vars(_Kit):
        if name.startswith("p_"):
            promise = getattr(kit, name)
            yield promise.__doc__, promise


class _Player:
    """Random play, one turn at a time; the dice of turn k depend on the seed and k only."""

    def __init__(self, env: TextEnv, seed: int) -> None:
        self.env, self.seed = env, seed
        observation, self.info = env.reset(seed=seed)
        self.trace: list[Any] = [_plain(observation)]
        self.over = False

    def play_turn(self) -> bool:
        if self.over:
            return False
        action = _choose(self.env, self.seed)
        observation, reward, terminated, truncated, self.info = self.env.step(action)
        self.trace.append([_plain(observation), reward])
        self.over = terminated or truncated
        return True

    def resume(self, saved: bytes) -> None:
        observation, self.info = self.env.restore(saved)
        self.trace = [_plain(observation)]
        self.over = bool(self.info["stop_reason"])


def _trace(env: TextEnv, seed: int) -> list[Any]:
    player = _Player(env, seed)
    while player.play_turn():
        pass
    return player.trace


def _infos(env: TextEnv, seed: int) -> list[dict[str, Any]]:
    player = _Player(env, seed)
    infos = [player.info]
    while player.play_turn():
        infos.append(player.info)
    return infos


def _choose(env: TextEnv, seed: int) -> str:
    turn = len(env.episode.turns)
    return env.wander(np.random.default_rng([seed, turn])) or "?"


def _plain(observation: Any) -> Any:
    if isinstance(observation, dict):
        return [observation["text"], list(observation["admissible"]), int(observation["turn"])]
    return observation


def _must_raise(kind: type[Exception], call: Callable[[], Any]) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(f"expected {kind.__name__}, nothing was raised")
