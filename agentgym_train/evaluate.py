"""Held-out tasks, each played exactly once by the policy."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agentgym_envs.drivers.setup import make_text_env, style_of
from agentgym_envs.evaluate import play, yardstick
from agentgym_envs.order import subset
from agentgym_envs.statistics import Summary, summarise
from agentgym_envs.types import Episode
from agentgym_train.actor import Actor
from agentgym_train.groups import validation_seeds
from agentgym_train.layout import Trajectory
from agentgym_train.models.load import load_model
from agentgym_train.rollout import Attempt, Pool
from agentgym_train.settings import EnvSettings, EvaluationSettings, Run
from agentgym_train.skills import Skills, privileged

EVALUATION_DICE = 1  # keeps the dice of evaluation apart from those of training, which have 0
PLAIN, HELPED = "evaluation", "evaluation with skills"  # the phases of an evaluation

OnPlayed = Callable[[int, int], None]  # so many more episodes are over, of so many in all
_SILENT: OnPlayed = lambda count, total: None  # noqa: E731


def held_out(env: EnvSettings) -> Pool:
    """The environments that are evaluated in."""
    return Pool(env.id, {**env.common, **env.evaluation}, style_of(env.id, env.prompt))


def play_held_out(
    run: Run,
    actor: Actor,
    pool: Pool,
    skills: Skills | None,
    on_played: OnPlayed = _SILENT,
) -> dict[str, list[Trajectory]]:
    """Play a run's held-out tasks once each, without skills: phase -> trajectories.

    Where the student trains with skills in its own prompt they are played again with them, as a
    phase of its own (spec 10.3).
    """
    ids = subset(pool.task_ids, run.evaluation.tasks)
    told = {PLAIN: play_once(actor, pool, ids, run.evaluation, run.seed, on_played=on_played)}
    if run.algorithm.plan(run.steps).hint and skills is not None:
        tasks = pool.take(1)[0].tasks
        chosen = [skills.choose(tasks.task(task_id), 0, i) for i, task_id in enumerate(ids)]
        told[HELPED] = play_once(
            actor,
            pool,
            ids,
            run.evaluation,
            run.seed,
            hints=[privileged(choice.text) for choice in chosen],
            on_played=on_played,
        )
    return told


def play_once(
    actor: Actor,
    pool: Pool,
    task_ids: Sequence[str],
    settings: EvaluationSettings,
    seed: int,
    *,
    hints: Sequence[str] = (),
    on_played: OnPlayed = _SILENT,
) -> list[Trajectory]:
    """Play each task once. The same seed plays the same, whatever the actor's `at_once`.

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
    return actor.play(
        pool,
        attempts,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        on_over=lambda count: on_played(count, len(attempts)),
    )


def summary_of(played: Sequence[Trajectory], env: Any = None) -> Summary:
    """Success over all and by kind of task, with Wilson intervals; the environment's own averages,
    where it is given."""
    episodes = [
        (Episode(task=one.task, turns=tuple(p.turn for p in one.turns)), one.verdict)
        for one in played
    ]
    return summarise(episodes, env)


def as_metrics(played: Mapping[str, Sequence[Trajectory]]) -> dict[str, float]:
    """An evaluation as `val/*` numbers, which are without skills.

    One with skills is `val_with_skill/*` beside `val_no_skill/*`.
    """
    plain = summary_of(played[PLAIN])
    told = numbers_of(plain, "val")
    if HELPED in played:
        told |= numbers_of(plain, "val_no_skill")
        told |= numbers_of(summary_of(played[HELPED]), "val_with_skill")
    return told


def numbers_of(summary: Summary, family: str) -> dict[str, float]:
    """A summary as `family/*` numbers."""
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


def evaluate_model(
    run: Run,
    on_played: OnPlayed = _SILENT,
    *,
    skills_state: Mapping[str, Any] | None = None,
) -> dict[str, Summary]:
    """Play a run's held-out tasks once each with `run.model`: phase -> summary.

    skills_state: what a bandit over the skills has learnt, of a checkpoint.
    """
    pool = held_out(run.env)
    skills = Skills(run.skills, run.seed) if run.skills else None
    if skills is not None and skills_state is not None:
        skills.restore(skills_state)
    model, tokenizer = load_model(run.model)
    actor = Actor.of(run.env, run.rollout, model, tokenizer)
    played = play_held_out(run, actor, pool, skills, on_played)
    env = pool.take(1)[0]
    return {phase: summary_of(trajectories, env) for phase, trajectories in played.items()}


def evaluate_yardsticks(
    env: EnvSettings, tasks: int, seed: int, on_played: OnPlayed = _SILENT
) -> dict[str, Summary]:
    """The environment's scripted policies on the same held-out tasks and dice, by name."""
    played_in = make_text_env(env.id, {**env.common, **env.evaluation})
    ids = subset(played_in.tasks.ids, tasks)
    told = {}
    for name in played_in.yardsticks:
        policy = yardstick(played_in, name, seed)
        judged = []
        for task_id, env_seed in zip(ids, validation_seeds(len(ids), seed), strict=True):
            judged.append(play(played_in, policy, task_id, env_seed))
            on_played(1, len(ids) * len(played_in.yardsticks))
        told[name] = summarise(judged, played_in)
    return told
