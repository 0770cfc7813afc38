"""A callback whose hook fires once per optimizer step, not once per micro-batch."""

from typing import Any, TypeVar

import lightning.pytorch as pl

C = TypeVar("C", bound=pl.Callback)


class StepCallback(pl.Callback):
    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self.on_step_end(trainer, module)

    def on_step_end(self, trainer: pl.Trainer, module: Any) -> None:
        """After the optimizer step number `trainer.global_step` (the first is 1), before an evaluation that is due
        with it.
        """


def is_last_step(trainer: pl.Trainer) -> bool:
    return trainer.global_step >= trainer.max_steps


def find_callback(trainer: pl.Trainer, kind: type[C]) -> C | None:
    """The run's callback of that class, if it has one."""
    return next((callback for callback in trainer.callbacks if isinstance(callback, kind)), None)  # type: ignore[attr-defined]
