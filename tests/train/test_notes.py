"""Notes on failures: who writes them, what is read, and what is learnt without any."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from train.pantry_play import Scripted, attempts, play, pool, renderer, tokenizer
from train.small_runs import scratch, small_run

from agentgym_train import notes as notes_module
from agentgym_train.actor import Actor
from agentgym_train.guidance import take_notes
from agentgym_train.notes import NOTES_DICE, NoteSettings, expert_notes, policy_notes, read_notes
from agentgym_train.runlog import RunLog
from agentgym_train.train import Trainer

WON = ["open red", "take honey"]
LOST = ["open blue", "open red", "open white", "take honey"]


def scripted(*games):
    lines = {(0, 0, 1, i): [f"> {one}" for one in game] for i, game in enumerate(games)}
    return play(
        attempts(len(games), group_size=len(games)), Scripted(tokenizer(), lines), max_tokens=24
    )


def test_lines_by_hand():
    said = """Here is what I think.
turn 3: open the drawer: at once
  TURN 1 :  look first
turn 3: said twice
turn 0: there is none
turn 5: nor this
turn: no number
turn 2:
turn 4: kept, too
turn -1: no
"""
    expected = {2: "open the drawer: at once", 0: "look first", 3: "kept, too"}
    assert read_notes(said, turns=4, most=3) == expected
    assert list(read_notes(said, turns=4, most=2)) == [2, 0]


@pytest.mark.parametrize(
    "said", ["", "no idea", "turn three: x", "turn 99999999999999999999: x", "turn ٣: x"]
)
def test_nothing_usable_is_nothing(said):
    assert read_notes(said, turns=4, most=3) == {}


_pieces = st.sampled_from(["turn ", "Turn", " 1", "2:", ": ", "\n", "\r\n", "a", "0", "³", "\x85"])
_said = st.one_of(st.text(), st.lists(st.one_of(_pieces, st.text(max_size=3))).map("".join))


@given(said=_said, turns=st.integers(0, 5), most=st.integers(0, 4))
def test_whatever_is_said_notes_are_few_and_on_turns_that_exist(said, turns, most):
    found = read_notes(said, turns, most)
    assert len(found) <= most
    assert all(0 <= place < turns for place in found)
    assert all(note and note == note.strip() for note in found.values())


@given(st.dictionaries(st.integers(0, 8), st.from_regex(r"[a-z]+( [a-z]+)*", fullmatch=True)))
def test_what_was_asked_for_is_read_back(notes):
    said = "\n".join(f"turn {place + 1}: {note}" for place, note in notes.items())
    assert read_notes(said, turns=9, most=9) == notes


def test_a_policy_reads_the_whole_attempt():
    lost, other = scripted(LOST, LOST)
    keys = [(5, 7, NOTES_DICE, i) for i in range(2)]
    said = {
        key: dict.fromkeys(range(2), text)
        for key, text in zip(keys, ["turn 1: red", "?"], strict=True)
    }
    writer = Scripted(tokenizer(), said)
    actor = Actor(renderer=renderer(), sampler=writer, at_once=1, max_reply_tokens=8, stop=(1,))
    found = policy_notes([lost, other], renderer(), actor.replies, NoteSettings(), (5, 7))
    assert found == [{0: "red"}, {}]
    asked = tokenizer().decode(writer.asked[0].tokens)
    assert "Task: Find the honey." in asked and "at most 3 turns" in asked
    for number, action in enumerate(LOST, start=1):
        assert f"turn {number}: " in asked and f"> {action}\n" in asked


def test_an_expert_names_the_turns_where_it_disagrees():
    (lost,) = scripted(LOST)
    env = pool().take(1)[0]
    notes = {0: "better: open red", 1: "better: take honey"}
    assert expert_notes([lost], env, NoteSettings(source="expert")) == [notes]
    (one,) = expert_notes([lost], env, NoteSettings(source="expert", most=1))
    assert one == {0: "better: open red"}


def test_an_expert_sees_the_attempt_as_it_was(monkeypatch):
    (lost,) = scripted(LOST)
    env = pool().take(2)[1]
    env.reset(seed=99)  # dice that the replay must not go on with
    expert_notes([lost], env, NoteSettings(source="expert"))
    assert [turn.observation for turn in env.episode.turns] == [
        played.turn.observation for played in lost.turns
    ]


def test_only_failures_are_noted():
    run = small_run("hint_sd", notes={"source": "expert"})
    lost, won = scripted(LOST, WON)
    found = take_notes(run, [won, lost, won], pool().take(1)[0], None, 1)
    assert [bool(one) for one in found] == [False, True, False]


def values_of(trainer):
    return [value.detach().clone() for value in trainer.policy.model.parameters()]


@pytest.mark.parametrize("layout", ["turns", "chat"])
def test_without_a_note_nothing_is_learnt_and_nothing_breaks(layout, monkeypatch):
    monkeypatch.setattr(notes_module, "read_notes", lambda text, turns, most: {})
    trainer = Trainer(small_run("hint_sd", env={"layout": layout}), RunLog(scratch()))
    before = values_of(trainer)
    values = trainer.step(1)
    assert values["hint_sd/noted_turns"] == values["actor/optimizer_steps"] == 0
    assert values["teacher/tokens_read"] == values["teacher/nonfinite_tokens"] == 0
    assert "teacher/gap_abs_mean" not in values
    assert all(map(torch.equal, values_of(trainer), before))


@pytest.mark.parametrize("layout", ["turns", "chat"])
def test_a_noted_turn_is_learnt_from_and_no_other(layout):
    tables = {"notes": {"source": "expert", "most": 1}, "env": {"layout": layout}}
    trainer = Trainer(small_run("hint_sd", **tables), RunLog(scratch()))
    played, choices = trainer.rollout(1)
    batch, told = trainer.batch_of(played, choices, 1)
    failed = sum(not one.verdict.success for one in played)
    assert 0 < told["hint_sd/noted_turns"] == int(batch.chosen.sum()) <= failed
    noted = batch.turns.spread(batch.chosen)
    assert 0 < int(noted.sum()) < len(batch)
    assert (batch.gap[~noted] == 0).all() and (batch.gap[noted] != 0).any()
    before = values_of(trainer)
    assert trainer.learn(batch, 1)["actor/grad_norm"] > 0
    assert not all(map(torch.equal, values_of(trainer), before))
