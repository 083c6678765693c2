"""The output layer, applied to sampled positions only and never all at once.

With hidden state h, output weight W [V, d], bias b, scale a, soft cap c and temperature T,

    z_v = cap(a (W_v . h + b_v)) / T        cap(x) = c tanh(x / c), or x without a cap
    log p(t) = z_t - logsumexp(z)           entropy = logsumexp(z) - sum_v p_v z_v

The vocabulary is read in chunks. Forward keeps a running maximum, normaliser and weighted sum;
backward computes each chunk again. So the n x V scores never exist together, in either direction.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CHUNK_SCORES = 1 << 24  # scores held at a time: 64 MiB in float32
NARROWEST = 256  # vocabulary entries a chunk has at least, however many positions there are


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """How a raw score W_v . h + b_v becomes a logit: times `scale`, capped, over `temperature`."""

    scale: float = 1.0
    cap: float | None = None
    temperature: float = 1.0

    @property
    def straight(self) -> float:
        """d logit / d raw score where no cap bends it."""
        return self.scale / self.temperature

    def __call__(self, raw: Tensor) -> Tensor:
        """raw scores, any shape -> logits, float32 (float64 stays)"""
        raw = raw.to(_wide(raw.dtype))
        if self.cap is not None:
            return self.cap / self.temperature * torch.tanh(raw * (self.scale / self.cap))
        return raw if self.straight == 1 else raw * self.straight

    def bend(self, logits: Tensor) -> Tensor | None:
        """What the cap multiplies the slope by, written in the logit itself; None without a cap."""
        if self.cap is None:
            return None
        return 1 - (logits * (self.temperature / self.cap)) ** 2


def sampled_logprob(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    *,
    bias: Tensor | None = None,
    scoring: Scoring = Scoring(),
    entropy: bool = False,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Log-probability of each sampled token and, when asked for, the entropy in nats.

    hidden [n, d], weight [V, d], bias [V], tokens [n] int64 -> [n] and [n] (or None), in float32
    (float64 for float64 input). Gradients reach hidden, weight and bias from both.
    `chunk` is the number of vocabulary entries scored at a time; by default as many as keep
    `CHUNK_SCORES` scores in memory. The result does not depend on it beyond rounding.
    """
    if chunk is None:
        chunk = max(NARROWEST, CHUNK_SCORES // max(1, len(hidden)))
    logprob, spread = _ChunkedHead.apply(hidden, weight, bias, tokens, scoring, entropy, chunk)
    return logprob, spread if entropy else None


class _ChunkedHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        tokens: Tensor,
        scoring: Scoring,
        entropy: bool,
        chunk: int,
    ) -> tuple[Tensor, Tensor]:
        wide = _wide(hidden.dtype)
        top = hidden.new_full((len(hidden),), -torch.inf, dtype=wide)
        mass, lean = torch.zeros_like(top), torch.zeros_like(top)  # sum e^(z-top), ... (z-top)
        chosen = torch.zeros_like(top)
        for start in range(0, len(weight), chunk):
            logits = _logits(hidden, weight, bias, scoring, start, chunk)
            inside = (tokens >= start) & (tokens < start + logits.shape[1])
            here = (tokens - start).clamp(0, logits.shape[1] - 1)[:, None]
            chosen = torch.where(inside, logits.gather(1, here)[:, 0], chosen)
            higher = torch.maximum(top, logits.amax(1))
            fallen = torch.exp(top - higher)
            below = logits.sub_(higher[:, None])
            if entropy:
                sunk = torch.where(fallen > 0, (top - higher) * mass, 0)
                lean = fallen * (lean + sunk) + (below.exp() * below).sum(1)
            mass = fallen * mass + below.exp_().sum(1)
            top = higher
        normaliser = top + mass.log()
        spread = mass.log() - lean / mass
        ctx.save_for_backward(hidden, weight, bias, tokens, normaliser, spread)
        ctx.scoring, ctx.entropy, ctx.chunk = scoring, entropy, chunk
        return chosen - normaliser, spread

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """d log p(t) / dz_v = [v = t] - p_v;  d entropy / dz_v = -p_v (log p_v + entropy)"""
        hidden, weight, bias, tokens, normaliser, spread = ctx.saved_tensors
        of_logprob, of_entropy = (grad * ctx.scoring.straight for grad in grads)
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        to_hidden = torch.zeros_like(hidden, dtype=normaliser.dtype) if wants_hidden else None
        to_weight = torch.empty_like(weight) if wants_weight else None
        to_bias = torch.empty_like(bias) if wants_bias else None
        for start in range(0, len(weight), ctx.chunk):
            logits = _logits(hidden, weight, bias, ctx.scoring, start, ctx.chunk)
            bend = ctx.scoring.bend(logits)
            logprobs = logits.sub_(normaliser[:, None])
            pull = -of_logprob[:, None]
            if ctx.entropy:
                pull = pull - of_entropy[:, None] * (logprobs + spread[:, None])
            flow = logprobs.exp_().mul_(pull)
            inside = (tokens >= start) & (tokens < start + flow.shape[1])
            here = (tokens - start).clamp(0, flow.shape[1] - 1)[:, None]
            flow.scatter_add_(1, here, torch.where(inside, of_logprob, 0)[:, None])
            if bend is not None:
                flow *= bend
            flow = flow.to(hidden.dtype)
            stop = start + flow.shape[1]
            if to_hidden is not None:
                to_hidden += flow @ weight[start:stop]
            if to_weight is not None:
                to_weight[start:stop] = flow.T @ hidden
            if to_bias is not None:
                to_bias[start:stop] = flow.sum(0)
        to_hidden = to_hidden if to_hidden is None else to_hidden.to(hidden.dtype)
        return to_hidden, to_weight, to_bias, None, None, None, None


def _logits(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, scoring: Scoring, start: int, chunk: int
) -> Tensor:
    part = None if bias is None else bias[start : start + chunk]
    return scoring(nn.functional.linear(hidden, weight[start : start + chunk], part))


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


@dataclass(frozen=True, slots=True)
class Head:
    """A causal model taken apart: the trunk gives hidden states, the rest turns them to logits."""

    trunk: nn.Module
    output: nn.Linear
    scale: float
    cap: float | None

    @classmethod
    def of(cls, model: Any) -> "Head":
        """Take a transformers causal model apart; LoRA adapters inside the trunk stay in use.

        Raises ValueError where the output layer is not a plain linear layer.
        """
        causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        output = causal.get_output_embeddings()
        if not isinstance(output, nn.Linear) or hasattr(output, "base_layer"):
            raise ValueError(
                f"{type(causal).__name__} has {type(output).__name__} as its output layer; a plain "
                "linear layer is needed. If LoRA adapts it, take it out of `lora.targets`"
            )
        trunk = causal.base_model
        if trunk is causal:
            raise ValueError(f"{type(causal).__name__} does not name its trunk (base_model_prefix)")
        scale, cap = _scale_and_cap(causal.config.get_text_config(decoder=True))
        return cls(trunk, output, scale, cap)

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden [n, d] -> [n, V] at temperature 1, float32; for a few positions at a time."""
        return Scoring(scale=self.scale, cap=self.cap)(self.output(hidden))

    def logprob(
        self, hidden: Tensor, tokens: Tensor, *, temperature: float, entropy: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """hidden [n, d], tokens [n] -> log-probs [n], and entropies [n] when asked for."""
        return sampled_logprob(
            hidden,
            self.output.weight,
            tokens,
            bias=self.output.bias,
            scoring=Scoring(scale=self.scale, cap=self.cap, temperature=temperature),
            entropy=entropy,
        )


def _scale_and_cap(config: Any) -> tuple[float, float | None]:
    """What the model families do to their scores; `load_model` probes that nothing is missed."""
    scale = 1.0
    if getattr(config, "logit_scale", None) is not None:  # Cohere
        scale = float(config.logit_scale)
    elif getattr(config, "logits_scaling", None) is not None:  # Granite divides
        divides = config.model_type != "hyperclovax"
        scale = 1 / float(config.logits_scaling) if divides else float(config.logits_scaling)
    elif getattr(config, "lm_head_multiplier", None) is not None:  # Falcon-H1
        scale = float(config.lm_head_multiplier)
    cap = getattr(config, "final_logit_softcapping", None)
    return scale, None if cap is None else float(cap)
