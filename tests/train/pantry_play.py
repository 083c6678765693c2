"""The pantry played by a tiny model, or by a script."""

from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from typing import Any

from agentgym_envs.drivers.setup import style_of
from agentgym_train.algorithms import RolloutPlan
from agentgym_train.layout import Layout, Renderer, Trajectory
from agentgym_train.models.sampler import Ask, LocalSampler, Reply, Sampler, Sampling
from agentgym_train.models.tiny import TinySettings, make_model, train_tokenizer
from agentgym_train.rollout import Attempt, Pool, rollout
from agentgym_train.texts import texts_for_tokenizer

PANTRY = "pantry:Pantry/Honey-v0"
STYLE = style_of(PANTRY, "default")


class Scripted:
    """A sampler that says what it was told to say: by conversation, turn after turn."""

    def __init__(self, tokenizer: Any, lines: Mapping[Hashable, Sequence[str]]) -> None:
        self.tokenizer, self.lines = tokenizer, lines
        self.asked: list[Ask] = []

    def reply(self, asks: Sequence[Ask], sampling: Sampling) -> list[Reply]:
        self.asked += asks
        return [self._said(self.lines[ask.key][ask.seed[-1]], sampling) for ask in asks]

    def forget(self) -> None:
        pass

    def _said(self, text: str, sampling: Sampling) -> Reply:
        words = self.tokenizer.encode(text, add_special_tokens=False)
        finished = len(words) < sampling.max_tokens
        tokens = (*words, sampling.stop[0]) if finished else tuple(words[: sampling.max_tokens])
        return Reply(tokens, (-1.0,) * len(tokens), finished)


@cache
def pool(max_turns: int = 4) -> Pool:
    return Pool(PANTRY, {"max_turns": max_turns}, STYLE)


@cache
def tokenizer() -> Any:
    return train_tokenizer(texts_for_tokenizer(pool(), STYLE, "chat"), 320)


def tiny(seed: int = 0, opinions: float = 0.3) -> Any:
    """An untrained model; `opinions` is the spread of its weights."""
    shape: dict[str, Any] = {"width": 32, "layers": 1, "heads": 2, "inner": 32}
    return make_model(TinySettings(**shape, init_std=opinions, seed=seed), tokenizer())


def renderer(layout: Layout = "chat", **changes: Any) -> Renderer:
    given = {"tokenizer": tokenizer(), "style": STYLE, "max_prompt_tokens": 2000, **changes}
    return Renderer(layout=layout, **given)


def attempts(count: int, group_size: int = 2, seed: int = 0) -> list[Attempt]:
    """Attempts at the first tasks, whose demonstrations are the tasks' own."""
    tasks = pool().take(1)[0].tasks
    ids = tasks.ids
    return [
        Attempt(
            task_id=ids[i // group_size % len(ids)],
            env_seed=seed + i // group_size,
            group=i // group_size,
            dice=(seed, 0, 1, i),
            demonstration=tasks.task(ids[i // group_size % len(ids)]).expert,
        )
        for i in range(count)
    ]


def play(
    some: Sequence[Attempt],
    sampler: Sampler | None = None,
    layout: Layout = "chat",
    plan: RolloutPlan | None = None,
    max_turns: int = 4,
    max_tokens: int = 8,
    temperature: float = 1.0,
) -> list[Trajectory]:
    """These attempts, by a fresh opinionated model unless a sampler is given."""
    shown = renderer(layout)
    return rollout(
        pool(max_turns).take(len(some)),
        some,
        shown,
        sampler or LocalSampler(tiny(), tokenizer()),
        Sampling(max_tokens=max_tokens, stop=shown.tokens.stops, temperature=temperature),
        plan or RolloutPlan(),
    )


def reply_tokens(trajectory: Trajectory) -> list[tuple[int, ...]]:
    return [one.reply.tokens for _, one in trajectory.sampled if one.reply is not None]
