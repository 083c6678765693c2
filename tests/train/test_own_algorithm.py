"""An algorithm of somebody else's, found by its address, in a file of at most 15 lines."""

import tomllib
from pathlib import Path

import pytest
import torch
from my_lab import bounded
from train.small_runs import small_run

from agentgym_train.runlog import read_metrics
from agentgym_train.settings import Run, SettingsError, build
from agentgym_train.train import resume, train

ADDRESS = "my_lab.bounded:BoundedOPD"


def own_run(**algorithm):
    teacher = {"name": small_run("opd").teacher.name}
    return small_run("grpo", algorithm={"name": ADDRESS, **algorithm}, teacher=teacher)


def test_it_takes_no_more_than_fifteen_lines():
    lines = Path(bounded.__file__).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 15


def test_it_trains_and_is_in_the_record_under_its_address(tmp_path):
    run = own_run(bound=0.5)
    train(run, tmp_path / "run")
    _, *steps = read_metrics(tmp_path / "run")
    for values in steps:
        assert 0 < values["credit/teacher"] <= 0.5 < values["teacher/gap_abs_mean"]
        assert values["actor/grad_norm"] > 0
    record = tomllib.loads((tmp_path / "run" / "run.toml").read_text(encoding="utf-8"))
    assert record["algorithm"]["name"] == ADDRESS
    assert build(Run, record) == run
    assert resume(run, tmp_path / "run") == 2


def test_its_credit_by_hand(toy):
    batch = toy.told([toy.Story(0, 0.0, (toy.Turn((1,), (2, 3, 4)),))])
    gap = torch.tensor([-3.0, 0.0, 0.5], dtype=torch.float64)
    batch = batch.scored(teacher=batch.old_logprob + gap)
    credit = bounded.BoundedOPD(bound=2.0).credit(batch, 1).advantage(batch)
    torch.testing.assert_close(credit, 2 * torch.tanh(gap / 2))


@pytest.mark.parametrize(
    ("algorithm", "message"),
    [
        ({"name": ADDRESS, "bond": 1.0}, "unknown key algorithm.bond; did you mean algorithm.bo"),
        ({"name": ADDRESS, "bound": "much"}, "algorithm.bound.*got 'much'"),
        ({"name": "my_lab.bounded:Unbounded"}, "no attribute 'Unbounded'"),
        ({"name": "my_lab.bounded:dataclass"}, "not a subclass"),
    ],
)
def test_its_settings_are_checked_like_those_of_a_built_in(algorithm, message):
    with pytest.raises(SettingsError, match=message):
        small_run("grpo", algorithm=algorithm)


def test_it_says_that_it_needs_a_teacher():
    with pytest.raises(SettingsError, match=r"BoundedOPD learns from a teacher model.*\[teacher\]"):
        small_run("grpo", algorithm={"name": ADDRESS})


def test_the_readme_shows_this_very_file():
    root = Path(__file__).parents[2]
    shown = (root / "README.md").read_text(encoding="utf-8")
    assert (root / "tests/my_lab/bounded.py").read_text(encoding="utf-8") in shown
