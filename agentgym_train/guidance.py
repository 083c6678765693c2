"""The teacher of a run, put together from what its algorithm declares it needs."""

from collections.abc import Sequence
from typing import Any

from agentgym_envs import TextEnv
from agentgym_train.actor import Actor
from agentgym_train.batch import Batch, TrajectoryRows
from agentgym_train.context import hinted, noted_rows, peer_success
from agentgym_train.layout import Renderer, Trajectory, to_rows
from agentgym_train.models.policy import Policy
from agentgym_train.notes import expert_notes, policy_notes
from agentgym_train.settings import Run
from agentgym_train.skills import privileged
from agentgym_train.teachers import (
    Copied,
    Current,
    Frozen,
    Scores,
    duplicate,
    load_teacher,
    score,
    score_rows,
)

Notes = dict[int, str]


class Guide:
    """Scores a step's batch with the teacher: its weights, shown what it is to know."""

    def __init__(self, run: Run, policy: Policy, renderer: Renderer) -> None:
        self._run, self._renderer = run, renderer
        self.weights = _weights(run, policy)

    def score(
        self,
        batch: Batch,
        played: Sequence[Trajectory],
        skills: Sequence[str],
        notes: Sequence[Notes],
    ) -> Scores:
        """skills, notes: one per trajectory; read only where the algorithm asks for them."""
        algorithm, env = self._run.algorithm, self._run.env
        if algorithm.hindsight == "notes":
            return self._score_noted(batch, played, notes)
        if algorithm.hindsight == "peer":
            hints = [peer_success(one, _group_of(one, played)) for one in played]
        elif algorithm.skills:
            hints = [privileged(text) for text in skills]
        else:
            return self._score(batch)
        placement = self._run.skills.placement if self._run.skills else "user"
        told = [
            hinted(one, hint, self._renderer, placement)
            for one, hint in zip(played, hints, strict=True)
        ]
        rows = [to_rows(one, env.layout, env.return_scale, env.on_drift) for one in told]
        return score_rows(self.weights.policy, rows, batch.ids.device, **self._how())

    def after(self, step: int) -> None:
        """The step's update is done: teachers that follow the student move."""
        self.weights.after(step)

    def _score(self, batch: Batch) -> Scores:
        return score(self.weights.policy, batch, **self._how())

    def _score_noted(
        self, batch: Batch, played: Sequence[Trajectory], notes: Sequence[Notes]
    ) -> Scores:
        """Only noted turns have a teacher; elsewhere the gap is zero and does not count."""
        teacher = batch.old_logprob.clone()
        rows = [
            _noted(one, noted, self._renderer)
            for one, noted in zip(played, notes, strict=True)
            if noted
        ]
        rows = [one for one in rows if one.rows]
        none = {"teacher/nonfinite_tokens": 0.0, "teacher/tokens_read": 0.0}
        scores = Scores({"teacher": teacher}, none)
        if rows and batch.chosen is not None:
            found = score_rows(self.weights.policy, rows, batch.ids.device, **self._how())
            teacher[batch.turns.spread(batch.chosen)] = found.columns["teacher"]
            scores.told = found.told
        return scores

    def _how(self) -> dict[str, Any]:
        return {
            "token_budget": self.weights.micro_tokens or self._run.learning.micro_tokens,
            "logits": self._run.algorithm.needs_logits,
            "top": self._run.algorithm.teacher_top,
        }


def take_notes(
    run: Run,
    played: Sequence[Trajectory],
    env: TextEnv,
    actor: Actor,
    step: int,
) -> list[Notes]:
    """Notes on the failed attempts, none on the others; one dictionary per trajectory."""
    failed = [one for one in played if not one.verdict.success]
    if run.notes.source == "expert":
        found = expert_notes(failed, env, run.notes)
    else:
        seed = (run.seed, step)
        found = policy_notes(failed, actor.renderer, actor.replies, run.notes, seed)
    waiting = iter(found)
    return [{} if one.verdict.success else next(waiting) for one in played]


def _weights(run: Run, policy: Policy) -> Frozen:
    algorithm = run.algorithm
    if algorithm.teacher == "model":
        if run.teacher is None:
            raise ValueError(f"{type(algorithm).__name__} learns from a teacher model")
        return load_teacher(run.teacher, policy, logits=algorithm.needs_logits)
    own = algorithm.own_weights
    match own.kind:
        case "current":
            return Current(policy)
        case "initial":
            return Frozen(duplicate(policy))
        case "stale":
            return Copied(policy, refresh=own.refresh)
        case "ema":
            return Copied(policy, decay=own.decay)


def _group_of(trajectory: Trajectory, played: Sequence[Trajectory]) -> list[Trajectory]:
    return [one for one in played if one.group == trajectory.group]


def _noted(trajectory: Trajectory, notes: Notes, renderer: Renderer) -> TrajectoryRows:
    rows = noted_rows(trajectory, notes, renderer)
    places = [row.spans[0].turn for row in rows]
    return TrajectoryRows(
        group=trajectory.group,
        rows=rows,
        places=places,
        valid=[True] * len(places),
        episode_return=0.0,
        success=False,
    )
