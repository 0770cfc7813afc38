"""Ctrl-C, SIGTERM and SIGUSR1 (a scheduler's warning): finish the step, save, leave. The handler itself only sets a
flag.

A second Ctrl-C leaves at once. With several processes all of them look at each other's flags every few steps.
"""

import logging
import os
import signal
import time
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch

from nanolit.training.callbacks.checkpoint import Checkpoint
from nanolit.training.callbacks.step import StepCallback, find_callback, is_last_step

log = logging.getLogger("nanolit")
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]
SECONDS_BETWEEN_CHECKS = 2.0  # with several processes, where each check is a collective and a wait
STEPS_TO_MEASURE = 5  # the first ones of a process, after which the seconds are known as a number of steps


class RunInterrupted(Exception):
    """The run was asked to stop, has saved a checkpoint and can go on later."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(f"{signal.Signals(signum).name} at step {step}")
        self.signum, self.step = signum, step


class Interrupt(StepCallback):
    def __init__(self) -> None:
        self.received = 0
        self._steps_between_checks = 1
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        # Installed over Lightning's handlers, which raise in mid-step, and which with several processes start a
        # collective inside the signal handler and a broadcast with a wait for the device in every batch.
        self._previous = {signum: signal.signal(signum, self._handle) for signum in SIGNALS}
        self._began = (trainer.global_step, time.monotonic())
        if trainer.world_size > 1:
            trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]

    def teardown(self, trainer: pl.Trainer, module: Any, stage: str) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous = {}

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.received and signum == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.received:  # not through `logging`: the signal may have come in the middle of a line of it
            os.write(2, b"\nstopping after this step; Ctrl-C again stops at once and loses what was not saved\n")
        self.received = signum

    def on_step_end(self, trainer: pl.Trainer, module: Any) -> None:
        signum = self._agreed(trainer)
        if signum and not is_last_step(trainer):  # after the last step everything is saved and over anyway
            checkpoint = find_callback(trainer, Checkpoint)
            if checkpoint is not None and checkpoint.last_saved_step != trainer.global_step:
                checkpoint.save(trainer, module)
            raise RunInterrupted(signum, trainer.global_step)

    def _agreed(self, trainer: pl.Trainer) -> int:
        if trainer.world_size == 1:
            return self.received
        if trainer.global_step == self._began[0] + STEPS_TO_MEASURE:
            step_s = (time.monotonic() - self._began[1]) / STEPS_TO_MEASURE
            self._steps_between_checks = trainer.strategy.broadcast(max(1, int(SECONDS_BETWEEN_CHECKS / step_s)))
        if trainer.global_step % self._steps_between_checks:
            return 0
        flag = torch.tensor(self.received, device=trainer.strategy.root_device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return int(flag)
