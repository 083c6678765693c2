"""What a teacher is shown more than the student: the replies stay, the prompts grow."""

from dataclasses import replace

import pytest
from train.pantry_play import Scripted, attempts, play, renderer, tokenizer

from agentgym_train.batch import collate
from agentgym_train.context import hinted, noted_rows, peer_success
from agentgym_train.layout import to_rows

HINT = "[Privileged Skill Information]\nOpen the blue cupboard, quickly.\n\n"
LAYOUTS = pytest.mark.parametrize("layout", ["turns", "chat"])


def text(tokens):
    return tokenizer().decode(tokens)


def sampled(batch):
    """The sampled tokens and their turns, in the order of N."""
    at = batch.start[:-1][batch.rows.owner] + batch.column
    return batch.ids[at].tolist(), batch.turns.owner.tolist(), batch.token_trajs.owner.tolist()


@LAYOUTS
def test_hinted_rows_have_the_same_sampled_tokens_in_the_same_order(layout):
    played = play(attempts(4), layout=layout)
    told = [hinted(one, HINT, renderer(layout)) for one in played]
    plain, more = (collate([to_rows(one, layout, 1.0) for one in some]) for some in (played, told))
    assert len(plain) > 16
    assert sampled(plain) == sampled(more)
    assert len(plain.length) == len(more.length)
    assert (more.length > plain.length).all()


@LAYOUTS
def test_a_hint_is_in_the_context_of_every_turn_once(layout):
    (played,) = play(attempts(1), layout=layout)
    told = hinted(played, HINT, renderer(layout))
    assert len(told.turns) == len(played.turns) > 1
    for shown, plain in zip(told.turns, played.turns, strict=True):
        assert shown.turn == plain.turn and shown.reply == plain.reply
        assert text(shown.prompt).count(HINT) == 1
        assert text(shown.prompt).replace(HINT, "") == text(plain.prompt)
        assert "<|user|>" + HINT in text(shown.prompt)


@LAYOUTS
def test_without_a_hint_nothing_changes(layout):
    (played,) = play(attempts(1), layout=layout)
    assert hinted(played, "", renderer(layout)) is played


@LAYOUTS
def test_a_hint_is_never_cut_and_leaves_the_students_room(layout):
    (played,) = play(attempts(1), layout=layout)
    room = max(len(one.prompt) for one in played.turns)
    told = hinted(played, HINT * 5, renderer(layout, max_prompt_tokens=room))
    assert all(HINT * 5 in text(one.prompt) for one in told.turns)


def test_a_raw_prefix_is_cut_from_the_left():
    (played,) = play(attempts(1), layout="turns")
    hint = tokenizer().encode(HINT, add_special_tokens=False)
    longest = max(len(one.prompt) for one in played.turns)
    for room in (longest + len(hint), longest + 5, longest):
        shown = renderer("turns", max_prompt_tokens=room)
        told = hinted(played, HINT, shown, "raw_prefix")
        for one, plain in zip(told.turns, played.turns, strict=True):
            left = min(len(hint), room - len(plain.prompt))
            assert one.prompt == (*hint[len(hint) - left :], *plain.prompt)


def test_a_prompt_longer_than_the_limit_loses_its_own_beginning():
    (played,) = play(attempts(1), layout="turns")
    told = hinted(played, HINT, renderer("turns", max_prompt_tokens=3), "raw_prefix")
    for one, plain in zip(told.turns, played.turns, strict=True):
        assert one.prompt == plain.prompt[-3:]


@LAYOUTS
def test_a_note_is_in_its_own_turns_prompt_only(layout):
    (played,) = play(attempts(1), layout=layout)
    notes = {0: "first things first", 2: "not that one"}
    rows = noted_rows(played, notes, renderer(layout))
    assert [row.spans[0].turn for row in rows] == [0, 2]
    for row, (place, note) in zip(rows, notes.items(), strict=True):
        (span,) = row.spans
        prompt, reply = row.tokens[: span.start], row.tokens[span.start : span.stop]
        own = played.turns[place]
        assert tuple(reply) == own.reply.tokens and span.stop == len(row.tokens)
        assert text(prompt).count("[Note]") == 1
        assert text(prompt).replace(f"[Note] {note}\n\n", "") == text(own.prompt)
        last_message = text(prompt).rsplit("<|user|>", 1)[1]
        assert last_message.startswith(f"[Note] {note}\n\n")


def test_a_note_on_a_turn_that_does_not_exist_is_no_row():
    (played,) = play(attempts(1))
    assert noted_rows(played, {17: "too late"}, renderer()) == []


def scripted(*games):
    """Played by a script: the first task's honey is in the red cupboard."""
    lines = {(0, 0, 1, i): [f"> {one}" for one in game] for i, game in enumerate(games)}
    return play(
        attempts(len(games), group_size=len(games)), Scripted(tokenizer(), lines), max_tokens=24
    )


WON = ["open red", "take honey"]
LOST = ["open blue", "open blue", "open blue", "open blue"]


def test_the_first_other_success_of_the_group_is_shown():
    lost, won, again = scripted(LOST, WON, ["open blue", *WON])
    group = [lost, won, again]
    shown = peer_success(lost, group)
    assert shown == peer_success(again, group)
    assert shown.count("\n> ") == 2 and shown.endswith("\n\n")
    assert "Cupboards, all closed.\n> open red\n" in shown and "> take honey" in shown
    assert peer_success(won, group).count("\n> ") == 3


def test_without_another_success_there_is_no_hindsight():
    lost, won = scripted(LOST, WON)
    assert peer_success(won, [lost, won]) == ""
    assert peer_success(lost, [lost, replace(lost)]) == ""
