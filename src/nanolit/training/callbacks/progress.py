"""What the run is doing, on the terminal: a bar a few times a second, or a plain line now and then where there is no
terminal.

It shows only what Metrics has already read, so it never makes a step wait.
"""

import sys
import time
from typing import Any

import lightning.pytorch as pl

from nanolit.training.callbacks.metrics import Metrics
from nanolit.training.callbacks.step import StepCallback, find_callback, is_last_step

SECONDS_BETWEEN_LINES = 10.0  # without a terminal


class Progress(StepCallback):
    def __init__(self, refresh_s: float = 0.5) -> None:
        self.refresh_s = refresh_s
        self._bar: Any = None
        self._task: Any = None
        self._next_time = 0.0
        self._start = (0, 0.0)  # step and time when this process began

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        self._metrics = find_callback(trainer, Metrics)
        self._start = (trainer.global_step, time.monotonic())
        if not trainer.is_global_zero:
            self._next_time = float("inf")
        elif sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task("train", total=trainer.max_steps, completed=trainer.global_step, **_blank())
            self._bar.start()

    def on_step_end(self, trainer: pl.Trainer, module: Any) -> None:
        now = time.monotonic()
        if now >= self._next_time or (self._bar and is_last_step(trainer)):
            self._next_time = now + (self.refresh_s if self._bar else SECONDS_BETWEEN_LINES)
            self._show(trainer, now)

    def on_validation_start(self, trainer: pl.Trainer, module: Any) -> None:
        if self._bar:
            self._bar.update(self._task, note="evaluating", refresh=True)

    def on_validation_end(self, trainer: pl.Trainer, module: Any) -> None:
        if not trainer.is_global_zero:
            return
        if self._bar:
            self._bar.update(self._task, note="")
        self._show(trainer, time.monotonic())

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        self._stop()

    def on_exception(self, trainer: pl.Trainer, module: Any, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar:
            self._bar.refresh()
            self._bar.stop()
            self._bar = None

    def _show(self, trainer: pl.Trainer, now: float) -> None:
        latest, step = self._metrics.latest if self._metrics else {}, trainer.global_step
        elapsed, done = now - self._start[1], step - self._start[0]
        left_s = elapsed / done * (trainer.max_steps - step) if done else None
        fields = {
            "loss": _number(latest.get("train/loss"), ".4f"),
            "val": _number(latest.get("val/loss"), ".4f"),
            "speed": _number(latest.get("perf/tok_per_s"), ",.0f"),
            "left": "?" if left_s is None else _duration(left_s),
        }
        if self._bar:
            self._bar.update(self._task, completed=step, refresh=True, **fields)
        else:
            shown = f"loss {fields['loss']}  val {fields['val']}  {fields['speed']} tok/s  {fields['left']} left"
            print(f"step {step}/{trainer.max_steps}  {shown}", file=sys.stderr, flush=True)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = [
        TextColumn("step {task.completed}/{task.total}"),
        BarColumn(bar_width=None),
        TextColumn("loss [bold]{task.fields[loss]}[/]  val [bold]{task.fields[val]}[/]"),
        TextColumn("{task.fields[speed]} tok/s  {task.fields[left]} left {task.fields[note]}"),
    ]
    return Progress(*columns, console=Console(stderr=True), auto_refresh=False, expand=True)


def _blank() -> dict[str, str]:
    return {"loss": "-", "val": "-", "speed": "-", "left": "?", "note": ""}


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
