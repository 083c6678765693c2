"""Held-out tasks, each played exactly once by the policy."""

from collections.abc import Callable, Sequence

import gymnasium as gym

from agentgym_envs import TextEnv
from agentgym_envs.drivers.setup import style_of
from agentgym_envs.evaluate import play, yardstick
from agentgym_envs.registration import importable
from agentgym_envs.statistics import Summary, summarise
from agentgym_envs.types import Episode
from agentgym_train.algorithms import RolloutPlan
from agentgym_train.groups import validation_seeds
from agentgym_train.layout import Renderer, Trajectory
from agentgym_train.models.load import load_model
from agentgym_train.models.sampler import LocalSampler, Sampler, Sampling
from agentgym_train.rollout import Attempt, Pool, rollout
from agentgym_train.settings import Run

EVALUATION_DICE = 1  # keeps the dice of evaluation apart from those of training, which have 0


def play_once(
    pool: Pool,
    task_ids: Sequence[str],
    renderer: Renderer,
    sampler: Sampler,
    sampling: Sampling,
    *,
    seed: int,
    at_once: int,
    hints: Sequence[str] = (),
    on_played: Callable[[int], None] = lambda count: None,
) -> list[Trajectory]:
    """Play each task once, `at_once` at a time. The same seed plays the same, whatever at_once.

    hints: text for the student's own prompts, one per task; none by default.
    """
    seeds = validation_seeds(len(task_ids), seed)
    shown = hints or [""] * len(task_ids)
    attempts = [
        Attempt(
            task_id=task_id,
            env_seed=env_seed,
            group=i,
            dice=(seed, EVALUATION_DICE, i),
            hint=hint,
        )
        for i, (task_id, env_seed, hint) in enumerate(zip(task_ids, seeds, shown, strict=True))
    ]
    played: list[Trajectory] = []
    for first in range(0, len(attempts), at_once):
        some = attempts[first : first + at_once]
        played += rollout(pool.take(len(some)), some, renderer, sampler, sampling, RolloutPlan())
        on_played(len(some))
    return played


def summary_of(played: Sequence[Trajectory]) -> Summary:
    """Success over all and by kind of task, with Wilson intervals."""
    episodes = [
        (Episode(task=one.task, turns=tuple(p.turn for p in one.turns)), one.verdict)
        for one in played
    ]
    return summarise(episodes)


def as_metrics(summary: Summary, family: str = "val") -> dict[str, float]:
    """The summary as `val/*` numbers, or of another family."""
    low, high = summary.overall.interval
    told = {
        "success_rate": summary.overall.rate,
        "success_low": low,
        "success_high": high,
        "episodes": float(summary.overall.episodes),
        "turns": summary.overall.mean_turns,
        "score": summary.overall.mean_score,
        "invalid_share": summary.invalid_share,
        **{f"{kind}_success_rate": rate.rate for kind, rate in summary.by_kind.items()},
    }
    return {f"{family}/{name}": value for name, value in told.items()}


def evaluate_model(run: Run, on_played: Callable[[int], None] = lambda count: None) -> Summary:
    """Play a run's held-out tasks once each with `run.model`."""
    env, settings = run.env, run.evaluation
    style = style_of(env.id, env.prompt)
    pool = Pool(env.id, {**env.common, **env.evaluation}, style)
    model, tokenizer = load_model(run.model)
    at_once = run.rollout.groups * run.rollout.group_size
    renderer = Renderer(
        tokenizer, style, env.layout, run.rollout.max_prompt_tokens, run.rollout.long_prompts
    )
    played = play_once(
        pool,
        pool.task_ids[: settings.tasks or len(pool.task_ids)],
        renderer,
        LocalSampler(model, tokenizer, conversations=at_once),
        Sampling(
            max_tokens=run.rollout.max_reply_tokens,
            stop=(renderer.stop,),
            temperature=settings.temperature,
        ),
        seed=run.seed,
        at_once=at_once,
        on_played=on_played,
    )
    return summary_of(played)


def evaluate_yardsticks(
    run: Run, on_played: Callable[[int], None] = lambda count: None
) -> dict[str, Summary]:
    """The environment's scripted policies on the same held-out tasks, by name."""
    env = gym.make(importable(run.env.id), **{**run.env.common, **run.env.evaluation}).unwrapped
    if not isinstance(env, TextEnv):
        raise TypeError(f"{run.env.id} is a {type(env).__name__}, not a TextEnv")
    ids = env.tasks.ids[: run.evaluation.tasks or len(env.tasks.ids)]
    told = {}
    for name in env.yardsticks:
        policy = yardstick(env, name, run.seed)
        judged = []
        for task_id in ids:
            judged.append(play(env, policy, task_id))
            on_played(1)
        told[name] = summarise(judged)
    return told
