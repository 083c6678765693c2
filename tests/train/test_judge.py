"""Judging again: the environment's own verdicts come back; another verifier's replace them."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from pantry.env import PantryEnv, tasks

from agentgym_envs.episodes import to_record
from agentgym_envs.evaluate import ExpertPolicy, play
from agentgym_envs.types import Episode, Verdict
from agentgym_train.judge import env_of, find_verifier, judge_file, verifier_of

PANTRY = "pantry:Pantry/Honey-v0"


def short_ones(episode: Episode) -> Verdict:
    """Success is to have said little."""
    return Verdict(len(episode.turns) < 3, 0.5, "short")


def seven(episode: Episode) -> int:
    return 7


@pytest.fixture
def file(tmp_path) -> Path:
    """Four episodes: an expert's and three of a policy that does nothing. Two are of training, two
    of the evaluation of step 2."""
    env, lines = PantryEnv(max_turns=3), []
    ids = [task.id for task in tasks()][:4]
    for i, task_id in enumerate(ids):
        policy = ExpertPolicy() if i == 0 else lambda env, observation, info: "nap"
        record = to_record(*play(env, policy, task_id))
        phase = "train" if i < 2 else "evaluation"
        lines.append(json.dumps({"step": 2 * (i // 2), "phase": phase, **record}) + "\n")
    path = tmp_path / "episodes.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_an_environments_own_verdicts_come_back(file, tmp_path):
    judged = judge_file(tmp_path, verifier_of(PANTRY), tmp_path / "again.jsonl")
    assert (judged.episodes, judged.gained, judged.lost, judged.rescored) == (4, 0, 0, 0)
    assert judged.disagreements == []
    assert records(tmp_path / "again.jsonl") == records(file)
    for phase in judged.phases.values():
        assert phase.before == phase.after
    assert {
        name: (phase.after.successes, phase.after.episodes) for name, phase in judged.phases.items()
    } == {
        "train": (1, 2),
        "evaluation, step 2": (0, 2),
    }


def test_another_verifier_is_counted_listed_and_written(file):
    before = records(file)
    judged = judge_file(file, short_ones, file)
    assert (judged.gained, judged.lost, judged.rescored, judged.unjudged) == (0, 0, 4, 0)
    assert [one.line for one in judged.disagreements] == [1, 2, 3, 4]
    first = judged.disagreements[0]
    assert (first.before.score, first.after) == (1.0, Verdict(True, 0.5, "short"))
    for old, new in zip(before, records(file), strict=True):
        assert new.pop("verdict")["reason"] == "short"
        assert new == {key: value for key, value in old.items() if key != "verdict"}


def test_gains_and_losses_are_told_apart(file):
    before = records(file)
    before[0]["verdict"] = asdict(Verdict(False, 0.0))
    before[1]["verdict"] = asdict(Verdict(True, 1.0))
    del before[2]["verdict"]
    file.write_text("".join(json.dumps(one) + "\n" for one in before), encoding="utf-8")
    judged = judge_file(file, verifier_of(PANTRY))
    assert (judged.gained, judged.lost, judged.rescored, judged.unjudged) == (1, 1, 0, 1)
    assert [one.line for one in judged.disagreements] == [1, 2]
    assert judged.phases["evaluation, step 2"].before is None  # one of its two has no verdict
    before_train = judged.phases["train"].before
    assert before_train is not None and before_train.successes == 1
    assert judged.out is None


def test_mistakes_are_told(file, tmp_path):
    with pytest.raises(FileNotFoundError, match="no episodes at"):
        judge_file(tmp_path / "nothing.jsonl", short_ones)
    with pytest.raises(TypeError, match="int, not a Verdict, for task 'pantry"):
        judge_file(file, seven)
    with pytest.raises(ValueError, match="package.module:function"):
        find_verifier("seven")
    with pytest.raises(ImportError, match="no 'eight'"):
        find_verifier("pantry.env:eight")
    with pytest.raises(TypeError, match="not a function"):
        find_verifier("pantry.env:CUPBOARDS")
    with pytest.raises(ValueError, match=r"there is no .*run\.toml: say --env"):
        env_of(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is nothing at"):
        env_of(tmp_path / "nothing.jsonl")
    file.write_text(file.read_text() + '{"task": 1}\n')
    with pytest.raises(ValueError, match="line 5: not an episode record"):
        judge_file(file, short_ones)
    file.write_text("not json\n")
    with pytest.raises(ValueError, match="line 1"):
        judge_file(file, short_ones)


def test_each_evaluation_is_judged_by_itself(file):
    """The policies of two steps are two policies."""
    lines = records(file)
    lines[3]["step"] = 4
    file.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    assert set(judge_file(file, short_ones).phases) == {
        "train",
        "evaluation, step 2",
        "evaluation, step 4",
    }


def test_a_file_of_episodes_alone_is_judged_as_one(file):
    lines = [{k: v for k, v in one.items() if k not in ("step", "phase")} for one in records(file)]
    file.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    assert set(judge_file(file, short_ones).phases) == {"all"}


def test_a_line_cut_short_by_a_crash_is_left_out(file):
    file.write_text(file.read_text() + '{"step": 4, "pha')
    assert judge_file(file, short_ones).episodes == 4


def test_a_last_line_without_a_line_feed_is_a_line(file):
    file.write_text(file.read_text().rstrip())
    assert judge_file(file, short_ones).episodes == 4


def test_verifiers_are_found_by_environment_and_by_address(tmp_path):
    from agentgym_envs.searchqa import verify

    assert verifier_of(PANTRY) is PantryEnv.verify
    assert find_verifier("pantry.env:verify") is PantryEnv.verify
    assert verifier_of("AgentGym/SearchQA-v0") is verify.verify
    (tmp_path / "run.toml").write_text(f'[env]\nid = "{PANTRY}"\n')
    assert env_of(tmp_path) == PANTRY
    (tmp_path / "episodes.jsonl").write_text("")
    assert env_of(tmp_path / "episodes.jsonl") == PANTRY  # the run it lies in
