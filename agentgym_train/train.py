"""The loop: task -> environment -> turn -> rollout -> batch -> algorithm -> update -> metrics."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from agentgym_train import checkpoint
from agentgym_train.batch import Batch, collate
from agentgym_train.evaluate import as_metrics, play_once, summary_of
from agentgym_train.files import write_folder
from agentgym_train.groups import group_of, training_seeds
from agentgym_train.layout import Renderer, Trajectory, to_rows
from agentgym_train.models.load import load_model
from agentgym_train.models.policy import Policy
from agentgym_train.models.sampler import LocalSampler, Sampling
from agentgym_train.rollout import Attempt, Pool, TaskOrder, describe, rollout, style_of
from agentgym_train.runlog import RunLog
from agentgym_train.scorers import Reference, TeacherModel
from agentgym_train.settings import Run, dump
from agentgym_train.texts import texts_for_tokenizer
from agentgym_train.update import make_optimizer, update

TRAINING_DICE = 0

Progress = Callable[[int, dict[str, float]], None]


class Trainer:
    """Everything a run needs, built from its settings; nothing is hidden elsewhere.

    Every random choice is a function of the run's seed and the step (tasks, replies, shuffles), so
    the weights, the optimiser and the step's number are the whole state of a run.
    """

    def __init__(self, run: Run, log: RunLog) -> None:
        self.run, self.log = run, log
        if run.threads:
            torch.set_num_threads(run.threads)
        torch.manual_seed(run.seed)
        env = run.env
        style = style_of(env.id, env.prompt)
        self.pool = Pool(env.id, {**env.common, **env.train}, style)
        self.held_out = Pool(env.id, {**env.common, **env.evaluation}, style)
        texts = texts_for_tokenizer(self.pool, style) if run.model.name == "tiny" else None
        model, tokenizer = load_model(run.model, texts)
        self.policy = Policy(model, tokenizer, run.rollout.temperature)
        self.sampler = LocalSampler(
            model, tokenizer, conversations=run.rollout.groups * run.rollout.group_size
        )
        self.renderer = Renderer(tokenizer, style, env.layout, run.rollout.max_prompt_tokens)
        self.optimizer = make_optimizer(model.parameters(), run.learning)
        anchored = run.learning.needs_reference(run.algorithm)
        self.reference = Reference.of(self.policy) if anchored else None
        self.teacher = TeacherModel(run.teacher, self.policy) if run.teacher else None
        self.tasks = TaskOrder(self.pool.task_ids, run.seed)

    def fit(self, start: int, on_step: Progress) -> None:
        """Train from after step `start` to the end, evaluating and saving as the settings say."""
        run = self.run
        if start == 0:
            values = self.evaluated(0)
            self.log.metrics(0, values)
            on_step(0, values)
        for step in range(start + 1, run.steps + 1):
            values = self.step(step)
            every = run.evaluation.every
            if step == run.steps or (every and step % every == 0):
                values |= self.evaluated(step)
            self.log.metrics(step, values)
            self.log.timings(step)
            if step == run.steps or step % run.log.checkpoint_every == 0:
                self.save(step)
            on_step(step, values)
        self.export()

    def step(self, step: int) -> dict[str, float]:
        """One training step; returns its metrics."""
        run, log = self.run, self.log
        with log.timed("rollout"):
            played = self.rollout(step)
        log.episodes(step, "train", played[: run.log.episodes])
        with log.timed("score"):
            batch, scored = self.batch_of(played)
        with log.timed("update"):
            shuffles = torch.Generator().manual_seed(run.seed * 1_000_003 + step)
            learnt = update(
                self.policy,
                self.optimizer,
                run.algorithm,
                batch,
                step,
                run.learning,
                steps=run.steps,
                generator=shuffles,
            )
        return describe(played) | scored | learnt

    def rollout(self, step: int) -> list[Trajectory]:
        """The trajectories of a step: `groups` tasks, `group_size` attempts at each."""
        settings = self.run.rollout
        seeds = training_seeds(settings.groups, settings.group_size, self.run.seed)
        drawn = self.tasks.at(step, settings.groups)
        attempts = [
            Attempt(
                task_id=drawn[group],
                env_seed=seeds[i],
                group=(step, group),
                dice=(self.run.seed, TRAINING_DICE, step, i),
            )
            for i, group in enumerate(group_of(settings.groups, settings.group_size))
        ]
        return rollout(
            self.pool.take(len(attempts)),
            attempts,
            self.renderer,
            self.sampler,
            self.sampling(settings.temperature),
            self.run.algorithm.plan(step),
        )

    def batch_of(self, played: list[Trajectory]) -> tuple[Batch, dict[str, float]]:
        """Rows, collated and scored by everyone the algorithm asks."""
        run = self.run
        env, budget = run.env, run.learning.micro_tokens
        rows = [to_rows(one, env.layout, env.return_scale, env.on_drift) for one in played]
        batch = collate(rows, invalid_penalty=env.invalid_penalty).to(self.policy.device)
        batch = batch.scored(old=self.policy.logprobs(batch, token_budget=budget))
        difference = (batch.old_logprob - batch.sampler_logprob).abs()
        told = {
            "rollout/drift": float(sum(max(len(one.rows) - 1, 0) for one in rows))
            if env.layout == "chat"
            else 0.0,
            "rollout/sampler_gap_max": float(difference.max()),
            "tokens/read": float(len(batch.ids)),
        }
        if self.reference is not None:
            batch = batch.scored(reference=self.reference(batch, budget))
        if self.teacher is not None:
            teacher, odd = self.teacher(batch, budget)
            batch, told = batch.scored(teacher=teacher), told | odd
        return batch, told

    def evaluated(self, step: int) -> dict[str, float]:
        """Play the held-out tasks; their episodes are kept."""
        settings = self.run.evaluation
        ids = self.held_out.task_ids
        with self.log.timed("evaluate"):
            played = play_once(
                self.held_out,
                ids[: settings.tasks or len(ids)],
                self.renderer,
                self.sampler,
                self.sampling(settings.temperature),
                seed=self.run.seed,
                at_once=self.run.rollout.groups * self.run.rollout.group_size,
            )
        self.log.episodes(step, "evaluation", played)
        return as_metrics(summary_of(played))

    def sampling(self, temperature: float) -> Sampling:
        return Sampling(
            max_tokens=self.run.rollout.max_reply_tokens,
            stop=(self.renderer.stop,),
            temperature=temperature,
        )

    def save(self, step: int) -> None:
        state: dict[str, Any] = {"settings": dump(self.run)}
        folder = self.log.folder / "checkpoints"
        checkpoint.save(folder, step, self.policy.model, self.optimizer, state, self.run.log.keep)

    def export(self) -> None:
        """The final weights as a folder that transformers loads."""

        def fill(aside: Path) -> None:
            self.policy.model.save_pretrained(aside)
            self.policy.tokenizer.save_pretrained(aside)

        write_folder(self.log.folder / "model", fill)


def train(run: Run, folder: Path, on_step: Progress = lambda step, values: None) -> None:
    """Start a run in a new folder. Raises FileExistsError where there is one already."""
    log = RunLog.begin(folder, dump(run))
    Trainer(run, log).fit(0, on_step)


def resume(run: Run, folder: Path, on_step: Progress = lambda step, values: None) -> int:
    """Go on with a run from its newest checkpoint, as if it had never stopped.

    Returns the step it went on from. Metrics and final weights equal those of an uninterrupted
    run on the same machine with the same number of threads.
    """
    log = RunLog(folder)
    trainer = Trainer(run, log)
    newest = checkpoint.latest(folder / "checkpoints")
    step = 0
    if newest is not None:
        step, _ = checkpoint.load(newest, trainer.policy.model, trainer.optimizer)
    log.rewind(step if newest is not None else -1)
    trainer.fit(step, on_step)
    return step
