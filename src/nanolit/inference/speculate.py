"""Guesses of what a row will say next, which the model checks in one pass. What is drawn stays the same: each place is
drawn from the model's own distribution with the row's own random number, and a guess only decides whether the place
after it has been computed already. Not a sampler: no guess is ever said that the model would not have said.
"""

from collections.abc import Sequence
from typing import Protocol

import torch

from nanolit.inference.slots import make_slots
from nanolit.models.gpt import GPT

N_GRAM = 3  # tokens that must have stood in the text before, for what followed them to be a guess


class Drafter(Protocol):
    def propose(self, rows: Sequence[int], texts: Sequence[list[int]], n: int) -> list[list[int]]:
        """For the row in each slot, whose text so far is given, up to n tokens that may follow."""

    def swap(self, a: int, b: int) -> None:
        """Two slots of the engine have exchanged their rows."""


class NGramDrafter:
    """Lookup: what followed the last time when the last tokens stood there. It costs nothing and needs no model; it
    guesses well where a text repeats itself or its prompt.
    """

    def propose(self, rows: Sequence[int], texts: Sequence[list[int]], n: int) -> list[list[int]]:
        return [follow_up(text, n) for text in texts]

    def swap(self, a: int, b: int) -> None:
        pass


def follow_up(text: Sequence[int], n: int) -> list[int]:
    """The up to n tokens that followed the latest earlier occurrence of the text's last N_GRAM tokens."""
    if len(text) <= N_GRAM:
        return []
    last, key = text[-1], list(text[-N_GRAM:])
    for end in range(len(text) - 2, N_GRAM - 2, -1):
        if text[end] == last and list(text[end - N_GRAM + 1 : end + 1]) == key:
            return list(text[end + 1 : end + 1 + n])
    return []


class ModelDrafter:
    """A smaller model of the same vocabulary guesses its likeliest tokens. Its cache follows the engine's slots."""

    def __init__(self, model: GPT, n_slots: int, max_len: int) -> None:
        self.slots = make_slots(model, n_slots, min(max_len, model.config.block_size))
        if not self.slots.can_be_cut:
            raise ValueError("draft: this model cannot take a guess back (model.smear); give one without")

    @torch.no_grad()
    def propose(self, rows: Sequence[int], texts: Sequence[list[int]], n: int) -> list[list[int]]:
        guesses: list[list[int]] = [[] for _ in rows]
        open_rows = [b for b, text in enumerate(texts) if len(text) + n <= self.slots.max_len]
        fed = {b: self._news(rows[b], texts[b]) for b in open_rows}
        for b in [b for b in open_rows if len(fed[b]) > 1]:  # it catches up, row by row as lengths differ
            self.slots.feed([rows[b]], [fed[b][:-1]])
            fed[b] = fed[b][-1:]
        for _ in range(n if open_rows else 0):
            logits = self.slots.feed([rows[b] for b in open_rows], [fed[b] for b in open_rows])  # (B, V)
            for b, token in zip(open_rows, logits.argmax(dim=-1).tolist(), strict=True):
                guesses[b].append(token)
                fed[b] = [token]
        return guesses

    def _news(self, slot: int, text: list[int]) -> list[int]:
        """What the slot has not seen of `text`, at least its last token."""
        known = self.slots.tokens[slot]
        n = min(len(known), len(text) - 1)
        if known[:n] != text[:n]:
            n = next(i for i in range(n) if known[i] != text[i])
        self.slots.cut(slot, n)
        return list(text[n:])

    def swap(self, a: int, b: int) -> None:
        self.slots.swap(a, b)
