"""Rows of prepared token shards as optimizer steps. The batch at any step is a pure function of the configuration and
that step.

So a resumed run asks for the steps that are left, and nothing about data is saved, whatever the number of processes or
workers.
"""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import lightning.pytorch as pl
from torch.utils.data import DataLoader, Sampler

from nanolit.data.prepared import Prepared
from nanolit.data.serving.batches import BatchPlan, EvalBatches, MicroBatches
from nanolit.data.serving.lanes import LaneBatches, Lanes
from nanolit.data.serving.packing import PLANS, PackedRows, Packing, evaluation_rows
from nanolit.data.serving.rows import Rows
from nanolit.data.serving.windows import TokenWindows

LANES = "lanes"  # the folder beside the shards where it is kept how many tokens a portion of text has
# Of text in one portion that is encoded on the fly, and how many portions for each row of a batch are few
UNIT_BYTES, SMALL_UNIT_BYTES, FEW_UNITS = 1 << 20, 1 << 14, 8
SPLIT_NAMES = {"train": "the training split", "val": "the validation split"}
ENDLESS = 10**12  # max_steps ends a run, never the data


@dataclass(frozen=True)
class LoaderConfig:
    """How prepared data is served."""

    # Distance of two windows in tokens; None: block_size, so that an epoch sees each token once
    stride: int | None = None
    shuffle: bool = True
    num_workers: int | None = None  # None: 2 for a GPU (1 where text is encoded on the fly), else 0
    overfit_steps: int | None = None  # repeat the first so many optimizer steps for ever
    packing: Packing = "stream"  # data/serving/packing.py says what the others do
    mask_documents: bool = False  # attention stays within documents
    train_eval_rows: int | None = None  # evaluate on so many rows of the training split too

    def __post_init__(self) -> None:
        for name in ("stride", "overfit_steps", "train_eval_rows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"data.loader.{name}: got {value}, must be at least 1, or null")
        if self.num_workers is not None and self.num_workers < 0:
            raise ValueError(f"data.loader.num_workers: got {self.num_workers}, must be at least 0, or null")
        if self.stride is not None and self.packing != "stream":
            raise ValueError(
                f"data.loader.stride: got {self.stride}, but packing={self.packing} has no windows; "
                "leave it out, or give packing=stream"
            )
        if self.mask_documents and self.packing == "document":
            raise ValueError(
                "data.loader.mask_documents: got true, but a row of packing=document holds one document; leave it out"
            )


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
        self.block_size = block_size
        self.train_rows = self._training_rows()
        # By the names that the metrics have: rows, and how many of them (None: all).
        self.evaluated: dict[str, tuple[Rows, int | None]] = {"val": (self._evaluation_rows("val"), None)}
        if config.train_eval_rows is not None:
            self.evaluated["train_eval"] = self._evaluation_rows("train"), config.train_eval_rows

    def _training_rows(self) -> Rows:
        if self.prepared.manifest["on_the_fly"] is not None:
            return self._lanes()
        config, shards, name = self.config, self.prepared.shards("train"), SPLIT_NAMES["train"]
        mask, marks = config.mask_documents, self.prepared.delimiter
        if config.packing == "stream":
            size, stride = self.block_size, config.stride
            return TokenWindows(shards, size, stride, mask_documents=mask, delimiter=marks, name=name)
        size, mode, cache = self.block_size, config.packing, self.prepared.folder / PLANS
        return PackedRows(shards, size, mode, mask_documents=mask, delimiter=marks, cache=cache, name=name)

    def _lanes(self) -> Lanes:
        config = self.config
        for setting, given in (("packing", "stream"), ("stride", None), ("train_eval_rows", None)):
            if getattr(config, setting) != given:
                raise ValueError(
                    f"data.loader.{setting}: got {getattr(config, setting)}, but data.on_the_fly=true serves a stream "
                    "that is not in tokens yet; leave it out, or give data.on_the_fly=false"
                )
        unit_bytes = UNIT_BYTES
        work = self.prepared.text_work(unit_bytes)
        if sum(job.split in (None, "train") for job in work.plan.jobs) < FEW_UNITS * self.batch_size:
            unit_bytes = SMALL_UNIT_BYTES
            work = self.prepared.text_work(unit_bytes)
        return Lanes(
            work,
            self.tokenizer,
            self.block_size,
            self.batch_size,
            self.seed,
            config.shuffle,
            self.prepared.folder / LANES / f"{unit_bytes}.npy",
            mask_documents=config.mask_documents,
            delimiter=self.prepared.delimiter,
        )

    def _evaluation_rows(self, split: Literal["train", "val"]) -> Rows:
        return evaluation_rows(
            self.prepared.shards(split),
            self.block_size,
            self.config.packing,
            mask_documents=self.config.mask_documents,
            delimiter=self.prepared.delimiter,
            cache=self.prepared.folder / PLANS,
            name=SPLIT_NAMES[split],
        )

    @property
    def n_tokens(self) -> int | None:
        """Of the training split, if it is in tokens."""
        if isinstance(self.train_rows, Lanes):
            return None
        return sum(len(shard.tokens) for shard in self.prepared.shards("train"))

    def notes(self) -> list[str]:
        """What is worth knowing before training."""
        return [self.train_rows.waste()]

    def train_dataloader(self) -> DataLoader:
        """Called by the Trainer after it has restored a checkpoint, so that `global_step` is where to go on."""
        batches = self._micro_batches()
        accumulation = batches.plan.accumulation
        repeat = self.config.overfit_steps and self.config.overfit_steps * accumulation
        return self._loader(ResumableLoader, batches, StepSampler(self.trainer.global_step * accumulation, repeat))

    def val_dataloader(self) -> list[DataLoader]:
        """In the order of `evaluated`."""
        return [self._evaluation_loader(rows, n_rows) for rows, n_rows in self.evaluated.values()]

    def _evaluation_loader(self, rows: Rows, n_rows: int | None) -> DataLoader:
        # The loss of a split does not depend on the batch size, so it is whatever fits: as much as a training pass.
        batch_size = min(max(self.micro_batch_size, 1), n_rows or len(rows))
        batches = EvalBatches(rows, batch_size, self.trainer.world_size, self.trainer.global_rank, n_rows)
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
        kind = LaneBatches if isinstance(self.train_rows, Lanes) else MicroBatches
        return kind(self.train_rows, plan, self.seed, self.config.shuffle)

    def _loader(self, kind: type[DataLoader], batches: Any, sampler: Sampler[int] | None) -> DataLoader:
        on_gpu = self.trainer.strategy.root_device.type == "cuda"
        num_workers = self.config.num_workers
        if num_workers is None:  # one that encodes is enough: it has threads, and others would encode the same text
            num_workers = (1 if isinstance(batches, LaneBatches) else 2) if on_gpu else 0
        return kind(
            batches,
            batch_size=None,  # an item is a whole micro-batch
            sampler=sampler,
            num_workers=num_workers,
            pin_memory=on_gpu,
            persistent_workers=num_workers > 0,
            worker_init_fn=leave_signals_to_the_main_process,
        )
