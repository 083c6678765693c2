"""Hindsight on failures: which turns went wrong, and what would have been better (HINT-SD, 10.7).

Written by the policy itself, which reads the whole attempt, or by the environment's expert, who
plays it again and is asked at every turn.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from agentgym_envs import TextEnv
from agentgym_train.layout import Renderer, Trajectory
from agentgym_train.models.sampler import Ask, Reply

Answered = Callable[[Sequence[Ask], int], list[Reply]]

NOTES_DICE = 2  # keeps the dice of notes apart from those of training (0) and evaluation (1)
_LINE = re.compile(r"^[ \t]*turn[ \t]+([0-9]+)[ \t]*:[ \t]*(\S.*)$", re.IGNORECASE | re.MULTILINE)
_REQUEST = """\
An attempt at this task failed. Task: {goal}
{turns}
Name at most {most} turns that caused the failure, each with a note on what to do instead. Write one
line per turn and nothing else, in this form:
turn 3: open the drawer before looking elsewhere
"""


@dataclass(frozen=True, kw_only=True)
class NoteSettings:
    """Who writes notes, on how many turns of an attempt at most, in how many tokens."""

    source: Literal["policy", "expert"] = "policy"
    most: int = 3
    max_tokens: int = 256


def read_notes(text: str, turns: int, most: int) -> dict[int, str]:
    """Place -> note, from lines like "turn 3: ..." (counted from 1); unusable ones are dropped."""
    found: dict[int, str] = {}
    for number, note in _LINE.findall(text):
        if len(number) < 9 and 1 <= int(number) <= turns and len(found) < most:
            found.setdefault(int(number) - 1, note.strip())
    return found


def policy_notes(
    failed: Sequence[Trajectory],
    renderer: Renderer,
    answered: Answered,
    settings: NoteSettings,
    seed: tuple[int, ...],
) -> list[dict[int, str]]:
    """Ask the policy for notes on each attempt; nothing usable gives an empty dictionary.

    answered: gives a reply to each question, of so many tokens at most.
    Of an attempt that is longer than `rollout.max_prompt_tokens`, the last turns are shown.
    """
    asks = []
    for i, trajectory in enumerate(failed):
        key = (*seed, NOTES_DICE, i)
        tokens = _request(trajectory, renderer, settings.most)
        asks.append(Ask(key=key, tokens=tokens, seed=key))
    replies = answered(asks, settings.max_tokens)
    return [
        read_notes(renderer.tokens.said(reply.tokens), len(one.turns), settings.most)
        for reply, one in zip(replies, failed, strict=True)
    ]


def _request(trajectory: Trajectory, renderer: Renderer, most: int) -> tuple[int, ...]:
    shown = [
        f"turn {k}: {one.turn.observation}\n> {one.turn.action}"
        for k, one in enumerate(trajectory.turns, start=1)
    ]
    while True:
        turns = "\n".join(shown)
        text = _REQUEST.format(goal=trajectory.task.goal, turns=turns, most=most)
        tokens = renderer.message(text)
        if len(tokens) <= renderer.max_prompt_tokens or len(shown) == 1:
            return tokens
        shown = shown[1:]


def expert_notes(
    failed: Sequence[Trajectory], env: TextEnv, settings: NoteSettings
) -> list[dict[int, str]]:
    """Play each attempt again, dice and all; note the first turns where the expert disagrees.

    Raises ValueError for an attempt that does not say which dice its environment had.
    """
    found = []
    for trajectory in failed:
        if trajectory.env_seed is None:
            raise ValueError(f"the attempt at {trajectory.task.id!r} has no env_seed to replay")
        env.reset(seed=trajectory.env_seed, options={"task_id": trajectory.task.id})
        notes: dict[int, str] = {}
        for place, played in enumerate(trajectory.turns):
            advice = env.advise()
            if advice and advice.action != played.turn.action and len(notes) < settings.most:
                notes[place] = f"better: {advice.action}"
            env.step(played.turn.response)
        found.append(notes)
    return found
