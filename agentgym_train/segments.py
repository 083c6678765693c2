"""Who owns what: n items shared out among owners, and reductions over each owner's items."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Segments:
    """n items, each owned by one of `count` owners. An owner may own nothing.

    owner: [n] integers in [0, count). All reductions are computed in float64.
    """

    owner: Tensor
    count: int

    def __post_init__(self) -> None:
        if self.owner.dtype != torch.int64 or self.owner.ndim != 1:
            raise ValueError(
                f"owner must be int64 [n], got {self.owner.dtype} {tuple(self.owner.shape)}"
            )
        if len(self.owner) and not 0 <= int(self.owner.min()) <= int(self.owner.max()) < self.count:
            raise ValueError(f"owners must lie in [0, {self.count}), got {self.owner.unique()}")

    def __len__(self) -> int:
        """Number of items n."""
        return len(self.owner)

    @property
    def size(self) -> Tensor:
        """How many items each owner has.  [count], float64"""
        return self.sum(torch.ones_like(self.owner))

    def sum(self, x: Tensor) -> Tensor:
        """[n] -> [count], 0 for an owner of nothing."""
        total = torch.zeros(self.count, dtype=torch.float64, device=self.owner.device)
        return total.index_add(0, self.owner, x.to(torch.float64))

    def mean(self, x: Tensor) -> Tensor:
        """[n] -> [count], 0 for an owner of nothing."""
        return self.sum(x) / self.size.clamp(min=1)

    def low(self, x: Tensor) -> Tensor:
        """Smallest value of each owner.  [n] -> [count], +inf for an owner of nothing."""
        return self._extreme(x, "amin", float("inf"))

    def high(self, x: Tensor) -> Tensor:
        """Largest value of each owner.  [n] -> [count], -inf for an owner of nothing."""
        return self._extreme(x, "amax", float("-inf"))

    def spread(self, x: Tensor) -> Tensor:
        """Each owner's value handed to all its items.  [count] -> [n]"""
        return x[self.owner]

    def then(self, outer: Segments) -> Segments:
        """Owners of my owners: n -> count -> outer.count becomes n -> outer.count."""
        return Segments(outer.owner[self.owner], outer.count)

    def at(self, items: Tensor) -> Segments:
        """Only these items ([m] positions or [n] bool), with the same owners."""
        return Segments(self.owner[items], self.count)

    def to(self, device: torch.device | str) -> Segments:
        return Segments(self.owner.to(device), self.count)

    def _extreme(self, x: Tensor, reduce: str, start: float) -> Tensor:
        out = torch.full((self.count,), start, dtype=torch.float64, device=self.owner.device)
        return out.scatter_reduce(0, self.owner, x.to(torch.float64), reduce)
