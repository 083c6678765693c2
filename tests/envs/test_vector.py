import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from agentgym_envs import TextVectorEnv
from agentgym_envs.columns import Columns
from agentgym_envs.core import INFO_TYPES

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


def test_a_mistake_leaves_every_environment_as_it_was():
    envs = make(3)
    envs.reset(seed=0)
    before = envs.call("snapshot")
    with pytest.raises(TypeError, match="environment 2: an action is a str, got int"):
        envs.step(["open red", "open red", 7])
    with pytest.raises(KeyError, match="no task 'pantry/attic'"):
        envs.reset(seed=9, options={"task_id": ["pantry/red/jam", "pantry/attic", None]})
    with pytest.raises(TypeError, match="a task id is a str, got 5"):
        envs.reset(options={"task_id": ["pantry/red/jam", None, 5]})
    with pytest.raises(ValueError, match="a seed is 0 or more, got -1"):
        envs.reset(seed=[1, 2, -1])
    assert envs.call("snapshot") == before
    assert envs.step(["open red"] * 3)[4]["turn"].tolist() == [1, 1, 1]


def test_where_an_environment_fails_those_that_played_have_no_episode(monkeypatch):
    envs = make(3)
    envs.reset(seed=0)
    whole = type(envs.envs[1]).act

    def act(self, action):
        if self is envs.envs[1] and action == "?":
            raise RuntimeError("the engine is gone")
        return whole(self, action)

    monkeypatch.setattr(type(envs.envs[1]), "act", act)
    with pytest.raises(RuntimeError, match="the engine is gone"):
        envs.step(["open red", "?", "open red"])
    with pytest.raises(ResetNeeded, match="environment 0 has no episode"):
        envs.step(["open red"] * 3)
    with pytest.raises(ResetNeeded, match="environment 2 has no episode: reset it as well"):
        envs.reset(options={"reset_mask": np.array([True, True, False])})
    envs.reset(seed=0)
    assert envs.step(["open red"] * 3)[4]["turn"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("mode", ["Disabled", "NextStep"])
def test_nothing_is_played_before_the_first_reset(mode):
    with pytest.raises(ResetNeeded, match="environment 0 has no episode"):
        make(2, autoreset_mode=mode).step([None, None])
    with pytest.raises(ResetNeeded, match="environment 1 has no episode"):
        make(2).reset(options={"reset_mask": np.array([True, False])})


def test_turns_are_prepared_together_and_only_those_that_are_played(monkeypatch):
    envs = make(3)
    asked = []
    monkeypatch.setattr(
        envs.env_type,
        "prepare",
        classmethod(lambda cls, some, said: asked.append((list(some), list(said)))),
    )
    envs.reset(options={"task_id": ["pantry/red/jam", "pantry/blue/jam", "pantry/blue/jam"]})
    envs.step(["open red", "open red", "open blue"])
    envs.step(["take jam", "?", "take jam"])
    envs.step([None, "open blue", None])
    envs.step([None, "take jam", None])
    envs.step([None] * 3)  # nobody plays
    assert [said for _, said in asked] == [
        ["open red", "open red", "open blue"],
        ["take jam", "?", "take jam"],
        ["open blue"],
        ["take jam"],
    ]
    assert asked[2][0] == [envs.envs[1]]


def test_where_turns_cannot_be_prepared_none_is_played(monkeypatch):
    envs = make(2)
    envs.reset(seed=0)

    def prepare(cls, some, said):
        raise ConnectionError("nobody answers")

    with monkeypatch.context() as patch:
        patch.setattr(envs.env_type, "prepare", classmethod(prepare))
        with pytest.raises(ConnectionError):
            envs.step(["open red", "open red"])
    assert envs.step(["open red", "open red"])[4]["turn"].tolist() == [1, 1]


def test_snapshots_are_restored_ended_ones_too():
    envs = make(3)
    envs.reset(seed=0, options={"task_id": "pantry/red/jam"})
    envs.step(["open red", "open blue", "open red"])
    shown, *_ = envs.step(["take jam", "open red", "open blue"])
    saved = envs.call("snapshot")
    other = make(3)
    other.reset(seed=5)
    again, infos = other.restore(saved)
    assert again == shown and infos["turn"].tolist() == [2, 2, 2]
    with pytest.raises(ResetNeeded, match="environment 0 has ended"):
        other.step(["open red"] * 3)
    last = [None, "take jam", "open red"]
    assert other.step(last)[0] == envs.step(last)[0]
    _, infos = other.restore([None, saved[1], None])
    assert infos["_turn"].tolist() == [False, True, False]
    assert [len(episode.turns) for episode in other.call("episode")] == [2, 2, 3]
    with pytest.raises(ValueError, match="snapshot"):
        other.restore([None, b"?", None])
    with pytest.raises(ResetNeeded, match="environment 1 has no episode"):
        other.step([None, "open red", "open red"])


def test_attributes_are_read_and_set_as_gymnasium_does():
    envs = make(2)
    assert envs.get_attr("max_turns") == (6, 6)
    envs.set_attr("max_turns", [1, 3])
    assert envs.get_attr("max_turns") == (1, 3)
    envs.set_attr("max_turns", 2)
    with pytest.raises(ValueError, match="values has 3 entries for 2 environments"):
        envs.set_attr("max_turns", [1, 2, 3])


def test_a_spec_with_an_enumeration_becomes_json():
    envs = make(2, autoreset_mode=AutoresetMode.NEXT_STEP)
    assert envs.spec is not None
    again = gym.make_vec(type(envs.spec).from_json(envs.spec.to_json()))
    assert again.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert again.reset(seed=1)[0] == envs.reset(seed=1)[0]


def test_numpys_integers_are_seeds():
    seen = [make(2).reset(seed=seed)[1] for seed in (3, np.int64(3), np.array([3, 4]))]
    assert all(infos["task_id"].tolist() == seen[0]["task_id"].tolist() for infos in seen)
    assert type(seen[2]["seed"][1]) is int


def test_dictionaries_are_batched_as_gymnasium_does():
    ours = make(2, observation_mode="dict")
    shown, _ = ours.reset(seed=3)
    assert shown in ours.observation_space
    sync = gym.make_vec(PANTRY, num_envs=2, vectorization_mode="sync", observation_mode="dict")
    theirs, _ = sync.reset(seed=3)
    assert ours.observation_space == sync.observation_space
    assert shown["text"] == theirs["text"] and shown["admissible"] == theirs["admissible"]
    assert shown["turn"].tolist() == theirs["turn"].tolist() == [0, 0]


def an_info(**facts):
    known = {
        "turn": 1,
        "score": 0.5,
        "success": False,
        "reward_terms": {"score": 0.5, "invalid": 0},
    }
    texts = {name: "" for name in INFO_TYPES if name not in known}
    return {**texts, **known, **facts}


def test_a_dictionary_is_an_object_whoever_is_beside_it():
    red, both = {"options": {"color": "red"}}, {"options": {"color": "blue", "size": "xl"}}
    columns = Columns(an_info(purchase=None))
    for infos in ([red], [both], [red, both], [both, red], [red, None]):
        told = columns.of([an_info(purchase=one) for one in infos], np.ones(len(infos), bool))
        assert told["purchase"].dtype == object and told["purchase"].tolist() == infos


def test_a_columns_type_is_that_of_the_first_info():
    columns = Columns(an_info(won=False, share=0.5, sold=None))
    present = np.array([False, True])
    told = columns.of([an_info(won=True, share=1, sold=2)], present)
    assert [told[key].dtype for key in ("won", "share", "sold")] == [bool, float, object]
    assert [told[key].tolist() for key in ("won", "share", "sold")] == [
        [False, True],
        [0.0, 1.0],
        [None, 2],
    ]
    assert told["reward_terms"]["score"].tolist() == [0.0, 0.5]
    assert told["_won"].tolist() == told["reward_terms"]["_score"].tolist() == [False, True]
    rest = columns.of([], np.array([False, False]))
    assert rest["share"].tolist() == [0.0, 0.0] and rest["sold"].tolist() == [None, None]
    for key, facts in {
        "sold": {"won": True, "share": 1.0},
        "more": {"won": True, "share": 1.0, "sold": 0, "more": 0},
        "share": {"won": True, "other": 1.0, "sold": 0},
    }.items():
        with pytest.raises(ValueError, match=f"some infos have '{key}' and others do not"):
            columns.of([an_info(**facts)], present)


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
