"""Time spent in training steps, without evaluation, samples and saving."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Starts stopped. `seconds` runs on between `start` and `stop` and stands still inside `with paused():`."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._before = seconds
        self._t0: float | None = None

    @property
    def seconds(self) -> float:
        return self._before + (0.0 if self._t0 is None else time.perf_counter() - self._t0)

    def start(self) -> None:
        if self._t0 is None:
            self._t0 = time.perf_counter()

    def stop(self) -> None:
        if self._t0 is not None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()  # steps still queued on the device belong to training
            self._before, self._t0 = self.seconds, None

    @contextmanager
    def paused(self) -> Iterator[None]:
        was_running = self._t0 is not None
        self.stop()
        try:
            yield
        finally:
            if was_running:
                self.start()
