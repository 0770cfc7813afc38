"""Windows of prepared token shards as optimizer steps. The batch at any step is a pure function of the configuration
and that step.

So a resumed run asks for the steps that are left, and nothing about data is saved, whatever the number of processes or
workers.
"""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
from torch.utils.data import DataLoader, Sampler

from nanolit.data.batches import BatchPlan, EvalBatches, MicroBatches
from nanolit.data.prepare import Prepared
from nanolit.data.windows import TokenWindows

ENDLESS = 10**12  # max_steps ends a run, never the data


@dataclass(frozen=True)
class LoaderConfig:
    """How prepared data is served."""

    stride: int | None = (
        None  # distance of two windows in tokens; None: block_size, so that an epoch sees each token once
    )
    shuffle: bool = True
    num_workers: int | None = None  # None: 2 for a GPU, else 0
    overfit_steps: int | None = None  # repeat the first so many optimizer steps for ever

    def __post_init__(self) -> None:
        for name in ("stride", "overfit_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"data.loader.{name}: got {value}, must be at least 1, or null")
        if self.num_workers is not None and self.num_workers < 0:
            raise ValueError(f"data.loader.num_workers: got {self.num_workers}, must be at least 0, or null")


class StepSampler(Sampler[int]):
    """Numbers of micro-batches from `start` on, wrapped after `repeat` of them if that is given."""

    def __init__(self, start: int, repeat: int | None) -> None:
        self.start, self.repeat = start, repeat

    def __len__(self) -> int:
        return ENDLESS

    def __iter__(self) -> Iterator[int]:
        for i in range(self.start, ENDLESS):
            yield i if self.repeat is None else i % self.repeat


class ResumableLoader(DataLoader):
    """Tells Lightning that it can resume; the state is empty because the sampler starts at the Trainer's step."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def leave_signals_to_the_main_process(worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach the whole process group; a loader that died of it would end the run
    unsaved.
    """
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


class PretrainData(pl.LightningDataModule):
    trainer: pl.Trainer

    def __init__(
        self,
        prepared: Prepared,
        block_size: int,
        batch_size: int,
        micro_batch_size: int,
        seed: int,
        config: LoaderConfig,
    ) -> None:
        super().__init__()
        self.prepared, self.tokenizer, self.config = prepared, prepared.tokenizer, config
        self.batch_size, self.micro_batch_size, self.seed = batch_size, micro_batch_size, seed
        self.train_windows = TokenWindows(
            prepared.shards("train"), block_size, config.stride, name="the training split"
        )
        self.val_windows = TokenWindows(prepared.shards("val"), block_size, pad_last=True, name="the validation split")

    def train_dataloader(self) -> DataLoader:
        """Called by the Trainer after it has restored a checkpoint, so that `global_step` is where to go on."""
        batches = self._micro_batches()
        accumulation = batches.plan.accumulation
        repeat = self.config.overfit_steps and self.config.overfit_steps * accumulation
        return self._loader(ResumableLoader, batches, StepSampler(self.trainer.global_step * accumulation, repeat))

    def val_dataloader(self) -> DataLoader:
        # The loss of a split does not depend on the batch size, so it is whatever fits: as much as a training pass.
        rows = min(max(self.micro_batch_size, 1), len(self.val_windows))
        batches = EvalBatches(self.val_windows, rows, self.trainer.world_size, self.trainer.global_rank)
        return self._loader(DataLoader, batches, None)

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """On a CPU nothing has to move, but Lightning's walk through the batch takes time in every step."""
        return batch if device.type == "cpu" else super().transfer_batch_to_device(batch, device, dataloader_idx)

    def batches_of_step(self, step: int) -> list[dict[str, Any]]:
        """This process's micro-batches of optimizer step number `step` (the first is 0), for inspection."""
        batches = self._micro_batches()
        n = batches.plan.accumulation
        step = step % self.config.overfit_steps if self.config.overfit_steps else step
        return [batches[i] for i in range(step * n, (step + 1) * n)]

    def _micro_batches(self) -> MicroBatches:
        plan = BatchPlan(self.batch_size, self.micro_batch_size, self.trainer.world_size, self.trainer.global_rank)
        return MicroBatches(self.train_windows, plan, self.seed, self.config.shuffle)

    def _loader(self, kind: type[DataLoader], batches: Any, sampler: Sampler[int] | None) -> DataLoader:
        on_gpu = self.trainer.strategy.root_device.type == "cuda"
        num_workers = self.config.num_workers if self.config.num_workers is not None else (2 if on_gpu else 0)
        return kind(
            batches,
            batch_size=None,  # an item is a whole micro-batch
            sampler=sampler,
            num_workers=num_workers,
            pin_memory=on_gpu,
            persistent_workers=num_workers > 0,
            worker_init_fn=leave_signals_to_the_main_process,
        )
