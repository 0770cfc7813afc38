"""Decides when Lightning's validation loop runs: by optimizer steps, tokens or minutes, and always after the last step.

Lightning counts micro-batches and can only repeat at a fixed distance; here its switch `val_check_batch` is set for
each step.
"""

from typing import Any

import lightning.pytorch as pl

from nanolit.training.cadence import Cadence
from nanolit.training.callbacks.step import StepCallback, find_callback, is_last_step

ALWAYS, NEVER = 1, 10**15  # every 1st micro-batch is due; the 10^15th will never be


class Evaluate(StepCallback):
    def __init__(
        self,
        every_steps: int | None = None,
        every_tokens: int | None = None,
        every_minutes: float | None = None,
        at_start: bool = False,
    ) -> None:
        self.cadence = Cadence(every_steps, every_tokens, every_minutes, where="callbacks.evaluate")
        self.at_start = at_start
        self.is_due = False  # an evaluation follows the current step; set from outside: an interruption left it out

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        trainer.val_check_batch = NEVER
        self.is_due = trainer.enable_validation and (self.is_due or (self.at_start and trainer.global_step == 0))

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        """Evaluates before the first step of this process. Lightning's sanity check is no use: not done on resume."""
        if self.is_due:  # what Lightning's own loop does in the middle of training
            first_loop_iter = trainer._logger_connector._first_loop_iter
            trainer.validating = True
            trainer.fit_loop.epoch_loop.val_loop.run()
            trainer.training = True
            trainer._logger_connector._first_loop_iter = first_loop_iter

    def on_step_end(self, trainer: pl.Trainer, module: Any) -> None:
        due = self.cadence.due(trainer, module.tokens_per_step) or is_last_step(trainer)
        self.is_due = due and trainer.enable_validation
        trainer.val_check_batch = ALWAYS if self.is_due else NEVER

    def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:
        self.is_due = False
        trainer.val_check_batch = NEVER


def evaluation_is_due(trainer: pl.Trainer) -> bool:
    evaluate = find_callback(trainer, Evaluate)
    return evaluate is not None and evaluate.is_due
