"""Our batches as verl holds them, for the tests of our algorithms in verl."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tensordict import NonTensorStack, TensorDict
from torch import Tensor
from verl.utils.tensordict_utils import assign_non_tensor

from agentgym_train.batch import Batch
from agentgym_train.integrations.verl.responses import Extras

PROMPT = 3  # tokens before each response


@dataclass(frozen=True)
class Held:
    """A batch of ours as verl holds it: one response a trajectory, with gaps between its turns.

    row, column: [N], where each sampled token lies in the responses [B, T].
    """

    batch: Batch
    row: Tensor
    column: Tensor
    spans: list[list[list[int]]]
    length: list[int]

    def grid(self, flat: Tensor) -> Tensor:
        """[N] -> [B, T]"""
        shape = len(self.spans), max(self.length)
        return torch.zeros(shape, dtype=flat.dtype).index_put((self.row, self.column), flat)

    def flat(self, grid: Tensor) -> Tensor:
        return grid[self.row, self.column]

    @property
    def mask(self) -> Tensor:
        return self.grid(torch.ones(len(self.batch), dtype=torch.int64))

    @property
    def uid(self) -> list[str]:
        return [f"task {g}" for g in self.batch.groups.owner.tolist()]

    @property
    def rewards(self) -> Tensor:
        """[B, T], the return on the last token, as verl has it."""
        grid = torch.zeros(len(self.spans), max(self.length), dtype=torch.float64)
        grid[torch.arange(len(self.spans)), torch.tensor(self.length) - 1] = (
            self.batch.episode_return
        )
        return grid

    def per_turn(self, values: list) -> list[list]:
        """K values -> those of each trajectory."""
        owners = self.batch.trajs.owner.tolist()
        return [
            [v for v, m in zip(values, owners, strict=True) if m == b]
            for b in range(len(self.spans))
        ]

    def extras(self, step: int | None = None, **changes) -> Extras:
        batch = self.batch
        told = {
            "step": step,
            "old": self.grid(batch.old_logprob),
            "teacher": self.grid(batch.teacher_logprob),
            "privileged": self.grid(batch.teacher_logprob),
            "spans": self.spans,
            "rewards": self.per_turn(batch.step_reward.tolist()),
            "valid": self.per_turn(batch.valid.tolist()),
            "observations": self.per_turn([f"state {a}" for a in batch.anchors.owner.tolist()]),
        }
        return Extras(**(told | changes))

    def data(
        self,
        advantage: Tensor,
        step: int,
        depth: int | None = None,
        only: Sequence[int] | None = None,
    ) -> TensorDict:
        """A micro-batch of verl's trainer: nested tensors, of all responses or only some.

        advantage: [N]
        """
        batch, kept = self.batch, range(len(self.spans)) if only is None else only
        teacher = self.grid(batch.teacher_logprob)
        grids = {
            "response_mask": self.mask,
            "responses": self.mask,
            "old_log_probs": self.grid(batch.old_logprob),
            "advantages": self.grid(advantage),
            "ref_log_prob": self.grid(batch.reference_logprob),
        }
        columns = {name: [grid[b, : self.length[b]] for b in kept] for name, grid in grids.items()}
        columns["prompts"] = [torch.ones(PROMPT, dtype=torch.int64) for _ in kept]
        # a server puts the log-prob of token t + 1 at t
        columns["teacher_logprobs"] = [shifted(teacher[b, : self.length[b]])[:, None] for b in kept]
        told = [
            {
                "privileged_logprobs": teacher[b, : self.length[b]].tolist(),
                "depth": depth,
                "turn_spans": self.spans[b],
            }
            for b in kept
        ]
        data = TensorDict(
            {
                **{name: nested(rows) for name, rows in columns.items()},
                "global_steps": torch.full((len(kept),), step),
                "extra_fields": NonTensorStack(*told),
            },
            batch_size=len(kept),
        )
        sizes = {"batch_num_tokens": len(batch), "global_batch_size": len(self.spans)}
        assign_non_tensor(data, dp_size=1, **sizes)
        return data

    def output(self, flat: Tensor, only: Sequence[int] | None = None) -> Tensor:
        """What the model says [N], at every token of prompts and responses, nested."""
        grid, kept = self.grid(flat), range(len(self.spans)) if only is None else only
        return nested([shifted(grid[b, : self.length[b]]) for b in kept])


def nested(rows: Sequence[Tensor]) -> Tensor:
    """Rows of any length as one jagged tensor; carries gradient."""
    return torch.nested.as_nested_tensor(list(rows), layout=torch.jagged)


def shifted(response: Tensor) -> Tensor:
    """A response's values [T] in a whole sequence [PROMPT + T], one token early."""
    before, after = response.new_zeros(PROMPT - 1), response.new_zeros(1)
    return torch.cat([before, response, after])


def held(batch: Batch) -> Held:
    """Turns one after another, with a gap of one token before each, and one at the end."""
    spans: list[list[list[int]]] = [[] for _ in range(batch.trajs.count)]
    column = torch.zeros(len(batch), dtype=torch.int64)
    sizes = batch.turns.size.long().tolist()
    turns = batch.turns.owner
    stop = [0] * batch.trajs.count
    for k, m in enumerate(batch.trajs.owner.tolist()):
        first = stop[m] + (1 if spans[m] else 0)
        stop[m] = first + sizes[k]
        spans[m].append([first, stop[m]])
        column[turns == k] = torch.arange(first, stop[m])
    return Held(batch, batch.token_trajs.owner, column, spans, [max(n, 1) for n in stop])
