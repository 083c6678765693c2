"""A model that plays as a run's settings say: the same in training and in evaluation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agentgym_envs.drivers.setup import style_of
from agentgym_train.algorithms import RolloutPlan
from agentgym_train.layout import Renderer, Trajectory
from agentgym_train.models.sampler import Ask, LocalSampler, Reply, Sampler, Sampling
from agentgym_train.rollout import WHOLE, Attempt, Pool, rollout
from agentgym_train.settings import EnvSettings, RolloutSettings


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Prompts as tokens, and replies to them. at_once: how many attempts it plays at a time.
    stop: the tokens that end a reply."""

    renderer: Renderer
    sampler: Sampler
    at_once: int
    max_reply_tokens: int
    stop: tuple[int, ...]

    @classmethod
    def of(cls, env: EnvSettings, settings: RolloutSettings, model: Any, tokenizer: Any) -> "Actor":
        """Raises ValueError where the model cannot be sampled from as the settings ask."""
        at_once = settings.at_once or settings.groups * settings.group_size
        style = style_of(env.id, env.prompt)
        renderer = Renderer(
            tokenizer, style, env.layout, settings.max_prompt_tokens, settings.long_prompts
        )
        return cls(
            renderer=renderer,
            sampler=LocalSampler(model, tokenizer, cache=settings.cache, conversations=at_once),
            at_once=at_once,
            max_reply_tokens=settings.max_reply_tokens,
            stop=tuple(sorted({*renderer.tokens.stops, *_ends_of(model)})),
        )

    def play(
        self,
        pool: Pool,
        attempts: Sequence[Attempt],
        *,
        temperature: float,
        top_p: float = 1.0,
        top_k: int = 0,
        plan: RolloutPlan = WHOLE,
        on_over: Callable[[int], None] = lambda count: None,
    ) -> list[Trajectory]:
        """Play the attempts, each to its end; what comes out does not depend on `at_once`."""
        sampling = Sampling(
            max_tokens=self.max_reply_tokens,
            stop=self.stop,
            stop_text=next(iter(self.renderer.style.stop), ""),
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
        )
        envs = pool.take(min(self.at_once, len(attempts)))
        return rollout(envs, attempts, self.renderer, self.sampler, sampling, plan, on_over)

    def replies(self, asks: Sequence[Ask], max_tokens: int) -> list[Reply]:
        """Replies outside any episode, at temperature 1."""
        sampling = Sampling(max_tokens=max_tokens, stop=self.stop)
        told: list[Reply] = []
        for first in range(0, len(asks), self.at_once):
            self.sampler.forget()
            told += self.sampler.reply(asks[first : first + self.at_once], sampling)
        self.sampler.forget()
        return told


def _ends_of(model: Any) -> tuple[int, ...]:
    """The tokens at which the model itself says that a reply may end."""
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return () if ends is None else (ends,) if isinstance(ends, int) else tuple(ends)
