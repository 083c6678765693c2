"""Small stories and a toy policy: enough to train on without a model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import strategies as st

from agentgym_train.algorithms.base import Live
from agentgym_train.batch import Batch, Row, TokenSpan, TrajectoryRows, collate

VOCABULARY = 11


@dataclass(frozen=True)
class ToldTurn:
    prompt: tuple[int, ...]
    reply: tuple[int, ...]
    valid: bool = True


@dataclass(frozen=True)
class Story:
    """A trajectory before anyone decided how to lay it out."""

    group: int
    episode_return: float
    turns: tuple[ToldTurn, ...]


def by_turn(story: Story) -> list[Row]:
    """A fresh prompt for every turn."""
    rows = []
    for k, turn in enumerate(story.turns):
        start, stop = len(turn.prompt), len(turn.prompt) + len(turn.reply)
        action = (start + len(turn.reply) // 2, stop)
        rows.append(Row(turn.prompt + turn.reply, [TokenSpan(k, start, stop, action)]))
    return rows


def conversation(story: Story) -> list[Row]:
    """One growing text with all replies in it."""
    text, spans = (), []
    for row in by_turn(story):
        (span,), first = row.spans, len(text)
        start, stop = first + span.start, first + span.stop
        action = (first + span.action[0], first + span.action[1])
        spans.append(TokenSpan(span.turn, start, stop, action))
        text += tuple(row.tokens)
    return [Row(text, spans)]


def told(stories, layout=by_turn, *, penalty=0.1, seed=0) -> Batch:
    """A batch of stories in a layout, with scores that depend on nothing but the seed and N."""
    batch = collate(
        [
            TrajectoryRows(
                group=story.group,
                rows=layout(story),
                places=range(len(story.turns)),
                valid=[turn.valid for turn in story.turns],
                episode_return=story.episode_return,
                success=story.episode_return > 0,
                step_reward=[float(len(turn.prompt)) for turn in story.turns],
                anchors=[str(turn.prompt[0]) for turn in story.turns],
                chosen=[not turn.valid for turn in story.turns],
            )
            for story in stories
        ],
        invalid_penalty=penalty,
    )
    draw = torch.Generator().manual_seed(seed)

    def logprobs(*shape):
        return -torch.rand(len(batch), *shape, generator=draw, dtype=torch.float64) * 3

    return batch.scored(
        old=logprobs(),
        teacher=logprobs(),
        reference=logprobs(),
        teacher_logits=logprobs(VOCABULARY),
    )


class Bigram(torch.nn.Module):
    """A table of logits: each token given the one before it. Stands in for a language model."""

    def __init__(self, seed=0):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        table = torch.randn(VOCABULARY, VOCABULARY, generator=draw, dtype=torch.float64)
        self.table = torch.nn.Parameter(table)

    def live(self, padded, *, entropy=False, logits=False) -> Live:
        here = self.table[padded.ids[padded.row, padded.column - 1]].log_softmax(-1)
        sampled = padded.ids[padded.row, padded.column]
        return Live(
            here.gather(1, sampled[:, None]).squeeze(1),
            -(here.exp() * here).sum(-1) if entropy else None,
            here if logits else None,
        )


def of_policy(batch: Batch, policy) -> Batch:
    """The batch with its old log-probs from this policy, as a real step has them."""
    rows = torch.arange(len(batch.start) - 1)
    with torch.no_grad():
        return batch.scored(old=policy.live(batch.padded(rows)).logprob)


_words = st.integers(0, VOCABULARY - 1)
_turns = st.builds(
    ToldTurn,
    prompt=st.lists(_words, min_size=1, max_size=4).map(tuple),
    reply=st.lists(_words, max_size=5).map(tuple),
    valid=st.booleans(),
)
_stories = st.lists(
    st.builds(
        Story,
        group=st.integers(0, 2),
        episode_return=st.sampled_from([0.0, 0.0, 1.0, 10.0]),
        turns=st.lists(_turns, min_size=1, max_size=5).map(tuple),
    ),
    min_size=1,
    max_size=6,
).filter(lambda stories: any(turn.reply for story in stories for turn in story.turns))


@pytest.fixture(scope="session")
def stories():
    """Strategy: lists of stories with at least one sampled token."""
    return _stories


@dataclass(frozen=True)
class Toy:
    """The helpers above, handed to tests in one piece."""

    told = staticmethod(told)
    by_turn = staticmethod(by_turn)
    conversation = staticmethod(conversation)
    of_policy = staticmethod(of_policy)
    Bigram = Bigram
    Story = Story
    Turn = ToldTurn
    replace = staticmethod(replace)


@pytest.fixture(scope="session")
def toy():
    return Toy()
