"""Micro-batches as pure functions of their number, for training and for evaluation; no loader, no sampler, no state.

An optimizer step takes the same samples in the same order however they are split over ranks and micro-batches:
sample = step * batch_size + micro * (world_size * micro_batch_size) + rank * micro_batch_size + row.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nanolit.data.order import window_of
from nanolit.data.serving.rows import IGNORE, Rows


@dataclass(frozen=True)
class BatchPlan:
    """How `batch_size` sequences of one optimizer step are dealt out to ranks and micro-batches."""

    batch_size: int
    micro_batch_size: int
    world_size: int = 1
    rank: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "micro_batch_size", "world_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank}: must be 0 to {self.world_size - 1} (world size {self.world_size})")
        at_once = self.micro_batch_size * self.world_size
        if self.batch_size % at_once:
            below = self.batch_size // at_once * at_once
            nearest = " or ".join(str(size) for size in (below, below + at_once) if size)
            raise ValueError(
                f"batch_size={self.batch_size}: must be a multiple of micro_batch_size="
                f"{self.micro_batch_size} x {self.world_size} processes = {at_once}; nearest: batch_size={nearest}"
                + self._nearest_micro_batch()
            )

    def _nearest_micro_batch(self) -> str:
        """The nearest micro-batch sizes that keep `batch_size`, where there are any."""
        per_rank, rest = divmod(self.batch_size, self.world_size)
        if rest:
            return ""
        allowed = [size for size in range(1, per_rank + 1) if per_rank % size == 0]
        below = max(size for size in allowed if size <= max(self.micro_batch_size, 1))
        above = min((size for size in allowed if size > self.micro_batch_size), default=None)
        return f", or micro_batch_size={below}" + (f" or {above}" if above else "")

    @property
    def accumulation(self) -> int:
        """Micro-batches of each rank per optimizer step."""
        return self.batch_size // (self.micro_batch_size * self.world_size)


class MicroBatches:
    """`[i]` is the i-th micro-batch of this rank's run, for any i: endless, so its length is the sampler's to say."""

    def __init__(self, rows: Rows, plan: BatchPlan, seed: int, shuffle: bool = True) -> None:
        self.rows = rows
        self.plan = plan
        self.seed = seed
        self.shuffle = shuffle
        self._counted = (-1, 0)  # the last step that was asked for, and its targets

    def __getitem__(self, i: int) -> dict[str, Any]:
        plan = self.plan
        step, micro = divmod(i, plan.accumulation)
        first = step * plan.batch_size + (micro * plan.world_size + plan.rank) * plan.micro_batch_size
        batch = self.rows.take(self._rows_of(first, plan.micro_batch_size))
        batch.pop("examples", None)  # for a metric of evaluation
        tensors = {key: torch.from_numpy(array) for key, array in batch.items()}  # (B, T) each
        return {**tensors, "step_targets": self._step_targets(step)}

    def _rows_of(self, first: int, n_samples: int) -> np.ndarray:
        return window_of(np.arange(first, first + n_samples), len(self.rows), self.seed, self.shuffle)

    def _step_targets(self, step: int) -> int:
        """All that is predicted in the optimizer step, over all ranks."""
        if self.rows.row_targets is not None:
            return self.plan.batch_size * self.rows.row_targets
        if self._counted[0] != step:
            of_step = self._rows_of(step * self.plan.batch_size, self.plan.batch_size)
            self._counted = step, self.rows.n_targets(of_step)
        return self._counted[1]


class EvalBatches:
    """All rows once, or the first `n_rows`, in order, dealt out to the ranks; every rank has as many batches, all of
    one shape.

    The rows that fill up the last batches have only targets of IGNORE and count for nothing.
    """

    def __init__(
        self, rows: Rows, batch_size: int, world_size: int = 1, rank: int = 0, n_rows: int | None = None
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.world_size = world_size
        self.rank = rank
        self.n_rows = len(rows) if n_rows is None else min(n_rows, len(rows))

    def __len__(self) -> int:
        return -(-self.n_rows // (self.batch_size * self.world_size))

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        if not 0 <= i < len(self):
            raise IndexError(f"batch {i} of {len(self)}")
        first = (i * self.world_size + self.rank) * self.batch_size
        batch = self.rows.take(range(first, min(first + self.batch_size, self.n_rows)))
        missing = ((0, self.batch_size - len(batch["inputs"])), (0, 0))
        nothing = {"targets": IGNORE, "examples": -1}
        return {
            key: torch.from_numpy(np.pad(array, missing, constant_values=nothing.get(key, 0)))  # (B, T) each
            for key, array in batch.items()
        }
