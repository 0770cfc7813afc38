"""Chance, made reproducible: the one place where the village draws random numbers and assigns its two splits.

Only `random.Random.random()` is used, whose sequence Python promises to keep for a given integer seed; `choice`,
`shuffle` and `randrange` may change between Python versions, and `hash()` changes with every process.
"""

import random
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from typing import Literal, TypeVar

Split = Literal["train", "val"]
TaskSplit = Literal["train", "val", "test"]  # of what tasks ask for; documents have no third
T = TypeVar("T")

VAL_PER_MILLE = 20


class Draw:
    """A stream of choices that is a pure function of `seed`."""

    __slots__ = ("_random",)

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def below(self, n: int) -> int:
        return int(self._random() * n)

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def pick(self, choices: Sequence[T]) -> T:
        return choices[int(self._random() * len(choices))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Fisher-Yates."""
        result = list(items)
        for i in range(len(result) - 1, 0, -1):
            j = self.below(i + 1)
            result[i], result[j] = result[j], result[i]
        return result


@cache
def split_of(pattern: tuple[str, ...]) -> Split:
    """The split that owns a fact pattern, whatever the stream's seed: about 2 % of all patterns are held out."""
    return "val" if is_held_out(pattern, VAL_PER_MILLE) else "train"


def is_held_out(pattern: tuple[str, ...], per_mille: int) -> bool:
    """Of all patterns so many in a thousand, always the same ones."""
    return _number(pattern) % 1000 < per_mille


def task_split(pattern: tuple[str, ...], per_mille: int) -> TaskSplit:
    """What is held out is halved, by another digit of the same number: one half to choose by, one to report."""
    if not is_held_out(pattern, per_mille):
        return "train"
    return "val" if _number(pattern) // 1000 % 2 else "test"


def _number(pattern: tuple[str, ...]) -> int:
    return int.from_bytes(blake2b("\x1f".join(pattern).encode(), digest_size=8).digest(), "big")
