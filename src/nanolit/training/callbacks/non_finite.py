"""When the loss is no longer a number: leave behind what is needed to find out why. It does not try to repair the run.

`non_finite/step_00000123/` gets the batch of that step (batch.npz) and the norm of every parameter and gradient
(norms.json).
"""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np

from nanolit.runtime.files import write_json
from nanolit.training.language_model import NonFiniteLoss


class NonFiniteReport(pl.Callback):
    def on_exception(self, trainer: pl.Trainer, module: Any, exception: BaseException) -> None:
        if not isinstance(exception, NonFiniteLoss) or not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir) / "non_finite" / f"step_{exception.step:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        batches = trainer.datamodule.batches_of_step(exception.step - 1)  # type: ignore[attr-defined]
        inputs, targets = (np.concatenate([batch[key] for batch in batches]) for key in ("inputs", "targets"))
        np.savez(folder / "batch.npz", inputs=inputs, targets=targets)
        norms = {
            name: {
                "parameter": parameter.detach().float().norm().item(),
                "gradient": None if parameter.grad is None else parameter.grad.detach().float().norm().item(),
            }
            for name, parameter in module.network.named_parameters()
        }
        write_json(folder / "norms.json", {"step": exception.step, "loss": str(exception.loss), "norms": norms})
        exception.folder = folder
