"""Keeps the best model so far as a model directory, `model/` in the run folder. It keeps no optimizer state: see
checkpoint.py.
"""

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from nanolit.models.directory import save_model
from nanolit.runtime.files import atomic_folder


class BestModel(pl.Callback):
    def __init__(self, monitor: str = "val/loss") -> None:
        self.monitor = monitor
        self.best = {"step": 0, "value": math.inf}

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = dict(state["best"])

    def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:
        if self.monitor not in module.evaluation:
            raise ValueError(
                f"callbacks.best_model.monitor: got {self.monitor!r}, allowed {', '.join(module.evaluation)}"
            )
        value = module.evaluation[self.monitor]
        if value < self.best["value"]:
            self.best = {"step": trainer.global_step, "value": value}
            self.save(trainer, module)

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        if math.isinf(self.best["value"]):  # never evaluated: the last weights are the best known
            self.save(trainer, module)

    def save(self, trainer: pl.Trainer, module: Any) -> None:
        if not trainer.is_global_zero:
            return
        with module.stopwatch.paused(), atomic_folder(Path(trainer.default_root_dir) / "model") as folder:
            save_model(folder, module.network, extra={"step": trainer.global_step, "metrics": module.evaluation})
            trainer.datamodule.tokenizer.save(folder)  # type: ignore[attr-defined]
