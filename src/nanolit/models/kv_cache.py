"""Keys and values of the tokens already seen, so that decoding computes only the new ones.

The cache is an explicit argument of `GPT.forward`; the model keeps no state of its own. All rows stand at one position.
The model only indexes its tables with what `positions` returns, so that may become an index per row, (B, T).

L layers   B batch   K key-value heads   M capacity   T new tokens   S tokens so far, with the new   D head width
"""

from __future__ import annotations

import torch
from torch import Tensor

from nanolit.models.config import GPTConfig


class KVCache:
    def __init__(
        self,
        config: GPTConfig,
        batch: int,
        max_len: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if max_len > config.block_size:
            raise ValueError(f"cache of {max_len} tokens: the model sees at most block_size={config.block_size}")
        shape = (config.n_layer, batch, config.n_kv_heads, max_len, config.head_dim)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)  # (L, B, K, M, D)
        self.values = torch.zeros_like(self.keys)  # (L, B, K, M, D)
        self.last_ids = torch.zeros(
            batch, 1, device=device, dtype=torch.long
        )  # the token before the next one, for bigrams
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

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new k and v (B,K,T,D) of one layer; give back all so far, (B,K,S,D) each, without gradients."""
        at = self.positions(k.size(2))
        keys, values = self.keys[layer], self.values[layer]  # (B, K, M, D)
        keys[:, :, at], values[:, :, at] = k.detach(), v.detach()
        return keys[:, :, : at.stop], values[:, :, : at.stop]

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
