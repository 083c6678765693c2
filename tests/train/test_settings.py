import tomllib

import pytest
from train.pantry_run import SETTINGS, pantry_run

from agentgym_train.settings import Run, SettingsError, Warmup, build, dump, load, override


def test_what_is_written_is_what_ran():
    run = pantry_run()
    assert build(Run, tomllib.loads(dump(run))) == run
    assert 'name = "grpo"' in dump(run)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("rolout.groups=2", "unknown key rolout; did you mean rollout?"),
        ("rollout.grups=2", "unknown key rollout.grups; did you mean rollout.groups?"),
        ("rollout.groups=lots", "rollout.groups: .*valid integer.*got 'lots'"),
        ("env.layout=scroll", "env.layout: .*'turns' or 'chat', got 'scroll'"),
        ("algorithm.name=gpro", "algorithm.name: no algorithm 'gpro'; built in: grpo"),
        ("algorithm.name=no_such_lab:X", "algorithm.name: No module named 'no_such_lab'"),
        ("algorithm.clip_hi=0.3", "unknown key algorithm.clip_hi; did you mean algorithm.clip_h"),
        ("algorithm.earned.stats_over=all", "algorithm.earned.stats_over"),
        ("algorithm.earned.stat_over=rows", "did you mean algorithm.earned.stats_over"),
        ("rollout.groups=0", "rollout.groups must be at least 1"),
        ("learning.epochs=0", "epochs must be at least 1"),
        ('teacher={name="x"}', "GRPO has no use for a teacher model"),
        ("steps", "--set takes key=value, got 'steps'"),
        ("steps.x=1", "--set steps.x: 'steps' is a value"),
    ],
)
def test_a_mistake_is_named_with_its_place(pair, message):
    with pytest.raises(SettingsError, match=message):
        build(Run, override(SETTINGS, [pair]))


def test_missing_tables_are_named():
    with pytest.raises(SettingsError, match="algorithm.name is missing; built in"):
        build(Run, {"env": {}, "model": {"name": "tiny"}})
    with pytest.raises(SettingsError, match="model: Field required"):
        build(Run, {"env": {}, "algorithm": {"name": "grpo"}})


def test_overrides_are_read_as_toml_and_leave_the_original_alone():
    pairs = ["steps=7", "env.prompt=compact", "env.train.split='a b'", "learning.betas=[0.5, 0.9]"]
    run = build(Run, override(SETTINGS, pairs))
    assert (run.steps, run.env.prompt, run.env.train) == (7, "compact", {"split": "a b"})
    assert run.learning.betas == (0.5, 0.9)
    assert "train" not in SETTINGS["env"]


def test_files(tmp_path):
    path = tmp_path / "run.toml"
    with pytest.raises(SettingsError, match="there is no settings file"):
        load(path, Run)
    path.write_text("steps = ")
    with pytest.raises(SettingsError, match="run.toml: Invalid value"):
        load(path, Run)
    path.write_text(dump(pantry_run()))
    assert load(path, Run, ["seed=9"]).seed == 9


def test_warm_up_has_settings_of_its_own():
    tables = {"env": SETTINGS["env"], "model": SETTINGS["model"]}
    assert build(Warmup, {**tables, "noise": 0.5}).noise == 0.5
    with pytest.raises(SettingsError, match="learn_from"):
        build(Warmup, {**tables, "learn_from": "nothing"})


def test_an_algorithm_by_address():
    run = build(Run, override(SETTINGS, ["algorithm.name='agentgym_train.algorithms.grpo:GRPO'"]))
    assert run == pantry_run()
