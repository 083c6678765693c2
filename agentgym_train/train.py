"""The loop: task -> environment -> turn -> rollout -> batch -> algorithm -> update -> metrics."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from agentgym_envs.drivers.setup import style_of
from agentgym_envs.order import subset
from agentgym_train import checkpoint
from agentgym_train.actor import Actor
from agentgym_train.batch import Batch, TrajectoryRows, collate
from agentgym_train.demonstrations import demonstrations
from agentgym_train.evaluate import as_metrics, held_out, play_held_out
from agentgym_train.files import remove_asides
from agentgym_train.groups import group_of, training_seeds
from agentgym_train.guidance import Guide, Notes, take_notes
from agentgym_train.layout import ActionOf, Trajectory, to_rows, whole_reply
from agentgym_train.models.load import load_model
from agentgym_train.models.policy import Policy
from agentgym_train.models.save import save_model
from agentgym_train.optimizer import make_optimizer
from agentgym_train.rollout import Attempt, Pool, TaskOrder, describe
from agentgym_train.runlog import RunLog, best_success
from agentgym_train.settings import Run, dump
from agentgym_train.skills import Choice, Skills, privileged
from agentgym_train.teachers import Reference
from agentgym_train.texts import texts_for_tokenizer
from agentgym_train.traces import token_records
from agentgym_train.update import update
from agentgym_train.workers import locked

TRAINING_DICE = 0
_FITTED = 500  # tasks that a skill bank is tried on

Progress = Callable[[int, dict[str, float]], None]


class Trainer:
    """Everything a run needs, built from its settings; nothing is hidden elsewhere.

    Every random choice is a function of the run's seed and the step (tasks, replies, shuffles), so
    the weights, the optimiser, the step's number and what follows the student (a moving teacher,
    the skills' bandit) are the whole state of a run.
    """

    def __init__(self, run: Run, log: RunLog) -> None:
        self.run, self.log = run, log
        if run.threads:
            torch.set_num_threads(run.threads)
        torch.manual_seed(run.seed)
        env = run.env
        style = style_of(env.id, env.prompt)
        # What is quickly found missing comes before the model.
        self.pool = Pool(env.id, {**env.common, **env.train}, style)
        self.held_out = held_out(env)
        self.tasks = TaskOrder(self.pool.task_ids, run.seed)
        self.skills = Skills(run.skills, run.seed) if run.skills else None
        if self.skills is not None:
            tasks = self.pool.take(1)[0].tasks
            self.skills.demand_fit(map(tasks.task, subset(tasks.ids, _FITTED)))
        self.demonstration = demonstrations(run.demonstrations, self.pool.take(1)[0])
        self.held_out.take(1)
        texts = (
            texts_for_tokenizer(self.pool, style, env.layout) if run.model.name == "tiny" else None
        )
        model, tokenizer = load_model(run.model, texts)
        self.policy = Policy(model, tokenizer, run.rollout.temperature)
        self.actor = Actor.of(env, run.rollout, model, tokenizer)
        self.optimizer = make_optimizer(
            model.parameters(),
            lr=run.learning.lr,
            weight_decay=run.learning.weight_decay,
            betas=run.learning.betas,
        )
        anchored = run.learning.needs_reference(run.algorithm)
        self.reference = Reference.of(self.policy) if anchored else None
        guided = run.algorithm.teacher != "none"
        self.guide = Guide(run, self.policy, self.actor.renderer) if guided else None

    @property
    def overlap(self) -> int:
        """How many of the evaluation tasks are training tasks, too."""
        train, evaluation = (pool.take(1)[0].tasks for pool in (self.pool, self.held_out))
        asked = set(subset(evaluation.ids, self.run.evaluation.tasks))
        both = [task_id for task_id in train.ids if task_id in asked]
        return sum(train.task(one).hash == evaluation.task(one).hash for one in both)

    @property
    def provenance(self) -> dict[str, Any]:
        """What the environments tell of the data behind them, split by split."""
        return {
            split: pool.take(1)[0].provenance
            for split, pool in (("train", self.pool), ("evaluation", self.held_out))
        }

    def fit(self, start: int, on_step: Progress) -> None:
        """Train from after step `start` to the end, evaluating and saving as the settings say."""
        run = self.run
        if self.overlap:
            warnings.warn(
                f"{self.overlap} evaluation tasks are training tasks, too: success on them is not "
                "on held-out tasks (env.train and env.evaluation say what is played)",
                stacklevel=2,
            )
        best = best_success(self.log.folder)
        if start == 0:
            values = self.evaluated(0)
            self.log.metrics(0, values)
            on_step(0, values)
        for step in range(start + 1, run.steps + 1):
            values = self.step(step)
            if self.evaluates(step):
                values |= self.evaluated(step)
                if run.log.best and values["val/success_rate"] > best:
                    best = values["val/success_rate"]
                    self.export("best")
            self.log.metrics(step, values)
            self.log.timings(step)
            if step == run.steps or step % run.log.checkpoint_every == 0:
                self.save(step)
            on_step(step, values)
        self.export("model")

    def evaluates(self, step: int) -> bool:
        """Are the held-out tasks played after this step?"""
        every = self.run.evaluation.every
        return step == self.run.steps or bool(every and step % every == 0)

    def step(self, step: int) -> dict[str, float]:
        """One training step; returns its metrics. What follows the student then moves.

        An attempt that its replayed demonstration finished has no tokens and takes no part; where
        all of them were, nothing is learnt.
        """
        with self.log.timed("rollout"):
            played, choices = self.rollout(step)
        self.log.episodes(step, "train", played[: self.run.log.episodes])
        values = self.curriculum(played, step)
        part = [i for i, one in enumerate(played) if one.sampled]
        if part:
            logged = self.run.log
            kept = min(logged.traces, logged.episodes) if self.evaluates(step) else 0
            values |= self.trained(
                [played[i] for i in part],
                [choices[i] for i in part],
                step,
                traced=[i for i in part if i < kept],
            )
        if self.guide is not None:
            self.guide.after(step)
        return values

    def trained(
        self,
        played: list[Trajectory],
        choices: list[Choice],
        step: int,
        traced: Sequence[int] = (),
    ) -> dict[str, float]:
        """Learn from these trajectories; returns metrics.

        traced: the first so many are traced, under these numbers.
        """
        log = self.log
        with log.timed("score"):
            batch, scored = self.batch_of(played, choices, step)
            if traced:
                self.trace(batch, played, traced, step)
        with log.timed("update"):
            learnt = self.learn(batch, step)
        return describe(played, self.run.rollout.max_prompt_tokens) | scored | learnt

    def trace(
        self, batch: Batch, played: list[Trajectory], numbers: Sequence[int], step: int
    ) -> None:
        """Keep the token numbers of the batch's first trajectories, under these numbers."""
        records = token_records(
            self.run.algorithm,
            self.policy,
            batch,
            step,
            played[: len(numbers)],
            token_budget=self.run.learning.micro_tokens,
        )
        self.log.traces(step, zip(numbers, records, strict=True))

    def learn(self, batch: Batch, step: int) -> dict[str, float]:
        """Update the weights on a scored batch."""
        run = self.run
        return update(
            self.policy,
            self.optimizer,
            run.algorithm,
            batch,
            step,
            run.learning,
            steps=run.steps,
            generator=torch.Generator().manual_seed(run.seed * 1_000_003 + step),
        )

    def rollout(self, step: int) -> tuple[list[Trajectory], list[Choice]]:
        """The trajectories of a step (`groups` tasks, `group_size` attempts at each), and the
        skills chosen for each of them, if there are any."""
        settings, plan = self.run.rollout, self.run.algorithm.plan(step)
        seeds = training_seeds(settings.groups, settings.group_size, self.run.seed)
        drawn = self.tasks.at(step, settings.groups)
        chosen = [self.choice(task_id, step, group) for group, task_id in enumerate(drawn)]
        replays = plan.leave_to_student is not None
        shown = [self.demonstration(task_id) if replays else () for task_id in drawn]
        groups = group_of(settings.groups, settings.group_size)
        attempts = [
            Attempt(
                task_id=drawn[group],
                env_seed=seeds[i],
                group=(step, group),
                dice=(self.run.seed, TRAINING_DICE, step, i),
                hint=privileged(chosen[group].text) if plan.hint else "",
                demonstration=shown[group],
            )
            for i, group in enumerate(groups)
        ]
        played = self.actor.play(self.pool, attempts, temperature=settings.temperature, plan=plan)
        choices = [chosen[group] for group in groups]
        if self.skills is not None:
            success = [float(one.verdict.success) for one in played]
            self.skills.learn(zip(choices, success, strict=True))
        return played, choices

    def choice(self, task_id: str, step: int, group: int) -> Choice:
        """The skills a task is shown; none where the algorithm shows none."""
        if self.skills is None:
            return Choice((), "")
        return self.skills.choose(self.pool.take(1)[0].tasks.task(task_id), step, group)

    def batch_of(
        self, played: list[Trajectory], choices: list[Choice], step: int
    ) -> tuple[Batch, dict[str, float]]:
        """Rows, collated and scored by everyone the algorithm asks."""
        run, algorithm = self.run, self.run.algorithm
        notes: list[Notes] = [{} for _ in played]
        if algorithm.hindsight == "notes":
            env = self.pool.take(1)[0]
            notes = take_notes(run, played, env, self.actor, step)
        rows = [self.rows_of(one, noted) for one, noted in zip(played, notes, strict=True)]
        batch = collate(
            rows,
            invalid_penalty=run.env.invalid_penalty,
            similarity=algorithm.state_similarity,
        ).to(self.policy.device)
        budget = run.learning.micro_tokens
        batch = batch.scored(old=self.policy.logprobs(batch, token_budget=budget))
        told = self.bookkeeping(rows, batch)
        if algorithm.hindsight == "notes":
            told["hint_sd/noted_turns"] = float(sum(len(noted) for noted in notes))
        if self.reference is not None:
            batch = batch.scored(reference=self.reference(batch, budget))
        if self.guide is not None and algorithm.reads_teacher(step):
            texts = [choice.text for choice in choices]
            scores = self.guide.score(batch, played, texts, notes)
            batch, told = batch.scored(**scores.columns), told | scores.told
        return batch, told

    def rows_of(self, trajectory: Trajectory, notes: Notes) -> TrajectoryRows:
        """The rows of a trajectory, with what this run's algorithm wants to know of its turns."""
        env, algorithm = self.run.env, self.run.algorithm
        rows = to_rows(
            trajectory,
            env.layout,
            env.return_scale,
            env.on_drift,
            action_of=self.action_of(),
        )
        if algorithm.hindsight != "notes":
            return rows
        return replace(rows, chosen=[place in notes for place in rows.places])

    def action_of(self) -> ActionOf | None:
        """How this run's algorithm finds a turn's action among its reply's tokens."""
        match self.run.algorithm.action_span:
            case "action":
                return self.actor.renderer.action_span
            case "reply":
                return whole_reply
            case "none":
                return None

    def bookkeeping(self, rows: list[TrajectoryRows], batch: Batch) -> dict[str, float]:
        """Drift, the sampler's distance from the trainer, and how much was read."""
        drifted = sum(len(one.rows) - 1 for one in rows) if self.run.env.layout == "chat" else 0
        difference = (batch.old_logprob - batch.sampler_logprob).abs()
        told = {
            "rollout/drift": float(drifted),
            "rollout/sampler_gap_max": float(difference.max()),
            "tokens/read": float(len(batch.ids)),
        }
        if batch.tokens.action is not None:
            found = batch.turns.sum(batch.tokens.action.double()) > 0
            told["rollout/actions_not_found"] = float((batch.valid & ~found).sum())
        return told

    def curriculum(self, played: list[Trajectory], step: int) -> dict[str, float]:
        """What a curriculum left to the student, in the attempts that take part; {} without one."""
        plan = self.run.algorithm.plan(step)
        if plan.max_turns is None and plan.leave_to_student is None:
            return {}
        told: dict[str, float] = {}
        part = [one for one in played if one.sampled]
        if part:
            student = sum(len(one.sampled) for one in part) / len(part)
            prefix = sum(len(one.turns) - len(one.sampled) for one in part) / len(part)
            told = {"tcod/student_turns_mean": student, "tcod/prefix_len_mean": prefix}
        if plan.leave_to_student is None:
            return told
        tasks = {one.task.id for one in played}
        return told | {
            "tcod/replay_finished": float(len(played) - len(part)),
            "tcod/without_demonstration": float(sum(not self.demonstration(t) for t in tasks)),
        }

    def evaluated(self, step: int) -> dict[str, float]:
        """Play the held-out tasks; the episodes are kept."""
        with self.log.timed("evaluate"):
            played = play_held_out(self.run, self.actor, self.held_out, self.skills)
        for phase, trajectories in played.items():
            self.log.episodes(step, phase, trajectories)
        return as_metrics(played)

    def save(self, step: int) -> None:
        """Write a checkpoint."""
        checkpoint.save(
            self.log.folder / "checkpoints",
            step,
            self.policy.model,
            self.optimizer,
            {"skills": self.skills.state() if self.skills else None},
            self.run.log.keep,
            teacher=self.guide.weights.tensors() if self.guide else None,
        )

    def restore(self, saved: Path) -> int:
        """Put a checkpoint back; returns its step."""
        step, state = checkpoint.load(saved, self.policy.model, self.optimizer)
        if self.skills is not None:
            self.skills.restore(state["skills"])
        if self.guide is not None:
            self.guide.weights.restore(checkpoint.load_teacher(saved))
        return step

    def export(self, name: str) -> None:
        """The weights as a folder that transformers loads."""
        save_model(self.policy.model, self.policy.tokenizer, self.log.folder / name)


def train(run: Run, folder: Path, on_step: Progress = lambda step, values: None) -> None:
    """Start a run in a new folder; it is made once everything the run needs is there.

    Raises FileExistsError where the folder already holds a run, BlockingIOError where somebody
    else works in it.
    """
    log = RunLog(folder)
    log.refuse_another()
    trainer = Trainer(run, log)
    with locked(folder, patience=2.0):
        log.refuse_another()
        log.rewind(-1)
        log.begin(dump(run), trainer.provenance)
        trainer.fit(0, on_step)


def resume(run: Run, folder: Path, on_step: Progress = lambda step, values: None) -> int:
    """Go on with a run from its newest checkpoint, as if it had never stopped.

    Returns the step it went on from. Metrics and final weights equal those of an uninterrupted
    run on the same machine with the same number of threads. Raises BlockingIOError where the run
    is still going.
    """
    with locked(folder, patience=2.0):
        remove_asides(folder)
        log = RunLog(folder)
        trainer = Trainer(run, log)
        log.same_data(trainer.provenance)
        newest = checkpoint.latest(folder / "checkpoints")
        step = 0 if newest is None else trainer.restore(newest)
        log.rewind(step if newest is not None else -1)
        trainer.fit(step, on_step)
    return step
