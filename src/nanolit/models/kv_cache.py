"""Keys and values of the tokens already seen, so that decoding computes only the new ones.

The cache is an explicit argument of `GPT.forward`; the model keeps no state of its own, and indexes its tables with
what `positions` returns. `KVCache` is for rows that stand at one position, `SlotCache` for rows that come, go and grow
as they like: one pass over some of them is a `SlotRows`, and that is what the model is given.

L layers   B rows of a pass   N slots   K key-value heads   M capacity   T new tokens   S tokens seen   D head width
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nanolit.models.config import GPTConfig

PAD = 16  # columns beyond the longest text of a slot, for rows that are shorter than the widest of an uneven pass


def bytes_per_row(config: GPTConfig, max_len: int, dtype: torch.dtype) -> int:
    return 2 * config.n_layer * config.n_kv_heads * (max_len + PAD) * config.head_dim * dtype.itemsize


def _check_length(config: GPTConfig, max_len: int) -> None:
    if max_len > config.block_size:
        raise ValueError(f"cache of {max_len} tokens: the model sees at most block_size={config.block_size}")


class KVCache:
    """Rows that all stand at one position."""

    def __init__(
        self,
        config: GPTConfig,
        batch: int,
        max_len: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        _check_length(config, max_len)
        shape = (config.n_layer, batch, config.n_kv_heads, max_len, config.head_dim)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)  # (L, B, K, M, D)
        self.values = torch.zeros_like(self.keys)  # (L, B, K, M, D)
        self.last_ids = torch.zeros(batch, 1, device=device, dtype=torch.long)  # before the next ones, for bigrams
        self.last_embedding: Tensor | None = None  # (B, 1, C) of that token, for smear
        self.length = 0

    @property
    def capacity(self) -> int:
        return self.keys.size(3)

    def positions(self, T: int) -> slice:
        """Where the next T tokens stand."""
        if self.length + T > self.capacity:
            raise ValueError(f"cache holds {self.length} of {self.capacity} tokens; {T} more do not fit")
        return slice(self.length, self.length + T)

    def seen(self, T: int) -> int:
        """How many keys a pass of T tokens looks at."""
        return self.length + T

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new k and v (B,K,T,D) of one layer; give back all so far, (B,K,S,D) each, without gradients."""
        at = self.positions(k.size(2))
        keys, values = self.keys[layer], self.values[layer]  # (B, K, M, D)
        keys[:, :, at], values[:, :, at] = k.detach(), v.detach()
        return keys[:, :, : at.stop], values[:, :, : at.stop]

    def remember(self, x: Tensor) -> None:
        """The embeddings (B,T,C) of this pass, of which smear wants the last in the next one."""
        self.last_embedding = x[:, -1:]  # (B, 1, C)

    def last(self, x: Tensor) -> Tensor:
        """Each row's last position (B,1,C) of x (B,T,C)."""
        return x[:, -1:]

    def advance(self, ids: Tensor) -> None:
        """All layers have stored the tokens `ids` (B,T)."""
        self.length += ids.size(1)
        self.last_ids = ids[:, -1:]

    def repeat(self, n: int) -> KVCache:
        """A cache of n equal rows from a cache of one: a shared prompt is computed once."""
        assert self.keys.size(1) == 1, "only a cache of one row can be repeated"
        other = object.__new__(KVCache)
        other.keys, other.values = self.keys.repeat(1, n, 1, 1, 1), self.values.repeat(1, n, 1, 1, 1)
        other.last_ids, other.length = self.last_ids.repeat(n, 1), self.length
        other.last_embedding = None if self.last_embedding is None else self.last_embedding.repeat(n, 1, 1)
        return other


class SlotCache:
    """N slots of memory, reserved once; each holds a row, its tokens known to the host, so that nothing waits."""

    def __init__(
        self,
        config: GPTConfig,
        n_slots: int,
        max_len: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        _check_length(config, max_len)
        self.max_len, self.block_size, self.device = max_len, config.block_size, device
        shape = (config.n_layer, n_slots, config.n_kv_heads, max_len + PAD, config.head_dim)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)  # (L, N, K, M, D)
        self.values = torch.zeros_like(self.keys)  # (L, N, K, M, D)
        self.tokens: list[list[int]] = [[] for _ in range(n_slots)]  # whose keys and values are there
        # Of each slot's last token, for smear; with it a row cannot be cut at another place than where a pass ended.
        self.last_embedding = (
            torch.zeros(n_slots, 1, config.n_embd, device=device, dtype=dtype) if config.smear else None
        )

    @property
    def can_be_cut(self) -> bool:
        return self.last_embedding is None

    def cut(self, slot: int, n: int) -> None:
        """The slot keeps its first n tokens."""
        assert self.can_be_cut or n in (0, len(self.tokens[slot]))
        del self.tokens[slot][n:]
        if n == 0 and self.last_embedding is not None:
            self.last_embedding[slot] = 0

    def copy(self, source: int, target: int, n: int) -> None:
        """The target becomes the first n tokens of the source."""
        assert self.can_be_cut or n == len(self.tokens[source])
        for table in (self.keys, self.values):
            table[:, target, :, :n] = table[:, source, :, :n]
        if self.last_embedding is not None:
            self.last_embedding[target] = self.last_embedding[source]
        self.tokens[target] = self.tokens[source][:n]

    def swap(self, a: int, b: int) -> None:
        n = max(len(self.tokens[a]), len(self.tokens[b]))
        for table in (self.keys, self.values):
            kept = table[:, a, :, :n].clone()
            table[:, a, :, :n] = table[:, b, :, :n]
            table[:, b, :, :n] = kept
        if self.last_embedding is not None:
            self.last_embedding[[a, b]] = self.last_embedding[[b, a]]
        self.tokens[a], self.tokens[b] = self.tokens[b], self.tokens[a]


class SlotRows:
    """One pass over some slots: row b takes `tokens[b]` in, and a row without tokens only lends its place."""

    def __init__(self, slots: SlotCache, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> None:
        self.slots, self.rows, self.counts = slots, rows, [len(row) for row in tokens]
        self.starts, T = [len(slots.tokens[row]) for row in rows], max(self.counts)
        self.new_tokens = tokens
        device = slots.device
        self.ids = torch.tensor([[*row, *[0] * (T - len(row))] for row in tokens], device=device)  # (B, T)
        is_block = list(rows) == list(range(rows[0], rows[0] + len(rows)))
        self.where: slice | Tensor = (
            slice(rows[0], rows[0] + len(rows)) if is_block else torch.tensor(rows, device=device)
        )
        # Rows of one length in one block are views of the cache and need no mask.
        self.is_even = is_block and len(set(self.starts)) == 1 and set(self.counts) == {T}
        width = slots.keys.size(3) if T <= PAD else slots.max_len
        assert all(start + T <= width for start in self.starts), f"{T} tokens more do not fit after {self.starts}"
        self.length = max(start + count for start, count in zip(self.starts, self.counts, strict=True))
        self.embeddings: Tensor | None = None
        S = self.length
        self.keys = slots.keys[:, :, :, :S][:, self.where].unbind() if self.is_even else ()  # L times (B, K, S, D)
        self.values = slots.values[:, :, :, :S][:, self.where].unbind() if self.is_even else ()
        if not self.is_even:
            starts = torch.tensor(self.starts, device=device)[:, None]  # (B, 1)
            self.at = starts + torch.arange(T, device=device)  # (B, T)
            self.index = torch.tensor(rows, device=device)[:, None]  # (B, 1)

    def positions(self, T: int) -> slice | Tensor:
        """Where the next T tokens stand; an index for each row (B,T) if they stand at different places."""
        if self.is_even:
            return slice(self.starts[0], self.starts[0] + T)
        return self.at.clamp(max=self.slots.block_size - 1)  # what is only there for the width may stand beyond

    def seen(self, T: int) -> int:
        return self.length

    @property
    def last_ids(self) -> Tensor:
        before = [tokens[-1] if tokens else 0 for tokens in (self.slots.tokens[row] for row in self.rows)]
        return torch.tensor(before, device=self.slots.device)[:, None]  # (B, 1)

    @property
    def last_embedding(self) -> Tensor | None:
        return None if self.slots.last_embedding is None else self.slots.last_embedding[self.where]  # (B, 1, C)

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """As KVCache's."""
        S, T = self.length, k.size(2)
        if self.is_even:
            keys, values = self.keys[layer], self.values[layer]
            keys.narrow(2, S - T, T).copy_(k)
            values.narrow(2, S - T, T).copy_(v)
            return keys, values
        keys, values = self.slots.keys[layer], self.slots.values[layer]  # (N, K, M, D)
        # Under autocast what comes may be of another type than the weights, and so the memory, are.
        keys[self.index, :, self.at] = k.transpose(1, 2).to(keys.dtype)  # (B, T, K, D)
        values[self.index, :, self.at] = v.transpose(1, 2).to(values.dtype)
        return keys[:, :, :S][self.where], values[:, :, :S][self.where]

    def remember(self, x: Tensor) -> None:
        self.embeddings = x

    def last(self, x: Tensor) -> Tensor:
        if self.is_even or x.size(1) == 1:
            return x[:, -1:]
        ends = torch.tensor([max(count - 1, 0) for count in self.counts], device=x.device)
        return x[torch.arange(len(ends), device=x.device), ends][:, None]  # (B, 1, C)

    def advance(self, ids: Tensor) -> None:
        self.keep(self.counts)

    def keep(self, counts: Sequence[int]) -> None:
        """Of the tokens of this pass each row keeps only so many, from the first on."""
        for b, (row, start, n) in enumerate(zip(self.rows, self.starts, counts, strict=True)):
            self.slots.tokens[row][start:] = self.new_tokens[b][:n]
            if self.embeddings is not None and self.slots.last_embedding is not None and n:
                self.slots.last_embedding[row] = self.embeddings[b, n - 1]
