"""Keeps the best model so far as a model directory, `model/` in the run folder. It keeps no optimizer state: see
checkpoint.py.
"""

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from nanolit.inference.model_folder import write_folder
from nanolit.runtime.files import atomic_folder

MONITORS = ("val/loss", "val/ppl", "val/bpb")  # lower is better


class BestModel(pl.Callback):
    def __init__(self, monitor: str = "val/loss") -> None:
        if monitor not in MONITORS:
            raise ValueError(f"callbacks.best_model.monitor: got {monitor!r}, must be one of {', '.join(MONITORS)}")
        self.monitor = monitor
        self.best = {"step": 0, "value": math.inf}

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = dict(state["best"])

    def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:
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
            write_folder(
                folder,
                lambda extra: module.save_network(folder, module.network, extra),
                n_rows=module.network.config.padded_vocab,
                tokenizer=trainer.datamodule.tokenizer,  # type: ignore[attr-defined]
                about={"step": trainer.global_step, "metrics": module.evaluation},
            )
