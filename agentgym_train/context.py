"""What a teacher knows more than the student: skills, a peer's success, or notes on a failure.

Each is text put into the student's own prompts. The replies stay token for token the same, so a
hinted trajectory has the same sampled tokens in the same order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from agentgym_train.batch import Row, TokenSpan
from agentgym_train.layout import PlayedTurn, Renderer, Trajectory

Placement = Literal["user", "raw_prefix"]


def hinted(
    trajectory: Trajectory, hint: str, renderer: Renderer, placement: Placement = "user"
) -> Trajectory:
    """The same replies behind prompts that carry `hint`; without a hint, the same prompts.

    "user": at the start of the user's message, never cut (default). "raw_prefix": before the
    finished prompt, cut from the left, as SDAR's reference code does; turns layout only.
    """
    if not hint:
        return trajectory
    turns: list[PlayedTurn] = []
    for played in trajectory.turns:
        if placement == "raw_prefix":
            prompt = renderer.glued(hint, played.prompt)
        else:
            turn = played.turn
            prompt = renderer.prompt(
                trajectory.task, turns, turn.observation, turn.admissible, hint
            )
        turns.append(replace(played, prompt=prompt))
    return replace(trajectory, turns=tuple(turns))


def noted_rows(trajectory: Trajectory, notes: Mapping[int, str], renderer: Renderer) -> list[Row]:
    """A row for each noted turn (by place), its note at the start of that turn's last message.

    In either layout: a note belongs to one turn, and no later turn may read it.
    """
    rows = []
    for place, played in trajectory.sampled:
        if place in notes and played.reply is not None:
            prompt = renderer.noted(trajectory, place, f"[Note] {notes[place]}\n\n")
            tokens = (*prompt, *played.reply.tokens)
            rows.append(Row(tokens, [TokenSpan(place, len(prompt), len(tokens))]))
    return rows


def peer_success(trajectory: Trajectory, group: Sequence[Trajectory]) -> str:
    """How the first other attempt of the group that succeeded went; "" where none did (10.6)."""
    for peer in group:
        if peer is not trajectory and peer.verdict.success:
            shown = (f"{one.turn.observation}\n> {one.turn.action}" for one in peer.turns)
            return "[A successful attempt at this task]\n" + "\n".join(shown) + "\n\n"
    return ""
