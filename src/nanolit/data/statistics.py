"""Figures of a split: how long its documents are, which ids it uses, how much of it is to be predicted; no pictures."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nanolit.data.documents import PART_TOKENS
from nanolit.data.shards import Shard

PERCENTILES = {"min": 0, "p25": 25, "median": 50, "p75": 75, "p90": 90, "p99": 99, "max": 100}
CONTEXTS = (256, 512, 1024, 2048, 4096)  # tokens


def distribution(lengths: np.ndarray) -> dict[str, Any]:
    """A percentile is a length that occurs: the shortest that so many per cent of the documents do not exceed."""
    ordered = np.sort(lengths)
    n = len(ordered)
    assert n, "no documents"
    ranks = {name: max(-(-n * percent // 100), 1) - 1 for name, percent in PERCENTILES.items()}
    longer = {size: 1 - int(np.searchsorted(ordered, size, side="right")) / n for size in CONTEXTS}
    found = {name: int(ordered[rank]) for name, rank in ranks.items()}
    return found | {"mean": float(ordered.mean()), "longer_than": longer}


def n_supervised(shards: Sequence[Shard]) -> int:
    """How many tokens are to be predicted; one byte of mask says it for eight of them."""
    return sum(
        len(shard.tokens) if shard.mask is None else int(np.bitwise_count(shard.mask).sum(dtype=np.int64))
        for shard in shards
    )


def count_ids(shards: Sequence[Shard], vocab_size: int, tell: Callable[[int], None] = lambda n: None) -> np.ndarray:
    """How often each id occurs, (vocab_size,) int64. Reads every token, and tells how many it has read."""
    counts, n_read = np.zeros(vocab_size, dtype=np.int64), 0
    for shard in shards:
        for at in range(0, len(shard.tokens), PART_TOKENS):
            part = shard.tokens[at : at + PART_TOKENS]
            counts += np.bincount(part, minlength=vocab_size)
            tell(n_read := n_read + len(part))
    return counts
