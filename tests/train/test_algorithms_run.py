"""Each of the 14 algorithms trains, in both layouts, and goes on where it was stopped."""

import json
import math
import re
from functools import cache
from pathlib import Path

import pytest
from safetensors.torch import load_file
from train.small_runs import bank, models, scratch, small_run

from agentgym_train import notes as notes_module
from agentgym_train.algorithms import BUILT_IN
from agentgym_train.runlog import RunLog, read_metrics
from agentgym_train.train import Trainer, resume, train

TABLE = Path(__file__).parents[2] / "docs" / "metrics.md"
TEACHER = {"teacher/gap_mean", "teacher/gap_rms", "teacher/nonfinite_tokens", "kl/token_mean"}
TURNS = {f"turn/0/{name}" for name in ("kl", "disagreement", "student_entropy", "count")}
GATED = {"sdar/loss", "sdar/gate_mean", "sdar/gate_active_ratio", "sdar/gap_mean"}
TDUR = {"tdur/mean_weight", "tdur/active_ratio", "tdur/n_skipped_few_turns"}
HYBRID = {"hybrid/kl_coef", "hybrid/rl_coef", "hybrid/anneal_progress", "hybrid/opd_rl_ratio"}
# What an algorithm must tell beside what all tell (section 12 of the specification).
OWN = {
    "grpo": {"credit/reward", "actor/kl_loss"},
    "opd": {"credit/teacher"},
    "sdar": {*GATED, "sdar/coef", "sdar/negative_gap_fraction", "actor/kl_loss"},
    "sod": {"sod/weight_mean", "sod/opd_grpo_ratio", "sod/first_turn_divergence"},
    "tcod": {"tcod/depth", "tcod/student_turns_mean"},
    "atod": HYBRID | TDUR,
    "opsd": {"credit/teacher", "actor/kl_loss"},
    "grpo_opsd": {"credit/teacher", "credit/reward", "actor/kl_loss"},
    "skill_grpo": {"val_with_skill/success_rate", "val_no_skill/success_rate", "actor/kl_loss"},
    "skill_sd": {"skill_sd/loss", "actor/kl_loss"},
    "rlsd": {"rlsd/lambda", "actor/kl_loss"},
    "stepopsd": {"stepopsd/weight_mean", "stepopsd/step_coef_mean", "actor/kl_loss"},
    "hint_sd": {"hint_sd/noted_turns", "credit/teacher"},
    "gigpo": {"credit/reward", "credit/turn", "actor/kl_loss"},
}
ALL = {
    *("episode/success_rate", "episode/reward/mean", "episode/length/max"),
    *("episode/valid_action_ratio", "critic/advantages/mean", "actor/pg_loss"),
    *("actor/pg_clipfrac", "actor/pg_clipfrac_lower", "actor/ppo_kl", "actor/entropy_loss"),
    *("actor/grad_norm", "response_length/clip_ratio", "prompt_length/mean", "tokens/sampled"),
}
every_algorithm = pytest.mark.parametrize("name", BUILT_IN)
every_layout = pytest.mark.parametrize("layout", ["turns", "chat"])


@cache
def finished(name: str, layout: str) -> Path:
    """Two steps on generated ALFWorld games."""
    folder = scratch() / "run"
    tables = {"notes": {"source": "expert"}} if name == "hint_sd" else {}
    train(small_run(name, "alfworld", env={"layout": layout}, **tables), folder)
    return folder


def weights(folder: Path):
    return load_file(folder / "model" / "model.safetensors")


@every_layout
@every_algorithm
def test_two_steps_on_alfworld(name, layout):
    first, *steps = read_metrics(finished(name, layout))
    assert [values["step"] for values in steps] == [1, 2]
    for values in (first, *steps):
        odd = {key: value for key, value in values.items() if not math.isfinite(value)}
        assert not odd
    for values in steps:
        teaches = TEACHER | TURNS if BUILT_IN[name].teacher != "none" else set()
        assert values.keys() >= ALL | teaches | {n for n in OWN[name] if not n.startswith("val")}
        assert values["actor/grad_norm"] > 0
        assert values["actor/skipped_steps"] == values["rollout/drift"] == 0
        assert values["rollout/sampler_gap_max"] < 1e-3
    assert first.keys() >= {n for n in OWN[name] if n.startswith("val")}
    before = load_file(models("alfworld")[0] / "model.safetensors")
    after = weights(finished(name, layout))
    assert any(not after[key].equal(before[key]) for key in after)


@every_algorithm
def test_what_was_used_is_in_the_runs_record(name):
    record = (finished(name, "turns") / "run.toml").read_text(encoding="utf-8")
    assert 'demonstrations = "expert"' in record
    assert ('source = "expert"' if name == "hint_sd" else 'source = "policy"') in record
    assert (str(models("alfworld")[1]) in record) == (BUILT_IN[name].teacher == "model")
    shows = BUILT_IN[name].skills
    assert ("small.toml" in record and 'retrieval = "keyword"' in record) == shows
    saved = finished(name, "turns") / "checkpoints" / "step-000002" / "state.json"
    skills = json.loads(saved.read_text(encoding="utf-8"))["state"]["skills"]
    assert (skills is not None and len(skills["bank"]) > 8) == shows


def test_a_student_trained_with_skills_is_tested_with_and_without(tmp_path):
    run = small_run("skill_grpo", evaluation={"tasks": 8}, log={"episodes": 6})
    train(run, tmp_path / "run")
    values = read_metrics(tmp_path / "run")[-1]
    plain = {key.removeprefix("val/"): v for key, v in values.items() if key.startswith("val/")}
    for key, value in plain.items():
        assert values[f"val_no_skill/{key}"] == value
        assert f"val_with_skill/{key}" in values
    lines = (tmp_path / "run" / "episodes.jsonl").read_text(encoding="utf-8").splitlines()
    phases = [json.loads(line)["phase"] for line in lines]
    assert phases.count("evaluation") == phases.count("evaluation with skills") == 2 * 8


def test_skills_are_in_the_students_own_prompts_where_it_trains_with_them(tmp_path):
    prompts = {}
    for name in ("skill_grpo", "sdar"):
        trainer = Trainer(small_run(name), RunLog(tmp_path))
        played, _ = trainer.rollout(1)
        decode = trainer.policy.tokenizer.decode
        prompts[name] = [decode(turn.prompt) for one in played for turn in one.turns]
    assert all("[Privileged Skill Information]" in text for text in prompts["skill_grpo"])
    assert not any("[Privileged Skill Information]" in text for text in prompts["sdar"])


# --- stopped and resumed ------------------------------------------------------------------------


class PowerCut(BaseException):
    """Nothing catches it."""


EMA = {"kind": "ema", "decay": 0.5}
STOPPED = {
    **{name: (name, {}) for name in BUILT_IN if name not in ("hint_sd", "stepopsd", "tcod")},
    "stale teacher": ("stepopsd", {"algorithm": {"weights": {"kind": "stale", "refresh": 2}}}),
    "moving average, expert's notes": (
        "hint_sd",
        {"algorithm": {"weights": EMA}, "notes": {"source": "expert"}},
    ),
    "moving average, policy's notes": (
        "hint_sd",
        {"algorithm": {"weights": EMA}, "notes": {"source": "policy", "max_tokens": 8}},
    ),
    "forward curriculum": ("tcod", {"algorithm": {"depth": {"every": 2}}}),
    "backward curriculum": (
        "tcod",
        {"algorithm": {"order": "backward", "depth": {"every": 3}}},
    ),
    "oneself as at first": ("opsd", {"algorithm": {"weights": {"kind": "initial"}}}),
    "a few at a time": ("grpo", {"rollout": {"at_once": 3}}),
    "skills by UCB": ("sdar", {"skills": {"retrieval": "ucb"}}),
    "skills at random": ("rlsd", {"skills": {"retrieval": "random"}}),
    "turns layout": ("grpo", {"env": {"layout": "turns"}}),
}


@pytest.mark.parametrize("case", STOPPED)
def test_stopped_and_resumed_is_bit_exact(case, tmp_path, monkeypatch):
    name, tables = STOPPED[case]
    if "policy's" in case:  # so weak a policy writes no usable note: take anything for one
        monkeypatch.setattr(notes_module, "read_notes", lambda text, n, most: {len(text) % n: text})
    if "UCB" in case:  # more blocks than steps before the stop: forgotten counts would show
        tables = {"skills": {"bank": str(bank("honey", "jam", "red", "green")), **tables["skills"]}}
    run = small_run(name, steps=4, log={"checkpoint_every": 2}, **tables)
    train(run, tmp_path / "whole")
    learn = Trainer.learn

    def deadly(self, batch, step):
        values = learn(self, batch, step)
        if step == 4:
            raise PowerCut
        return values

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "learn", deadly)
        with pytest.raises(PowerCut):
            train(run, tmp_path / "cut")
    assert resume(run, tmp_path / "cut") == 2
    for log in ("metrics.jsonl", "episodes.jsonl"):
        assert (tmp_path / "cut" / log).read_text() == (tmp_path / "whole" / log).read_text()
    ours, theirs = weights(tmp_path / "cut"), weights(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    assert all(ours[key].equal(theirs[key]) for key in ours)
    last = read_metrics(tmp_path / "cut")[-1]
    assert last["actor/optimizer_steps"] > 0  # what is compared did learn


def test_a_moving_teacher_that_is_missing_from_a_checkpoint_is_an_error(tmp_path):
    run = small_run("stepopsd")
    train(run, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "step-000002" / "teacher.safetensors").unlink()
    with pytest.raises(ValueError, match="no weights of this run's teacher"):
        resume(run, tmp_path / "run")


# --- the table of metrics -------------------------------------------------------------------------


def documented() -> dict[str, re.Pattern]:
    """Name in the table -> what it matches: `{a,b}` is a choice, `<k>` any text without a slash."""
    found = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        for name in re.findall(r"`([^`]+)`", line.split("|")[1] if line.startswith("| `") else ""):
            pattern = re.escape(name).replace(r"\{", "(").replace(r"\}", ")").replace(",", "|")
            found[name] = re.compile(re.sub(r"<\w+>", "[^/]+", pattern))
    return found


@cache
def written() -> set[str]:
    """Every metric of every run of this file's first test."""
    lines = [
        line
        for name in BUILT_IN
        for layout in ("turns", "chat")
        for line in read_metrics(finished(name, layout))
    ]
    return {key for line in lines for key in line} - {"step"}


def test_every_metric_of_a_run_is_in_the_table():
    patterns = documented().values()
    assert not {key for key in written() if not any(p.fullmatch(key) for p in patterns)}


def test_the_table_names_no_metric_that_no_run_writes():
    special = {"tcod/replay_finished", "tcod/without_demonstration"}  # backward only
    special |= {"opd/divergence", "tdur/turn_<k>_mean_weight"}  # over the vocabulary; long games
    names = {name for name in documented() if not name.startswith("seconds/")}
    assert special < names
    unused = {n for n in names if not any(documented()[n].fullmatch(key) for key in written())}
    assert unused <= special


def test_the_seconds_of_every_phase_are_in_the_table():
    lines = (finished("grpo", "chat") / "timings.jsonl").read_text(encoding="utf-8").splitlines()
    phases = {key for line in lines for key in json.loads(line)} - {"step"}
    assert phases == {"seconds/rollout", "seconds/score", "seconds/update", "seconds/evaluate"}
    pattern = next(p for n, p in documented().items() if n.startswith("seconds/"))
    assert all(pattern.fullmatch(phase) for phase in phases)
