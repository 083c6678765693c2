"""Scripted policies over every task: the same again for the same seed."""

import pytest
from pantry.env import PantryEnv
from typer.testing import CliRunner

from agentgym_envs.cli import app
from agentgym_envs.drivers.setup import make_text_env
from agentgym_envs.evaluate import ExpertPolicy, evaluate, play, play_all
from agentgym_envs.statistics import Rate

PANTRY = "pantry:Pantry/Honey-v0"


def test_an_environment_that_draws_plays_the_same_for_the_same_seed():
    env = make_text_env(PANTRY, {})
    ids = env.tasks.ids[:3]
    first = list(play_all(env, ExpertPolicy(), ids, seed=5))
    env.reset(seed=9)  # whatever was played in between
    env.step("open red")
    assert list(play_all(env, ExpertPolicy(), ids, seed=5)) == first
    assert list(play_all(make_text_env(PANTRY, {}), ExpertPolicy(), ids, seed=5)) == first
    assert list(play_all(env, ExpertPolicy(), ids, seed=6)) != first
    for i, task_id in enumerate(ids):  # each task's dice depend on its place alone
        assert play(env, ExpertPolicy(), task_id, seed=5 + i) == first[i]
    assert evaluate(env, ExpertPolicy(), ids, seed=5).overall.successes == 3


def by_cupboard(judged):
    """The averages of an environment of one's own."""
    red = [verdict for episode, verdict in judged if episode.task.answer == "red"]
    return {"red": Rate(sum(verdict.success for verdict in red), len(red), 2.0, 1.0)}


@pytest.mark.parametrize("policy", ["expert", "random"])
def test_an_environments_own_averages_are_rows_of_the_table(policy, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    words = ["evaluate", PANTRY, "--policy", policy]
    assert "red" not in CliRunner().invoke(app, words).stdout
    monkeypatch.setattr(PantryEnv, "aggregates", staticmethod(by_cupboard))
    told = CliRunner().invoke(app, words).stdout
    (row,) = [line for line in told.splitlines() if " red " in line]
    assert "/2)" in row
