"""Questions for reinforcement learning: which of them an optimizer step asks is a pure function of seed and step.

A batch is a part of a step: {"step", "part", "prompts"}; the questions come with the first part. Tensors are made by
the module, from the answers.
"""

from typing import Any

import lightning.pytorch as pl
import numpy as np
from torch.utils.data import DataLoader

from nanolit.data.order import window_of
from nanolit.datamodules.pretrain import ResumableLoader, StepSampler
from nanolit.tasks.task import TaskMixture, TaskSequence
from nanolit.tokenizers.chat import render_prompt
from nanolit.tokenizers.protocol import Tokenizer


class PromptParts:
    """`[i]` is the i-th part of the run, for any i."""

    def __init__(self, data: "PromptData", rank: int, world_size: int) -> None:
        self.data, self.rank, self.world_size = data, rank, world_size
        self.n_parts = data.batch_size // (data.micro_batch_size * world_size)

    def __getitem__(self, i: int) -> dict[str, Any]:
        step, part = divmod(i, self.n_parts)
        prompts = self.data.prompts_of(step, self.rank, self.world_size) if part == 0 else []
        return {"step": step, "part": part, "prompts": prompts}


class PromptData(pl.LightningDataModule):
    """`make_prompt(ids, name, task, example, place)` makes what the module is handed; `n_spare`: further questions for
    each one that is asked.
    """

    trainer: pl.Trainer

    def __init__(
        self,
        mixture: TaskSequence,
        tokenizer: Tokenizer,
        block_size: int,
        batch_size: int,
        micro_batch_size: int,
        n_samples: int,
        n_spare: int,
        seed: int,
        make_prompt: Any,
    ) -> None:
        super().__init__()
        self.mixture, self.tokenizer, self.block_size = mixture, tokenizer, block_size
        self.batch_size, self.micro_batch_size, self.seed = batch_size, micro_batch_size, seed
        self.n_samples, self.n_spare, self.make_prompt = n_samples, n_spare, make_prompt

    def prompts_of(self, step: int, rank: int, world_size: int) -> list[Any]:
        """First those that are asked by this rank, then the spare ones, round by round."""
        n = self.batch_size // self.n_samples
        rounds = 1 + self.n_spare
        asked = np.arange(step * n * rounds, (step + 1) * n * rounds)
        numbers = window_of(asked, len(self.mixture), self.seed, isinstance(self.mixture, TaskMixture))
        share = n // world_size
        places = np.arange(rounds * n).reshape(rounds, n)[:, rank * share : (rank + 1) * share].reshape(-1)
        return [self._prompt(int(numbers[place]), int(place)) for place in places]

    def _prompt(self, number: int, place: int) -> Any:
        which, inner = self.mixture.place(number)
        task, name = self.mixture.tasks[which], self.mixture.names[which]
        example = task[inner]
        ids = render_prompt(example.messages, self.tokenizer, drop_answer=True)
        if len(ids) >= self.block_size:
            raise ValueError(
                f"data.tasks.{name}: example {inner} takes {len(ids)} tokens, and the model reads "
                f"{self.block_size} with the answer; leave it out by start=, stop= and step="
            )
        return self.make_prompt(ids, name, task, example, place)

    def notes(self) -> list[str]:
        n = self.batch_size // self.n_samples
        return [f"questions: {n} a step of {len(self.mixture):,}, {self.n_samples} answers to each"]

    def train_dataloader(self) -> DataLoader:
        parts = PromptParts(self, self.trainer.global_rank, self.trainer.world_size)
        sampler = StepSampler(self.trainer.global_step * parts.n_parts, None)
        return ResumableLoader(parts, batch_size=None, sampler=sampler)  # type: ignore[arg-type]

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        return batch
