import json
from dataclasses import replace

import gymnasium as gym
import pytest
from gymnasium.error import ResetNeeded
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs import Episode, Scene, Task, TextEnv, Turn, Unicode

PANTRY = "pantry:Pantry/Honey-v0"


def make(**settings) -> TextEnv:
    env = gym.make(PANTRY, **settings).unwrapped
    assert isinstance(env, TextEnv)
    return env


def test_a_task_id_that_is_given_twice_is_an_error():
    with pytest.raises(ValueError, match="task id 'a' is given twice"):
        TextEnv([Task(id="a", goal="one"), Task(id="b", goal="two"), Task(id="a", goal="three")])


@pytest.mark.parametrize("method", ["start", "act", "verify"])
@pytest.mark.parametrize("given", [None, "a text", True])
def test_what_a_method_should_return_is_said(method, given, monkeypatch):
    """Each of them in turn gives what is no Scene, or no Verdict."""
    from pantry.env import PantryEnv

    kind = "Verdict" if method == "verify" else "Scene"
    monkeypatch.setattr(PantryEnv, method, lambda *_: given)
    env = make(max_turns=1)
    with pytest.raises(
        TypeError, match=f"PantryEnv.{method} should return a {kind}, got {given!r}"
    ):
        (env.reset(seed=0), env.step("open red"))


@pytest.mark.parametrize("method", ["start", "act", "verify"])
def test_what_a_subclass_left_out_is_said(method):
    def scene(env, _):
        return Scene("")

    class Bare(TextEnv):
        pass

    for other in {"start", "act"} - {method}:
        setattr(Bare, other, scene)
    env = Bare([Task(id="a", goal="one")], max_turns=1)
    with pytest.raises(NotImplementedError, match=rf"needs .*`def {method}\("):
        (env.reset(seed=0), env.step("?"))


def test_an_expert_is_an_own_advise_or_a_plan_of_the_tasks():
    class Advising(TextEnv):
        def advise(self):
            return None

    assert not TextEnv([Task(id="a", goal="one")]).has_expert
    assert TextEnv([Task(id="a", goal="one", expert=("go",))]).has_expert
    assert Advising([Task(id="a", goal="one")]).has_expert


def test_observation_is_the_new_turn_only():
    env = make()
    first, _ = env.reset(seed=0, options={"task_id": "pantry/blue/honey"})
    second, *_ = env.step("open red")
    assert first == "Find the honey. Cupboards, all closed."
    assert second == "The red cupboard holds dustdust."


def test_winning_terminates_running_out_truncates_and_neither_is_both():
    env = make()
    env.reset(options={"task_id": "pantry/blue/jam"})
    env.step("open blue")
    _, reward, terminated, truncated, info = env.step("take jam")
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert (info["success"], info["score"], info["stop_reason"]) == (True, 1.0, "done")
    env.reset(options={"task_id": "pantry/blue/jam"})
    for _ in range(5):
        assert env.step("open blue")[2:4] == (False, False)
    _, reward, terminated, truncated, info = env.step("open blue")
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert (info["success"], info["stop_reason"]) == (False, "max_turns")


def test_reward_is_scaled_and_the_penalty_is_a_term_of_its_own():
    from pantry.env import PantryEnv

    class Scaled(PantryEnv):
        def __init__(self) -> None:
            super().__init__(max_turns=3)
            self.reward_scale, self.invalid_penalty = 10.0, 0.1

    env = Scaled()
    env.reset(options={"task_id": "pantry/red/honey"})
    _, reward, _, _, info = env.step("dance")
    assert reward == -0.1 and info["reward_terms"] == {"score": 0.0, "invalid": -0.1}
    env.step("open red")
    _, reward, _, _, info = env.step("take honey")
    assert reward == 10.0 and info["reward_terms"] == {"score": 10.0, "invalid": 0.0}
    assert info["invalid_turns"] == 1


def test_a_turn_keeps_what_was_seen_before_and_what_came_after():
    env = make()
    seen, _ = env.reset(options={"task_id": "pantry/red/honey"}, seed=5)
    shown, *_ = env.step(" open red ")
    turn = env.episode.turns[0]
    assert isinstance(env.episode, Episode) and isinstance(turn, Turn)
    assert (turn.observation, turn.response, turn.action) == (seen, " open red ", "open red")
    assert turn.valid and turn.facts["holding"] == ""
    assert env.episode.outcome == shown


def test_seeds_give_permutations_and_ids_do_not_move_them():
    env = make()
    first = [env.reset(seed=4)[1]["task_id"]] + [env.reset()[1]["task_id"] for _ in range(7)]
    assert sorted(first) == sorted(env.tasks.ids)
    again = [env.reset(seed=4)[1]["task_id"]]
    env.reset(options={"task_id": "pantry/red/jam"})
    again += [env.reset()[1]["task_id"] for _ in range(7)]
    assert again == first


def test_a_snapshot_of_something_else_is_refused():
    env = make()
    env.reset(seed=0)
    snapshot = env.snapshot()
    other = make(parser="arrow")
    with pytest.raises(ValueError, match="snapshot of"):
        other.restore(snapshot)
    with pytest.raises(ValueError, match="snapshot format"):
        env.restore(snapshot.replace(b'"format": 1', b'"format": 99'))
    with pytest.raises(ResetNeeded):
        make().snapshot()


@pytest.mark.parametrize(
    "written",
    [b"", b"xx", b"[]", b"null", b"{}", b'{"format": 1}', b"\xff", b'{"format": 1, "order": 3}'],
)
def test_what_is_no_snapshot_is_a_value_error_and_there_is_no_episode_then(written):
    env = make()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="snapshot"):
        env.restore(written)
    with pytest.raises(ResetNeeded):
        env.step("open red")


@given(st.data())
def test_a_damaged_snapshot_is_a_value_error(data):
    env = make()
    env.reset(seed=0)
    env.step("open red")
    whole = json.loads(env.snapshot())
    field = data.draw(st.sampled_from(sorted(set(whole) - {"format"})))
    wrong = data.draw(st.sampled_from([None, -1, "?", [1, 2], [0, 0, 5], {"state": 1}, ["?", 2]]))
    if field == "seed":
        wrong = "?"
    with pytest.raises(ValueError, match="snapshot"):
        env.restore(json.dumps({**whole, field: wrong}).encode())


def test_a_snapshot_that_plays_otherwise_leaves_no_episode_and_the_render_mode():
    env = make(render_mode="ansi")
    env.reset(seed=0)
    env.step("open red")
    torn = json.loads(env.snapshot()) | {"scene": "0" * 16}
    with pytest.raises(ValueError, match="does not play as it did for the snapshot"):
        env.restore(json.dumps(torn).encode())
    assert env.render_mode == "ansi"
    with pytest.raises(ResetNeeded):
        env.step("open red")


def test_a_snapshot_of_another_turn_limit_is_refused():
    long, short = make(max_turns=20), make(max_turns=3)
    long.reset(seed=0)
    for _ in range(5):
        long.step("?")
    with pytest.raises(ValueError, match="20 turns, this environment is .* 3 turns"):
        short.restore(long.snapshot())


def test_what_is_played_again_is_not_printed_again(capsys):
    env = make(render_mode="human")
    env.reset(seed=0)
    env.step("open red")
    snapshot = env.snapshot()
    capsys.readouterr()
    env.restore(snapshot)
    assert capsys.readouterr().out == ""
    env.step("open blue")
    assert capsys.readouterr().out.startswith("> open blue")


@pytest.mark.parametrize("task_id", [5, ["pantry/red/jam"], b"pantry/red/jam"])
def test_a_task_id_is_a_str(task_id):
    env = make()
    env.reset(seed=0)
    before = env.snapshot()
    with pytest.raises(TypeError, match="a task id is a str, got"):
        env.reset(seed=1, options={"task_id": task_id})
    with pytest.raises(KeyError, match="no task 'attic'; the first of 8: 'pantry/red/honey'"):
        env.reset(seed=1, options={"task_id": "attic"})
    assert env.snapshot() == before


@pytest.mark.parametrize("where", ["task", "scene"])
def test_a_fact_may_not_take_the_verdicts_place(monkeypatch, where):
    from pantry import env as pantry

    if where == "task":
        boasting = [replace(task, facts={"success": True}) for task in pantry.tasks()]
        monkeypatch.setattr(pantry, "tasks", lambda: boasting)
    else:
        monkeypatch.setattr(
            pantry.PantryEnv, "start", lambda self, task: Scene("", facts={"success": True})
        )
    with pytest.raises(ValueError, match="PantryEnv reports a fact called 'success'"):
        make().reset(seed=0)


@given(seed=st.integers(0, 1000), cut=st.integers(0, 5), actions=st.lists(st.text(), max_size=5))
def test_restoring_continues_exactly(seed, cut, actions):
    env = make(max_turns=20)
    env.reset(seed=seed)
    for action in actions[:cut]:
        env.step(action)
    snapshot = env.snapshot()
    rest = [env.step(action)[0] for action in [*actions[cut:], "open red", "open green"]]
    env.restore(snapshot)
    assert [env.step(action)[0] for action in [*actions[cut:], "open red", "open green"]] == rest


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_turns": 0}, "max_turns"),
        ({"parser": "nonsense"}, "no parser 'nonsense'"),
        ({"observation_mode": "image"}, "observation_mode"),
        ({"info_level": "all"}, "info_level"),
        ({"render_mode": "rgb_array"}, "render_mode"),
    ],
)
def test_bad_settings_are_named(settings, message):
    from pantry.env import PantryEnv

    with pytest.raises(ValueError, match=message):
        PantryEnv(**settings)


def test_ansi_render_is_the_transcript():
    env = make(render_mode="ansi")
    env.reset(seed=0, options={"task_id": "pantry/blue/honey"})
    env.step("open red")
    assert env.render() == (
        "Find the honey. Cupboards, all closed.\n\n> open red\n\nThe red cupboard holds dustdust."
    )


def test_debug_infos_tell_the_answer():
    env = make(info_level="debug")
    _, info = env.reset(options={"task_id": "pantry/red/jam"})
    assert (info["answer"], info["expert_action"]) == ("red", "open red")


@given(st.text(max_size=40))
def test_unicode_holds_every_string(text):
    assert text in Unicode(40)
    assert (text + "x" * 41) not in Unicode(40)


def test_unicode_samples_repeat_and_belong():
    space, twin = Unicode(12, seed=3), Unicode(12, seed=3)
    samples = [space.sample() for _ in range(200)]
    assert samples == [twin.sample() for _ in range(200)]
    assert all(sample in space for sample in samples)
    assert any(not sample.isascii() for sample in samples)
    assert space == twin and space != Unicode(13)
    assert space.from_jsonable(space.to_jsonable(samples)) == samples
    assert 3 not in space
    with pytest.raises(ValueError, match="max_length"):
        Unicode(0)
