"""Supervised learning from an expert's episodes: a model from scratch cannot explore."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from agentgym_envs.drivers.setup import style_of
from agentgym_envs.order import subset
from agentgym_envs.statistics import Summary
from agentgym_envs.types import Episode
from agentgym_train.actor import Actor
from agentgym_train.batch import Batch, Row, TokenSpan, TrajectoryRows, collate
from agentgym_train.evaluate import evaluate_yardsticks, held_out, play_once, summary_of
from agentgym_train.files import write_text
from agentgym_train.layout import PlayedTurn, Renderer
from agentgym_train.models.load import ModelSettings, load_model
from agentgym_train.models.policy import Policy
from agentgym_train.models.sampler import Reply
from agentgym_train.models.save import save_model
from agentgym_train.optimizer import make_optimizer, masters
from agentgym_train.rollout import Pool, TaskOrder
from agentgym_train.settings import EvaluationSettings, RolloutSettings, Warmup, dump
from agentgym_train.skills import Skills, privileged
from agentgym_train.texts import demonstrate, texts_for_tokenizer

Progress = Callable[[str, int, int, float], None]
_UNLIMITED = 1 << 30


def warm_up(settings: Warmup, folder: Path, on_progress: Progress = lambda *_: None) -> Path:
    """Train a model to imitate the environment's expert; returns its folder.

    `folder` then holds `model/` in Hugging Face's format and `warmup.toml`. Raises FileExistsError
    where it holds a model already.
    """
    if (folder / "model").exists():
        raise FileExistsError(f"{folder} already holds a model: choose another folder with --out")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    env = settings.env
    style = style_of(env.id, env.prompt)
    pool = Pool(env.id, {**env.common, **env.train}, style)
    skills = Skills(settings.skills, settings.seed) if settings.skills else None
    texts = (
        texts_for_tokenizer(pool, style, env.layout, skills)
        if settings.model.name == "tiny"
        else None
    )
    model, tokenizer = load_model(settings.model, texts)
    renderer = Renderer(tokenizer, style, env.layout, _UNLIMITED)
    dice = np.random.default_rng([settings.seed, 2])
    rows = []
    for i, task_id in enumerate(_tasks(pool, settings)):
        helped = skills is not None and dice.random() < settings.helped
        noise = 0.0 if helped else settings.noise
        episode = demonstrate(pool, style, task_id, noise, settings.seed + i)
        hint = privileged(skills.choose(episode.task, 0, i).text) if skills and helped else ""
        rows += demonstration_rows(episode, renderer, settings.learn_from, hint)
        on_progress("playing", i + 1, settings.episodes, 0.0)
    policy = Policy(model, tokenizer)
    for step, loss in imitate(policy, rows, settings):
        on_progress("learning", step, settings.steps, loss)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "warmup.toml", dump(settings))
    save_model(model, tokenizer, folder / "model")
    return folder / "model"


def examine(settings: Warmup, folder: Path, tasks: int) -> dict[str, Summary]:
    """Success of a warmed-up model beside the environment's scripted policies, by name.

    On so many evaluation tasks (training tasks, where no split is set for evaluation), sampled
    from at temperature 1 as in training.
    """
    env = settings.env
    model, tokenizer = load_model(ModelSettings(name=str(folder), device=settings.model.device))
    limits = RolloutSettings(groups=tasks, group_size=1, max_reply_tokens=128, long_prompts="end")
    pool = held_out(env)
    played = play_once(
        Actor.of(env, limits, model, tokenizer),
        pool,
        subset(pool.task_ids, tasks),
        EvaluationSettings(temperature=1.0),
        settings.seed,
    )
    return {"warmed up": summary_of(played), **evaluate_yardsticks(env, tasks, settings.seed)}


def demonstration_rows(
    episode: Episode, renderer: Renderer, learn_from: str, hint: str = ""
) -> list[Row]:
    """An episode's rows: one a turn, or one for the conversation; behind a hint, if there is one.

    The spans are what is learnt: every token after the first ("all"), or the replies.
    """
    played: list[PlayedTurn] = []
    for turn in episode.turns:
        prompt = renderer.prompt(episode.task, played, turn.observation, turn.admissible, hint)
        tokens = renderer.written(turn.response)
        reply = Reply(tokens, (0.0,) * len(tokens), True)
        played.append(PlayedTurn(turn=turn, prompt=prompt, reply=reply))
    if renderer.layout == "turns":
        return [_row([one], learn_from) for one in played]
    return [_row(played, learn_from)]


def imitate(policy: Policy, rows: list[Row], settings: Warmup) -> Iterator[tuple[int, float]]:
    """Minimise the mean cross-entropy of the rows' spans; yields step and loss (nats a token).

    AdamW; the rate rises over the first 5 % of the steps, then falls on a half cosine to a tenth.
    """
    batch = collate([_alone(row) for row in rows]).to(policy.device)
    optimizer = make_optimizer(
        policy.model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    dice = torch.Generator().manual_seed(settings.seed)
    drawn = torch.zeros(0, dtype=torch.int64)
    for step in range(1, settings.steps + 1):
        while len(drawn) < settings.batch:
            drawn = torch.cat([drawn, torch.randperm(len(rows), generator=dice)])
        some, drawn = drawn[: settings.batch], drawn[settings.batch :]
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * _rate(step / settings.steps)
        loss = _cross_entropy(policy, batch, some)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(masters(optimizer), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield step, float(loss.detach())


def _cross_entropy(policy: Policy, batch: Batch, rows: torch.Tensor) -> torch.Tensor:
    return -policy.live(batch.padded(rows.to(batch.ids.device))).logprob.mean()


def _rate(done: float) -> float:
    rising = min(done / 0.05, 1.0)
    falling = 0.55 + 0.45 * torch.cos(torch.tensor(torch.pi * done)).item()
    return rising * falling


def _row(played: list[PlayedTurn], learn_from: str) -> Row:
    tokens = (*played[-1].prompt, *(played[-1].reply.tokens if played[-1].reply else ()))
    if learn_from == "all":
        return Row(tokens, [TokenSpan(0, 1, len(tokens))])
    spans = [
        TokenSpan(k, len(one.prompt), len(one.prompt) + len(one.reply.tokens))
        for k, one in enumerate(played)
        if one.reply is not None
    ]
    return Row(tokens, spans)


def _alone(row: Row) -> TrajectoryRows:
    """A row as a trajectory of its own: imitation asks for neither groups nor returns."""
    places = [span.turn for span in row.spans]
    valid = [True] * len(places)
    return TrajectoryRows(
        group=0, rows=[row], places=places, valid=valid, episode_return=0.0, success=True
    )


def _tasks(pool: Pool, settings: Warmup) -> list[str]:
    return TaskOrder(pool.task_ids, settings.seed).at(1, settings.episodes)
