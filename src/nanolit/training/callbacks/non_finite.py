"""When the loss is no longer a number: leave behind what is needed to find out why. It does not try to repair the run.

`non_finite/step_00000123/` gets each process's batch of that step (`batch.npz`, `batch_rank1.npz`, ...) and the norm of
every parameter and gradient (norms.json). On a CPU they are those of the step itself, before the weights took it; on a
GPU nothing waits for each step, and the file says after which step they were taken.
"""

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from torch import Tensor

from nanolit.runtime.files import write_json
from nanolit.training.language_model import NonFiniteLoss


class NonFiniteReport(pl.Callback):
    def on_exception(self, trainer: pl.Trainer, module: Any, exception: BaseException) -> None:
        if not isinstance(exception, NonFiniteLoss):
            return
        folder = Path(trainer.default_root_dir) / "non_finite" / f"step_{exception.step:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        exception.folder = folder
        batches = trainer.datamodule.batches_of_step(exception.step - 1)  # type: ignore[attr-defined]
        inputs, targets = (np.concatenate([batch[key] for batch in batches]) for key in ("inputs", "targets"))
        name = "batch.npz" if trainer.is_global_zero else f"batch_rank{trainer.global_rank}.npz"
        np.savez(folder / name, inputs=inputs, targets=targets)
        if trainer.is_global_zero:
            facts = {"step": exception.step, "loss": str(exception.loss), "gradient_norm": str(exception.norm)}
            write_json(
                folder / "norms.json", facts | {"taken_after_step": trainer.global_step, "norms": _norms(module)}
            )


def _norms(module: Any) -> dict[str, dict[str, float | str | None]]:
    named = module.network.named_parameters()
    return {name: {"parameter": _norm(parameter), "gradient": _norm(parameter.grad)} for name, parameter in named}


def _norm(tensor: Tensor | None) -> float | str | None:
    if tensor is None:
        return None
    norm = tensor.detach().float().norm().item()
    return norm if math.isfinite(norm) else str(norm)  # JSON has no inf
