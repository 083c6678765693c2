"""Environments in lockstep, one sampler call per turn."""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agentgym_envs import Advice, TextEnv
from agentgym_envs.drivers.setup import make_text_env
from agentgym_envs.prompts import PromptStyle
from agentgym_train.algorithms import RolloutPlan
from agentgym_train.layout import PlayedTurn, PromptTooLong, Renderer, Trajectory
from agentgym_train.models.sampler import Ask, Reply, Sampler, Sampling

WHOLE = RolloutPlan()  # every episode from its beginning to its end


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One trajectory to be played. `dice` names it among all others of a run: with a turn number
    it is the seed of a reply, so that a trajectory does not depend on its neighbours. `hint` goes
    into the student's own prompts; `demonstration` is what a plan may replay first."""

    task_id: str
    env_seed: int
    group: Hashable
    dice: tuple[int, ...]
    hint: str = ""
    demonstration: tuple[str, ...] = ()


class Pool:
    """Environments of one kind in this process, made when needed and used again.

    The prompt style says how replies are parsed, unless the settings do. Raises ValueError where
    they contradict what the style is for.
    """

    def __init__(self, env_id: str, settings: dict[str, Any], style: PromptStyle) -> None:
        self._id = env_id
        self._settings = style.fitted(settings)
        self._envs: list[TextEnv] = []

    def take(self, count: int) -> list[TextEnv]:
        """`count` environments, the same ones every time."""
        while len(self._envs) < count:
            self._envs.append(make_text_env(self._id, self._settings))
        return self._envs[:count]

    @property
    def task_ids(self) -> Sequence[str]:
        return self.take(1)[0].tasks.ids


class TaskOrder:
    """Which tasks each step draws: permutation after permutation, decided by the seed alone."""

    def __init__(self, ids: Sequence[str], seed: int) -> None:
        self._ids, self._seed = ids, seed
        self._pass, self._order = -1, np.zeros(0, int)

    def at(self, step: int, count: int) -> list[str]:
        """The tasks of a step, counted from 1. No state: any step can be asked for."""
        return [self._nth((step - 1) * count + i) for i in range(count)]

    def _nth(self, n: int) -> str:
        lap, place = divmod(n, len(self._ids))
        if lap != self._pass:
            dice = np.random.default_rng([self._seed, lap])
            self._pass, self._order = lap, dice.permutation(len(self._ids))
        return self._ids[int(self._order[place])]


class _Player:
    """One trajectory while it is played. number: its place among the attempts."""

    def __init__(self, number: int, env: TextEnv, attempt: Attempt, plan: RolloutPlan) -> None:
        self.number, self.env, self.attempt = number, env, attempt
        env.reset(seed=attempt.env_seed, options={"task_id": attempt.task_id})
        self.limit = plan.depth(env.max_turns)
        self.turns: list[PlayedTurn] = []
        self.student_turns = 0
        self.over = False
        self.cut = "depth"  # why it stopped where the environment had not ended it

    def replay(self, count: int, renderer: Renderer) -> None:
        """Play the first actions of the demonstration; nothing is sampled, no loss."""
        for action in self.attempt.demonstration[:count]:
            if not self.over:
                self.play(renderer.style.written(Advice(action)), self.prompt(renderer), None)

    def prompt(self, renderer: Renderer) -> tuple[int, ...]:
        task, scene = self.env.task, self.env.scene
        return renderer.prompt(task, self.turns, scene.text, scene.admissible, self.attempt.hint)

    def ask(self, renderer: Renderer) -> Ask | None:
        """What to say next; None where the prompt is too long and this ends the episode."""
        dice = self.attempt.dice
        try:
            return Ask(key=dice, tokens=self.prompt(renderer), seed=(*dice, len(self.turns)))
        except PromptTooLong:
            if renderer.long_prompts != "end":
                raise
            self.over, self.cut = True, "length"
            return None

    def play(self, response: str, prompt: tuple[int, ...], reply: Reply | None) -> None:
        _, reward, terminated, truncated, _ = self.env.step(response)
        turn = self.env.episode.turns[-1]
        self.turns.append(PlayedTurn(turn=turn, prompt=prompt, reply=reply, reward=reward))
        self.student_turns += reply is not None
        self.over = terminated or truncated or self.student_turns >= self.limit

    def finished(self) -> Trajectory:
        episode = self.env.episode
        return Trajectory(
            task=episode.task,
            group=self.attempt.group,
            turns=tuple(self.turns),
            verdict=self.env.verify(episode),
            outcome=episode.outcome,
            stop_reason=episode.stop_reason or self.cut,
            env_seed=self.attempt.env_seed,
        )


def rollout(
    envs: Sequence[TextEnv],
    attempts: Sequence[Attempt],
    renderer: Renderer,
    sampler: Sampler,
    sampling: Sampling,
    plan: RolloutPlan,
    on_over: Callable[[int], None] = lambda count: None,
) -> list[Trajectory]:
    """Play every attempt until all are over, as many at a time as there are environments.

    Whoever is over gives its environment to the next attempt. The plan limits the student's turns,
    or replays a demonstration first; a trajectory that it cuts keeps the verdict it has. A prompt
    that is too long ends its trajectory where the renderer says "end".

    on_over: called with how many more trajectories are over.
    """
    sampler.forget()
    free, waiting = list(envs), deque(enumerate(attempts))
    playing: list[_Player] = []
    played: dict[int, Trajectory] = {}
    while waiting or playing:
        while free and waiting:
            number, attempt = waiting.popleft()
            player = _Player(number, free.pop(), attempt, plan)
            player.replay(plan.replayed(len(attempt.demonstration)), renderer)
            playing.append(player)
        _take_turns([player for player in playing if not player.over], renderer, sampler, sampling)
        over = [player for player in playing if player.over]
        played |= {player.number: player.finished() for player in over}
        free += [player.env for player in over]
        playing = [player for player in playing if not player.over]
        if over:
            on_over(len(over))
    sampler.forget()
    return [played[number] for number in range(len(attempts))]


def _take_turns(
    players: Sequence[_Player], renderer: Renderer, sampler: Sampler, sampling: Sampling
) -> None:
    """One turn of each, by one call of the sampler and, where they can, of their environments."""
    asked = [(player, ask) for player in players if (ask := player.ask(renderer)) is not None]
    if not asked:
        return
    replies = sampler.reply([ask for _, ask in asked], sampling)
    said = [renderer.said(reply) for reply in replies]
    envs = [player.env for player, _ in asked]
    type(envs[0]).prepare(envs, [text for text, _ in said])
    for (player, ask), (text, reply) in zip(asked, said, strict=True):
        player.play(text, tuple(ask.tokens), reply)


def describe(trajectories: Sequence[Trajectory], max_prompt_tokens: int) -> dict[str, float]:
    """What happened in the environment, under the names of the literature (spec section 12).

    max_prompt_tokens: prompts of so many tokens count as clipped.
    """
    lengths = np.array([len(trajectory.turns) for trajectory in trajectories])
    scores = np.array([trajectory.verdict.score for trajectory in trajectories])
    replies = [played for one in trajectories for _, played in one.sampled]
    told = {
        "episode/success_rate": float(np.mean([one.verdict.success for one in trajectories])),
        **_spread("episode/reward", scores),
        **_spread("episode/length", lengths),
    }
    for kind in sorted({one.task.kind for one in trajectories} - {""}):
        same = [one.verdict.success for one in trajectories if one.task.kind == kind]
        told[f"episode/{kind}_success_rate"] = float(np.mean(same))
    if replies:
        said = np.array([len(p.reply.tokens) for p in replies if p.reply is not None])
        cut = [not p.reply.finished for p in replies if p.reply is not None]
        told["episode/valid_action_ratio"] = float(np.mean([p.turn.valid for p in replies]))
        told |= _spread("response_length", said)
        read = np.array([len(p.prompt) for p in replies])
        told |= _spread("prompt_length", read)
        told["prompt_length/clip_ratio"] = float(np.mean(read >= max_prompt_tokens))
        told["response_length/clip_ratio"] = float(np.mean(cut))
        told["tokens/sampled"] = float(said.sum())
    return told


def _spread(name: str, values: np.ndarray) -> dict[str, float]:
    return {
        f"{name}/mean": float(values.mean()),
        f"{name}/max": float(values.max()),
        f"{name}/min": float(values.min()),
    }
