"""Trajectories: who plays, for how long, and that nobody's neighbours matter."""

from collections import Counter
from dataclasses import replace

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st
from train.pantry_play import (
    STYLE,
    Scripted,
    attempts,
    play,
    pool,
    renderer,
    reply_tokens,
    tiny,
    tokenizer,
)

from agentgym_envs.drivers.setup import style_of
from agentgym_train.algorithms import RolloutPlan
from agentgym_train.batch import collate
from agentgym_train.layout import to_rows
from agentgym_train.models.sampler import LocalSampler, Sampling
from agentgym_train.rollout import WHOLE, Pool, TaskOrder, describe, rollout

SAMPLING = Sampling(max_tokens=8, stop=(1,))
LAYOUTS = pytest.mark.parametrize("layout", ["turns", "chat"])


def scripted(*games):
    """A sampler for conversations 0, 1, ... of `attempts`."""
    return Scripted(tokenizer(), {(0, 0, 1, i): lines for i, lines in enumerate(games)})


def responses(trajectory):
    return [one.turn.response for one in trajectory.turns]


@LAYOUTS
def test_a_trajectory_does_not_depend_on_its_neighbours(layout):
    some = attempts(6)
    together = play(some, layout=layout)
    alone = [play([one], layout=layout)[0] for one in some]
    backwards = play(some[::-1], layout=layout)[::-1]
    for others in (alone, backwards):
        assert [reply_tokens(one) for one in others] == [reply_tokens(one) for one in together]
        assert [one.turns[-1].turn for one in others] == [one.turns[-1].turn for one in together]


def test_the_dice_decide():
    same = [play(attempts(4, seed=5)) for _ in range(2)]
    assert [reply_tokens(one) for one in same[0]] == [reply_tokens(one) for one in same[1]]
    other = play([replace(one, dice=(9, *one.dice)) for one in attempts(4, seed=5)])
    assert [reply_tokens(one) for one in other] != [reply_tokens(one) for one in same[0]]


def test_the_attempts_of_a_group_start_alike_and_go_their_own_ways():
    played = play(attempts(6, group_size=3))
    for group in (played[:3], played[3:]):
        assert len({one.group for one in group}) == 1
        assert len({one.task.id for one in group}) == 1
        assert len({one.turns[0].prompt for one in group}) == 1
        assert len({one.turns[0].turn.facts["draught"] for one in group}) == 1  # the env's dice
        assert len({tuple(reply_tokens(one)[0]) for one in group}) > 1
    assert played[0].task.id != played[3].task.id


@LAYOUTS
def test_an_episode_told_by_a_script(layout):
    game = [" > open green", " > open red", "thought > take honey"]
    sampler = scripted(game)
    (one,) = play(attempts(1), sampler, layout)
    assert responses(one) == game
    assert (one.verdict.success, one.stop_reason) == (True, "done")
    assert one.outcome == "You have the honey."
    assert [played.reward for played in one.turns] == [0.0, 0.0, 1.0]
    assert [ask.tokens for ask in sampler.asked] == [played.prompt for played in one.turns]
    assert [ask.seed for ask in sampler.asked] == [(0, 0, 1, 0, k) for k in range(3)]


def test_a_reply_that_is_cut_is_played_as_far_as_it_came():
    (one,) = play(attempts(1), scripted([" > open red and then"] * 4), max_tokens=2)
    reply = one.turns[0].reply
    assert reply is not None and not reply.finished and len(reply.tokens) == 2
    assert responses(one)[0] == tokenizer().decode(reply.tokens)
    assert responses(one)[0] != " > open red and then"
    assert one.stop_reason == "max_turns"


def test_a_plan_cuts_the_students_turns():
    played = play(attempts(2), scripted(["a"] * 4, [" > open red", " > take honey"]), plan=depth(2))
    assert [len(one.turns) for one in played] == [2, 2]
    assert [one.stop_reason for one in played] == ["depth", "done"]
    assert [one.verdict.success for one in played] == [False, True]


def depth(turns):
    return RolloutPlan(max_turns=turns)


@LAYOUTS
def test_a_demonstration_is_replayed_and_the_student_goes_on(layout):
    plan = RolloutPlan(leave_to_student=1, max_turns=1)
    # Turn 0 is replayed, so the student's first line is that of turn 1.
    (one,) = play(attempts(1), scripted(["unused", " > take honey"]), layout, plan)
    assert responses(one) == [" > open red", " > take honey"]
    assert [played.reply is None for played in one.turns] == [True, False]
    assert one.verdict.success
    rows = to_rows(one, layout, 1.0)
    assert (rows.places, len(rows.rows)) == ([1], 1)
    shown = tokenizer().decode(one.turns[1].prompt)
    past = (
        "<|user|>Find the honey. Cupboards, all closed.<|end|><|assistant|> > open red<|end|>"
        "<|user|>The red cupboard holds honey.<|end|><|assistant|>"
        if layout == "chat"
        else "<|user|>Find the honey. Find the honey. Cupboards, all closed. > open red "
        "The red cupboard holds honey.<|end|><|assistant|>"
    )
    assert shown == past


def test_a_replay_that_ends_the_episode_leaves_nothing_to_learn():
    whole, played = (
        play(attempts(1), scripted(*games), plan=RolloutPlan(leave_to_student=left))[0]
        for left, games in ((0, []), (None, [["a", "b", "c", "d"]]))
    )
    assert whole.verdict.success and not whole.sampled
    rows = [to_rows(one, "chat", 1.0) for one in (whole, played)]
    assert rows[0].rows == []
    assert len(collate(rows)) == sum(map(len, reply_tokens(played)))
    told = describe([whole], 100)
    assert (told["episode/length/mean"], told["episode/success_rate"]) == (2.0, 1.0)
    assert "response_length/mean" not in told


def test_what_is_told_of_trajectories():
    games = [[" > open red", " > take honey"], ["a", "a b c", "a", "a"]]
    played = play(attempts(2), scripted(*games), max_tokens=100)
    told = describe(played, 10_000)
    said = [len(tokenizer().encode(line)) + 1 for game in games for line in game]
    assert told["episode/success_rate"] == 0.5
    assert told["episode/honey_success_rate"] == 0.5
    assert [told[f"episode/reward/{x}"] for x in ("mean", "max", "min")] == [0.5, 1.0, 0.0]
    assert [told[f"episode/length/{x}"] for x in ("mean", "max", "min")] == [3.0, 4.0, 2.0]
    assert told["episode/valid_action_ratio"] == pytest.approx(2 / 6)
    assert told["response_length/mean"] == pytest.approx(sum(said) / 6)
    assert told["response_length/clip_ratio"] == 0.0
    assert told["tokens/sampled"] == sum(said)
    read = [len(one.prompt) for trajectory in played for one in trajectory.turns]
    assert told["prompt_length/clip_ratio"] == 0.0
    assert describe(played, max(read))["prompt_length/clip_ratio"] == pytest.approx(
        read.count(max(read)) / 6
    )


def test_a_pool_hands_out_the_same_environments():
    pool = Pool("pantry:Pantry/Honey-v0", {}, STYLE)
    assert pool.take(2)[0] is pool.take(3)[0]
    assert len({id(env) for env in pool.take(3)}) == 3


@LAYOUTS
@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_a_few_environments_play_as_many_attempts_as_there_are(layout, at_once):
    """Whoever is over gives its place to the next; what is played does not change."""
    some = attempts(7)
    whole = play(some, layout=layout)
    counts = []
    sampler = LocalSampler(tiny(), tokenizer(), conversations=at_once)
    few = rollout(
        pool().take(at_once),
        some,
        renderer(layout),
        sampler,
        SAMPLING,
        RolloutPlan(),
        counts.append,
    )
    assert [reply_tokens(one) for one in few] == [reply_tokens(one) for one in whole]
    assert [one.turns[-1].turn for one in few] == [one.turns[-1].turn for one in whole]
    assert sum(counts) == 7 and max(counts) <= at_once


def test_replays_that_end_their_episodes_make_room_too():
    plan = RolloutPlan(leave_to_student=0)
    played = rollout(pool().take(1), attempts(3), renderer(), scripted(), SAMPLING, plan)
    assert [one.verdict.success for one in played] == [True] * 3


@LAYOUTS
def test_a_prompt_that_is_too_long_may_end_its_episode(layout):
    game = [" > open green", " > open red", " > take honey"]
    (whole,) = play(attempts(1), scripted(game), layout)
    room = max(len(one.prompt) for one in whole.turns) - 1
    ends = renderer(layout, max_prompt_tokens=room, long_prompts="end")
    (cut,) = rollout(
        pool().take(1), attempts(1), ends, scripted(game), Sampling(max_tokens=8, stop=(1,)), WHOLE
    )
    assert (cut.stop_reason, cut.verdict.success) == ("length", False)
    assert responses(cut) == responses(whole)[: len(cut.turns)]
    assert len(cut.turns) < len(whole.turns)


def test_the_turns_of_a_step_are_prepared_together(monkeypatch):
    """An environment that searches can ask for all its players at once."""
    seen = []
    kind = type(pool().take(1)[0])
    monkeypatch.setattr(
        kind, "prepare", classmethod(lambda cls, envs, said: seen.append((len(envs), list(said))))
    )
    games = [[" > open red", " > take honey"], ["a", "b", "c", "d"]]
    play(attempts(2), scripted(*games))
    assert seen == [
        (2, [" > open red", "a"]),
        (2, [" > take honey", "b"]),
        (1, ["c"]),
        (1, ["d"]),
    ]


def test_an_environment_that_nobody_registered():
    with pytest.raises(gym.error.Error, match="Nowhere"):
        style_of("Nowhere/None-v0", "default")


@given(st.integers(1, 9), st.integers(1, 7), st.integers(0, 99))
def test_every_pass_visits_every_task_once(tasks, count, seed):
    ids = [f"t{i}" for i in range(tasks)]
    drawn = [
        task for step in range(1, 3 * tasks + 1) for task in TaskOrder(ids, seed).at(step, count)
    ]
    order = TaskOrder(ids, seed)
    assert drawn == [task for step in range(1, 3 * tasks + 1) for task in order.at(step, count)]
    for lap in range(3 * count):
        assert Counter(drawn[lap * tasks : (lap + 1) * tasks]) == Counter(ids)


def test_passes_and_seeds_differ():
    ids = [f"t{i}" for i in range(20)]
    order = TaskOrder(ids, 0)
    laps = [tuple(order.at(step, 20)) for step in (1, 2)]
    assert len({*laps, tuple(TaskOrder(ids, 1).at(1, 20))}) == 3
