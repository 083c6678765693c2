"""Keys and values of many conversations, one slot each: token i of a conversation at column i.

There are no holes and no padding inside a conversation, so what a token may look at is simply
every column up to its own. Whatever lies beyond a conversation's end is overwritten before
anything may look at it.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

_GRAIN = 64  # columns are reserved in multiples of this


@dataclass(frozen=True, slots=True)
class Window:
    """Where one forward pass over b conversations writes, and what it reads.

    slots: those of the b conversations, as a slice (read in place) or [b] indices (read as a copy).
    place: [b * q] where the q tokens of each are written, as slot * columns + column.
    span: columns 0:span are read.
    """

    slots: slice | Tensor
    place: Tensor
    span: int


class Slab(Cache):
    """What a transformers model writes its keys and values to, through a `Window` set beforehand.

    Stored as [slots, columns, heads, size] per layer, so that a conversation's tokens lie together.
    """

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.slots, self.columns = 0, 0
        self.window: Window | None = None
        self._stores: dict[int, tuple[Tensor, Tensor]] = {}

    def reserve(self, slots: int, columns: int) -> None:
        """Make room for so many conversations of so many tokens; what is there stays."""
        columns = -(-columns // _GRAIN) * _GRAIN
        if slots <= self.slots and columns <= self.columns:
            return
        if columns > self.columns:  # grow by a fifth at least: conversations grow turn by turn
            columns = max(columns, self.columns * 6 // 5 // _GRAIN * _GRAIN)
        old_slots, old_columns = self.slots, self.columns
        self.slots, self.columns = max(slots, old_slots), max(columns, old_columns)
        for layer, pair in self._stores.items():
            grown = tuple(self._empty(store.shape[2:], store) for store in pair)
            for new, old in zip(grown, pair, strict=True):
                new[:old_slots, :old_columns] = old
            self._stores[layer] = (grown[0], grown[1])

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Called by the model's attention: [b, heads, q, size] in, [b, heads, span, size] out."""
        if self.window is None:
            raise RuntimeError("set the slab's window before the forward pass")
        states = (key_states, value_states)
        if layer_idx not in self._stores:
            shapes = [(s.shape[1], s.shape[3]) for s in states]
            self._stores[layer_idx] = (
                self._empty(shapes[0], key_states),
                self._empty(shapes[1], value_states),
            )
        keys, values = (
            self._write_and_read(store, new, self.window)
            for store, new in zip(self._stores[layer_idx], states, strict=True)
        )
        return keys, values

    def copy(self, source: int, target: int, columns: int) -> None:
        """Copy the first columns of a conversation to another slot."""
        for pair in self._stores.values():
            for store in pair:
                store[target, :columns] = store[source, :columns]

    def rearrange(self, targets: Tensor, sources: Tensor, columns: int) -> None:
        """Move whole conversations at once: slot targets[i] gets what slot sources[i] had."""
        for pair in self._stores.values():
            for store in pair:
                store[targets, :columns] = store[sources, :columns]

    def clear(self) -> None:
        """Give the memory back."""
        self._stores.clear()
        self.slots, self.columns, self.window = 0, 0, None

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0  # positions and masks are always given in full

    def _empty(self, shape: Any, like: Tensor) -> Tensor:
        # Zeros: a masked column still meets a factor 0, which an unset NaN would survive.
        return torch.zeros(self.slots, self.columns, *shape, dtype=like.dtype, device=like.device)

    @staticmethod
    def _write_and_read(store: Tensor, new: Tensor, window: Window) -> Tensor:
        store.flatten(0, 1).index_copy_(0, window.place, new.transpose(1, 2).flatten(0, 1))
        return store[window.slots, : window.span].transpose(1, 2)
