"""A run, whole: metrics under the literature's names, fixed held-out tasks, a model to load."""

import math
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from train.pantry_play import pool
from train.pantry_run import SETTINGS, pantry_run
from train.small_runs import small_run
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentgym_envs.episodes import from_record
from agentgym_envs.order import subset
from agentgym_train import train as loop
from agentgym_train.evaluate import PLAIN, evaluate_model
from agentgym_train.files import read_lines
from agentgym_train.runlog import RunLog, read_metrics
from agentgym_train.settings import Run, SettingsError, build, load
from agentgym_train.train import Trainer, train

NAMES = {  # of a GRPO step, as in the specification's section 12
    "episode/success_rate",
    *(f"episode/{what}/{how}" for what in ("reward", "length") for how in ("mean", "max", "min")),
    "episode/valid_action_ratio",
    *(f"critic/advantages/{how}" for how in ("mean", "max", "min")),
    "actor/pg_loss",
    "actor/pg_clipfrac",
    "actor/pg_clipfrac_lower",
    "actor/ppo_kl",
    "actor/kl_loss",
    "actor/entropy_loss",
    "actor/grad_norm",
    *(f"{what}_length/{how}" for what in ("response", "prompt") for how in ("mean", "max", "min")),
    "response_length/clip_ratio",
    "prompt_length/clip_ratio",
}
OURS = {
    "actor/loss",
    "actor/lr",
    "actor/optimizer_steps",
    "actor/skipped_steps",
    "rollout/drift",
    "rollout/sampler_gap_max",
    "tokens/read",
    "tokens/sampled",
}
SHAPE = {"width": 32, "layers": 1, "heads": 2, "inner": 32, "vocabulary": 320}
TINY = {"name": "tiny", "tiny": SHAPE}


def one_step(folder, **tables: Any):
    """A run of one step; returns its metrics at steps 0 and 1."""
    train(pantry_run(steps=1, **tables), folder)
    return read_metrics(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One step in every way of training that must work."""
    ways: dict[str, dict[str, Any]] = {
        "chat": {},
        "turns": {"env": {"layout": "turns"}},
        "no reference": {"learning": {"reference_kl": 0.0}},
        "checkpointing": {"model": {**TINY, "gradient_checkpointing": True}},
        "lora": {"model": {**TINY, "lora": {"rank": 2}}},
        "no cache": {"rollout": {"cache": "none"}},
    }
    folders = {way: tmp_path_factory.mktemp("run") / "it" for way in ways}
    return {way: (folders[way], one_step(folders[way], **ways[way])) for way in ways}


def test_the_metrics_of_a_step_have_the_names_of_the_literature(runs):
    _, (_, step) = runs["chat"]
    kinds = {f"episode/{kind}_success_rate" for kind in ("honey", "jam")}
    held_out = {name for name in step if name.startswith("val/")}
    credit = {name for name in step if name.startswith("credit/")}
    assert step.keys() - kinds - held_out - credit == NAMES | OURS | {"step"}
    assert all(math.isfinite(value) for value in step.values())


WAYS = ["chat", "turns", "no reference", "checkpointing", "lora", "no cache"]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_trains(runs, way):
    _, (before, step) = runs[way]
    assert before["step"] == 0 and "val/success_rate" in before
    assert step["actor/grad_norm"] > 0
    assert step["actor/optimizer_steps"] >= 1
    assert step["rollout/drift"] == 0
    assert step["rollout/sampler_gap_max"] < 1e-4
    assert ("actor/kl_loss" in step) == (way != "no reference")


@pytest.mark.parametrize("way", WAYS)
def test_the_final_model_loads_with_transformers(runs, way):
    folder, _ = runs[way]
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    tokens = AutoTokenizer.from_pretrained(folder / "model")("Find the honey.", return_tensors="pt")
    with torch.no_grad():
        assert model(tokens["input_ids"]).logits.isfinite().all()


@pytest.mark.parametrize("way", WAYS)
def test_evaluating_the_final_model_gives_the_last_evaluation_again(runs, way):
    folder, metrics = runs[way]
    run = load(folder / "run.toml", Run, [f"model.name={folder / 'model'}"])
    told = evaluate_model(run)[PLAIN]
    last = metrics[-1]
    assert told.overall.rate == last["val/success_rate"]
    assert told.overall.mean_turns == last["val/turns"]
    assert told.invalid_share == last["val/invalid_share"]


@pytest.mark.parametrize("way", ["checkpointing", "no cache"])
def test_what_saves_memory_changes_no_number(runs, way):
    """Gradients are computed again or attention read again, to the same values."""
    _, (_, step) = runs["chat"]
    _, (_, other) = runs[way]
    for name in ("episode/reward/mean", "tokens/sampled", "critic/advantages/max"):
        assert other[name] == step[name]
    assert other["actor/grad_norm"] == pytest.approx(step["actor/grad_norm"], rel=1e-4)


def test_before_the_first_update_policy_and_reference_agree(runs):
    folder, _ = runs["lora"]
    run = pantry_run(model={"lora": {"rank": 2}}, learning={"mini_rows": 100})
    trainer = Trainer(run, RunLog(folder))
    first, second = trainer.step(1), trainer.step(2)
    assert first["actor/kl_loss"] == pytest.approx(0.0, abs=1e-6)
    assert second["actor/kl_loss"] > 1e-6  # the reference stayed where it was


def test_held_out_tasks_are_the_same_ones_each_once(runs):
    folder, _ = runs["chat"]
    records = read_lines(folder / "episodes.jsonl")
    for step in (0, 1):
        judged = [
            from_record(record)
            for record in records
            if (record["step"], record["phase"]) == (step, "evaluation")
        ]
        assert [episode.task.id for episode in judged] == list(subset(pool().task_ids, 4))
    kept = [record for record in records if record["phase"] == "train"]
    assert len(kept) == 2  # log.episodes


@pytest.mark.parametrize(("lr", "moves"), [(0.0, False), (1e-2, True)])
def test_the_rate_decides_whether_weights_move(runs, lr, moves):
    trainer = Trainer(pantry_run(learning={"lr": lr}), RunLog(runs["chat"][0]))
    before = [p.detach().clone() for p in trainer.policy.model.parameters()]
    assert trainer.step(1)["actor/lr"] == lr
    after = trainer.policy.model.parameters()
    assert moves != all(a.equal(b) for a, b in zip(before, after, strict=True))


def test_a_prompt_longer_than_allowed_names_the_setting(tmp_path):
    with pytest.raises(ValueError, match=r"rollout.max_prompt_tokens allows 5"):
        one_step(tmp_path / "run", rollout={"max_prompt_tokens": 5})


def test_the_best_weights_are_kept_beside_the_last(tmp_path, monkeypatch):
    """Of equals the earliest; what they were is told by the metrics."""
    told = iter([0.9, 0.25, 0.5, 0.5, 0.0])
    monkeypatch.setattr(Trainer, "evaluated", lambda self, step: {"val/success_rate": next(told)})
    saved = []
    export = Trainer.export
    monkeypatch.setattr(
        Trainer, "export", lambda self, name: (saved.append(name), export(self, name))
    )
    folder = tmp_path / "run"
    train(pantry_run(steps=4, evaluation={"every": 1}, log={"checkpoint_every": 2}), folder)
    assert saved == ["best", "best", "model"]  # after steps 1 and 2; step 0 was not trained
    best, last = (load_file(folder / name / "model.safetensors") for name in ("best", "model"))
    known = load_file(folder / "checkpoints" / "step-000004" / "weights.safetensors")
    assert all(known[name].equal(last[name]) for name in last.keys() & known.keys())
    assert any(not best[name].equal(last[name]) for name in last)


def test_what_is_missing_is_found_before_the_model_and_the_folder_stays_free(tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(loop, "load_model", never)
    backward = {"name": "tcod", "order": "backward"}
    wrong = [
        pantry_run(env={"evaluation": {"max_turns": 0}}),
        build(
            Run,
            {
                **SETTINGS,
                "algorithm": backward,
                "teacher": {"name": "nowhere"},
                "demonstrations": str(tmp_path / "none.jsonl"),
            },
        ),
    ]
    for run in wrong:
        with pytest.raises((ValueError, FileNotFoundError)):
            train(run, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_run_that_made_no_step_leaves_its_folder_free(tmp_path):
    """A wrong limit is found at the first prompt; put right, the same command runs."""
    with pytest.raises(ValueError, match="max_prompt_tokens"):
        one_step(tmp_path / "run", rollout={"max_prompt_tokens": 5})
    assert (tmp_path / "run" / "run.toml").exists()
    assert [one["step"] for one in one_step(tmp_path / "run")] == [0, 1]
    with pytest.raises(FileExistsError, match="already holds a run"):
        one_step(tmp_path / "run")


def test_evaluation_tasks_that_are_trained_on_are_told(tmp_path):
    """The pantry has one split: what it is evaluated on is what it trains on."""
    trainer = Trainer(pantry_run(), RunLog(tmp_path))
    assert trainer.overlap == 4  # evaluation.tasks
    with pytest.warns(UserWarning, match="4 evaluation tasks are training tasks, too"):
        trainer.fit(4, lambda step, values: None)


def test_a_bank_of_another_environment_is_refused(tmp_path):
    run = small_run("sdar", skills={"bank": "alfworld"})
    with pytest.raises(ValueError, match="no type for any of the environment's tasks"):
        Trainer(run, RunLog(tmp_path))
    everything = small_run("sdar", skills={"bank": "alfworld", "retrieval": "all"})
    Trainer(everything, RunLog(tmp_path))


@pytest.mark.parametrize(
    ("table", "values", "message"),
    [
        ("learning", {"max_grad_norm": 0.0}, "max_grad_norm must be above 0"),
        ("learning", {"lr": -1.0}, "lr must be at least 0"),
        ("evaluation", {"every": -3}, "evaluation.every must be at least 0"),
        ("evaluation", {"temperature": -1.0}, "evaluation.temperature must be at least 0"),
        ("rollout", {"temperature": 0.0}, "explores nothing"),
        ("rollout", {"at_once": -1}, "rollout.at_once must be at least 0"),
        ("model", {"device": "gpu"}, '"cuda:N", got'),
    ],
)
def test_values_out_of_range_are_refused_before_anything_loads(table, values, message):
    with pytest.raises(SettingsError, match=message):
        pantry_run(**{table: values})


@pytest.mark.parametrize("key", ["checkpoint_every", "keep"])
def test_checkpoints_cannot_be_switched_off_by_accident(key):
    with pytest.raises(SettingsError, match=f"log.{key} must be at least 1, got 0"):
        pantry_run(log={key: 0})
