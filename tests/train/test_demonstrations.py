"""Demonstrations and the curricula that replay them (spec 8.3, property 9)."""

import json

import pytest
from train.pantry_play import STYLE, Scripted, attempts, play, pool, renderer, tokenizer
from train.small_runs import scratch, small_run

from agentgym_envs.episodes import to_record
from agentgym_envs.types import Advice, Episode
from agentgym_train.algorithms import RolloutPlan
from agentgym_train.algorithms.tcod import TCOD
from agentgym_train.batch import collate
from agentgym_train.demonstrations import demonstrations
from agentgym_train.layout import to_rows
from agentgym_train.parts import Depth
from agentgym_train.runlog import RunLog, read_metrics
from agentgym_train.train import Trainer, train

LAYOUTS = pytest.mark.parametrize("layout", ["turns", "chat"])
RED, GREEN = "pantry/red/honey", "pantry/green/honey"


def said(action):
    return STYLE.written(Advice(action))


def stored(*games):
    """Episodes on disk: (task id, actions) each."""
    env, lines = pool(6).take(1)[0], []
    for task_id, actions in games:
        env.reset(seed=0, options={"task_id": task_id})
        for action in actions:
            env.step(said(action))
        lines.append(json.dumps({"step": 1, "phase": "train", **to_record(env.episode)}))
    path = scratch() / "episodes.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_an_expert_knows_every_task():
    env = pool().take(1)[0]
    shown = demonstrations("expert", env)
    assert shown(RED) == ("open red", "take honey")


def test_the_shortest_stored_success_counts():
    long = ["open blue", "open red", "take honey"]
    path = stored(
        (RED, long), (RED, ["open red", "take honey"]), (RED, long), (GREEN, ["open red"])
    )
    shown = demonstrations(path, pool().take(1)[0])
    assert shown(RED) == ("open red", "take honey")
    assert shown(GREEN) == shown("pantry/blue/jam") == ()


def test_a_file_without_success_is_an_error():
    path = stored((RED, ["open blue"]), (GREEN, ["open red"]))
    with pytest.raises(ValueError, match="no episode in .* succeeded: there is nothing to replay"):
        demonstrations(path, pool().take(1)[0])
    with pytest.raises(ValueError, match="nothing to replay"):
        Trainer(
            small_run("tcod", algorithm={"order": "backward"}, demonstrations=path),
            RunLog(scratch()),
        )


def test_a_missing_or_broken_file_is_an_error():
    env = pool().take(1)[0]
    with pytest.raises(FileNotFoundError):
        demonstrations(str(scratch() / "none.jsonl"), env)
    broken = scratch() / "broken.jsonl"
    broken.write_text('{"task": 1}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="line 1: not an episode record"):
        demonstrations(str(broken), env)


@LAYOUTS
@pytest.mark.parametrize("left", [1, 2, 3])
def test_a_replay_and_the_rest_of_the_demonstration_succeed(layout, left):
    some = attempts(8, group_size=1)
    rest = {one.dice: ["", *map(said, one.demonstration[1:])] for one in some}
    if left > 1:  # nothing was replayed: the student plays all of it
        rest = {one.dice: [*map(said, one.demonstration)] for one in some}
    plan = RolloutPlan(leave_to_student=left)
    played = play(some, Scripted(tokenizer(), rest), layout=layout, plan=plan, max_tokens=24)
    assert all(one.verdict.success for one in played)
    for one in played:
        kept = min(left, 2)
        assert [place for place, _ in one.sampled] == list(range(2 - kept, 2))
        rows = to_rows(one, layout, 1.0)
        assert rows.places == list(range(2 - kept, 2))
        batch = collate([rows])
        assert len(batch) == sum(len(turn.reply.tokens) for _, turn in one.sampled)
        assert set(batch.place.tolist()) == set(rows.places)


@LAYOUTS
def test_a_replayed_turn_is_in_the_students_history(layout):
    some = attempts(1, group_size=1)
    sampler = Scripted(tokenizer(), {some[0].dice: ["", said("take honey")]})
    (one,) = play(some, sampler, layout=layout, plan=RolloutPlan(leave_to_student=1), max_tokens=24)
    read = renderer(layout).tokens.tokenizer.decode(sampler.asked[0].tokens)
    assert "open red" in read and "The red cupboard holds honey." in read
    assert one.turns[0].reply is None and one.turns[0].turn.action == "open red"


def test_depth_grows_by_one_every_so_many_steps():
    depth = Depth(start=1, every=3)
    assert [depth(step) for step in range(1, 8)] == [1, 1, 2, 2, 2, 3, 3]
    assert depth(146) == 49 and depth(147) == 50  # as in the specification
    forward = TCOD(depth=depth).plan(4)
    backward = TCOD(order="backward", depth=depth).plan(4)
    assert (forward.max_turns, forward.leave_to_student) == (2, None)
    assert (backward.max_turns, backward.leave_to_student) == (None, 2)
    assert [backward.replayed(length) for length in (0, 1, 2, 5)] == [0, 0, 0, 3]


def backward_run(**tables):
    algorithm = {"order": "backward", "depth": {"start": 1, "every": 2}}
    folder = scratch() / "run"
    train(small_run("tcod", algorithm=algorithm, **tables), folder)
    return read_metrics(folder)[1:]


@LAYOUTS
def test_what_is_told_of_a_backward_curriculum(layout):
    one, two, three = backward_run(steps=3, env={"layout": layout})
    assert [values["tcod/depth"] for values in (one, two, three)] == [1, 2, 2]
    assert one["tcod/prefix_len_mean"] == 1  # of demonstrations of two turns
    assert two["tcod/prefix_len_mean"] == three["tcod/prefix_len_mean"] == 0
    for values in (one, two, three):
        student = values["episode/length/mean"] - values["tcod/prefix_len_mean"]
        assert values["tcod/student_turns_mean"] == pytest.approx(student)
        assert values["tcod/replay_finished"] == values["tcod/without_demonstration"] == 0
        assert values["actor/grad_norm"] > 0


def test_tasks_without_a_demonstration_are_played_from_the_start_and_counted():
    path = stored((RED, ["open red", "take honey"]))
    trainer = Trainer(
        small_run(
            "tcod", algorithm={"order": "backward"}, demonstrations=path, rollout={"groups": 8}
        ),
        RunLog(scratch()),
    )
    played, _ = trainer.rollout(1)
    prefix = {one.task.id: len(one.turns) - len(one.sampled) for one in played}
    assert prefix.pop(RED) == 1 and set(prefix.values()) == {0} and len(prefix) == 7
    told = trainer.curriculum(played, 1)
    assert told["tcod/without_demonstration"] == 7
    assert told["tcod/prefix_len_mean"] == pytest.approx(1 / 8)


def test_a_forward_curriculum_cuts_and_replays_nothing():
    folder = scratch() / "run"
    train(small_run("tcod", algorithm={"depth": {"start": 1, "every": 2}}), folder)
    _, one, two = read_metrics(folder)
    assert one["tcod/student_turns_mean"] == one["episode/length/max"] == 1
    assert 1 < two["tcod/student_turns_mean"] <= two["tcod/depth"] == 2
    assert one["tcod/prefix_len_mean"] == two["tcod/prefix_len_mean"] == 0


def test_a_step_whose_replays_finish_every_task_teaches_nothing(monkeypatch):
    trainer = Trainer(small_run("tcod", algorithm={"order": "backward"}), RunLog(scratch()))
    expert = trainer.demonstration
    extra = lambda task_id: (*expert(task_id), "open white", "open white")  # noqa: E731
    monkeypatch.setattr(trainer, "demonstration", extra)
    before = [value.detach().clone() for value in trainer.policy.model.parameters()]
    values = trainer.step(1)
    assert values == {"tcod/replay_finished": 6, "tcod/without_demonstration": 0}
    after = trainer.policy.model.parameters()
    assert all(now.equal(then) for now, then in zip(after, before, strict=True))


def test_an_attempt_that_its_replay_finished_is_not_counted(monkeypatch):
    trainer = Trainer(small_run("tcod", algorithm={"order": "backward"}), RunLog(scratch()))
    expert, (first, _) = trainer.demonstration, trainer.tasks.at(1, 2)
    longer = lambda task_id: (*expert(task_id), *["open white"] * (task_id == first))  # noqa: E731
    monkeypatch.setattr(trainer, "demonstration", longer)
    values = trainer.step(1)
    assert values["tcod/replay_finished"] == 3
    assert values["tcod/prefix_len_mean"] == 1
    assert values["episode/length/mean"] - 1 == pytest.approx(values["tcod/student_turns_mean"])


def test_stored_episodes_train_and_are_in_the_record():
    tasks = pool().take(1)[0].tasks.ids
    env = pool().take(1)[0]
    path = stored(*[(task_id, env.tasks.task(task_id).expert) for task_id in tasks])
    folder = scratch() / "run"
    run = small_run("tcod", algorithm={"order": "backward"}, demonstrations=path, steps=1)
    train(run, folder)
    assert f'demonstrations = "{path}"' in (folder / "run.toml").read_text(encoding="utf-8")
    assert read_metrics(folder)[-1]["tcod/prefix_len_mean"] == 1


def test_an_episode_is_judged_again_not_believed():
    env = pool().take(1)[0]
    env.reset(seed=0, options={"task_id": RED})
    env.step(said("open blue"))
    record = to_record(Episode(task=env.task, turns=env.episode.turns))
    record["verdict"] = {"success": True, "score": 1.0, "reason": "so it says"}
    path = scratch() / "claims.jsonl"
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="nothing to replay"):
        demonstrations(str(path), env)
