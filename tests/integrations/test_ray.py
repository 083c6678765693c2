"""A pool of Ray actors on a real local cluster plays as one process does."""

import importlib
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version

import gymnasium as gym
import numpy as np
import pytest

import agentgym_envs  # noqa: F401  (registers the environments)
from agentgym_envs.integrations import needs
from agentgym_envs.pools import WorkerDied, make_pool

ray = pytest.importorskip("ray")

SMALL = {
    "AgentGym/ALFWorld-v0": {"difficulty": "tiny", "max_turns": 6, "games": {"train": 8}},
    "AgentGym/WebShop-v0": {"difficulty": "tiny", "max_turns": 5},
    "AgentGym/SearchQA-v0": {"world_preset": "nano"},
}


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, configure_logging=False)
    yield
    ray.shutdown()


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def scripted(envs, turns: int = 7) -> list:
    """What a fixed policy sees, ended environments reset by mask as it goes."""
    dice = np.random.default_rng(2)
    seen = [envs.reset(seed=3)]
    offered = list(seen[0][1]["admissible_actions"])
    for _ in range(turns):
        actions = [str(dice.choice(list(some))) if some else "?" for some in offered]
        seen.append(envs.step(actions))
        offered = list(seen[-1][4]["admissible_actions"])
        over = seen[-1][2] | seen[-1][3]
        if over.any():
            seen.append(envs.reset(options={"reset_mask": over}))
            fresh = seen[-1][1]["admissible_actions"]
            offered = [
                new if ended else old for new, old, ended in zip(fresh, offered, over, strict=True)
            ]
    return plain(seen)


@pytest.mark.parametrize("env_id", SMALL)
def test_four_actors_play_as_one_process_does(env_id):
    settings = SMALL[env_id]
    alone = gym.make_vec(env_id, num_envs=6, **settings)
    with closing(make_pool(env_id, 6, workers=4, kind="ray", **settings)) as pool:
        assert [len(places) for places in pool.places] == [1, 2, 1, 2]
        assert scripted(pool) == scripted(alone)
        assert pool.call("snapshot") == tuple(env.snapshot() for env in alone.envs)


def test_errors_are_those_of_the_environment():
    with pytest.raises(ValueError, match="max_turns must be at least 1"):
        make_pool("AgentGym/WebShop-v0", 2, kind="ray", max_turns=0)
    with closing(
        make_pool("AgentGym/ALFWorld-v0", 2, workers=2, kind="ray", **SMALL["AgentGym/ALFWorld-v0"])
    ) as pool:
        with pytest.raises(KeyError, match="no game 'none'"):
            pool.reset(options={"task_id": "none"})
        assert len(pool.reset(seed=0)[0]) == 2


def test_an_actor_that_dies_is_named_by_what_it_held_and_close_returns():
    pool = make_pool(
        "AgentGym/ALFWorld-v0", 3, workers=2, kind="ray", **SMALL["AgentGym/ALFWorld-v0"]
    )
    pool.reset(seed=0)
    ray.kill(pool._workers[1]._actor)

    def go_on() -> None:
        for _ in range(200):  # Ray takes a moment to kill
            pool.reset(seed=0)

    with pytest.raises(WorkerDied, match="environments 1 to 2 died"):
        go_on()
    pool.close()


def test_another_version_of_ray_is_refused_with_the_command_that_mends_it(monkeypatch):
    module = importlib.import_module("agentgym_envs.pools.ray")
    monkeypatch.setattr(needs, "version", lambda name: "1.13.0" if name == "ray" else version(name))
    with pytest.raises(ImportError, match=r'pip install "ray>=2\.60,<2\.61"'):
        importlib.reload(module)
