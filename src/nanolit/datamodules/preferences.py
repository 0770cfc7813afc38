"""Pairs of a better and a worse answer as optimizer steps; those of a step are a pure function of seed and step."""

import logging
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch.utils.data import DataLoader

from nanolit.data.order import window_of
from nanolit.data.sources.preferences import Pair
from nanolit.datamodules.pretrain import ResumableLoader, StepSampler
from nanolit.tokenizers.chat import render, render_prompt
from nanolit.tokenizers.messages import Conversation
from nanolit.tokenizers.protocol import Tokenizer

log = logging.getLogger("nanolit")

IGNORE = -1
Row = tuple[np.ndarray, np.ndarray]  # ids, and which of them are the answer's


class PreferenceData(pl.LightningDataModule):
    trainer: pl.Trainer

    def __init__(
        self,
        pairs: dict[str, list[Pair]],
        tokenizer: Tokenizer,
        block_size: int,
        batch_size: int,
        micro_batch_size: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.tokenizer, self.seed = tokenizer, seed
        self.batch_size, self.micro_batch_size = batch_size, micro_batch_size
        self.rows = {split: self._rendered(found, block_size) for split, found in pairs.items()}
        self.n_left_out = sum(map(len, pairs.values())) - sum(map(len, self.rows.values()))
        for split, rows in self.rows.items():
            if not pairs[split]:
                raise ValueError(
                    f"data.source: of {sum(map(len, pairs.values()))} pairs none is in the split {split}, which a hash "
                    "of each decides; give more pairs, or another data.val_fraction"
                )
            if not rows:
                raise ValueError(
                    f"data.source: none of the {len(pairs[split])} pairs of the split {split} fits into "
                    f"model.block_size={block_size}; give shorter ones, or a model that reads more"
                )

    def _rendered(self, pairs: Sequence[Pair], block_size: int) -> list[tuple[Row, Row]]:
        rows = [(self._row(pair.chosen), self._row(pair.rejected)) for pair in pairs]
        return [row for row in rows if max(len(row[0][0]), len(row[1][0])) <= block_size + 1]

    def _row(self, conversation: Conversation) -> Row:
        """Only the last answer is compared: what stands before it is the same for both."""
        rendered = render(conversation, self.tokenizer)
        is_answer = rendered.supervised.copy()
        is_answer[: len(render_prompt(conversation, self.tokenizer, drop_answer=True))] = False
        return rendered.ids, is_answer

    def notes(self) -> list[str]:
        left = f"; {self.n_left_out:,} are longer than model.block_size and left out" if self.n_left_out else ""
        return [f"pairs: {len(self.rows['train']):,} to learn from, {len(self.rows['val']):,} for validation{left}"]

    def train_dataloader(self) -> DataLoader:
        world, rank = self.trainer.world_size, self.trainer.global_rank
        parts = _Parts(self, world, rank)
        sampler = StepSampler(self.trainer.global_step * parts.accumulation, None)
        return ResumableLoader(parts, batch_size=None, sampler=sampler)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader:
        world, rank, rows = self.trainer.world_size, self.trainer.global_rank, self.rows["val"]
        size = self.micro_batch_size
        n_batches = -(-len(rows) // (size * world))
        batches = []
        for i in range(n_batches):
            first = (i * world + rank) * size
            mine = rows[first : first + size]
            filled = mine + rows[:1] * (size - len(mine))  # every process has as many batches of one size
            counts = torch.tensor([1.0] * len(mine) + [0.0] * (size - len(mine)))
            batches.append(as_batch(filled) | {"counts": counts})
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


class _Parts:
    """`[i]` is the i-th micro-batch of this process's run."""

    def __init__(self, data: PreferenceData, world_size: int, rank: int) -> None:
        self.data, self.world_size, self.rank = data, world_size, rank
        self.accumulation = data.batch_size // (data.micro_batch_size * world_size)

    def __getitem__(self, i: int) -> dict[str, Any]:
        data, (step, micro) = self.data, divmod(i, self.accumulation)
        rows, size = data.rows["train"], data.micro_batch_size
        first = step * data.batch_size + (micro * self.world_size + self.rank) * size
        numbers = window_of(np.arange(first, first + size), len(rows), data.seed, True)
        return as_batch([rows[int(number)] for number in numbers]) | {"step_pairs": data.batch_size}


def as_batch(pairs: Sequence[tuple[Row, Row]]) -> dict[str, torch.Tensor]:
    """The better answers in even rows, the worse ones in odd rows, (2B,T) each."""
    rows = [row for pair in pairs for row in pair]
    shape = len(rows), max(len(ids) for ids, _ in rows) - 1
    inputs, targets = torch.zeros(shape, dtype=torch.long), torch.full(shape, IGNORE)
    for at, (ids, is_answer) in enumerate(rows):
        n = len(ids) - 1
        inputs[at, :n] = torch.from_numpy(ids[:-1].astype(np.int64))
        following = torch.from_numpy(ids[1:].astype(np.int64))
        targets[at, :n] = torch.where(torch.from_numpy(is_answer[1:]), following, IGNORE)
    return {"inputs": inputs, "targets": targets}
