"""The one writer of metrics: metrics.jsonl first, then every logger. Lazy: the device is read only every so many steps.

On resume the file is cut back to the checkpoint's step, so that after any interruption it equals that of an
uninterrupted run (but for times and speeds).
"""

import json
import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import CSVLogger

from nanolit.runtime.files import atomic_path
from nanolit.training.callbacks.evaluate import evaluation_is_due
from nanolit.training.callbacks.step import StepCallback, is_last_step
from nanolit.training.language_model import NonFiniteLoss


class Metrics(StepCallback):
    def __init__(self, every_steps: int = 10) -> None:
        if every_steps < 1:
            raise ValueError(f"callbacks.metrics.every_steps: got {every_steps}, must be at least 1")
        self.every_steps = every_steps
        self.latest: dict[str, float] = {}  # newest value of every metric, for the progress display and the summary
        self._losses: list[float] = []  # of the steps since the last record
        self._norms: list[float] = []
        self._told: list[dict[str, float]] = []  # by the module, before an interruption
        self._mark = (0, 0.0)  # step and training seconds at the last record of this process

    # What a resumed run must know

    def state_dict(self) -> dict[str, Any]:
        more = [{key: float(value) for key, value in told.items()} for told in self._told + self._module.more_metrics]
        state = {"losses": self._losses, "norms": self._norms, "more": more}
        return state | {"seconds": self._seconds(), "latest": self.latest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._losses, self._norms, self.latest = list(state["losses"]), list(state["norms"]), dict(state["latest"])
        self._told = list(state.get("more", []))
        self._resumed_seconds = state["seconds"]

    # Hooks

    def setup(self, trainer: pl.Trainer, module: Any, stage: str) -> None:
        self._module = module
        self._path = Path(trainer.default_root_dir) / "metrics.jsonl"
        self._resumed_seconds = 0.0

    def _begin(self, trainer: pl.Trainer) -> None:
        """Before the first record; only now has Lightning restored the step."""
        if trainer.is_global_zero:
            kept = rewind(self._path, trainer.global_step, evaluation_pending=evaluation_is_due(trainer))
            for logger in trainer.loggers:
                if isinstance(logger, CSVLogger):  # it deletes its old file, so it is told everything again
                    for record in kept:
                        logger.log_metrics(_values(record), step=record["step"])

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        self._begin(trainer)
        self._mark = (trainer.global_step, self._seconds())
        module.stopwatch.start()

    def on_step_end(self, trainer: pl.Trainer, module: Any) -> None:
        if trainer.global_step % self.every_steps == 0 or is_last_step(trainer):
            self.collect(trainer)
            self._write_training(trainer, module)

    def on_validation_start(self, trainer: pl.Trainer, module: Any) -> None:
        module.stopwatch.stop()

    def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:
        if module.evaluation:
            self.write(trainer, module, module.evaluation)
        module.stopwatch.start()

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        module.stopwatch.stop()

    # Reading the device and writing records

    def collect(self, trainer: pl.Trainer) -> None:
        """Fetch what the steps since the last call left on the device. Call it before anything is saved: it finds
        NaNs.
        """
        module = self._module
        if not module.step_losses:
            return
        losses = torch.stack(module.step_losses).float()
        losses = trainer.strategy.reduce(losses, reduce_op="mean")
        both = torch.stack((losses, torch.stack(module.grad_norms).float().to(losses.device))).tolist()
        module.step_losses.clear()
        module.grad_norms.clear()
        scales = getattr(trainer.precision_plugin, "scaler", None) is not None  # it skips steps of infinite gradients
        for i, (loss, norm) in enumerate(zip(*both, strict=True)):
            if not math.isfinite(loss) or not (scales or math.isfinite(norm)):
                raise NonFiniteLoss(trainer.global_step - len(both[0]) + i + 1, loss, norm)
        self._losses += both[0]
        self._norms += both[1]

    def _write_training(self, trainer: pl.Trainer, module: Any) -> None:
        step, seconds = trainer.global_step, self._seconds()
        n_steps, n_seconds = step - self._mark[0], seconds - self._mark[1]
        self._mark = (step, seconds)
        values = {"train/loss": sum(self._losses) / len(self._losses), "optim/grad_norm": self._norms[-1]}
        groups = trainer.optimizers[0].param_groups
        values["optim/lr"] = next((group for group in groups if group["kind"] == "muon"), groups[0])["lr"]
        values |= self._more(module)
        if n_seconds > 0 and n_steps > 0:
            values["perf/step_ms"] = 1000 * n_seconds / n_steps
        if n_seconds > 0 and n_steps > 0 and module.has_known_length:
            values["perf/tok_per_s"] = n_steps * module.tokens_per_step / n_seconds
            if module.peak_flops:
                values["perf/mfu"] = values["perf/tok_per_s"] * module.flops_per_token / module.peak_flops
        self._losses.clear()
        self._norms.clear()
        self.write(trainer, module, values)

    def _more(self, module: Any) -> dict[str, float]:
        """The mean of each further metric over the times that it was told."""
        told: dict[str, list[float]] = {}
        for values in self._told + module.more_metrics:
            for key, value in values.items():
                told.setdefault(key, []).append(float(value))
        self._told.clear()
        module.more_metrics.clear()
        return {key: sum(values) / len(values) for key, values in told.items()}

    def write(self, trainer: pl.Trainer, module: Any, values: dict[str, float]) -> None:
        """A record of the present step."""
        step = trainer.global_step
        record = {"step": step, "tokens": step * module.tokens_per_step, "seconds": round(self._seconds(), 3)}
        # JSON has no infinity, and the norm of a float16 step that overflowed is one.
        values = {key: value for key, value in values.items() if math.isfinite(value)}
        self.latest |= record | values
        if not trainer.is_global_zero:
            return
        with self._path.open("a") as file:
            file.write(json.dumps(record | values) + "\n")
        for logger in trainer.loggers:
            logger.log_metrics(_values(record | values), step=step)

    def _seconds(self) -> float:
        return self._resumed_seconds + self._module.stopwatch.seconds


def rewind(path: Path, step: int, evaluation_pending: bool = False) -> list[dict[str, Any]]:
    """Drop the records after `step`, its evaluation if that is to be repeated, and a half-written last line; give back
    what is kept.
    """
    if not path.exists():
        return []
    kept = []
    for line in path.read_text().splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # the line that a kill cut in two
        is_repeated = evaluation_pending and record["step"] == step and "val/loss" in record
        if step > 0 and record["step"] <= step and not is_repeated:
            kept.append(record)
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in kept))
    return kept


def _values(record: dict[str, Any]) -> dict[str, Any]:
    """What loggers are told besides the step, which they take by itself."""
    return {key: value for key, value in record.items() if key != "step"}
