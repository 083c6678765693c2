"""The settings that people start from can be read, and cover every algorithm."""

import dataclasses
from pathlib import Path

import gymnasium as gym
import pytest

from agentgym_envs.searchqa.datasets import SETS
from agentgym_train.algorithms import BUILT_IN
from agentgym_train.settings import Run, Warmup, load
from agentgym_train.suite_pins import pinned_tasks
from agentgym_train.suite_settings import load_suite

RUNS = Path(__file__).parents[2] / "benchmarks" / "runs"
WARMUPS = {"student", "teacher"}
ENVS = {"alfworld": "ALFWorld", "webshop": "WebShop", "searchqa": "SearchQA"}
FOLDERS = (*ENVS, *(f"{family}_tiny" for family in ENVS))


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("name", BUILT_IN)
def test_every_algorithm_has_a_run(folder, name):
    run = load(RUNS / folder / f"{name}.toml", Run)
    assert type(run.algorithm) is BUILT_IN[name]
    assert run.env.id == f"AgentGym/{ENVS[folder.removesuffix('_tiny')]}-v0"
    gym.make(run.env.id, **run.env.common, **run.env.evaluation).close()


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_is_left_over(folder):
    names = {path.stem for path in (RUNS / folder).glob("*.toml")}
    assert names - WARMUPS == set(BUILT_IN)


@pytest.mark.parametrize("family", ENVS)
@pytest.mark.parametrize("name", sorted(WARMUPS))
def test_the_tiny_models_are_made_from_the_same_tasks(family, name):
    warmup = load(RUNS / f"{family}_tiny" / f"{name}.toml", Warmup)
    run = load(RUNS / f"{family}_tiny" / "opd.toml", Run)
    assert (warmup.env.common, warmup.env.prompt) == (run.env.common, run.env.prompt)
    assert warmup.model.name == "tiny"


@pytest.mark.parametrize("family", ENVS)
def test_an_arm_differs_from_grpo_in_its_algorithm_and_what_that_needs(family):
    """A comparison compares ideas: same tasks, student, budget and optimiser in every file."""
    for folder in (family, f"{family}_tiny"):
        arms = {name: load(RUNS / folder / f"{name}.toml", Run) for name in BUILT_IN}
        for name, run in arms.items():
            own = {"algorithm", "teacher", "skills", "notes"}
            same = {f.name for f in dataclasses.fields(Run)} - own
            differing = [one for one in same if getattr(run, one) != getattr(arms["grpo"], one)]
            assert not differing, f"{folder}/{name}.toml: {differing}"


def test_the_published_questions_are_evaluated_on_all_seven_sets(real_data):
    """As the headers of the files have it: a sample of every set, training on two of them."""
    data = f'"{real_data / "searchqa"}"'
    alone = load(
        RUNS / "searchqa" / "grpo.toml",
        Run,
        [
            f"env.common.data={data}",
            'env.train.datasets=["nq", "hotpotqa"]',
            "evaluation.tasks=100",
        ],
    )
    inside = "environments.searchqa_3b.run"
    suite = load_suite(
        RUNS.parent / "suites" / "sdar_table1.toml",
        [f"{inside}.env.common.data={data}", f'{inside}.env.train.datasets=["nq", "hotpotqa"]'],
    )
    whole = next(arm.run for arm in suite.arms if arm.env == "searchqa_1_7b")
    for run, count in ((alone, 100), (whole, 862)):
        told = {split: one["ids"] for split, one in pinned_tasks(run).items()}
        assert len(told["evaluation"]) == count
        assert {name.partition("/")[0] for name in told["evaluation"]} == set(SETS)
        assert {name.partition("/")[0] for name in told["train"]} == {"nq", "hotpotqa"}


# Specification, section 11.1: tasks a step, rows a mini-batch, penalty, reference KL, turns.
PAPERS = {
    "alfworld": (16, 256, 0.1, 0.01, 50),
    "webshop": (16, 64, 0.1, 0.01, 15),
    "searchqa": (128, 256, 0.01, 0.001, 4),
}


@pytest.mark.parametrize("family", ENVS)
def test_papers_values_are_the_specifications(family):
    run = load(RUNS / family / "grpo.toml", Run)
    env = gym.make(run.env.id, **run.env.common, **run.env.train).unwrapped
    assert (
        run.rollout.groups,
        run.learning.mini_rows,
        run.env.invalid_penalty,
        run.learning.reference_kl,
        env.max_turns,
    ) == PAPERS[family]
    assert (run.rollout.group_size, run.steps, run.learning.lr) == (8, 150, 1e-6)
    assert run.evaluation.temperature == (0.0 if family == "searchqa" else 0.4)
