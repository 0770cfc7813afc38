"""The documents of a split, one by one and whole, though they may go from one shard into the next; rows for training
are cut elsewhere (`windows`, `packing`).
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np

from nanolit.data.shards import Shard

PART_TOKENS = 1 << 22  # read at once, so that no document is too long


class Documents:
    """Numbered from 0. A split that does not say where its documents begin is one document."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = [shard for shard in shards if len(shard.tokens)]
        ends = list(accumulate(len(shard.tokens) for shard in self._shards))
        self._offsets = [0, *ends][: len(ends)]  # of each shard in the stream of all
        self.n_tokens = ends[-1] if ends else 0
        self.are_known = any(len(shard.starts) for shard in self._shards)
        begins = [np.zeros(0, dtype=np.int64)]
        begins += [shard.starts.astype(np.int64) + at for at, shard in zip(self._offsets, self._shards, strict=True)]
        bounds = np.concatenate([*begins, [self.n_tokens]])
        is_begun = self.n_tokens > 0 and bounds[0] > 0  # what stands before the first beginning is a document too
        self._bounds = np.concatenate([[0], bounds]) if is_begun else bounds

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @property
    def lengths(self) -> np.ndarray:
        """In tokens, those that tell documents apart included, (documents,) int64; no token is read for it."""
        return np.diff(self._bounds)

    def parts(self, number: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """One document in portions: its ids, and which of them are to be predicted (None: all)."""
        start, stop = int(self._bounds[number]), int(self._bounds[number + 1])
        for offset, shard in zip(self._offsets, self._shards, strict=True):
            first, last = max(start - offset, 0), min(stop - offset, len(shard.tokens))
            for at in range(first, last, PART_TOKENS):
                end = min(at + PART_TOKENS, last)
                yield shard.tokens[at:end], shard.supervised_slice(at, end)

    def head(self, number: int, n_tokens: int | None) -> tuple[np.ndarray, np.ndarray]:
        """The first tokens of a document, or all, and which of them are to be predicted."""
        ids, supervised = [np.zeros(0, dtype=np.uint16)], [np.zeros(0, dtype=bool)]
        left = int(self._bounds[number + 1] - self._bounds[number]) if n_tokens is None else n_tokens
        for part, mask in self.parts(number):
            if left <= 0:
                break
            ids.append(part[:left])
            supervised.append(np.ones(len(ids[-1]), dtype=bool) if mask is None else mask[:left])
            left -= len(ids[-1])
        return np.concatenate(ids), np.concatenate(supervised)
