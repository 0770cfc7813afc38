"""The learning rate as a pure function, step -> multiplier; not a scheduler object: nothing but the step is saved.

Step 0 is the first optimizer step, `max_steps - 1` the last. A multiplier of 1 is the rate that the group states.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from nanolit.runtime.typed import refuse_unread

# Besides kind and warmup_steps, which all read.
READ_BY = {
    "cosine": ("min_ratio", "decay_steps"),
    "linear": ("min_ratio", "decay_steps"),
    "constant": (),
    "wsd": ("min_ratio", "cooldown_fraction"),
    "lr_range_test": ("range_coeff",),
}


@dataclass(frozen=True)
class ScheduleConfig:
    """Which curve, with its lengths in optimizer steps."""

    kind: Literal["cosine", "linear", "constant", "wsd", "lr_range_test"] = "cosine"
    warmup_steps: int = 0
    min_ratio: float = 0.0  # the multiplier where the decay ends
    decay_steps: int | None = None  # cosine, linear: the step at which the decay ends; None: max_steps
    cooldown_fraction: float = 0.4  # wsd: the last part of the run, over which the rate falls
    range_coeff: float = 10.0  # lr_range_test: from exp(-range_coeff / 2) to exp(range_coeff / 2)

    def __post_init__(self) -> None:
        refuse_unread(self, READ_BY, "schedule")
        if self.warmup_steps < 0:
            raise ValueError(f"schedule.warmup_steps: got {self.warmup_steps}, must be at least 0")
        if not 0 <= self.min_ratio <= 1:
            raise ValueError(
                f"schedule.min_ratio: got {self.min_ratio}, must be from 0 to 1 (a share of the peak rate)"
            )
        if not 0 <= self.cooldown_fraction <= 1:
            raise ValueError(f"schedule.cooldown_fraction: got {self.cooldown_fraction}, must be from 0 to 1")
        if self.decay_steps is not None and self.decay_steps <= self.warmup_steps:
            raise ValueError(
                f"schedule.warmup_steps: got {self.warmup_steps}, must be below schedule.decay_steps="
                f"{self.decay_steps}, which follows trainer.max_steps; lower it or train longer"
            )


def schedule(config: ScheduleConfig, max_steps: int) -> Callable[[int], float]:
    """The function that `config` describes, for a run of `max_steps`; pickles, and can be given to LambdaLR."""
    if config.warmup_steps >= max_steps:
        raise ValueError(
            f"schedule.warmup_steps: got {config.warmup_steps}, must be below the run's {max_steps} steps; "
            "lower it or train longer"
        )
    decay_steps = max_steps if config.decay_steps is None else config.decay_steps
    common = {"warmup_steps": config.warmup_steps}
    if config.kind == "cosine":
        return partial(cosine, decay_steps=decay_steps, min_ratio=config.min_ratio, **common)
    if config.kind == "linear":
        return partial(linear, decay_steps=decay_steps, min_ratio=config.min_ratio, **common)
    if config.kind == "wsd":
        cooldown_steps = round(config.cooldown_fraction * max_steps)
        return partial(wsd, max_steps=max_steps, cooldown_steps=cooldown_steps, min_ratio=config.min_ratio, **common)
    if config.kind == "lr_range_test":
        return partial(lr_range_test, max_steps=max_steps, range_coeff=config.range_coeff, **common)
    return partial(constant, **common)


def constant(step: int, *, warmup_steps: int = 0) -> float:
    """Linear warmup, then 1. The first step already moves: (step + 1) / (warmup_steps + 1), as in nanoGPT."""
    return min(1.0, (step + 1) / (warmup_steps + 1))


def cosine(step: int, *, decay_steps: int, warmup_steps: int = 0, min_ratio: float = 0.0) -> float:
    """Warmup, then half a cosine from 1 to `min_ratio` at `decay_steps`, and constant after it."""
    if step < warmup_steps:
        return constant(step, warmup_steps=warmup_steps)
    progress = min(1.0, (step - warmup_steps) / (decay_steps - warmup_steps))
    return min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * progress))


def linear(step: int, *, decay_steps: int, warmup_steps: int = 0, min_ratio: float = 0.0) -> float:
    """Warmup, then a straight line from 1 to `min_ratio` at `decay_steps`, and constant after it."""
    if step < warmup_steps:
        return constant(step, warmup_steps=warmup_steps)
    progress = min(1.0, (step - warmup_steps) / (decay_steps - warmup_steps))
    return 1 - (1 - min_ratio) * progress


def wsd(step: int, *, max_steps: int, cooldown_steps: int, warmup_steps: int = 0, min_ratio: float = 0.0) -> float:
    """Warmup, stable, decay (a trapezoid, arXiv 2405.18392): 1 until the last `cooldown_steps`, then a line."""
    progress = max(0.0, (step - (max_steps - cooldown_steps)) / max(1, cooldown_steps))
    return min(constant(step, warmup_steps=warmup_steps), 1 - (1 - min_ratio) * min(1.0, progress))


def lr_range_test(step: int, *, max_steps: int, range_coeff: float, warmup_steps: int = 0) -> float:
    """Exponential growth through 1 in the middle of the run: the loss over it shows which rates train.

    It begins low by itself; a warmup, which an experiment may bring along, makes its first steps lower still.
    """
    return constant(step, warmup_steps=warmup_steps) * math.exp(range_coeff * (step / max_steps - 0.5))


def scaled(schedule: Callable[[int], float], fraction: float) -> Callable[[int], float]:
    """The same course at a fraction of its height."""
    return lambda step: fraction * schedule(step)
