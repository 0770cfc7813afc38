"""A callback whose hook fires once per optimizer step, not once per micro-batch."""

from typing import Any

import lightning.pytorch as pl


class StepCallback(pl.Callback):
    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self.on_step_end(trainer, module)

    def on_step_end(self, trainer: pl.Trainer, module: Any) -> None:
        """After the optimizer step number `trainer.global_step` (the first is 1), before an evaluation that is due with it."""


def is_last_step(trainer: pl.Trainer) -> bool:
    return trainer.global_step >= trainer.max_steps
