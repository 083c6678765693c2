"""A pool's workers change nothing about the results, and a worker's end is told, not waited for."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs import TextVectorEnv
from agentgym_envs.pools import ProcessWorker, ShardedVectorEnv, WorkerDied, make_pool
from agentgym_envs.pools.vector import _shares

PANTRY = "pantry:Pantry/Honey-v0"
ACTIONS = ["open red", "open blue", "open green", "take jam", "take honey", "?"]


def plain(value):
    """Results as values that compare: arrays as lists, all the way down."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def scripted(envs: TextVectorEnv, turns: int = 14) -> list:
    """What a fixed policy sees: a seeded reset, ragged ends, resets of some and of all."""
    rests = envs.autoreset_mode is AutoresetMode.DISABLED
    dice, over = np.random.default_rng(1), np.zeros(envs.num_envs, dtype=bool)
    seen: list = [envs.reset(seed=5)]
    for turn in range(turns):
        actions = [str(dice.choice(ACTIONS)) for _ in over]
        seen.append(envs.step([None if rests and over[i] else a for i, a in enumerate(actions)]))
        over = seen[-1][2] | seen[-1][3]
        if rests and turn % 4 == 3 and over.any():
            seen.append(envs.reset(options={"reset_mask": over}))
            over = np.zeros(envs.num_envs, dtype=bool)
    ids = ["pantry/red/jam", "pantry/blue/honey"]
    chosen = [ids[i % 2] for i in range(envs.num_envs)]
    seen.append(envs.reset(seed=[None, *range(1, envs.num_envs)], options={"task_id": chosen}))
    return plain(seen)


@pytest.mark.parametrize(
    ("count", "workers", "mode"),
    [(1, 1, "Disabled"), (5, 2, "Disabled"), (5, 2, "NextStep"), (3, 9, "Disabled")],
)
def test_a_pool_plays_as_one_process_does(count, workers, mode):
    alone = gym.make_vec(PANTRY, num_envs=count, autoreset_mode=mode)
    with closing(make_pool(PANTRY, count, workers=workers, autoreset_mode=mode)) as pool:
        assert scripted(pool) == scripted(alone)
        assert (pool.observation_space, pool.action_space) == (
            alone.observation_space,
            alone.action_space,
        )
        assert pool.metadata == alone.metadata


@given(count=st.integers(1, 200), workers=st.integers(1, 200))
def test_shares_are_even_and_leave_nobody_out(count, workers):
    shares = _shares(count, min(count, workers))
    assert [i for share in shares for i in share] == list(range(count))
    sizes = {len(share) for share in shares}
    assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1


@pytest.fixture(scope="module")
def pool() -> Iterator[ShardedVectorEnv]:
    with closing(make_pool(PANTRY, 3, workers=2, max_turns=2, render_mode="ansi")) as pool:
        yield pool


def test_settings_reach_the_environments(pool):
    pool.reset(options={"task_id": "pantry/red/jam"})
    pool.step(["open red"] * 3)
    assert pool.step(["?"] * 3)[3].tolist() == [True] * 3
    assert pool.render_mode == "ansi" and all("> open red" in text for text in pool.render())


def test_a_call_reaches_every_environment(pool):
    pool.reset(seed=1)
    alone = gym.make_vec(PANTRY, num_envs=3, max_turns=2)
    alone.reset(seed=1)
    assert pool.call("snapshot") == tuple(env.snapshot() for env in alone.envs)
    assert pool.call("episode") == tuple(env.episode for env in alone.envs)


def test_what_is_refused_is_refused_in_the_same_words(pool):
    alone = gym.make_vec(PANTRY, num_envs=3, max_turns=2)
    wrong = [
        lambda envs: envs.reset(seed=[1, 2]),
        lambda envs: envs.reset(options={"reset_mask": [1, 0, 1]}),
        lambda envs: envs.reset(options={"misspelt": 1}),
        lambda envs: envs.reset(options={"task_id": "no such task"}),
        lambda envs: (envs.reset(seed=0), envs.step(["?"] * 2)),
        lambda envs: (envs.reset(seed=0), envs.step(["?", None, "?"])),
        lambda envs: (envs.reset(seed=0), envs.step(["?", 7, "?"])),
        lambda envs: (envs.reset(seed=0), [envs.step(["?"] * 3) for _ in range(3)]),
    ]
    for ask in wrong:
        told = []
        for envs in (alone, pool):
            with pytest.raises((ValueError, KeyError, TypeError, ResetNeeded)) as caught:
                ask(envs)
            told.append((caught.type, str(caught.value)))
        assert told[0] == told[1]
    pool.reset(seed=0)  # and it goes on


def test_a_constructors_error_is_raised_here():
    with pytest.raises(ValueError, match="max_turns must be at least 1"):
        make_pool(PANTRY, 2, workers=2, max_turns=0)


def test_a_setting_that_is_not_taken_is_refused_before_a_process_is_started(monkeypatch):
    monkeypatch.setattr(ProcessWorker, "__init__", lambda *_: pytest.fail("a process was started"))
    with pytest.raises(TypeError, match="takes no argument 'max_turn'; did you mean 'max_turns'"):
        make_pool(PANTRY, 1, max_turn=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"workers": 0}, "must be at least 1, got 0"),
        ({"kind": "thread"}, "kind is 'process' or 'ray', got 'thread'"),
        ({"autoreset_mode": "SameStep"}, "SAME_STEP is not offered"),
    ],
)
def test_what_is_not_offered_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        make_pool(PANTRY, 2, **wrong)


def test_an_environment_that_is_no_text_environment_is_refused():
    with pytest.raises(ValueError, match="has no TextVectorEnv"):
        make_pool("CartPole-v1", 2)


def test_a_worker_that_dies_is_named_by_what_it_held_and_close_returns():
    pool = make_pool(PANTRY, 5, workers=2)
    pool.reset(seed=0)
    (victim,) = [p for p in multiprocessing.active_children() if p.name == "environments 2 to 4"]
    victim.kill()
    with pytest.raises(WorkerDied, match=r"environments 2 to 4 died: killed by SIGKILL"):
        pool.step(["open red"] * 5)
    with pytest.raises(WorkerDied, match="environments 2 to 4"):
        pool.reset()
    pool.close()


def test_a_closed_pool_says_so():
    pool = make_pool(PANTRY, 1)
    pool.close()
    pool.close()
    with pytest.raises(ValueError, match="the pool is closed"):
        pool.reset()


POOL = "from agentgym_envs.pools import make_pool\n{line}\n"
MADE = "make_pool('pantry:Pantry/Honey-v0', 2, workers=2).close(); print('made')"


def told_by(tmp_path, text):
    """What a script prints, in words of its standard error's last line, and how often it failed."""
    script = tmp_path / "train.py"
    script.write_text(text, encoding="utf-8")
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"}
    return subprocess.run(
        [sys.executable, str(script)], env=env, capture_output=True, text=True, check=False
    )


def test_a_script_without_a_guard_is_told_so_before_anything_is_started(tmp_path):
    done = told_by(tmp_path, POOL.format(line=MADE))
    assert done.returncode == 1 and done.stderr.count("Traceback") == 1
    assert done.stderr.splitlines()[-1] == (
        "RuntimeError: the processes of a pool import train.py again, where line 2 makes the pool: "
        'put that below `if __name__ == "__main__":`'
    )


@pytest.mark.parametrize(
    "line",
    [
        f"if __name__ == '__main__':\n    {MADE}",
        f"def main():\n    {MADE}\n\n\nif '__main__' == __name__:\n    main()",
    ],
)
def test_a_script_with_a_guard_makes_its_pool(tmp_path, line):
    done = told_by(tmp_path, POOL.format(line=line))
    assert (done.returncode, done.stdout, done.stderr) == (0, "made\n", "")
