"""A suite file: what it resolves to, what it refuses, and that its record reads back equal."""

from pathlib import Path

import pytest
from train.pantry_suite import small_suite, suite_file, warmup

from agentgym_train.algorithms import BUILT_IN
from agentgym_train.bank import load_bank
from agentgym_train.settings import SettingsError
from agentgym_train.suite_settings import Suite, joined, load_suite, record

SUITES = sorted((Path(__file__).parents[2] / "benchmarks" / "suites").glob("*.toml"))
SIX = {"grpo", "opd", "sdar", "sod", "tcod", "atod"}


def test_arms_are_environments_x_algorithms_x_seeds_and_every_first_seed_comes_first():
    suite = small_suite(environments={"larder": {"like": "pantry"}})
    assert [arm.id for arm in suite.arms] == [
        f"{env}/{name}-{seed}"
        for seed in (0, 1)
        for env in ("pantry", "larder")
        for name in ("grpo", "opd")
    ]
    assert all(arm.run.seed == arm.seed for arm in suite.arms)


def test_arms_share_student_and_teacher_and_only_who_learns_from_one_has_one():
    runs = {arm.name: arm.run for arm in small_suite().arms}
    assert runs["grpo"].model == runs["opd"].model
    assert runs["grpo"].teacher is None and runs["opd"].teacher is not None


def test_later_tables_stand_over_earlier_ones():
    own = {"pantry": {"run": {"steps": 6}, "arms": {"opd": {"algorithm": {"strength": 0.5}}}}}
    suite = small_suite("shared.learning.lr=0.5", environments=own)
    opd = next(arm.run for arm in suite.arms if arm.name == "opd")
    assert (opd.steps, opd.learning.lr, opd.algorithm.strength) == (6, 0.5, 0.5)


def test_an_arm_may_start_from_the_file_of_another():
    folder = suite_file().parent
    (folder / "base").mkdir()
    (folder / "base" / "grpo.toml").write_text('[algorithm]\nname = "grpo"\nclip_low = 0.1\n')
    file = suite_file(
        algorithms=["tight"],
        arms={"tight": {"like": "grpo", "algorithm": {"clip_high": 0.3}}},
        environments={"pantry": {"base": str(folder / "base")}},
    )
    algorithm = load_suite(file).arms[0].run.algorithm
    assert (algorithm.clip_low, algorithm.clip_high) == (0.1, 0.3)


def test_a_record_reads_back_equal(tmp_path):
    """Given models, made ones, one that an arm makes, variants, other seeds: all of it."""
    made = {
        "made": {
            "like": "pantry",
            "student": {"warmup": warmup(0)},
            "teacher": {"warmup": warmup(1), "change": {"steps": 7}},
        },
        "taught": {"like": "pantry", "teacher": {"arm": "made/grpo-1"}, "seeds": [5]},
    }
    suite = small_suite(arms={"opd": {"seeds": [3]}}, environments=made)
    path = tmp_path / "again.toml"
    path.write_text(record(suite), encoding="utf-8")
    assert load_suite(path) == suite


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"seed": [1]}, "did you mean seeds"),
        ({"shared": {"stepz": 3}}, "did you mean steps"),
        ({"environments": {"pantry": {"studnt": {}}}}, "did you mean student"),
        ({"environments": {"pantry": {"like": "cellar"}}}, "no environment 'cellar'"),
        ({"environments": {"pantry": {"base": "nowhere"}}}, "there is no settings file"),
        ({"arms": {"gpro": {"steps": 2}}}, "did you mean arms.grpo"),
        ({"algorithms": ["grpo", "grpo"]}, "named twice"),
        ({"algorithms": ["../grpo"]}, "becomes a folder"),
        ({"seeds": [1, 1]}, "named twice"),
        ({"algorithms": ["sdar"]}, "add a \\[skills\\] table"),
        ({"algorithms": ["nothing"]}, "algorithm.name"),
        ({"environments": {"pantry": {"teacher": {"arm": "x/y-0"}}}}, "give one of"),
    ],
)
def test_mistakes_are_named(tables, told):
    with pytest.raises(SettingsError, match=told):
        small_suite(**tables)


def test_an_algorithm_without_its_teacher_is_an_error():
    file = suite_file()
    text = file.read_text()
    start = text.index("[environments.pantry.teacher")
    file.write_text(text[:start])
    with pytest.raises(SettingsError, match=r"pantry/opd: .*\[teacher\]"):
        load_suite(file)


@pytest.mark.parametrize("key", ["learning.lr", "steps"])
def test_arms_that_differ_in_more_than_their_algorithm_are_refused_unless_the_suite_says_so(key):
    table, _, inner = key.partition(".")
    other = {table: {inner: 0.5}} if inner else {table: 6}
    with pytest.raises(SettingsError, match=f"{key} is .* in pantry/grpo-0 and .* in pantry/opd-0"):
        small_suite(arms={"opd": other})
    assert len(small_suite(arms={"opd": other}, differ=[table]).arms) == 4


def test_arms_have_the_same_teacher_unless_the_suite_says_so():
    taught = {"sod": {"algorithm": {"name": "sod"}, "teacher": {"name": "another"}}}
    names = ["opd", "sod"]
    with pytest.raises(SettingsError, match="teacher.name"):
        small_suite(algorithms=names, arms=taught)
    assert len(small_suite(algorithms=names, arms=taught, differ=["teacher"]).arms) == 4


@pytest.mark.parametrize("key", ["env", "model.name", "evaluation.tasks"])
def test_tasks_and_student_never_differ_within_an_environment(key):
    with pytest.raises(SettingsError, match="another environment"):
        small_suite(differ=[key])


def everything(suite: Suite) -> set[str]:
    """What there is of a suite that has begun everywhere."""
    made = {one.home for env in suite.environments.values() for one in env.sources.values()}
    return {arm.id for arm in suite.arms} | made


def test_added_seeds_and_algorithms_join_and_nothing_is_lost():
    begun = small_suite("seeds=[0]")
    both = joined(begun, small_suite("seeds=[1, 2]", 'algorithms=["grpo"]'), everything(begun))
    assert {arm.id for arm in both.arms} == {
        "pantry/grpo-0",
        "pantry/opd-0",
        "pantry/grpo-1",
        "pantry/grpo-2",
    }
    assert joined(both, small_suite("seeds=[0]"), everything(both)).arms == both.arms


def test_what_has_begun_is_not_changed_and_what_joins_is_held_to_the_same_rules():
    begun = small_suite("seeds=[0]")
    with pytest.raises(SettingsError, match=r"pantry/grpo-0 began with steps = 4, .* now says 6"):
        joined(begun, small_suite("shared.steps=6"), everything(begun))
    with pytest.raises(SettingsError, match="steps is 4 in pantry/grpo-0 and 6 in"):
        joined(begun, small_suite("shared.steps=6", "seeds=[1]"), everything(begun))


def test_what_has_not_begun_takes_new_settings_and_is_forgotten_where_it_is_not_named():
    before = small_suite("seeds=[0]")
    now = joined(before, small_suite("seeds=[1]", "shared.steps=6"), ())
    assert [(arm.id, arm.run.steps) for arm in now.arms] == [
        ("pantry/grpo-1", 6),
        ("pantry/opd-1", 6),
    ]
    own = {"pantry": {"arms": {"opd": {"algorithm": {"strength": 0.5}}}}}
    other = small_suite("seeds=[0]", environments=own)
    runs = {arm.name: arm.run for arm in joined(before, other, {"pantry/grpo-0"}).arms}
    assert runs["opd"].algorithm.strength == 0.5
    with pytest.raises(SettingsError, match="pantry/opd-0 began with algorithm.strength"):
        joined(before, other, {"pantry/grpo-0", "pantry/opd-0"})


def test_a_model_is_made_otherwise_as_long_as_it_is_not_there():
    def made(steps: int) -> Suite:
        student = {"warmup": {**warmup(0), "steps": steps}}
        return small_suite(
            "seeds=[0]", environments={"made": {"like": "pantry", "student": student}}
        )

    home = "warm/made/student/model"
    source = joined(made(5), made(7), ()).environments["made"].student
    assert source is not None and source.warmup is not None and source.warmup.steps == 7
    with pytest.raises(SettingsError, match="the student was made otherwise"):
        joined(made(5), made(7), {home})


def test_memory_may_change_at_any_time():
    """It changes no gradient: neither between arms nor on the way is it another run."""
    less = {"learning": {"micro_tokens": 500}, "rollout": {"at_once": 2}}
    assert len(small_suite(arms={"opd": less}).arms) == 4
    begun = small_suite("seeds=[0]")
    both = joined(begun, small_suite("seeds=[0]", shared=less), everything(begun))
    assert {arm.run.learning.micro_tokens for arm in both.arms} == {500}


def test_a_baseline_is_an_arm_and_can_be_an_environments_own(tmp_path):
    larder = {"larder": {"like": "pantry", "baseline": "opd"}}
    suite = small_suite('baseline="grpo"', environments=larder)
    assert {env: one.baseline for env, one in suite.environments.items()} == {
        "pantry": "grpo",
        "larder": "opd",
    }
    path = tmp_path / "again.toml"
    path.write_text(record(suite), encoding="utf-8")
    assert load_suite(path) == suite
    with pytest.raises(SettingsError, match="its baseline 'sdar' is no arm of it"):
        small_suite('baseline="sdar"')


def test_patterns_choose_arms():
    suite = small_suite()
    assert [arm.id for arm in suite.matching(["pantry/opd-*"])] == ["pantry/opd-0", "pantry/opd-1"]
    with pytest.raises(SettingsError, match="no arm is called"):
        suite.matching(["alfworld/*"])


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_the_suites_that_ship_resolve_and_read_back(path, tmp_path):
    suite = load_suite(path)
    for arm in suite.arms:
        assert type(arm.run.algorithm) in BUILT_IN.values()
    again = tmp_path / "again.toml"
    again.write_text(record(suite), encoding="utf-8")
    assert load_suite(again) == suite


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_the_skill_banks_of_the_suites_that_ship_can_be_read(path, monkeypatch):
    monkeypatch.chdir(path.parents[2])  # suites are compared from the repository's root
    for name in {arm.run.skills.bank for arm in load_suite(path).arms if arm.run.skills}:
        load_bank(name)


@pytest.mark.parametrize(("name", "environments", "seeds"), [("quick", 1, 1), ("cpu", 3, 5)])
def test_the_cpu_suites_hold_the_six_algorithms(name, environments, seeds):
    (path,) = (one for one in SUITES if one.stem == name)
    suite = load_suite(path)
    assert len(suite.environments) == environments
    for env in suite.environments:
        assert {arm.name for arm in suite.of(env)} == SIX
        assert len(suite.of(env)) == 6 * seeds
        assert set(suite.environments[env].sources) == {"student", "teacher"}


@pytest.mark.parametrize(("name", "arms"), [("atod", 11), ("sdar", 16)])
def test_an_ablation_holds_its_arms_against_what_they_are_variants_of(name, arms):
    (path,) = (one for one in SUITES if one.stem == f"{name}_ablations")
    suite = load_suite(path)
    assert suite.environments["alfworld"].baseline == name
    assert len({arm.name for arm in suite.arms}) == arms


def test_the_tables_of_the_papers_have_their_models_and_rows():
    found = {path.stem: load_suite(path) for path in SUITES if path.stem.endswith("table1")}
    atod, sdar = found["atod_table1"], found["sdar_table1"]
    assert {arm.run.model.name for arm in atod.arms if arm.name == "atod"} == {
        "Qwen/Qwen3-0.6B",
        "Qwen/Qwen3-1.7B",
        "Qwen/Qwen3-4B",
    }
    assert {arm.run.model.name for arm in sdar.arms} == {
        "Qwen/Qwen2.5-3B-Instruct",
        "Qwen/Qwen2.5-7B-Instruct",
        "Qwen/Qwen3-1.7B",
    }
    forms = {arm.name: getattr(arm.run.algorithm, "form", "") for arm in sdar.arms}
    assert forms == {
        "grpo": "",
        "skill_grpo": "",
        "skill_sd": "",
        "rlsd": "",
        "sdar": "",
        "opsd": "reference",  # as published
        "grpo_opsd": "reference",
        "opsd_advantage": "advantage",
        "grpo_opsd_advantage": "advantage",
    }
    assert all(arm.run.steps == 150 for arm in (*atod.arms, *sdar.arms))
