"""Numbers for every token: they are the algorithm's own, and recording them changes nothing."""

import json
from pathlib import Path

import pytest
import torch
from train.pantry_run import pantry_run
from train.small_runs import small_run

from agentgym_train import traces
from agentgym_train.files import read_lines
from agentgym_train.runlog import RunLog
from agentgym_train.settings import Run
from agentgym_train.traces import pieces_of
from agentgym_train.train import train

COLUMNS = {
    "grpo": {"logprob", "advantage"},
    "opd": {"logprob", "advantage", "gap"},
    "atod": {"logprob", "advantage", "gap", "weight", "credit/teacher", "credit/reward"},
    "sod": {"logprob", "advantage", "gap", "weight", "credit/teacher", "credit/reward"},
    "sdar": {"logprob", "advantage", "gap", "gate"},
}
FIXED = {"turn", "reward", "pieces"}


def played(run: Run, folder: Path) -> list[dict]:
    train(run, folder)
    return read_lines(folder / "traces.jsonl")


def turns_of(records: list[dict]) -> list[dict]:
    found = [turn for record in records for turn in record["turns"]]
    assert found
    return found


@pytest.mark.parametrize("name", COLUMNS)
def test_a_trace_has_what_the_algorithm_goes_by(name, tmp_path):
    records = played(small_run(name, steps=1, log={"traces": 2}), tmp_path / "run")
    assert [(one["step"], one["episode"]) for one in records] == [(1, 0), (1, 1)]
    for turn in turns_of(records):
        assert set(turn) == FIXED | COLUMNS[name]
        lengths = {len(values) for key, values in turn.items() if key in COLUMNS[name]}
        assert lengths == {len(turn["pieces"])}
        assert all(value <= 0 for value in turn["logprob"])


def test_terms_add_up_to_the_advantage_and_the_gate_is_of_the_gap(tmp_path):
    for turn in turns_of(played(small_run("atod", steps=1), tmp_path / "atod")):
        assert len(set(turn["weight"])) == 1  # of the turn, not the token
        parts = zip(turn["credit/teacher"], turn["credit/reward"], strict=True)
        assert turn["advantage"] == pytest.approx([sum(p) for p in parts], abs=0.02, rel=0.02)
    for turn in turns_of(played(small_run("sdar", steps=1), tmp_path / "sdar")):
        expected = (5.0 * torch.tensor(turn["gap"])).sigmoid()
        assert turn["gate"] == pytest.approx(expected.tolist(), abs=0.02)


@pytest.mark.parametrize(
    "algorithm",
    [
        {"name": "sdar", "gate": {"kind": "soft_or"}},
        {"name": "sdar", "divergence": {"over": "vocabulary", "kind": "jsd"}},
        {"name": "opd", "divergence": {"over": "vocabulary"}},
    ],
)
def test_gates_that_read_the_policy_are_read_once_more(algorithm, tmp_path):
    run = small_run(algorithm["name"], algorithm=algorithm, steps=1)
    for turn in turns_of(played(run, tmp_path / "run")):
        gated = algorithm["name"] == "sdar"
        assert ("gate" in turn) == gated
        assert not gated or all(0 <= value <= 1 for value in turn["gate"])


@pytest.mark.parametrize(
    "algorithm", [{"name": "grpo"}, {"name": "sdar", "gate": {"kind": "entropy"}}]
)
def test_recording_changes_no_number(algorithm, tmp_path):
    name = algorithm["name"]
    for count in (0, 2):
        run = small_run(name, algorithm=algorithm, log={"traces": count, "episodes": 4})
        train(run, tmp_path / str(count))
    for log in ("metrics.jsonl", "episodes.jsonl"):
        without, with_traces = ((tmp_path / str(n) / log).read_text() for n in (0, 2))
        assert without == with_traces
    assert not (tmp_path / "0" / "traces.jsonl").exists()


def test_traces_are_of_stored_episodes_at_evaluated_steps(tmp_path):
    log = {"traces": 5, "episodes": 2, "checkpoint_every": 9}
    run = pantry_run(steps=3, evaluation={"every": 2}, log=log)
    records = played(run, tmp_path / "run")
    assert [(one["step"], one["episode"]) for one in records] == [(2, 0), (2, 1), (3, 0), (3, 1)]
    stored = read_lines(tmp_path / "run" / "episodes.jsonl")
    for record in records:
        of_step = [e for e in stored if (e["step"], e["phase"]) == (record["step"], "train")]
        episode = of_step[record["episode"]]
        assert record["task"] == episode["task"]["id"]
        for turn in record["turns"]:
            assert "".join(turn["pieces"]).startswith(episode["turns"][turn["turn"]]["response"])


def test_what_will_be_done_again_is_forgotten(tmp_path):
    run = pantry_run(steps=2, evaluation={"every": 1})
    assert {one["step"] for one in played(run, tmp_path / "run")} == {1, 2}
    RunLog(tmp_path / "run").rewind(1)
    assert {one["step"] for one in read_lines(tmp_path / "run" / "traces.jsonl")} == {1}


def test_a_long_trajectory_is_cut_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(traces, "MAX_TOKENS", 4)
    run = pantry_run(steps=1, evaluation={"every": 0})
    for record in played(run, tmp_path / "run"):
        assert sum(len(turn["pieces"]) for turn in record["turns"]) == 4
        assert record["left_out"] > 0


def test_every_number_is_json_for_a_browser(tmp_path):
    """NaN and infinity are no JSON; a token nobody could score is null."""
    assert traces._short(torch.tensor([0.123456, float("nan"), float("-inf")])) == [
        0.123,
        None,
        None,
    ]
    run = small_run("sdar", steps=1)
    train(run, tmp_path / "run")

    def refuse(word: str) -> None:
        raise AssertionError(word)

    for line in (tmp_path / "run" / "traces.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)


def test_pieces_make_the_text_again_though_a_character_takes_several_tokens():
    class Bytes:
        def decode(self, tokens, skip_special_tokens):
            return bytes(tokens).decode("utf-8", "replace")

    text = "go 🙂 é!"
    pieces = pieces_of(Bytes(), list(text.encode()))
    assert "".join(pieces) == text
    assert pieces[3:7] == ["", "", "", "🙂"]
    assert "".join(pieces_of(Bytes(), [*b"ab", 0xF0])) == "ab\ufffd"
