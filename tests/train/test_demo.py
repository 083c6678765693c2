"""The demonstration, made so small that it shows everything but learning."""

import sys

import pytest

from agentgym_train import cli
from agentgym_train.demo import planned
from agentgym_train.files import read_lines
from agentgym_train.settings import SettingsError

SMALL = [
    "env.common.games={train = 6, valid_unseen = 4}",
    "env.common.max_turns=3",
    "warmup.episodes=3",
    "warmup.steps=2",
    "warmup.model.tiny={width = 16, layers = 1, heads = 2, inner = 16, vocabulary = 300}",
    "run.steps=2",
    "run.rollout.groups=2",
    "run.rollout.group_size=2",
    "run.rollout.max_reply_tokens=4",
    "run.evaluation.tasks=4",
    "run.log.checkpoint_every=1",
]


def test_files_and_table(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "demo"
    arguments = [part for pair in SMALL for part in ("--set", pair)]
    monkeypatch.setattr(sys, "argv", ["agentgym-train", "demo", "--out", str(folder), *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    told = capsys.readouterr()
    assert end.value.code == 0, told.err
    for shown in ("warmed up", "after GRPO", "95 %", "4 generated games"):
        assert shown in told.out
    assert f"plot: {folder / 'grpo' / 'success.png'}\n" in told.out
    for name in ("warmup/warmup.toml", "warmup/model/config.json", "grpo/model/config.json"):
        assert (folder / name).is_file()
    assert (folder / "grpo" / "success.png").read_bytes().startswith(b"\x89PNG")
    metrics = read_lines(folder / "grpo" / "metrics.jsonl")
    assert [record["step"] for record in metrics] == [0, 1, 2]
    assert metrics[0]["val/episodes"] == metrics[2]["val/episodes"] == 4
    played = read_lines(folder / "grpo" / "episodes.jsonl")
    splits = {
        phase: {r["task"]["split"] for r in played if r["phase"] == phase}
        for phase in ("train", "evaluation")
    }
    assert splits == {"train": {"train"}, "evaluation": {"valid_unseen"}}

    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 3
    assert "already holds a model" in capsys.readouterr().err


def test_the_packaged_settings_are_complete_and_share_the_environment(tmp_path):
    warmup, run = planned(tmp_path, [])
    assert warmup.env == run.env
    assert run.model.name == str(tmp_path / "warmup" / "model")
    assert run.env.train["split"] != run.env.evaluation["split"]


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("runn.steps=1", "unknown table runn; known: env, warmup, run"),
        ("run.model.name=x", "run.model follows from the rest"),
        ("warmup.env.layout=turns", "warmup.env follows from the rest"),
        ("run.stepz=1", "unknown key stepz; did you mean steps"),
    ],
)
def test_a_mistake_is_named(tmp_path, pair, message):
    with pytest.raises(SettingsError, match=message):
        planned(tmp_path, [pair])
