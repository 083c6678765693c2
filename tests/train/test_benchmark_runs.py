"""The settings that people start from can be read, and cover every algorithm."""

from pathlib import Path

import pytest

from agentgym_train.algorithms import BUILT_IN
from agentgym_train.settings import Run, Warmup, load

RUNS = Path(__file__).parents[2] / "benchmarks" / "runs"
WARMUPS = {"student", "teacher"}
FOLDERS = ("alfworld", "alfworld_tiny")


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("name", BUILT_IN)
def test_every_algorithm_has_a_run(folder, name):
    run = load(RUNS / folder / f"{name}.toml", Run)
    assert type(run.algorithm) is BUILT_IN[name]
    assert run.env.id == "AgentGym/ALFWorld-v0"


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_is_left_over(folder):
    names = {path.stem for path in (RUNS / folder).glob("*.toml")}
    assert names - WARMUPS == set(BUILT_IN)


@pytest.mark.parametrize("name", sorted(WARMUPS))
def test_the_tiny_models_are_made_from_the_same_games(name):
    warmup = load(RUNS / "alfworld_tiny" / f"{name}.toml", Warmup)
    run = load(RUNS / "alfworld_tiny" / "opd.toml", Run)
    assert (warmup.env.common, warmup.env.prompt) == (run.env.common, run.env.prompt)
    assert warmup.model.name == "tiny"


def test_papers_values_are_the_specifications():
    run = load(RUNS / "alfworld" / "grpo.toml", Run)
    assert (run.rollout.groups, run.rollout.group_size, run.steps) == (16, 8, 150)
    assert (run.learning.lr, run.learning.mini_rows, run.learning.reference_kl) == (1e-6, 256, 0.01)
    assert (run.env.common["max_turns"], run.env.invalid_penalty) == (50, 0.1)
    assert (run.evaluation.every, run.evaluation.tasks, run.evaluation.temperature) == (5, 128, 0.4)
