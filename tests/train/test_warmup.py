"""A model from scratch learns an expert's language, and the same one for the same seed."""

from typing import Any

import pytest
import torch
from pantry.env import PantryEnv
from safetensors.torch import load_file
from train.pantry_play import STYLE, attempts, play, pool, renderer, tiny, tokenizer
from train.pantry_run import SETTINGS
from train.small_runs import bank
from transformers import AutoModelForCausalLM

from agentgym_train import warmup
from agentgym_train.batch import TokenSpan
from agentgym_train.models.load import ModelSettings, load_model
from agentgym_train.models.policy import Policy
from agentgym_train.models.sampler import LocalSampler
from agentgym_train.settings import SettingsError, Warmup, build
from agentgym_train.texts import demonstrate, texts_for_tokenizer
from agentgym_train.warmup import demonstration_rows, imitate, warm_up


def settings(**changes: Any) -> Warmup:
    small = {"episodes": 24, "noise": 0.1, "steps": 100, "lr": 1e-2, "seed": 1, "threads": 1}
    return build(Warmup, {"env": SETTINGS["env"], "model": SETTINGS["model"], **small, **changes})


def weights(folder) -> torch.Tensor:
    return torch.cat([t.flatten() for t in load_file(folder / "model.safetensors").values()])


def opening(model) -> float:
    """Share of 32 attempts, four at each of the eight tasks, that begin by opening a cupboard."""
    some = attempts(32, group_size=4)
    played = play(some, LocalSampler(model, tokenizer()), max_turns=6, max_tokens=16)
    return sum(one.turns[0].turn.action.startswith("open ") for one in played) / len(played)


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A warmed-up model's folder and what was told on the way."""
    told = []
    folder = tmp_path_factory.mktemp("warm")
    shape = {**SETTINGS["model"]["tiny"], "layers": 2}
    wanted = settings(model={"name": "tiny", "tiny": shape})
    model = warm_up(wanted, folder, lambda *progress: told.append(progress))
    return model, told


def test_it_learns(warm):
    """Nothing says which cupboard, but an imitator opens one, as the expert always does first."""
    folder, told = warm
    losses = [loss for phase, _, _, loss in told if phase == "learning"]
    assert losses[0] > 4.0  # log of 270 tokens is 5.6
    assert sum(losses[-5:]) / 5 < losses[0] / 4
    model, learnt = load_model(ModelSettings(name=str(folder)))
    assert learnt.get_vocab() == tokenizer().get_vocab()
    assert opening(tiny(opinions=0.02)) < 0.3
    assert opening(model) > 0.8


def test_what_is_told_and_written(warm):
    folder, told = warm
    assert [one[:3] for one in told] == [
        *(("playing", i, 24) for i in range(1, 25)),
        *(("learning", i, 100) for i in range(1, 101)),
    ]
    assert sorted(p.name for p in folder.parent.iterdir()) == ["model", "warmup.toml"]
    assert AutoModelForCausalLM.from_pretrained(folder).config.model_type == "qwen3"
    with pytest.raises(FileExistsError, match="already holds a model"):
        warm_up(settings(), folder.parent)


def test_the_seed_decides(tmp_path):
    same = [weights(warm_up(settings(steps=3), tmp_path / name)) for name in "ab"]
    other = weights(warm_up(settings(steps=3, seed=2), tmp_path / "c"))
    assert same[0].equal(same[1])
    assert not same[0].equal(other)


def test_an_adapter_is_merged_into_what_is_written(tmp_path):
    model = {**SETTINGS["model"], "lora": {"rank": 2}}
    folder = warm_up(settings(steps=3, model=model), tmp_path)
    plain = warm_up(settings(steps=1, lr=0.0, model=SETTINGS["model"]), tmp_path / "plain")
    written, start = (load_file(p / "model.safetensors") for p in (folder, plain))
    assert written.keys() == start.keys()
    changed = [name for name in written if not written[name].equal(start[name])]
    assert changed and all("proj" in name for name in changed)


def actions(noise: float, seed: int = 0) -> list[str]:
    episode = demonstrate(pool(), STYLE, "pantry/blue/jam", noise, seed)
    return [turn.action for turn in episode.turns]


def test_noise_is_played_under_the_experts_thought():
    assert actions(0.0) == ["open blue", "take jam"]
    noisy = [actions(1.0, seed) for seed in range(8)]
    assert noisy == [actions(1.0, seed) for seed in range(8)]
    assert len({tuple(one) for one in noisy}) > 4
    played = {action for one in noisy for action in one}
    assert played <= {"take jam", "open red", "open green", "open blue", "open white"}


def test_an_environment_without_an_expert(monkeypatch, tmp_path):
    monkeypatch.setattr(PantryEnv, "advise", lambda self: None)
    with pytest.raises(ValueError, match="no advice for task 'pantry/"):
        warm_up(settings(), tmp_path)
    with pytest.raises(ValueError, match="no advice for task 'pantry/blue/jam'"):
        actions(0.9)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layout", ["turns", "chat"])
def test_what_is_learnt_from(layout):
    ours = renderer(layout)
    episode = demonstrate(pool(), STYLE, "pantry/blue/jam", 0.0, 0)
    replies = demonstration_rows(episode, ours, "replies")
    whole = demonstration_rows(episode, ours, "all")
    assert len(replies) == len(whole) == {"turns": 2, "chat": 1}[layout]
    shown = [
        tokenizer().decode(row.tokens[span.start : span.stop])
        for row in replies
        for span in row.spans
    ]
    assert shown == [" > open blue<|end|>", " > take jam<|end|>"]
    for row, same in zip(whole, replies, strict=True):
        assert row.tokens == same.tokens
        assert row.spans == [TokenSpan(0, 1, len(row.tokens))]


def test_learning_from_replies_leaves_the_observations_unlearnt():
    """Both imitate the replies; only who learns from all tokens learns what rooms look like."""
    rows = {
        what: [
            row
            for task in pool().task_ids
            for row in demonstration_rows(
                demonstrate(pool(), STYLE, task, 0.0, 0), renderer(), what
            )
        ]
        for what in ("replies", "all")
    }
    loss = {}
    for learn_from, its_rows in rows.items():
        policy = Policy(tiny(opinions=0.02), tokenizer())
        told = list(imitate(policy, its_rows, settings(steps=40)))
        assert [step for step, _ in told] == list(range(1, 41))
        for judged_by, judging in rows.items():
            last = imitate(policy, judging, settings(steps=1, lr=0.0, batch=8))
            loss[learn_from, judged_by] = next(last)[1]
    assert loss["replies", "replies"] < 1.0
    assert loss["all", "all"] < 1.5
    assert loss["replies", "all"] > 3.0


def test_the_vocabulary_is_learnt_from_what_will_be_read():
    texts = list(texts_for_tokenizer(pool(), STYLE, "chat"))
    assert "Find the honey. Cupboards, all closed." in texts
    assert "The red cupboard holds honey." in texts
    assert " > take jam" in texts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": 1.5}, "noise is a share"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"episodes": 0}, "episodes must be at least 1"),
    ],
)
def test_settings_that_make_no_sense(change, message):
    with pytest.raises(SettingsError, match=message):
        settings(**change)


def test_a_share_of_the_episodes_is_shown_with_skills_and_without_noise(tmp_path, monkeypatch):
    """Behind skills the clean expert is learnt, without them one as noisy as set."""
    seen = []
    real = warmup.demonstration_rows

    def rows(episode, shown, learn_from, hint=""):
        seen.append((hint, [turn.action for turn in episode.turns], episode.task))
        return real(episode, shown, learn_from, hint)

    monkeypatch.setattr(warmup, "demonstration_rows", rows)
    folder = bank("honey", "jam")
    tables = {"skills": {"bank": str(folder)}, "helped": 0.5, "noise": 1.0, "episodes": 60}
    warm_up(settings(**tables, steps=1), tmp_path / "a")
    helped = [one for one in seen if one[0]]
    assert 15 < len(helped) < 45
    for hint, actions, task in helped:
        assert hint.startswith("[Privileged Skill Information]") and task.kind in hint
        assert actions == list(task.expert)
    clean = [actions == list(task.expert) for hint, actions, task in seen if not hint]
    assert sum(clean) < len(clean) / 2
    kept = load_model(ModelSettings(name=str(tmp_path / "a" / "model")))[1]
    heading = len(kept.encode("[Privileged Skill Information]"))
    assert heading < len(tokenizer().encode("[Privileged Skill Information]"))


def test_what_a_warm_up_cannot_do_with_skills():
    with pytest.raises(SettingsError, match="helped is a share, from 0 to 1, got 2"):
        settings(helped=2.0)
    with pytest.raises(SettingsError, match="no outcomes for UCB"):
        settings(skills={"bank": "alfworld", "retrieval": "ucb"})
