"""Replies from a model, with the log-prob of every token and a seed of their own each.

A reply's tokens are drawn by inverting the cumulative distribution at uniforms that its own seed
decides, all of them before the first token. So a reply depends on its prompt, its seed and the
weights, and not on which other replies share its batch - except where a uniform falls within
rounding (about 1e-6) of the border between two tokens.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from agentgym_train.models.cache import ConversationCache, FreshCache, KeptCache
from agentgym_train.models.head import Head
from agentgym_train.models.stop_text import StopText

_COMPACT_BELOW = 0.75  # drop finished rows once no more than this share is still being answered
# How far a cached reading may lie from a plain one, as a share of the largest score.
_AGREES = {torch.float32: 1e-4, torch.float64: 1e-4, torch.bfloat16: 0.15}


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said. tokens and logprobs include the stop token where one was sampled.

    logprobs: natural, at the sampling temperature, of the whole distribution before `top_k` and
        `top_p` cut it; at temperature 0, at temperature 1.
    finished: it came to its end, a stop token or stop text; False where `max_tokens` or the model's
        context cut it.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finished: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """One conversation to continue.

    key: names the conversation; what the cache holds under it is not read again.
    tokens: the whole prompt, from the first token. seed: whole numbers from 0, such as (run's
    seed, task, member, turn).
    """

    key: Hashable
    tokens: Sequence[int]
    seed: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How to sample. `stop`: token ids that end a reply, usually `(tokenizer.eos_token_id,)`.

    stop_text: a reply ends as well with the token that completes this text; "": none does.
    temperature 0 takes the likeliest token. top_k 0 and top_p 1 cut nothing; top_k comes first,
    and top_p is a share of what it leaves.
    """

    max_tokens: int
    stop: tuple[int, ...]
    stop_text: str = ""
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, got {self.max_tokens}")
        if self.temperature < 0:
            raise ValueError(f"temperature must not be negative, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (off) or more, got {self.top_k}")


class Sampler(Protocol):
    """Anything that continues conversations: this process, or an engine elsewhere."""

    def reply(self, asks: Sequence[Ask], sampling: Sampling) -> list[Reply]:
        """One reply per ask, in order. Keys must differ within a call."""
        ...

    def forget(self) -> None:
        """Drop what is remembered of all conversations: the weights changed, or a rollout ended."""
        ...


class LocalSampler:
    """Samples from a transformers model in this process.

    cache: "kept" keeps keys and values between calls (see `KeptCache`) and needs plain attention;
        "none" reads each prompt again every call and serves any model with a cache of its own.
    conversations: how many the kept cache remembers at most, the latest ones.
    prefill_tokens, decode_tokens: prompt tokens read and reply tokens sampled since the start.

    Construction reads a few short prompts both ways, cached and plain, and raises ValueError where
    they disagree. `reply` raises RuntimeError where weights changed and `forget` was not called.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        *,
        cache: Literal["kept", "none"] = "kept",
        conversations: int = 256,
    ) -> None:
        if cache not in ("kept", "none"):
            raise ValueError(f'cache must be "kept" or "none", got {cache!r}')
        self.decode_tokens = 0
        self._model, self._tokenizer = model, tokenizer
        self._head = Head.of(model)
        config = model.config.get_text_config(decoder=True)
        self._context: int | None = getattr(config, "max_position_embeddings", None)
        trunk = self._head.trunk
        self._cache: ConversationCache = (
            KeptCache(trunk, config, conversations)
            if cache == "kept"
            else FreshCache(trunk, config)
        )
        self._read_with: int | None = None  # version of the weights that filled the cache
        self._probe(cache)

    @property
    def prefill_tokens(self) -> int:
        return self._cache.prefill_tokens

    @torch.inference_mode()
    def reply(self, asks: Sequence[Ask], sampling: Sampling) -> list[Reply]:
        """One reply per ask, in order.

        A reply ends at a stop token, at `max_tokens`, or where the model's context is full.
        Raises ValueError for a key asked twice, or a prompt that is empty or fills the context.
        """
        if not asks:
            return []
        self._check_weights()
        prompts = [np.asarray(ask.tokens, dtype=np.int64) for ask in asks]
        limits = self._limits(asks, prompts, sampling.max_tokens)
        tokens, logprobs, counts, finished = self._decode(asks, prompts, limits, sampling)
        self._cache.close([row[:n] for row, n in zip(tokens, counts, strict=True)])
        self.decode_tokens += int(counts.sum())
        return [
            Reply(tuple(row[:n].tolist()), tuple(sampled[:n].tolist()), bool(over))
            for row, sampled, n, over in zip(tokens, logprobs, counts, finished, strict=True)
        ]

    def forget(self) -> None:
        """Drop the cache: call it when weights changed, or when a rollout is over."""
        self._cache.forget()
        self._read_with = None

    def _decode(
        self,
        asks: Sequence[Ask],
        prompts: list[np.ndarray],
        limits: np.ndarray,
        sampling: Sampling,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Tokens and log-probs [asks, max_tokens], of which the first counts[i] are ask i's; the
        counts, and who came to its end."""
        longest = int(limits.max())
        tokens = np.zeros((len(asks), longest), np.int64)
        logprobs = np.zeros((len(asks), longest))
        counts = np.zeros(len(asks), np.int64)
        finished = np.zeros(len(asks), bool)
        ending = StopText(self._tokenizer, sampling.stop_text) if sampling.stop_text else None
        self._model.eval()
        who, hidden = self._cache.open([ask.key for ask in asks], prompts, longest)
        device = hidden.device
        uniforms = np.stack([_uniforms(asks[i].seed, longest) for i in who])
        draws = torch.from_numpy(uniforms).to(device)
        alive = np.ones(len(who), bool)
        # Where each row's context is full: beyond it there may be no position to read at.
        ends = np.array([(self._context or 0) - len(prompt) for prompt in prompts])
        for step in range(longest):
            chosen, chosen_logprob = choose(self._head.logits(hidden), draws[:, step], sampling)
            drawn = chosen.cpu().numpy()
            tokens[who, step], logprobs[who, step] = drawn, chosen_logprob.cpu().numpy()
            counts[who[alive]] = step + 1
            done = np.isin(drawn, sampling.stop)
            if ending is not None:
                done |= ending.completed(tokens[who, : step + 1])
            finished[who[alive & done]] = True
            alive &= ~done & (limits[who] > step + 1)
            if not alive.any():
                break
            full = self._context is not None and bool((ends[who[~alive]] <= step + 1).any())
            if full or alive.sum() <= _COMPACT_BELOW * len(alive):
                order = self._cache.keep(alive)
                rows = torch.as_tensor(order, device=device)
                who, draws, chosen = who[order], draws[rows], chosen[rows]
                alive = np.ones(len(who), bool)
            hidden = self._cache.advance(chosen)
        return tokens, logprobs, counts, finished

    def _limits(
        self, asks: Sequence[Ask], prompts: list[np.ndarray], max_tokens: int
    ) -> np.ndarray:
        """How many tokens each reply may have.  [asks]"""
        if len({ask.key for ask in asks}) < len(asks):
            raise ValueError("a conversation is asked twice in one call: keys must differ")
        for ask, prompt in zip(asks, prompts, strict=True):
            if len(prompt) == 0:
                raise ValueError(f"conversation {ask.key!r}: the prompt is empty")
            if self._context is not None and len(prompt) >= self._context:
                raise ValueError(
                    f"conversation {ask.key!r}: a prompt of {len(prompt)} tokens leaves no room in "
                    f"the model's context of {self._context}; shorten the history or the episode"
                )
        lengths = np.array([len(prompt) for prompt in prompts])
        room = max_tokens if self._context is None else self._context - lengths
        return np.minimum(np.full(len(asks), max_tokens), room)

    def _check_weights(self) -> None:
        version = sum(parameter._version for parameter in self._model.parameters())
        if self._read_with is not None and self._read_with != version:
            raise RuntimeError(
                "the weights changed since the cache was filled: call forget() first"
            )
        self._read_with = version

    @torch.inference_mode()
    def _probe(self, cache: str) -> None:
        """Do cached and plain reading agree, over two turns of ragged prompts?"""
        self._model.eval()
        dice = np.random.default_rng(0)
        most = min(1000, self._head.output.out_features)
        prompts = [dice.integers(0, most, size) for size in (3, 7, 12)]
        later = [np.concatenate([prompt, dice.integers(0, most, 5)]) for prompt in prompts]
        worst = 0.0
        for turn in (prompts, later):
            who, hidden = self._cache.open(range(3), turn, 2)
            extra = torch.from_numpy(dice.integers(0, most, 3)).to(hidden.device)
            for grown in (hidden, self._cache.advance(extra)):
                for row, i in enumerate(who):
                    tail = [] if grown is hidden else [int(extra[row])]
                    worst = max(worst, self._distance(grown[row], [*turn[i].tolist(), *tail]))
            self._cache.close([np.zeros(1, np.int64)] * 3)
        self._cache.forget()
        self._cache.prefill_tokens = 0
        if not worst < _AGREES[self._head.output.weight.dtype]:
            remedy = 'set cache = "none"' if cache == "kept" else "it cannot be sampled from here"
            raise ValueError(
                f"{type(self._model).__name__} reads a conversation differently with a cache "
                f"(off by {worst:.1e} of the largest score): {remedy}"
            )

    def _distance(self, hidden: Tensor, tokens: list[int]) -> float:
        """Largest difference to a plain reading, as a share of the largest score."""
        ids = torch.tensor([tokens], device=hidden.device)
        plain = self._head.trunk(input_ids=ids, use_cache=False).last_hidden_state[:, -1]
        ours, scores = self._head.logits(hidden[None]), self._head.logits(plain)
        return float((ours - scores).abs().max() / scores.abs().max())


def choose(logits: Tensor, uniform: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """One token per row: logits [b, V], uniform [b] in [0, 1) -> tokens [b], log-probs [b].

    The token is the first whose cumulative probability, in order of ids, exceeds the uniform.
    """
    scores = logits.double()
    if sampling.temperature > 0:
        scores = scores / sampling.temperature
    top = scores.amax(1, keepdim=True)
    mass = (scores - top).exp_()
    total = mass.sum(1, keepdim=True)
    if sampling.temperature == 0:
        token = scores.argmax(1, keepdim=True)
    else:
        reach = _cut(mass, sampling).cumsum(1)
        target = uniform[:, None] * reach[:, -1:]
        token = torch.searchsorted(reach, target, right=True).clamp_(max=logits.shape[1] - 1)
    logprob = scores.gather(1, token) - top - total.log()
    return token[:, 0], logprob[:, 0]


def _cut(mass: Tensor, sampling: Sampling) -> Tensor:
    """Unlikely tokens set to zero: all but `top_k`, then all but the first to reach `top_p`."""
    if sampling.top_k == 0 and sampling.top_p == 1:
        return mass
    ranked, order = mass.sort(dim=1, descending=True, stable=True)
    if sampling.top_k:
        ranked[:, sampling.top_k :] = 0
    before = ranked.cumsum(1) - ranked
    ranked = torch.where(before < sampling.top_p * ranked.sum(1, keepdim=True), ranked, 0)
    return torch.zeros_like(mass).scatter_(1, order, ranked)


def _uniforms(seed: tuple[int, ...], count: int) -> np.ndarray:
    """[count] numbers in [0, 1) that the seed alone decides (Philox)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed))).random(count)
