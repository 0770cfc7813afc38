"""Rows that are windows of the stream; which one comes when is `order`'s business.

The shards of a split are one stream: a window may go from one shard into the next (and from one document into the
next), so that results do not depend on how the split was cut into files.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np

from nanolit.data.serving.rows import IGNORE, Delimiter, has_loss_mask, require_documents
from nanolit.data.shards import Shard


class TokenWindows:
    """Window k is inputs [k*stride, k*stride + block_size) and as targets the same moved on by one.

    `stride=1` gives every offset (nanoGPT), `stride=block_size` predicts every token once. With `pad_last` the rest
    after the last full window is one more, filled up with targets of IGNORE: what evaluation needs to miss no token.

    With `mask_documents` a window says which document each input belongs to. Then the first token of a document is no
    target, unless it is the delimiter: nothing that is seen tells it.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        block_size: int,
        stride: int | None = None,
        *,
        pad_last: bool = False,
        mask_documents: bool = False,
        delimiter: Delimiter | None = None,
        name: str = "the data",
    ) -> None:
        self.block_size = block_size
        self.stride = block_size if stride is None else stride
        assert block_size >= 1 and self.stride >= 1 and (not pad_last or self.stride <= block_size)
        self.mask_documents, self.delimiter = mask_documents, delimiter
        self._shards = [shard for shard in shards if len(shard.tokens)]
        self._ends = list(accumulate(len(shard.tokens) for shard in self._shards))
        self.n_tokens = self._ends[-1] if self._ends else 0
        if self.n_tokens < block_size + 1:
            raise ValueError(
                f"{name} has {self.n_tokens} tokens, but model.block_size={block_size} needs at least "
                f"{block_size + 1}; give more text or a smaller model.block_size"
            )
        if mask_documents:
            require_documents(self._shards, "data.loader.mask_documents: got true", name)
        self._dtype = np.result_type(*(shard.tokens.dtype for shard in self._shards))
        beyond_first = self.n_tokens - 1 - block_size
        self._n_windows = 1 + (-(-beyond_first // self.stride) if pad_last else beyond_first // self.stride)
        is_padded = (self._n_windows - 1) * self.stride > beyond_first
        drops_first = mask_documents and delimiter is None
        all_count = not is_padded and not drops_first and not has_loss_mask(self._shards)
        self.row_targets = block_size if all_count else None

    def __len__(self) -> int:
        return self._n_windows

    def take(self, indices: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        starts = [int(k) * self.stride for k in indices]
        rows = np.zeros((len(starts), self.block_size + 1), dtype=self._dtype)  # (B, T + 1)
        for row, start in zip(rows, starts, strict=True):
            self._read(row, start)
        batch = {"inputs": rows[:, :-1].astype(np.int64), "targets": rows[:, 1:].astype(np.int64)}  # (B, T), (B, T)
        if self.row_targets is None:
            for targets, start in zip(batch["targets"], starts, strict=True):
                targets[~self._predicted(start)] = IGNORE
        if self.mask_documents:
            begins = np.zeros_like(batch["inputs"])  # (B, T), 1 where a document begins after the window has
            for row, start in zip(begins, starts, strict=True):
                row[1:][self._beginnings(start + 1, self.block_size - 1)] = 1
            batch["documents"] = begins.cumsum(axis=1)
        return batch

    def n_targets(self, indices: Sequence[int] | np.ndarray) -> int:
        if self.row_targets is not None:
            return len(indices) * self.row_targets
        return sum(int(np.count_nonzero(self._predicted(int(k) * self.stride))) for k in indices)

    def waste(self) -> str:
        T, n = self.block_size, len(self)
        served = n * T if self.stride >= T else (n - 1) * self.stride + T
        padding = max(0, (n - 1) * self.stride + T - (self.n_tokens - 1))
        dropped = self.n_tokens - 1 - (served - padding)
        return (
            f"packing stream: {self.n_tokens:,} tokens in {n:,} rows of {T}; {padding / (n * T):.1%} padding, "
            f"{dropped / (self.n_tokens - 1):.1%} of tokens dropped"
        )

    def _read(self, row: np.ndarray, start: int) -> None:
        """Fills `row` with the stream from `start` on."""
        number = bisect_right(self._ends, start)
        tokens = self._shards[number].tokens
        offset = start - self._ends[number] + len(tokens)
        if offset + len(row) <= len(tokens):  # all but a few: twice as fast as the general way
            row[:] = tokens[offset : offset + len(row)]
            return
        for at, shard, lo, hi in self._parts(start, len(row)):
            row[at : at + hi - lo] = shard.tokens[lo:hi]

    def _predicted(self, start: int) -> np.ndarray:
        """Which targets of the window there are to be predicted, (T,)."""
        predicted = np.zeros(self.block_size, dtype=bool)
        for at, shard, lo, hi in self._parts(start + 1, self.block_size):
            mask = shard.supervised_slice(lo, hi)
            predicted[at : at + hi - lo] = True if mask is None else mask
        if self.mask_documents and self.delimiter is None:
            predicted[self._beginnings(start + 1, self.block_size)] = False
        return predicted

    def _beginnings(self, start: int, length: int) -> np.ndarray:
        """Where documents begin in this part of the stream, counted from its start; a delimiter begins the next one."""
        found = [np.zeros(0, dtype=np.int64)]
        for at, shard, lo, hi in self._parts(start + (self.delimiter == "after"), length):
            # Numbers of its own type: with others numpy would convert the whole table.
            first, last = np.searchsorted(shard.starts, np.array((lo, hi), dtype=shard.starts.dtype))
            found.append(shard.starts[first:last].astype(np.int64) + (at - lo))
        return np.concatenate(found)

    def _parts(self, start: int, length: int) -> Iterator[tuple[int, Shard, int, int]]:
        """The stream from `start` on, less where it ends before, as (how far from there, shard, tokens from, to)."""
        begun, stop = start, min(start + length, self.n_tokens)
        number = bisect_right(self._ends, start)
        while start < stop:
            shard, end = self._shards[number], self._ends[number]
            offset = end - len(shard.tokens)
            yield start - begun, shard, start - offset, min(stop, end) - offset
            start, number = end, number + 1
