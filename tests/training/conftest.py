"""What the tests of training share: a little prepared text, tiny networks, and a Trainer set up as the command sets it
up.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from nanolit.cli.training_run import quiet_lightning
from nanolit.data.config import DataConfig
from nanolit.data.preparation.prepare import prepare
from nanolit.data.prepared import Prepared
from nanolit.data.serving.batches import BatchPlan, MicroBatches
from nanolit.datamodules.pretrain import LoaderConfig, PretrainData
from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT
from nanolit.optim.build import AdamWConfig, MuonConfig, OptimizerConfig, build_optimizer
from nanolit.optim.schedules import ScheduleConfig, schedule
from nanolit.tokenizers.directory import TokenizerConfig
from nanolit.training.language_model import LanguageModel

BLOCK_SIZE = 32
ADAMW = AdamWConfig(lr=3e-3)
MUON = MuonConfig(lr=0.02, embedding_lr=0.01, momentum_warmup_steps=4)
AS_IT_COMES = LoaderConfig()
COSINE = ScheduleConfig("cosine", warmup_steps=1, min_ratio=0.1)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Prepared:
    """Some documents in bytes, an end-of-text token after each; fixed text, so that no test depends on the village."""
    folder = tmp_path_factory.mktemp("bytes")
    draw = random.Random(0)
    words = ["".join(draw.choices("aeioulnrst", k=draw.randint(2, 7))) for _ in range(60)] + ["née", "œuf"]
    texts = [" ".join(draw.choices(words, k=90)) + "." for _ in range(60)]
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    data = DataConfig(name="words", kind="text", source=str(folder / "text.jsonl"), split="document")
    return Prepared.open(prepare(data, TokenizerConfig("byte"), folder))


def tiny_gpt(**changes: Any) -> GPT:
    """The same weights whenever it is called. Without biases: a key's bias has no gradient but rounding, which AdamW
    blows up.
    """
    torch.manual_seed(1)
    fields = {"vocab_size": 257, "block_size": BLOCK_SIZE, "n_layer": 2, "n_head": 2, "n_embd": 32, "bias": False}
    return GPT(GPTConfig(**{**fields, **changes}))


class Recorder(pl.Callback):
    """What each optimizer step did, read at once and not lazily."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.lrs: list[list[float]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self.losses.append(module.step_losses[-1].item())
            self.norms.append(module.grad_norms[-1].item())
            self.lrs.append([group["lr"] for group in trainer.optimizers[0].param_groups])


@dataclass
class Fitted:
    module: LanguageModel
    trainer: pl.Trainer
    recorder: Recorder

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return self.module.network.state_dict()


@dataclass
class Bench:
    """Trains tiny networks on the little text."""

    prepared: Prepared
    folder: Path

    def fit(
        self,
        network: GPT | None = None,
        *,
        optimizer: OptimizerConfig = ADAMW,
        curve: ScheduleConfig = COSINE,
        max_steps: int = 6,
        batch_size: int = 8,
        micro_batch_size: int = 8,
        seed: int = 3,
        loader: LoaderConfig = AS_IT_COMES,
        callbacks: tuple[pl.Callback, ...] = (),
        folder: Path | None = None,
        **trainer_arguments: Any,
    ) -> Fitted:
        network = network or tiny_gpt()
        recorder = Recorder()
        trainer = self.trainer(max_steps, (recorder, *callbacks), folder or self.folder, **trainer_arguments)
        trainer.accumulate_grad_batches = batch_size // micro_batch_size
        module = self.module(network, optimizer, curve, max_steps, batch_size, seed)
        trainer.fit(module, datamodule=self.data(micro_batch_size, batch_size, seed, loader))
        return Fitted(module, trainer, recorder)

    def data(
        self, micro_batch_size: int, batch_size: int = 8, seed: int = 3, loader: LoaderConfig = AS_IT_COMES
    ) -> PretrainData:
        return PretrainData(self.prepared, BLOCK_SIZE, batch_size, micro_batch_size, seed, loader)

    def module(
        self,
        network: GPT,
        optimizer: OptimizerConfig = ADAMW,
        curve: ScheduleConfig = COSINE,
        max_steps: int = 6,
        batch_size: int = 8,
        seed: int = 3,
    ) -> LanguageModel:
        return LanguageModel(
            network,
            partial(build_optimizer, config=optimizer),
            schedule(curve, max_steps),
            torch.from_numpy(self.prepared.tokenizer.byte_lengths()),
            tokens_per_step=batch_size * BLOCK_SIZE,
            seed=seed,
            uses_dropout=network.config.dropout > 0,
        )

    def trainer(self, max_steps: int, callbacks: tuple[pl.Callback, ...], folder: Path, **arguments: Any) -> pl.Trainer:
        quiet_lightning()
        return pl.Trainer(
            **{"accelerator": "cpu", "max_steps": max_steps, "logger": False, "num_sanity_val_steps": 0, **arguments},
            callbacks=list(callbacks),
            default_root_dir=folder,
            check_val_every_n_epoch=None,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    def batches(
        self, n_steps: int, batch_size: int, micro_batch_size: int, seed: int = 3
    ) -> list[list[dict[str, Any]]]:
        """The micro-batches of each step, as a bare loop would take them."""
        from nanolit.data.serving.windows import TokenWindows

        plan = BatchPlan(batch_size, micro_batch_size)
        micro = MicroBatches(TokenWindows(self.prepared.shards("train"), BLOCK_SIZE), plan, seed)
        return [[micro[step * plan.accumulation + i] for i in range(plan.accumulation)] for step in range(n_steps)]


@pytest.fixture
def bench(prepared, tmp_path) -> Bench:
    return Bench(prepared, tmp_path)


@pytest.fixture
def make_gpt() -> Callable[..., GPT]:
    return tiny_gpt


@pytest.fixture(params=[ADAMW, MUON], ids=["adamw", "muon"])
def optimizer(request) -> OptimizerConfig:
    return request.param
