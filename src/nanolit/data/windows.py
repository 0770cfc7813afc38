"""Rows of tokens for training and evaluation, cut out of shards; which row comes when is `order`'s business.

The shards of a split are one stream: a window may go from one shard into the next (and from one document into the
next), so that results do not depend on how the split was cut into files.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from nanolit.data.shards import Shard

IGNORE = -1  # the target of a position that predicts nothing


class TokenWindows:
    """Window k is inputs [k*stride, k*stride + block_size) and as targets the same moved on by one.

    `stride=1` gives every offset (nanoGPT), `stride=block_size` predicts every token once. With `pad_last` the rest
    after the last full window is one more, filled up with targets of IGNORE: what evaluation needs to miss no token.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        block_size: int,
        stride: int | None = None,
        *,
        pad_last: bool = False,
        name: str = "the data",
    ) -> None:
        self.block_size = block_size
        self.stride = block_size if stride is None else stride
        assert block_size >= 1 and self.stride >= 1
        self._tokens = [shard.tokens for shard in shards if len(shard.tokens)]
        self._ends = list(accumulate(map(len, self._tokens)))
        self.n_tokens = self._ends[-1] if self._ends else 0
        if self.n_tokens < block_size + 1:
            raise ValueError(
                f"{name} has {self.n_tokens} tokens, but model.block_size={block_size} needs at least "
                f"{block_size + 1}; give more text or a smaller model.block_size"
            )
        beyond_first = self.n_tokens - 1 - block_size
        self._n_windows = 1 + (-(-beyond_first // self.stride) if pad_last else beyond_first // self.stride)

    def __len__(self) -> int:
        return self._n_windows

    def take(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets, each (B, T) int64, of the windows `indices`."""
        n_row = self.block_size + 1
        rows = np.zeros((len(indices), n_row), dtype=np.int64)  # (B, T + 1)
        lengths = [self._fill(row, int(k) * self.stride) for row, k in zip(rows, indices, strict=True)]
        inputs, targets = rows[:, :-1].copy(), rows[:, 1:].copy()  # (B, T), (B, T)
        for row, length in enumerate(lengths):
            if length < n_row:
                targets[row, length - 1 :] = IGNORE
        return inputs, targets

    def _fill(self, row: np.ndarray, start: int) -> int:
        """Copies the stream from `start` into `row`, over shard borders; returns how many tokens there were."""
        shard = bisect_right(self._ends, start)
        tokens = self._tokens[shard]
        offset = start - self._ends[shard] + len(tokens)
        part = tokens[offset : offset + len(row)]
        filled = len(part)
        row[:filled] = part
        while filled < len(row) and shard + 1 < len(self._tokens):
            shard += 1
            part = self._tokens[shard][: len(row) - filled]
            row[filled : filled + len(part)] = part
            filled += len(part)
        return filled
