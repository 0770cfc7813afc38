"""What the Trainer costs per optimizer step over a bare PyTorch loop on the same network and the same batches, and
what a usual Lightning set-up costs (for context). The runs are real ones: composed by Hydra, with the default
callbacks,
TensorBoard and a bar.

    python benchmarks/trainer_overhead.py [repeats=5] [steps=300]

Bare, nanolit and stock take turns, so that a busy machine slows all of them. Promise, at nanoGPT's CPU size: at most 1
ms per step, at least 0.97 of the tokens per second. The trivial network shows the overhead alone: there is next to
nothing to compute.
"""

import contextlib
import io
import json
import logging
import random
import statistics
import string
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from reporting import Row, read_arguments, report
from torch.utils.data import DataLoader

from nanolit.cli import hydra_app
from nanolit.cli.run_folder import RunFolder
from nanolit.cli.settings import read_settings
from nanolit.cli.training_run import TrainingRun
from nanolit.data.batches import BatchPlan, MicroBatches
from nanolit.data.windows import TokenWindows
from nanolit.models.gpt import GPT
from nanolit.optim.schedules import schedule

RECORD_STEPS = 10  # a measurement is the mean of as many steps as Metrics puts into one record
WARMUP_RECORDS = 3
TRIVIAL = ["model.n_layer=1", "model.n_head=1", "model.n_embd=8", "model.block_size=8", "batch_size=2"]


@dataclass(frozen=True)
class Arguments:
    repeats: int = 5
    steps: int = 300  # of each run; ten times as many of the trivial network


class Terminal(io.StringIO):
    """Takes what a run prints, and lets it draw its bar as on a real terminal."""

    def isatty(self) -> bool:
        return True


class Case:
    """One size of network, with its composed configuration."""

    def __init__(self, folder: Path, steps: int, overrides: list[str]) -> None:
        self.folder, self.steps = folder, steps
        fixed = [
            "experiment=shakespeare_char_cpu_nanogpt", "data=text", f"data.source={folder / 'random.txt'}", "tokenizer=char", "data.append_eot=false",
            "trainer=cpu", f"paths.data_root={folder / 'data'}", f"run_dir={folder / 'composed'}", f"trainer.max_steps={steps}",
            "schedule.warmup_steps=10", "trainer.limit_val_batches=1", "callbacks.samples.n_samples=0", f"callbacks.metrics.every_steps={RECORD_STEPS}",
        ]  # fmt: skip
        composed: list[dict[str, Any]] = []
        hydra_app.run("train", lambda config: composed.append(config) or 0, [*fixed, *overrides])
        self.config = composed[0]
        for name in ("evaluate", "checkpoint", "samples"):
            self.config["callbacks"][name]["every_steps"] = 10**9  # present, asked after every step, and not due
        self.settings = read_settings(self.config)

    def run_nanolit(self, run_number: int) -> list[float]:
        path = self.folder / f"run_{self.steps}_{run_number}"
        config = json.loads(json.dumps(self.config).replace(str(self.folder / "composed"), str(path)))  # loggers too
        path.mkdir()
        with contextlib.redirect_stdout(Terminal()), contextlib.redirect_stderr(Terminal()):
            TrainingRun(read_settings(config), config, RunFolder(path)).execute()
        records = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        return [record["perf/step_ms"] for record in records if "perf/step_ms" in record][WARMUP_RECORDS:]

    def network_and_batches(self) -> tuple[GPT, MicroBatches]:
        run = TrainingRun(self.settings, self.config, RunFolder(self.folder / "composed"))
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

    def run_bare(self) -> list[float]:
        network, batches = self.network_and_batches()
        optimizer, scale = self.optimizer(network), schedule(self.settings.schedule, self.steps)
        parameters, rate = list(network.parameters()), optimizer.param_groups[0]["lr"]
        times = [time.perf_counter()]
        for step in range(self.steps):
            batch = batches[step]
            for group in optimizer.param_groups:
                group["lr"] = rate * scale(step)
            loss = network(batch["inputs"], batch["targets"]).sum() / batch["step_targets"]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            if (step + 1) % RECORD_STEPS == 0:
                times.append(time.perf_counter())
        return _per_step_ms(times)

    def run_stock(self) -> list[float]:
        network, batches = self.network_and_batches()
        clock = Clock()
        with contextlib.redirect_stdout(Terminal()), contextlib.redirect_stderr(Terminal()):
            trainer = pl.Trainer(
                max_steps=self.steps,
                accelerator="cpu",
                gradient_clip_val=1.0,
                logger=pl.loggers.TensorBoardLogger(self.folder / "stock"),
                callbacks=[pl.callbacks.TQDMProgressBar(), clock],
                log_every_n_steps=RECORD_STEPS,
                enable_model_summary=False,
                default_root_dir=self.folder / "stock",
            )
            trainer.fit(Stock(network, self.optimizer(network)), DataLoader(Endless(batches, self.steps),
            batch_size=None))
        return _per_step_ms(clock.times)


class Endless(torch.utils.data.Dataset):
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


class Clock(pl.Callback):
    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.times = [time.perf_counter()]

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step % RECORD_STEPS == 0:
            self.times.append(time.perf_counter())


def _per_step_ms(times: list[float]) -> list[float]:
    return [1000 * (end - start) / RECORD_STEPS for start, end in zip(times, times[1:], strict=False)][WARMUP_RECORDS:]


def measure(name: str, case: Case, repeats: int, limits: tuple[str, str]) -> list[Row]:
    times: dict[str, list[float]] = {"bare loop": [], "nanolit": [], "stock Lightning": []}
    for i in range(repeats):
        times["bare loop"].append(statistics.median(case.run_bare()))
        times["nanolit"].append(statistics.median(case.run_nanolit(i)))
        times["stock Lightning"].append(statistics.median(case.run_stock()))
        print(f"{name} {i + 1}/{repeats}: " + ", ".join(f"{k} {v[-1]:.3f} ms" for k, v in times.items()), file=sys.stderr)
    pairs = list(zip(times["bare loop"], times["nanolit"], times["stock Lightning"], strict=True))
    return [
        *(Row(f"{name}: {key}", "ms/step", values) for key, values in times.items()),
        Row(f"{name}: nanolit - bare", "ms/step", [ours - bare for bare, ours, _ in pairs], limits[0]),
        Row(f"{name}: nanolit tokens/s over bare", "", [bare / ours for bare, ours, _ in pairs], limits[1]),
        Row(f"{name}: stock - bare", "ms/step", [stock - bare for bare, _, stock in pairs]),
    ]


def main() -> None:
    arguments = read_arguments(Arguments, __doc__)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        characters = (string.ascii_letters + string.digits + " .\n")[:65]
        (folder / "random.txt").write_text("".join(random.Random(0).choices(characters, k=1_000_000)))
        full = Case(folder, arguments.steps, [])
        trivial = Case(folder, 10 * arguments.steps, TRIVIAL)
        rows = measure("4x128", full, arguments.repeats, ("<= 1", ">= 0.97"))
        rows += measure("trivial", trivial, arguments.repeats, ("<= 1", ""))
    report("trainer_overhead", rows, {"steps": arguments.steps})


if __name__ == "__main__":
    main()
