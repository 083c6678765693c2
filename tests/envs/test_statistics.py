import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentgym_envs import Episode, Task, Turn, Verdict
from agentgym_envs.episodes import from_record, judge, read_episodes, to_record
from agentgym_envs.statistics import summarise, wilson


def test_wilson_by_hand():
    # 8 of 10 at z = 1.96: centre (0.8 + 0.19207) / 1.38415, half width 1.96 sqrt(.016+.009604)/1.38
    low, high = wilson(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert wilson(0, 10)[0] == 0.0 and round(wilson(0, 10)[1], 4) == 0.2775
    assert wilson(10, 10)[1] == 1.0


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_rate_and_narrows(counted):
    wins, trials = counted
    low, high = wilson(wins, trials)
    assert 0 <= low <= wins / trials <= high <= 1
    narrow = wilson(wins * 4, trials * 4)
    assert narrow[1] - narrow[0] < high - low


@pytest.mark.parametrize("counted", [(1, 0), (-1, 3), (4, 3)])
def test_no_proportion_is_an_error(counted):
    with pytest.raises(ValueError, match="no proportion"):
        wilson(*counted)


def episode(kind: str, valid: tuple[bool, ...]) -> Episode:
    task = Task(id=kind, goal="g", answer="secret", expert=("a",), kind=kind, facts={"x": 1})
    said = tuple(
        Turn(observation="o", response="r", action="a", valid=v, admissible=("a",), facts={"n": 1})
        for v in valid
    )
    return Episode(task=task, turns=said, outcome="end", stop_reason="done")


def test_a_summary_counts_each_episode_once():
    won, lost = Verdict(True, 1.0), Verdict(False, 0.0)
    judged = [
        (episode("heat", (True, True)), won),
        (episode("heat", (False,)), lost),
        (episode("cool", (True,)), won),
    ]
    summary = summarise(judged)
    assert (summary.overall.successes, summary.overall.episodes) == (2, 3)
    assert summary.overall.mean_turns == pytest.approx(4 / 3)
    assert {kind: rate.rate for kind, rate in summary.by_kind.items()} == {"cool": 1, "heat": 0.5}
    assert summary.invalid_share == 0.25
    with pytest.raises(ValueError, match="no episodes"):
        summarise([])


def test_episodes_survive_a_file_and_are_judged_again(tmp_path):
    stored = [episode("heat", (True,)), episode("cool", (False, True))]
    path = tmp_path / "episodes.jsonl"
    path.write_text(
        "".join(json.dumps(to_record(one, Verdict(True, 1.0))) + "\n" for one in stored)
    )
    assert list(read_episodes(path)) == stored
    verdicts = [v for _, v in judge(read_episodes(path), lambda e: Verdict(len(e.turns) > 1, 0.5))]
    assert [verdict.success for verdict in verdicts] == [False, True]


def test_a_broken_record_is_located(tmp_path):
    path = tmp_path / "episodes.jsonl"
    path.write_text(json.dumps(to_record(episode("a", (True,)))) + "\n{}\n")
    with pytest.raises(ValueError, match=r"episodes.jsonl, line 2: not an episode record: 'task'"):
        list(read_episodes(path))
    with pytest.raises(ValueError, match="not an episode record"):
        from_record({"task": {"nonsense": 1, "expert": []}, "turns": []})
