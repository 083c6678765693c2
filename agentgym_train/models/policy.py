"""The policy: log-probs of the tokens it sampled, with or without gradient."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from agentgym_train.algorithms.base import Live
from agentgym_train.batch import Batch, Padded
from agentgym_train.models.head import Head


@dataclass(frozen=True, slots=True)
class Policy:
    """A causal model that says how likely each sampled token was.

    temperature: the one tokens were sampled at; log-probs and entropies are of that distribution.

    Rows are right-padded, and a token looks at what precedes it only, so neither padding nor
    neighbours reach a sampled token and no mask is needed. The output layer is applied to sampled
    positions alone.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    temperature: float = 1.0
    head: Head = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"a policy's temperature must be positive, got {self.temperature}")
        object.__setattr__(self, "head", Head.of(self.model))

    @property
    def device(self) -> torch.device:
        return self.head.output.weight.device

    def live(self, padded: Padded, *, entropy: bool = False, logits: bool = False) -> Live:
        """What the n sampled tokens look like now, with gradient, in the order of `padded.at`.

        logprob [n], entropy [n] in nats, logits [n, V] over the temperature; float32.
        """
        self.model.train()
        return self._read(padded, entropy=entropy, logits=logits)

    @torch.no_grad()
    def logprobs(self, batch: Batch, *, token_budget: int = 16384) -> Tensor:
        """Log-probs of the batch's N sampled tokens, without gradient.  [N] float32

        token_budget: tokens of one forward pass, padding included.
        """
        rows = torch.arange(len(batch.length), device=batch.ids.device)
        parts = batch.micro_batches(rows, token_budget)
        return self.logprobs_of((batch.padded(part) for part in parts), len(batch))

    @torch.no_grad()
    def logprobs_of(self, parts: Iterable[Padded], count: int) -> Tensor:
        """The same for rows padded elsewhere that hold `count` sampled tokens in all.  [count]

        Raises ValueError where the parts leave some of them out, FloatingPointError where the
        model has diverged: a log-prob is not a number.
        """
        self.model.eval()
        out = torch.zeros(count, device=self.device)
        given = torch.zeros(count, dtype=torch.bool, device=self.device)
        for part in parts:
            part = part.to(self.device)
            out[part.at] = self._read(part).logprob.float()
            given[part.at] = True
        if not bool(given.all()):
            raise ValueError(f"{int((~given).sum())} of {count} sampled tokens are in no row")
        if bool(out.isnan().any()):
            raise FloatingPointError(
                f"{int(out.isnan().sum())} of {count} sampled tokens have a log-prob that is not "
                "a number: the model has diverged; a lower learning.lr may hold it"
            )
        return out

    def _read(self, padded: Padded, *, entropy: bool = False, logits: bool = False) -> Live:
        padded = padded.to(self.device)
        states = self.head.trunk(input_ids=padded.ids, use_cache=False).last_hidden_state
        hidden = states[padded.row, padded.column - 1]
        tokens = padded.ids[padded.row, padded.column]
        logprob, spread = self.head.logprob(
            hidden, tokens, temperature=self.temperature, entropy=entropy
        )
        scores = self.head.logits(hidden) / self.temperature if logits else None
        return Live(logprob=logprob, entropy=spread, logits=scores)
