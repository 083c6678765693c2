"""What a sampler remembers of its conversations between two calls, and within one.

`KeptCache` keeps keys and values, so that of a prompt only what is new is read. `FreshCache` keeps
nothing and reads each prompt again; it leaves the cache to the model itself and so serves models
whose memory is not plain attention.

Both work in rows: row i of a batch is a conversation being answered, and the caller is told which.
"""

import inspect
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer

from agentgym_train.models.slab import Slab, Window

_WORTH_SHARING = 8  # tokens; a shorter common beginning is read again
_READ_TOKENS = 1 << 14  # tokens read in one forward pass, padding included
_READ_SCORES = 1 << 25  # entries of one forward pass's attention mask
_ALIGN = 16  # columns looked at come in multiples of this, as GPU kernels like them


class ConversationCache(Protocol):
    """The model's memory while b rows are answered. Hidden states are [b, d]."""

    prefill_tokens: int  # prompt tokens read so far

    def open(
        self, keys: Sequence[Hashable], prompts: Sequence[np.ndarray], room: int
    ) -> tuple[np.ndarray, Tensor]:
        """Read the prompts; leave room for so many tokens after each.

        Gives which prompt each row is, and the hidden state after each row's last token.
        """
        ...

    def advance(self, tokens: Tensor) -> Tensor:
        """Read one more token per row, [b]; gives the hidden states after it."""
        ...

    def keep(self, alive: np.ndarray) -> np.ndarray:
        """Drop rows ([b] bool); gives which old row each remaining row was."""
        ...

    def close(self, sampled: Sequence[np.ndarray]) -> None:
        """All rows are done; `sampled` are the tokens of each prompt's reply."""
        ...

    def forget(self) -> None:
        """Drop everything remembered, for example because the weights changed."""
        ...


class KeptCache:
    """Keys and values stay between calls, and equal beginnings are read once.

    Of a known conversation only what follows the longest common beginning is read. Prompts of new
    conversations that are equal, or begin alike, are read once and copied. `conversations` bounds
    the memory: beyond it, those asked least recently make room (a single call may have more).

    Raises ValueError for a model whose layers are not all plain attention over the whole past.
    """

    def __init__(self, trunk: nn.Module, config: Any, conversations: int = 256) -> None:
        _refuse_other_than_plain_attention(trunk, config)
        self.prefill_tokens = 0
        self._trunk, self._conversations = trunk, conversations
        parameter = next(trunk.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        self._slab = Slab()
        self._slot: dict[Hashable, int] = {}  # least recently asked first
        self._held: list[np.ndarray] = []  # tokens in each slot
        self._keys: Sequence[Hashable] = ()
        self._length = np.zeros(0, np.int64)  # of each row, at present

    def open(
        self, keys: Sequence[Hashable], prompts: Sequence[np.ndarray], room: int
    ) -> tuple[np.ndarray, Tensor]:
        known = [key in self._slot for key in keys]
        self._place(keys)
        columns = max(len(prompt) for prompt in prompts) + room
        self._slab.reserve(len(self._held), columns)
        who = self._bring_forward(keys)
        hidden = self._read_all([prompts[i] for i in who], [known[i] for i in who])
        self._keys = keys
        self._start_decoding([len(prompts[i]) for i in who])
        return who, hidden

    def advance(self, tokens: Tensor) -> Tensor:
        rows = len(self._length)
        self._mask.scatter_(1, self._column[:, None], 0.0)
        span = min(_rounded(int(self._length.max()) + 1), self._slab.columns)
        self._slab.window = Window(slice(0, rows), self._base + self._column, span)
        hidden = self._forward(
            tokens[:, None], self._mask[:, None, None, :span], self._column[:, None]
        )
        self._column = self._column + 1
        self._length += 1
        return hidden[:, 0]

    def keep(self, alive: np.ndarray) -> np.ndarray:
        count = int(alive.sum())
        order = np.arange(len(alive))
        holes = np.flatnonzero(~alive[:count])
        tail = count + np.flatnonzero(alive[count:])
        order[holes], order[tail] = tail, holes
        self._rearrange(order, int(self._length.max()))
        self._length = self._length[order][:count]
        kept = torch.as_tensor(order[:count], device=self._device)
        self._mask, self._column = self._mask[kept], self._column[kept]
        self._base = self._base[:count]
        return order[:count]

    def close(self, sampled: Sequence[np.ndarray]) -> None:
        for key, tokens in zip(self._keys, sampled, strict=True):
            slot = self._slot[key]
            # The last sampled token was never read.
            self._held[slot] = np.concatenate([self._held[slot], tokens[:-1]])

    def forget(self) -> None:
        self._slot.clear()
        self._held.clear()
        self._slab.clear()

    def _place(self, keys: Sequence[Hashable]) -> None:
        """Every asked conversation gets a slot and becomes the most recent."""
        for key in keys:
            if key in self._slot:
                self._slot[key] = self._slot.pop(key)
        asked = set(keys)
        for key in keys:
            if key in self._slot:
                continue
            oldest = next(iter(self._slot), None)
            if len(self._held) < self._conversations or oldest is None or oldest in asked:
                self._slot[key] = len(self._held)
                self._held.append(np.zeros(0, np.int64))
            else:
                self._slot[key] = self._slot.pop(oldest)

    def _bring_forward(self, keys: Sequence[Hashable]) -> np.ndarray:
        """Move the asked conversations to the first slots; gives which one each slot holds."""
        count = len(keys)
        asked = np.array([self._slot[key] for key in keys])
        order = np.arange(len(self._held))
        inside = np.isin(order[:count], asked)
        holes, outside = np.flatnonzero(~inside), asked[asked >= count]
        order[holes], order[outside] = outside, holes
        self._rearrange(order, max(len(held) for held in self._held))
        who = np.empty(count, np.int64)
        who[[self._slot[key] for key in keys]] = np.arange(count)
        return who

    def _rearrange(self, order: np.ndarray, columns: int) -> None:
        """Slot i gets what slot order[i] had, for the first len(order) slots."""
        moved = np.flatnonzero(order != np.arange(len(order)))
        if len(moved) == 0:
            return
        targets = torch.as_tensor(moved, device=self._device)
        sources = torch.as_tensor(order[moved], device=self._device)
        self._slab.rearrange(targets, sources, columns)
        self._held[: len(order)] = [self._held[i] for i in order]
        new_slot = {int(old): new for new, old in enumerate(order)}
        for key, slot in self._slot.items():
            self._slot[key] = new_slot.get(slot, slot)

    def _read_all(self, prompts: list[np.ndarray], known: list[bool]) -> Tensor:
        """Read what is new of each slot's prompt; gives the hidden states after the prompts."""
        first: dict[bytes, int] = {}  # of equal new prompts, the one that is read
        for slot, prompt in enumerate(prompts):
            if not known[slot]:
                first.setdefault(prompt.tobytes(), slot)
        leaders, followers = self._share_beginnings(sorted(first.values()), prompts)
        starts = {slot: self._beginning(slot, prompts[slot]) for slot in leaders}
        starts |= {
            slot: _common(self._held[slot], prompts[slot][:-1])
            for slot in range(len(prompts))
            if known[slot]
        }
        hidden: dict[int, Tensor] = self._read(starts, prompts)
        for slot, (leader, shared) in followers.items():
            self._slab.copy(leader, slot, shared)
        hidden |= self._read({slot: shared for slot, (_, shared) in followers.items()}, prompts)
        for slot, prompt in enumerate(prompts):
            twin = slot if known[slot] else first[prompt.tobytes()]
            if twin != slot:
                self._slab.copy(twin, slot, len(prompt))
                hidden[slot] = hidden[twin]
            self._held[slot] = prompt
        return torch.stack([hidden[slot] for slot in range(len(prompts))])

    def _share_beginnings(
        self, slots: list[int], prompts: list[np.ndarray]
    ) -> tuple[list[int], dict[int, tuple[int, int]]]:
        """Who reads a prompt whole, and who copies how many tokens of whom."""
        leaders: list[int] = []
        followers: dict[int, tuple[int, int]] = {}
        for slot in sorted(slots, key=lambda slot: prompts[slot].tolist()):
            shared = _common(prompts[leaders[-1]], prompts[slot][:-1]) if leaders else 0
            if shared >= _WORTH_SHARING:
                followers[slot] = (leaders[-1], shared)
            else:
                leaders.append(slot)
        return leaders, followers

    def _beginning(self, slot: int, prompt: np.ndarray) -> int:
        """Copy the longest beginning that any conversation holds; gives its length."""
        common = [_common(held, prompt[:-1]) for held in self._held]
        donor = int(np.argmax(common))
        if common[donor] <= common[slot]:
            return common[slot]
        self._slab.copy(donor, slot, common[donor])
        # What it held is gone, and it must not give to another what it does not hold.
        self._held[slot] = prompt[: common[donor]]
        return common[donor]

    def _read(self, starts: dict[int, int], prompts: list[np.ndarray]) -> dict[int, Tensor]:
        """Read prompts[slot][start:]; gives the hidden state after each slot's last token."""
        hidden: dict[int, Tensor] = {}
        new = {slot: len(prompts[slot]) - start for slot, start in starts.items()}
        for slots in _batches(new, {slot: len(prompts[slot]) for slot in starts}):
            for slot in slots:  # from here on the slot holds no more than this
                self._held[slot] = prompts[slot][: starts[slot]]
            pieces = [prompts[slot][starts[slot] :] for slot in slots]
            hidden |= self._read_batch(slots, [starts[slot] for slot in slots], pieces)
        self.prefill_tokens += sum(new.values())
        return hidden

    def _read_batch(
        self, slots: list[int], starts: list[int], pieces: list[np.ndarray]
    ) -> dict[int, Tensor]:
        width = max(len(piece) for piece in pieces)
        ids = np.zeros((len(slots), width), np.int64)
        for row, piece in enumerate(pieces):
            ids[row, : len(piece)] = piece
        first, lengths = np.array(starts)[:, None], np.array([len(piece) for piece in pieces])
        self._slab.reserve(len(self._held), int(first.max()) + width)
        column = first + np.arange(width)
        # Padding is written behind the conversation, where the next token will overwrite it.
        place = torch.as_tensor(np.array(slots)[:, None] * self._slab.columns + column)
        position = np.minimum(column, first + lengths[:, None] - 1)
        span = min(_rounded(int((first[:, 0] + lengths).max())), self._slab.columns)
        seen = torch.arange(span) <= torch.as_tensor(position)[:, :, None]
        mask = self._hidden_columns(seen.shape).masked_fill_(seen.to(self._device), 0.0)
        together = slots == list(range(slots[0], slots[0] + len(slots)))
        self._slab.window = Window(
            slice(slots[0], slots[-1] + 1)
            if together
            else torch.as_tensor(slots, device=self._device),
            place.flatten().to(self._device),
            span,
        )
        states = self._forward(self._tensor(ids), mask[:, None], self._tensor(position))
        last = states[torch.arange(len(slots)), torch.as_tensor(lengths - 1)]
        return dict(zip(slots, last, strict=True))

    def _start_decoding(self, lengths: list[int]) -> None:
        self._length = np.array(lengths)
        self._column = self._tensor(self._length)
        self._base = torch.arange(len(lengths), device=self._device) * self._slab.columns
        self._mask = self._hidden_columns((len(lengths), self._slab.columns))
        seen = torch.arange(self._slab.columns, device=self._device) < self._column[:, None]
        self._mask.masked_fill_(seen, 0.0)

    def _forward(self, ids: Tensor, mask: Tensor, position: Tensor) -> Tensor:
        return self._trunk(
            input_ids=ids,
            attention_mask=mask,
            position_ids=position,
            past_key_values=self._slab,
            use_cache=True,
        ).last_hidden_state

    def _hidden_columns(self, shape: Sequence[int]) -> Tensor:
        lowest = torch.finfo(self._dtype).min
        return torch.full(tuple(shape), lowest, dtype=self._dtype, device=self._device)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device, copy=True)


class FreshCache:
    """Each call reads its prompts whole, left-padded, into the model's own kind of cache."""

    def __init__(self, trunk: nn.Module, config: Any) -> None:
        accepted = inspect.signature(trunk.forward).parameters
        if "past_key_values" not in accepted:
            raise ValueError(
                f"{type(trunk).__name__} takes no `past_key_values`: no sampler for it"
            )
        self.prefill_tokens = 0
        self._trunk, self._config = trunk, config
        self._takes_positions = "position_ids" in accepted
        self._device = next(trunk.parameters()).device

    def open(
        self, keys: Sequence[Hashable], prompts: Sequence[np.ndarray], room: int
    ) -> tuple[np.ndarray, Tensor]:
        lengths = np.array([len(prompt) for prompt in prompts])
        width = int(lengths.max())
        ids = np.zeros((len(prompts), width), np.int64)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = prompt
        position = np.arange(width) - (width - lengths)[:, None]
        self._mask = torch.as_tensor(position >= 0, device=self._device).long()
        self._cache = DynamicCache(config=self._config)
        self._next = torch.as_tensor(lengths, device=self._device)
        self.prefill_tokens += int(lengths.sum())
        ids_tensor = torch.as_tensor(ids, device=self._device)
        hidden = self._forward(ids_tensor, torch.as_tensor(position.clip(0), device=self._device))
        return np.arange(len(prompts)), hidden

    def advance(self, tokens: Tensor) -> Tensor:
        self._mask = torch.cat([self._mask, torch.ones_like(self._mask[:, :1])], 1)
        hidden = self._forward(tokens[:, None], self._next[:, None])
        self._next = self._next + 1
        return hidden

    def keep(self, alive: np.ndarray) -> np.ndarray:
        order = np.flatnonzero(alive)
        rows = torch.as_tensor(order, device=self._device)
        self._mask, self._next = self._mask[rows], self._next[rows]
        self._cache.reorder_cache(rows)  # type: ignore[arg-type]  # annotated as LongTensor
        return order

    def close(self, sampled: Sequence[np.ndarray]) -> None:
        self.forget()

    def forget(self) -> None:
        self._cache = DynamicCache(config=self._config)

    def _forward(self, ids: Tensor, position: Tensor) -> Tensor:
        places = {"position_ids": position} if self._takes_positions else {}
        out = self._trunk(
            input_ids=ids,
            attention_mask=self._mask,
            past_key_values=self._cache,
            use_cache=True,
            **places,
        )
        return out.last_hidden_state[:, -1]


def _refuse_other_than_plain_attention(trunk: nn.Module, config: Any) -> None:
    name = type(trunk).__name__
    remedy = 'set the sampler\'s cache = "none" to read each prompt again every turn'
    odd = {type(layer).__name__ for layer in DynamicCache(config=config).layers} - {
        DynamicLayer.__name__
    }
    if odd:
        raise ValueError(f"{name} keeps {', '.join(sorted(odd))}, not plain attention: {remedy}")
    accepted = inspect.signature(trunk.forward).parameters
    missing = {"past_key_values", "position_ids", "attention_mask"} - set(accepted)
    if missing:
        raise ValueError(f"{name} takes no {', '.join(sorted(missing))}: {remedy}")
    attention = config._attn_implementation
    if attention not in ("sdpa", "eager"):
        raise ValueError(
            f'a kept cache brings its own masks, which attention = "{attention}" does not read: '
            f'set attention = "sdpa" or "eager", or {remedy}'
        )


def _common(one: np.ndarray, other: np.ndarray) -> int:
    """Tokens at the beginning that two sequences share."""
    both = min(len(one), len(other))
    differ = one[:both] != other[:both]
    return int(differ.argmax()) if differ.any() else both


def _batches(new: dict[int, int], length: dict[int, int]) -> list[list[int]]:
    """Slots to read together, in slot order: alike in how much is new, within the limits."""
    batches: list[list[int]] = []
    batch: list[int] = []
    real = 0
    for slot in sorted(new, key=lambda slot: (new[slot], slot)):
        padded = (len(batch) + 1) * new[slot]
        longest = max(length[slot] for slot in [*batch, slot])
        wasteful = padded > 1.5 * (real + new[slot]) + 256
        if batch and (wasteful or padded > _READ_TOKENS or padded * longest > _READ_SCORES):
            batches.append(sorted(batch))
            batch, real = [], 0
        batch.append(slot)
        real += new[slot]
    return [*batches, sorted(batch)] if batch else batches


def _rounded(columns: int) -> int:
    return -(-columns // _ALIGN) * _ALIGN
