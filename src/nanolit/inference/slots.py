"""`prefill` and `decode`: from tokens to the logits of what follows, over a cache that is an argument. And the slots of
the engine, in which rows come, go and grow: one memory for a network of ours, a cache for each row for a foreign one.

B rows   T new tokens   V vocabulary
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from nanolit.inference.fixed import FixedPasses
from nanolit.inference.params import MAX_GUESSES, Decoding
from nanolit.inference.weights import is_packed
from nanolit.models.gpt import GPT
from nanolit.models.kv_cache import PAD, SlotRows, bytes_per_row
from nanolit.models.network import Cache, Network


def prefill(model: Network, ids: Tensor, cache: Cache | None = None) -> Tensor:
    """Logits (B,V) of the token that follows `ids` (B,T); the cache, if given, takes the ids in."""
    # Not model(...): a compiled model would be compiled anew for each length of text.
    return model.forward(ids, cache=cache, last_only=True)[:, -1]


def decode(model: Network, ids: Tensor, cache: Cache) -> Tensor:
    """Logits (B,V) of the token after `ids` (B,), the one new token of each row."""
    return prefill(model, ids[:, None], cache)


class Slots(Protocol):
    max_len: int  # the most tokens of a slot
    tokens: list[list[int]]  # what each slot has taken in
    can_be_cut: bool  # may a row go back to any earlier place?

    def feed(self, rows: Sequence[int], tokens: Sequence[Sequence[int]], every: bool = False) -> Tensor:
        """Row rows[b] takes tokens[b] in. Logits after its last one (B,V), or with `every` after each (B,T,V); what
        stands there for rows with fewer tokens means nothing."""

    def keep(self, counts: Sequence[int]) -> None:
        """Of what was fed last, each row keeps only so many tokens."""

    def cut(self, slot: int, n: int) -> None: ...

    def copy(self, source: int, target: int, n: int) -> None: ...

    def swap(self, a: int, b: int) -> None: ...


def make_slots(model: Network, n_slots: int, max_len: int, decoding: Decoding = "eager", n_guesses: int = 0) -> Slots:
    """`decoding` other than eager: how passes of up to 1 + n_guesses tokens are made (fixed.py)."""
    if not isinstance(model, GPT):
        if decoding != "eager":
            raise ValueError(f"decoding: got {decoding}, but a network of others is computed as it comes; give eager")
        return SeparateSlots(model, n_slots, max_len)
    slots = BatchedSlots(model, n_slots, max_len)
    is_cpu = model.token_embedding.weight.device.type == "cpu"
    if decoding == "graphs" and is_cpu:
        raise ValueError("decoding: got graphs, which need a CUDA device; give eager")
    if decoding == "compile" and is_cpu and is_packed(model):
        raise ValueError("decoding: got compile, which cannot read weights laid out for the CPU; give weights=stored")
    if decoding != "eager":
        slots.fixed = FixedPasses(model, slots.cache, decoding, n_guesses)
    return slots


def slot_bytes(model: Network, max_len: int) -> int:
    """What one slot takes; of a foreign network an estimate."""
    return bytes_per_row(model.config, max_len, next(iter(model.parameters())).dtype)


class BatchedSlots:
    """All rows in one pass of the model."""

    assert MAX_GUESSES < PAD, "a guess may go on beyond the end of a text"

    def __init__(self, model: GPT, n_slots: int, max_len: int) -> None:
        self.model, self.max_len = model, max_len
        self.cache = model.new_slots(n_slots, max_len)
        self.tokens, self.can_be_cut = self.cache.tokens, self.cache.can_be_cut
        self.cut, self.copy, self.swap = self.cache.cut, self.cache.copy, self.cache.swap
        self.fixed: FixedPasses | None = None
        self._last: SlotRows | None = None

    # 5 to 10 % faster than no_grad for a small model on a CPU. Not for networks of others, which may keep what they
    # make in a pass: training could not go on with such tensors.
    @torch.inference_mode()
    def feed(self, rows: Sequence[int], tokens: Sequence[Sequence[int]], every: bool = False) -> Tensor:
        if self.fixed is not None and list(rows) == list(range(len(rows))) and self.fixed.fits(tokens, every):
            self._last, logits = self.fixed.take(tokens)
            self._last.keep(self._last.counts)
            return logits if every else logits[:, -1]
        self._last = SlotRows(self.cache, rows, tokens)
        logits = self.model.forward(self._last.ids, cache=self._last, last_only=not every)
        return logits if every else logits[:, -1]

    def keep(self, counts: Sequence[int]) -> None:
        assert self._last is not None
        self._last.keep(counts)


class SeparateSlots:
    """Each row has a cache of its own and is computed alone: all that a foreign network's cache allows."""

    can_be_cut = False

    def __init__(self, model: Network, n_slots: int, max_len: int) -> None:
        self.model, self.max_len = model, max_len
        self.tokens: list[list[int]] = [[] for _ in range(n_slots)]
        self.caches: list[Cache | None] = [None] * n_slots
        self.device = next(iter(model.parameters())).device

    def feed(self, rows: Sequence[int], tokens: Sequence[Sequence[int]], every: bool = False) -> Tensor:
        assert not every, "only slots that can be cut are asked for more than the last"
        found = [self._feed_one(row, new) if new else None for row, new in zip(rows, tokens, strict=True)]
        some = next(logits for logits in found if logits is not None)
        return torch.stack([torch.zeros_like(some) if logits is None else logits for logits in found])

    def _feed_one(self, row: int, new: Sequence[int]) -> Tensor:
        if self.caches[row] is None:
            self.caches[row] = self.model.new_cache(1, self.max_len)
        self.tokens[row] += new
        return prefill(self.model, torch.tensor([list(new)], device=self.device), self.caches[row])[0]

    def keep(self, counts: Sequence[int]) -> None:
        raise AssertionError("only slots that can be cut go back")

    def cut(self, slot: int, n: int) -> None:
        assert n in (0, len(self.tokens[slot]))
        if n == 0:
            self.tokens[slot], self.caches[slot] = [], None

    def copy(self, source: int, target: int, n: int) -> None:
        cache = self.caches[source]
        assert n == len(self.tokens[source]) and cache is not None
        self.tokens[target], self.caches[target] = list(self.tokens[source]), cache.repeat(1)

    def swap(self, a: int, b: int) -> None:
        self.tokens[a], self.tokens[b] = self.tokens[b], self.tokens[a]
        self.caches[a], self.caches[b] = self.caches[b], self.caches[a]
