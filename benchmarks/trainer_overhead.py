"""What the Trainer costs per optimizer step over a bare PyTorch loop on the same network and the same batches, and
what a usual Lightning set-up costs (for context). The runs are real ones: composed by Hydra, with the default
callbacks, TensorBoard and a bar.

    python benchmarks/trainer_overhead.py [steps=600]

Every few steps the Trainer stands still for as many steps of the bare loop, so that each measurement is a pair and a
busy machine slows both. Promise, at nanoGPT's CPU size: at most 1 ms per step, at least 0.97 of the tokens per
second. The trivial network shows the overhead alone: there is next to nothing to compute.
"""

import contextlib
import io
import logging
import random
import statistics
import string
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from reporting import Row, read_arguments, report
from torch.utils.data import DataLoader

from nanolit.cli import hydra_app
from nanolit.cli.run_folder import RunFolder
from nanolit.cli.settings import Settings, read_settings
from nanolit.cli.training_run import TrainingRun
from nanolit.data.serving.batches import BatchPlan, MicroBatches
from nanolit.data.serving.windows import TokenWindows
from nanolit.models.gpt import GPT
from nanolit.optim.schedules import schedule

BLOCK_STEPS = 20  # two records of Metrics and about one refresh of the bar
WARMUP_BLOCKS = 2
TRIVIAL = ["model.n_layer=1", "model.n_head=1", "model.n_embd=8", "model.block_size=8", "batch_size=2"]


@dataclass(frozen=True)
class Arguments:
    steps: int = 600  # of each loop; ten times as many of the trivial network


class Terminal(io.StringIO):
    """Takes what a run prints, and lets it draw its bar as on a real terminal."""

    def isatty(self) -> bool:
        return True


class Case:
    """One size of network, with its composed configuration."""

    def __init__(self, folder: Path, steps: int, overrides: list[str]) -> None:
        self.folder, self.steps = folder, steps
        fixed = [
            "experiment=shakespeare_char_cpu_nanogpt", "trainer=cpu", f"run_dir={folder / f'run_{steps}'}",
            "data=text", f"data.source={folder / 'random.txt'}", "data.append_eot=false", "tokenizer=char",
            f"paths.data_root={folder / 'data'}", f"trainer.max_steps={steps}", "schedule.warmup_steps=10",
            "trainer.limit_val_batches=1", "callbacks.samples.n_samples=0",
        ]  # fmt: skip
        composed: list[dict[str, Any]] = []
        hydra_app.run("train", lambda config: composed.append(config) or 0, [*fixed, *overrides])
        self.config = composed[0]
        for name in ("evaluate", "checkpoint", "samples"):
            self.config["callbacks"][name]["every_steps"] = 10**9  # present, asked after every step, and not due
        self.settings = read_settings(self.config)

    def run_nanolit(self) -> "BareBlocks":
        bare = BareBlocks(self.bare_loop())
        with contextlib.redirect_stdout(Terminal()), contextlib.redirect_stderr(Terminal()):
            PairedRun(self.settings, self.config, RunFolder(Path(self.config["run_dir"])), bare).execute()
        return bare

    def network_and_batches(self) -> tuple[GPT, MicroBatches]:
        run = TrainingRun(self.settings, self.config, RunFolder(Path(self.config["run_dir"])))
        prepared = run.prepare_data()
        pl.seed_everything(self.settings.run.seed, verbose=False)
        network = run.make_network(prepared.tokenizer.vocab_size)
        windows = TokenWindows(prepared.shards("train"), network.config.block_size)
        size = self.settings.run.batch_size
        return network, MicroBatches(windows, BatchPlan(size, size), self.settings.run.seed)

    def optimizer(self, network: GPT) -> torch.optim.Optimizer:
        adamw: Any = self.settings.optimizer
        decayed = [p for p in network.parameters() if p.dim() >= 2]
        others = [p for p in network.parameters() if p.dim() < 2]
        groups = [{"params": decayed, "weight_decay": adamw.weight_decay}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=adamw.lr, betas=adamw.betas, eps=adamw.eps, fused=True)

    def bare_loop(self) -> Iterator[None]:
        """One optimizer step each time it is advanced."""
        network, batches = self.network_and_batches()
        optimizer, scale = self.optimizer(network), schedule(self.settings.schedule, self.steps)
        parameters, rate = list(network.parameters()), optimizer.param_groups[0]["lr"]
        for step in range(self.steps):
            batch = batches[step]
            for group in optimizer.param_groups:
                group["lr"] = rate * scale(step)
            loss = network(batch["inputs"], batch["targets"]).sum() / batch["step_targets"]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            yield

    def run_stock(self) -> "BareBlocks":
        network, batches = self.network_and_batches()
        bare = BareBlocks(self.bare_loop())
        with contextlib.redirect_stdout(Terminal()), contextlib.redirect_stderr(Terminal()):
            trainer = pl.Trainer(
                max_steps=self.steps,
                accelerator="cpu",
                gradient_clip_val=1.0,
                logger=pl.loggers.TensorBoardLogger(self.folder / "stock"),
                callbacks=[pl.callbacks.TQDMProgressBar(), bare],
                log_every_n_steps=10,
                enable_model_summary=False,
                default_root_dir=self.folder / "stock",
            )
            trainer.fit(
                Stock(network, self.optimizer(network)), DataLoader(Finite(batches, self.steps), batch_size=None)
            )
        return bare


class BareBlocks(pl.Callback):
    """Times the Trainer's blocks of steps, and between two of them as many steps of the bare loop."""

    def __init__(self, bare: Iterator[None]) -> None:
        self.bare = bare
        self.trainer_ms: list[float] = []
        self.bare_ms: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.started = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        if trainer.global_step % BLOCK_STEPS:
            return
        self.trainer_ms.append(1000 * (time.perf_counter() - self.started) / BLOCK_STEPS)
        started = time.perf_counter()
        for _step in range(BLOCK_STEPS):
            next(self.bare)
        self.bare_ms.append(1000 * (time.perf_counter() - started) / BLOCK_STEPS)
        self.started = time.perf_counter()

    def pairs(self) -> list[tuple[float, float]]:
        return list(zip(self.bare_ms, self.trainer_ms, strict=True))[WARMUP_BLOCKS:]


class PairedRun(TrainingRun):
    """A training run as the command makes it, and one more callback."""

    def __init__(self, settings: Settings, config: dict[str, Any], folder: RunFolder, bare: BareBlocks) -> None:
        super().__init__(settings, config, folder)
        self.bare = bare

    def make_trainer(self, resume: Any) -> pl.Trainer:
        trainer = super().make_trainer(resume)
        trainer.callbacks.append(self.bare)
        return trainer


class Finite(torch.utils.data.Dataset):
    def __init__(self, batches: MicroBatches, length: int) -> None:
        self.batches, self.length = batches, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.batches[i]


class Stock(pl.LightningModule):
    """As Lightning's documentation writes it."""

    def __init__(self, network: GPT, optimizer: torch.optim.Optimizer) -> None:
        super().__init__()
        self.network, self.optimizer = network, optimizer

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        loss = self.network(batch["inputs"], batch["targets"]).sum() / batch["step_targets"]
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer


def measure(name: str, case: Case, limits: tuple[str, str]) -> list[Row]:
    ours, stock = case.run_nanolit().pairs(), case.run_stock().pairs()
    return [
        Row(f"{name}: bare loop", "ms/step", [bare for bare, _ in ours]),
        Row(f"{name}: nanolit", "ms/step", [step for _, step in ours]),
        Row(f"{name}: nanolit - bare", "ms/step", [step - bare for bare, step in ours], limits[0]),
        Row(f"{name}: tokens/s, nanolit / bare", "", [bare / step for bare, step in ours], limits[1]),
        Row(f"{name}: stock Lightning - bare", "ms/step", [step - bare for bare, step in stock]),
        Row(f"{name}: tokens/s, stock / bare", "", [bare / step for bare, step in stock]),
    ]


def main() -> None:
    arguments = read_arguments(Arguments, __doc__)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        characters = (string.ascii_letters + string.digits + " .\n")[:65]
        (folder / "random.txt").write_text("".join(random.Random(0).choices(characters, k=1_000_000)))
        rows = measure("trivial network", Case(folder, 10 * arguments.steps, TRIVIAL), ("<= 1", ""))
        rows += measure("4 layers x 128", Case(folder, arguments.steps, []), ("<= 1", ">= 0.97"))
    means = {row.name: round(statistics.mean(row.values), 3) for row in rows if row.name.endswith("- bare")}
    report("trainer_overhead", rows, {"steps": arguments.steps, "mean of all pairs, rare pauses included": means})


if __name__ == "__main__":
    main()
