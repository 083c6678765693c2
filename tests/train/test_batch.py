import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentgym_train.batch import Row, TokenSpan, TrajectoryRows, collate
from agentgym_train.tokens import MissingScoreError


def trajectory(rows, places=(0,), group="task", **facts):
    facts = {"valid": [True] * len(places), "episode_return": 1.0, "success": True} | facts
    return TrajectoryRows(group=group, rows=rows, places=places, **facts)


def two_turns(**facts):
    """Prompt 5 6, reply 7; prompt 5, reply 8 9. The second row comes first."""
    rows = [
        Row([5, 8, 9], [TokenSpan(1, 1, 3, (2, 3))], [-0.8, -0.9]),
        Row([5, 6, 7], [TokenSpan(0, 2, 3, (2, 3))], [-0.7]),
    ]
    return trajectory(rows, places=(0, 1), **facts)


def test_tokens_come_turn_by_turn_whatever_the_order_of_rows():
    batch = collate([two_turns()])
    assert batch.turns.owner.tolist() == [0, 1, 1]
    assert batch.rows.owner.tolist() == [1, 0, 0]
    assert batch.column.tolist() == [2, 1, 2]
    assert batch.sampler_logprob.tolist() == [-0.7, -0.8, -0.9]
    assert batch.tokens.in_action.tolist() == [True, False, True]
    assert len(batch) == 3


def test_owners_up_to_groups():
    batch = collate([two_turns(), trajectory([Row([1, 2], [TokenSpan(3, 1, 2)])], (3,), "other")])
    assert batch.trajs.owner.tolist() == [0, 0, 1]
    assert batch.groups.owner.tolist() == [0, 1]
    assert batch.place.tolist() == [0, 1, 3]
    assert batch.token_trajs.owner.tolist() == [0, 0, 0, 1]
    assert batch.turn_groups.owner.tolist() == [0, 0, 1]


def test_an_unreadable_turn_costs_that_turn_only():
    batch = collate([two_turns(valid=[True, False], episode_return=10.0)], invalid_penalty=0.1)
    assert batch.score.tolist() == [10.0, 9.9]


def test_states_are_met_again_only_within_a_group():
    same = {"anchors": ["start", "start"]}
    batch = collate([two_turns(**same), two_turns(**same), two_turns(group="other", **same)])
    assert batch.anchors is not None
    assert batch.anchors.owner.tolist() == [0, 0, 0, 0, 1, 1]


def test_padding_to_the_longest_row_asked_for():
    batch = collate([two_turns(), trajectory([Row([1, 2, 3, 4], [TokenSpan(0, 3, 4)])])])
    padded = batch.padded(torch.tensor([2, 0]))
    assert padded.ids.tolist() == [[1, 2, 3, 4], [5, 8, 9, 0]]
    assert padded.length.tolist() == [4, 3]
    assert padded.at.tolist() == [1, 2, 3]
    assert padded.row.tolist() == [1, 1, 0]
    assert padded.ids[padded.row, padded.column].tolist() == [8, 9, 4]


@given(lengths=st.lists(st.integers(2, 30), min_size=1, max_size=20), budget=st.integers(1, 90))
def test_micro_batches_hold_every_row_once_within_the_budget(lengths, budget):
    rows = [Row([1] * n, [TokenSpan(k, 1, n)]) for k, n in enumerate(lengths)]
    batch = collate([trajectory(rows, places=range(len(rows)))])
    parts = batch.micro_batches(torch.arange(len(rows)), budget)
    assert sorted(torch.cat(parts).tolist()) == list(range(len(rows)))
    for part in parts:
        padded = batch.padded(part)
        assert padded.ids.numel() <= budget or len(part) == 1


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([], "nothing to learn"),
        ([Row([1, 2], [TokenSpan(0, 2, 2)])], "nothing to learn"),
        ([Row([1, 2], [TokenSpan(0, 0, 2)])], "after a prompt"),
        ([Row([1, 2], [TokenSpan(0, 1, 3)])], "end in the row"),
        ([Row([1, 2, 3], [TokenSpan(0, 1, 3), TokenSpan(1, 2, 3)])], "span before"),
        ([Row([1, 2], [TokenSpan(0, 1, 2)])] * 2, "twice"),
        ([Row([1, 2], [TokenSpan(7, 1, 2)])], "places"),
        ([Row([1, 2], [TokenSpan(0, 1, 2)], [])], "log-probs"),
        ([Row([1, 2], [TokenSpan(0, 1, 2, (0, 2))])], "action"),
    ],
)
def test_rows_that_make_no_sense_are_refused(rows, complaint):
    with pytest.raises(ValueError, match=complaint):
        collate([trajectory(rows, places=(0, 1))])


def test_facts_must_match_the_turns():
    with pytest.raises(ValueError, match="valid has 1 entries for 2 turns"):
        trajectory([], places=(0, 1), valid=[True])
    with pytest.raises(ValueError, match="ascend"):
        trajectory([], places=(1, 0))


@pytest.mark.parametrize("name", ["old_logprob", "teacher_logprob", "reference_logprob", "gap"])
def test_log_probs_nobody_computed_are_an_error(name):
    with pytest.raises(MissingScoreError, match="column"):
        getattr(collate([two_turns()]), name)


def test_scores_must_cover_every_token():
    batch = collate([two_turns()])
    assert batch.scored(old=torch.zeros(3)).old_logprob.dtype == torch.float64
    with pytest.raises(ValueError, match="old has 2 entries for 3 tokens"):
        batch.scored(old=torch.zeros(2))


def test_a_gap_can_be_limited():
    scores = {"old": torch.zeros(3), "teacher": torch.tensor([-5.0, 0.5, 5.0])}
    batch = collate([two_turns()]).scored(**scores)
    assert batch.with_gap_within(1.0).gap.tolist() == [-1.0, 0.5, 1.0]
    assert batch.with_gap_within(None).gap.tolist() == [-5.0, 0.5, 5.0]
