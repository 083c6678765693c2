import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from agentgym_envs import TextVectorEnv

PANTRY = "pantry:Pantry/Honey-v0"


def make(count: int, **settings) -> TextVectorEnv:
    envs = gym.make_vec(PANTRY, num_envs=count, **settings)
    assert isinstance(envs, TextVectorEnv)
    return envs


def test_make_vec_gives_text_and_disabled_autoreset():
    envs = make(3)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    observations, infos = envs.reset(seed=0)
    assert all(text.endswith("all closed.") for text in observations)
    assert observations in envs.observation_space
    assert infos["turn"].tolist() == [0, 0, 0] and infos["_turn"].all()


def test_members_of_a_group_get_the_same_task():
    envs = make(4)
    _, infos = envs.reset(seed=[7, 7, 7, 7], options={"task_id": "pantry/red/jam"})
    assert set(infos["task_id"]) == {"pantry/red/jam"}
    ids = ["pantry/red/jam", "pantry/blue/jam", "pantry/red/jam", "pantry/green/honey"]
    _, infos = envs.reset(options={"task_id": ids})
    assert infos["task_id"].tolist() == ids


def test_disabled_an_ended_environment_rests_until_it_is_reset():
    envs = make(2)
    envs.reset(options={"task_id": ["pantry/red/jam", "pantry/blue/jam"]})
    envs.step(["open red", "open red"])
    observations, rewards, terminated, _, infos = envs.step(["take jam", "take jam"])
    assert terminated.tolist() == [True, False] and rewards.tolist() == [1.0, 0.0]
    with pytest.raises(ResetNeeded, match="environment 0 has ended"):
        envs.step(["open red", "open red"])
    with pytest.raises(ResetNeeded, match="environment 1 has not ended"):
        envs.step([None, None])
    rested, rewards, terminated, _, infos = envs.step([None, "open blue"])
    assert rested[0] == observations[0] and rewards[0] == 0.0 and terminated[0]
    assert infos["_turn"].tolist() == [False, True]
    observations, infos = envs.reset(options={"reset_mask": np.array([True, False])})
    assert infos["_turn"].tolist() == [True, False]
    assert observations[1] == rested[1]
    assert not envs.step(["open red", "open red"])[2].any()


def test_next_step_resets_on_the_step_after_the_end():
    envs = make(1, autoreset_mode="NextStep")
    envs.reset(seed=0, options={"task_id": "pantry/red/jam"})
    envs.step(["open red"])
    assert envs.step(["take jam"])[2].tolist() == [True]
    observations, rewards, terminated, _, infos = envs.step(["ignored"])
    assert observations[0].endswith("all closed.")
    assert (rewards[0], terminated[0], infos["turn"][0]) == (0.0, False, 0)


def test_what_is_not_offered_is_refused():
    with pytest.raises(ValueError, match="SAME_STEP is not offered"):
        make(2, autoreset_mode="SameStep")
    envs = make(2)
    with pytest.raises(ValueError, match="entries for 2"):
        envs.reset(seed=[1, 2, 3])
    with pytest.raises(ValueError, match="reset_mask"):
        envs.reset(options={"reset_mask": [1, 0]})
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="1 actions for 2"):
        envs.step(["open red"])


def test_gymnasiums_own_vectorisation_gives_the_same_text():
    wanted = make(2).reset(seed=3)[0]
    assert gym.make_vec(PANTRY, num_envs=2, vectorization_mode="sync").reset(seed=3)[0] == wanted
    envs = gym.make_vec(
        PANTRY, num_envs=2, vectorization_mode="async", vector_kwargs={"shared_memory": False}
    )
    assert envs.reset(seed=3)[0] == wanted
    envs.close()


def test_shared_memory_refuses_text_rather_than_corrupt_it():
    with pytest.raises(ValueError, match="shared_memory"):
        gym.make_vec(PANTRY, num_envs=2, vectorization_mode="async")
