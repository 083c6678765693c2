"""What an expert's episodes look like to a model: demonstrations, and text for a vocabulary."""

from collections.abc import Iterator

import numpy as np

from agentgym_envs.evaluate import play
from agentgym_envs.prompts import PromptStyle
from agentgym_envs.types import Advice, Episode
from agentgym_train.layout import Layout
from agentgym_train.rollout import Pool
from agentgym_train.skills import Skills, privileged

TOKENIZER_EPISODES = 300


def demonstrate(pool: Pool, style: PromptStyle, task_id: str, noise: float, seed: int) -> Episode:
    """One episode of the environment's expert, who writes a thought and an action at every turn.

    noise: share of turns at which a random action is played under the expert's thought. An expert
    whom noise has left without advice goes on at random; one that has none from the start, or
    without noise, raises ValueError.
    """
    env = pool.take(1)[0]
    dice = np.random.default_rng([seed, 0])

    def reply(*_) -> str:
        advice = env.advise()
        lost = advice is None and bool(noise) and bool(env.episode.turns)
        if advice is None and not lost:
            raise ValueError(f"the environment's expert has no advice for task {task_id!r}")
        if lost or dice.random() < noise:
            thought = advice.thought if advice else ""
            advice = Advice(env.wander(dice), thought)
        return style.written(advice or Advice(""))

    return play(env, reply, task_id, seed)[0]


def texts_for_tokenizer(
    pool: Pool, style: PromptStyle, layout: Layout, skills: Skills | None = None
) -> Iterator[str]:
    """What a model would read and write if it played the first tasks as the expert does.

    skills: it reads those of each task, too.
    """
    for i, task_id in enumerate(pool.task_ids[:TOKENIZER_EPISODES]):
        episode = demonstrate(pool, style, task_id, 0.2, i)
        goal = episode.task.goal
        if skills is not None:
            yield privileged(skills.choose(episode.task, 0, i).text)
        for place, turn in enumerate(episode.turns):
            yield turn.response
            if layout == "chat" and place:
                yield style.following_text(goal, turn.observation, turn.admissible)
                continue
            messages = (
                style.opening_messages(goal, turn.observation, turn.admissible)
                if layout == "chat"
                else style.turn_messages(
                    goal, episode.turns[:place], turn.observation, turn.admissible
                )
            )
            yield from (message["content"] for message in messages)
