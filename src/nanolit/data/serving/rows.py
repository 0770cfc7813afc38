"""What training and evaluation take tokens in: rows of one length, whoever cuts them (`windows`, `packing`); no order,
no batches.

B batch   T tokens of a row (block_size)
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from nanolit.data.shards import Shard

IGNORE = -1  # the target of a position that predicts nothing

# Where the token stands that tells documents apart: before each (nanochat's <|bos|>) or after each (GPT-2's
# <|endoftext|>). One that stands after a document is served as the first token of the next: a document's first word is
# then predicted from it, as when text is generated. Either way the last word of a document predicts it.
Delimiter = Literal["before", "after"]


class Rows(Protocol):
    block_size: int
    row_targets: int | None  # how many targets every row has; None: not all as many

    def __len__(self) -> int: ...

    def take(self, indices: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """The rows `indices`, all arrays (B, T) int64:

        inputs, targets (IGNORE: predicts nothing);
        documents, where attention is to be kept within them: the number of each input's document in its row;
        examples, where the data says which tokens to predict: the number in its row of the example that each target
        belongs to, -1 for none. An example is in one row.
        """

    def n_targets(self, indices: Sequence[int] | np.ndarray) -> int:
        """How many targets these rows have together, found without reading their tokens."""

    def waste(self) -> str:
        """One line: what cutting the data into these rows wastes, exactly."""


def has_loss_mask(shards: Sequence[Shard]) -> bool:
    """Does the data say which tokens are to be predicted?"""
    return any(shard.supervised_slice(0, 0) is not None for shard in shards)


def require_documents(shards: Sequence[Shard], setting: str, name: str) -> None:
    if not any(len(shard.starts) for shard in shards):
        raise ValueError(f"{setting}, but {name} does not say where its documents begin; use packing=stream without it")
