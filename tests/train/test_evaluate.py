"""Held-out tasks are fixed, and each is played once."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from train.pantry_play import Scripted, pool, renderer, reply_tokens, tiny, tokenizer
from train.pantry_run import pantry_run
from train.small_runs import small_run

from agentgym_envs.order import subset
from agentgym_envs.statistics import wilson
from agentgym_train.actor import Actor
from agentgym_train.evaluate import HELPED, PLAIN, as_metrics, evaluate_model, play_once
from agentgym_train.models.sampler import LocalSampler
from agentgym_train.runlog import RunLog
from agentgym_train.settings import EvaluationSettings
from agentgym_train.train import Trainer


def once(sampler, at_once, tasks=None, on_played=lambda count, total: None):
    ids = pool().task_ids if tasks is None else tasks
    actor = Actor(
        renderer=renderer(), sampler=sampler, at_once=at_once, max_reply_tokens=8, stop=(1,)
    )
    return play_once(
        actor, pool(), ids, EvaluationSettings(temperature=1.0), 7, on_played=on_played
    )


@pytest.mark.parametrize("at_once", [1, 3, 50])
def test_each_task_once_and_the_same_however_many_play_at_once(at_once):
    counts = []
    played = once(
        LocalSampler(tiny(), tokenizer()), at_once, on_played=lambda *told: counts.append(told)
    )
    assert [one.task.id for one in played] == list(pool().task_ids)
    whole = once(LocalSampler(tiny(), tokenizer()), 8)
    assert [reply_tokens(one) for one in played] == [reply_tokens(one) for one in whole]
    assert sum(count for count, _ in counts) == 8
    assert all(count <= at_once and total == 8 for count, total in counts)


def test_rates_and_intervals_by_hand():
    """Three honeys and a jam are looked for; the red ones are found."""
    ids = ["pantry/red/honey", "pantry/green/honey", "pantry/red/jam", "pantry/blue/honey"]
    good = {0: [" > open red", " > take honey"], 2: [" > open red", " > take jam"]}
    lines = {(7, 1, i): good.get(i, [" > open white"] * 3 + ["?"]) for i in range(4)}
    told = as_metrics({PLAIN: once(Scripted(tokenizer(), lines), 4, ids)})
    low, high = wilson(2, 4)
    assert told == {
        "val/success_rate": 0.5,
        "val/success_low": low,
        "val/success_high": high,
        "val/episodes": 4.0,
        "val/turns": 3.0,  # 2, 4, 2, 4
        "val/score": 0.5,
        "val/invalid_share": pytest.approx(2 / 12),
        "val/honey_success_rate": pytest.approx(1 / 3),
        "val/jam_success_rate": 1.0,
    }


def test_a_model_in_a_folder(tmp_path):
    tiny().save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    run = pantry_run(model={"name": str(tmp_path)}, evaluation={"tasks": 3})
    first, again = evaluate_model(run), evaluate_model(run)
    assert first == again
    assert {phase: told.overall.episodes for phase, told in first.items()} == {PLAIN: 3}
    every = evaluate_model(pantry_run(model={"name": str(tmp_path)}, evaluation={"tasks": 0}))
    assert every[PLAIN].overall.episodes == 8


@given(st.integers(1, 30), st.integers(0, 40))
def test_a_subset_is_some_of_them_in_order_always_the_same(size, count):
    items = list(range(size))
    some = list(subset(items, count))
    assert some == sorted(set(some)) and set(some) <= set(items)
    assert len(some) == (min(count, size) or size)
    assert some == list(subset(items, count))


@pytest.mark.parametrize("period", [1, 2, 6, 500])
def test_a_subset_has_its_share_of_every_kind(period):
    """Whether kinds stand in turns or in blocks: 128 of 1000 tasks of two kinds."""
    kinds = [i // period % 2 for i in range(1000)]
    assert 45 < sum(kinds[i] for i in subset(range(1000), 128)) < 83  # four standard deviations


def test_a_student_that_trains_with_skills_is_evaluated_with_and_without_them(tmp_path):
    run = small_run("skill_grpo")
    trainer = Trainer(run, RunLog(tmp_path))
    told = trainer.evaluated(0)
    trainer.export("model")
    again = replace(run, model=replace(run.model, name=str(tmp_path / "model")))
    summaries = evaluate_model(again)
    assert summaries.keys() == {PLAIN, HELPED}
    for phase, family in ((PLAIN, "val_no_skill"), (HELPED, "val_with_skill")):
        assert told[f"{family}/success_rate"] == summaries[phase].overall.rate
    assert evaluate_model(small_run("sdar")).keys() == {PLAIN}
