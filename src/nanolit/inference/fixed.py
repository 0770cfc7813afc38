"""Decoding passes whose shapes and addresses never change, so that a pass can be captured once and replayed: as a CUDA
graph, or compiled. A step of few tokens is mostly waiting for Python to start the next kernel; here nothing is started.

Each pass is over the first B slots, T tokens each, and looks at S places of every slot; the sizes are rounded up to a
few, because each combination is captured on its own.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nanolit.inference.params import Decoding
from nanolit.models.gpt import GPT
from nanolit.models.kv_cache import SlotCache, SlotRows

STEP = 256  # S is a multiple of it


class FixedRows(SlotRows):
    """A pass that can be filled anew. What its rows do not need is computed and means nothing."""

    def __init__(self, slots: SlotCache, B: int, T: int, S: int) -> None:
        self.slots, self.rows, self.where, self.length, self.is_even = slots, range(B), slice(0, B), S, False
        self.inputs = torch.zeros(B, 2 * T + 1, dtype=torch.long, device=slots.device)
        self.ids, self.at, self.before = self.inputs.split((T, T, 1), dim=1)
        self.index = torch.arange(B, device=slots.device)[:, None]  # (B, 1)
        self.embeddings = None

    def fill(self, tokens: Sequence[Sequence[int]]) -> None:
        """Row b takes tokens[b] in; rows beyond those given take nothing."""
        T = self.ids.size(1)
        self.new_tokens = [*tokens, *[[]] * (len(self.rows) - len(tokens))]
        self.counts = [len(row) for row in self.new_tokens]
        known = self.slots.tokens
        self.starts = [len(known[row]) for row in self.rows]
        lines = []
        for row, new, start in zip(self.rows, self.new_tokens, self.starts, strict=True):
            start = min(start, self.slots.keys.size(3) - T)  # of a row that takes nothing, and may be full
            before = known[row][-1] if known[row] else 0
            lines.append([*new, *[0] * (T - len(new)), *range(start, start + T), before])
        self.inputs.copy_(torch.tensor(lines), non_blocking=True)

    @property
    def last_ids(self) -> Tensor:
        return self.before

    def last(self, x: Tensor) -> Tensor:
        assert x.size(1) == 1
        return x

    def advance(self, ids: Tensor) -> None:
        """Told by `keep`, outside of what is captured."""

    def keep(self, counts: Sequence[int]) -> None:
        super().keep([*counts, *[0] * (len(self.rows) - len(counts))])


class FixedPasses:
    """`how`: "graphs" captures CUDA graphs, "compile" has each pass compiled."""

    def __init__(self, model: GPT, cache: SlotCache, how: Decoding, n_guesses: int) -> None:
        self.model, self.cache, self.widest = model, cache, 1 + n_guesses
        self.run = torch.compile(self._forward, dynamic=False) if how == "compile" else self._forward
        self.is_captured = how == "graphs"
        self.passes: dict[tuple[int, int, int], tuple[FixedRows, Callable[[], Tensor]]] = {}

    def fits(self, tokens: Sequence[Sequence[int]], every: bool) -> bool:
        """Is it a pass of decoding? Prompts come in too many lengths."""
        return max(map(len, tokens)) <= (self.widest if every else 1)

    def take(self, tokens: Sequence[Sequence[int]]) -> tuple[FixedRows, Tensor]:
        """Slot b takes tokens[b] in; the pass, to be told what is kept, and logits (B,T,V) for these slots."""
        n_new = max(len(row) for row in tokens)
        T = 1 if n_new == 1 else self.widest
        B = min(1 << (len(tokens) - 1).bit_length(), len(self.cache.tokens))
        longest = max(len(known) for known in self.cache.tokens[: len(tokens)]) + T
        S = min(-(-longest // STEP) * STEP, self.cache.keys.size(3))
        if (B, T, S) not in self.passes:
            rows = FixedRows(self.cache, B, T, S)
            rows.fill(tokens)
            self.passes[B, T, S] = rows, self._captured(rows) if self.is_captured else lambda: self.run(rows)
        rows, run = self.passes[B, T, S]
        rows.fill(tokens)
        return rows, run()[: len(tokens), :n_new]

    def _forward(self, rows: FixedRows) -> Tensor:
        return self.model.forward(rows.ids, cache=rows)

    def _captured(self, rows: FixedRows) -> Callable[[], Tensor]:
        """As torch asks for it: some passes beforehand, on another stream, so that all that is lazy is there."""
        beside = torch.cuda.Stream(self.cache.device)
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(3):
                self._forward(rows)
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # another worker may be busy elsewhere
            logits = self._forward(rows)

        def replay() -> Tensor:
            graph.replay()
            return logits

        return replay
