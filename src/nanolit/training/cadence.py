"""When something is due: every so many optimizer steps, tokens or minutes. Any of the three may be given; none is
never.
"""

import time

# With several processes the clock of the main one decides, and asking it costs a message: so minutes are looked at
# this seldom.
STEPS_BETWEEN_CLOCK_CHECKS = 10


class Cadence:
    def __init__(
        self,
        every_steps: int | None = None,
        every_tokens: int | None = None,
        every_minutes: float | None = None,
        where: str = "",
    ) -> None:
        for name, value in (
            ("every_steps", every_steps),
            ("every_tokens", every_tokens),
            ("every_minutes", every_minutes),
        ):
            if value is not None and (isinstance(value, str | bool) or value <= 0):
                raise ValueError(f"{where}.{name}: got {value!r}, must be a positive number, or null for never")
        self.every_steps, self.every_tokens, self.every_minutes = every_steps, every_tokens, every_minutes
        self._last_time = time.monotonic()

    def due(self, trainer, tokens_per_step: int) -> bool:
        """Is it due after the optimizer steps finished so far? Ask once per step, on every process. The minutes count
        from the last time that they were over, whatever steps and tokens said meanwhile.
        """
        step = trainer.global_step
        if self.every_steps and step % self.every_steps == 0:
            return True
        if self.every_tokens:
            now, before = step * tokens_per_step, (step - 1) * tokens_per_step
            if now // self.every_tokens > before // self.every_tokens:
                return True
        return self._minutes_are_over(trainer, step)

    def _minutes_are_over(self, trainer, step: int) -> bool:
        if not self.every_minutes:
            return False
        if trainer.world_size > 1 and step % STEPS_BETWEEN_CLOCK_CHECKS:
            return False
        over = time.monotonic() - self._last_time >= 60 * self.every_minutes
        if trainer.world_size > 1:
            over = trainer.strategy.broadcast(over)
        if over:
            self._last_time = time.monotonic()
        return over
