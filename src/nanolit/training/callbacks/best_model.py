"""Keeps the best model so far as a model directory, `model/` in the run folder. It keeps no optimizer state: see
checkpoint.py.
"""

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from nanolit.inference.params import TEMPERATURE
from nanolit.models.directory import save_model
from nanolit.runtime.files import atomic_folder, write_json
from nanolit.tokenizers.protocol import Tokenizer

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
            save_model(folder, module.network, extra={"step": trainer.global_step, "metrics": module.evaluation})
            tokenizer = trainer.datamodule.tokenizer  # type: ignore[attr-defined]
            tokenizer.save(folder)
            write_json(folder / "generation_config.json", generation_config(tokenizer))


def generation_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """What `transformers` and others want to know to write with the model: where a text begins and ends, and how to
    draw. `nanolit generate` does not read it: it asks the tokenizer, and its settings are arguments.
    """
    ends = {} if tokenizer.eot_id is None else {"bos_token_id": tokenizer.eot_id, "eos_token_id": tokenizer.eot_id}
    return {**ends, "do_sample": True, "temperature": TEMPERATURE}
