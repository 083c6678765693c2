"""Held-out tasks are fixed, and each is played once."""

import pytest
from train.pantry_play import Scripted, pool, renderer, reply_tokens, tiny, tokenizer
from train.pantry_run import pantry_run

from agentgym_envs.statistics import wilson
from agentgym_train.evaluate import as_metrics, evaluate_model, play_once, summary_of
from agentgym_train.models.sampler import LocalSampler, Sampling


def sampling(temperature=1.0):
    return Sampling(max_tokens=8, stop=(renderer().stop,), temperature=temperature)


def once(sampler, at_once, tasks=None, on_played=lambda count: None):
    ids = pool().task_ids if tasks is None else tasks
    return play_once(
        pool(), ids, renderer(), sampler, sampling(), seed=7, at_once=at_once, on_played=on_played
    )


@pytest.mark.parametrize("at_once", [1, 3, 50])
def test_each_task_once_and_the_same_however_many_play_at_once(at_once):
    counts = []
    played = once(LocalSampler(tiny(), tokenizer()), at_once, on_played=counts.append)
    assert [one.task.id for one in played] == list(pool().task_ids)
    whole = once(LocalSampler(tiny(), tokenizer()), 8)
    assert [reply_tokens(one) for one in played] == [reply_tokens(one) for one in whole]
    assert sum(counts) == 8 and max(counts) <= at_once


def test_rates_and_intervals_by_hand():
    """Three honeys and a jam are looked for; the red ones are found."""
    ids = ["pantry/red/honey", "pantry/green/honey", "pantry/red/jam", "pantry/blue/honey"]
    good = {0: [" > open red", " > take honey"], 2: [" > open red", " > take jam"]}
    lines = {(7, 1, i): good.get(i, [" > open white"] * 3 + ["?"]) for i in range(4)}
    told = as_metrics(summary_of(once(Scripted(tokenizer(), lines), 4, ids)))
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
    assert first.overall.episodes == 3
    every = evaluate_model(pantry_run(model={"name": str(tmp_path)}, evaluation={"tasks": 0}))
    assert every.overall.episodes == 8
