"""Tables of sums to learn by heart or by rule: arithmetic modulo a prime, and products of n-digit numbers. Text only.

Which words make a token is the tokenizer's business, which tokens count in the loss the preparation's. Nothing is
listed and shuffled: the i-th example of a split follows from a permutation in constant memory (order.py), so that
drawing from 10^17 products costs no more than what is drawn.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from math import isqrt
from typing import Literal, NamedTuple

import numpy as np

from nanolit.data.order import permute
from nanolit.runtime.seeds import derive
from nanolit.runtime.suggest import suggest

Split = Literal["train", "val"]

CHUNK = 4096  # examples whose places are computed at once
MAX_MODULUS = 100_000  # ten thousand million equations, and as many words as a large tokenizer has
MAX_DIGITS = 9  # of an operand: the pairs of nine digits still have 64-bit numbers


class Example(NamedTuple):
    question: str
    answer: str


# Of Power et al. 2022 (arXiv 2201.02177; the last is x^3+xy^2+y there) by nanuGPT's names, each computing what it says.
# All is modulo p, so that pow(y, -1, p) is 1 / y.
OPERATIONS: dict[str, Callable[[int, int, int], int]] = {
    "x+y": lambda x, y, p: (x + y) % p,
    "x-y": lambda x, y, p: (x - y) % p,
    "x/y": lambda x, y, p: x * pow(y, -1, p) % p,
    "(x//y)if(y%2==1)else(x-y)": lambda x, y, p: (x * pow(y, -1, p) if y % 2 else x - y) % p,
    "x^2+y^2": lambda x, y, p: (x**2 + y**2) % p,
    "x^2+xy+y^2": lambda x, y, p: (x**2 + x * y + y**2) % p,
    "x^2+xy+y^2+x": lambda x, y, p: (x**2 + x * y + y**2 + x) % p,
    "x^3+xy": lambda x, y, p: (x**3 + x * y) % p,
    "x^3+xy^2+x": lambda x, y, p: (x**3 + x * y**2 + x) % p,
}
DIVISIONS = ("x/y", "(x//y)if(y%2==1)else(x-y)")


@dataclass(frozen=True)
class Grokking:
    """Every `x operation y =` modulo a prime, once, in one of two splits: ("12 x/y 5 =", "80") for modulus 97.

    Words are separated by blanks. No equation is in both splits; its mirror image (y + x for x + y) may be.
    """

    operation: str = "x/y"
    modulus: int = 97
    train_fraction: float = 0.5
    seed: int = 0  # which equations are held out

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise ValueError(f"data.operation: got {self.operation!r}; {suggest(self.operation, OPERATIONS)}")
        if not 3 <= self.modulus <= MAX_MODULUS:
            raise ValueError(f"data.modulus: got {self.modulus}, must be from 3 to {MAX_MODULUS}, usually 97")
        if self.operation in DIVISIONS and not _is_prime(self.modulus):
            raise ValueError(
                f"data.modulus: got {self.modulus}, must be a prime where data.operation={self.operation} divides; "
                f"the next one is {next(n for n in count(self.modulus) if _is_prime(n))}"
            )
        if not 0 < self.train_fraction < 1:
            raise ValueError(
                f"data.train_fraction: got {self.train_fraction}, must be between 0 and 1, for example 0.5"
            )
        if not 0 < self.n_examples("train") < self._n_equations:
            raise ValueError(
                f"data.train_fraction: got {self.train_fraction}, which leaves a split of {self._n_equations} "
                "equations empty; take it nearer to 0.5"
            )

    @property
    def _first_y(self) -> int:
        return 1 if self.operation in DIVISIONS else 0

    @property
    def _n_equations(self) -> int:
        return self.modulus * (self.modulus - self._first_y)

    def n_examples(self, split: Split) -> int:
        n_train = round(self._n_equations * self.train_fraction)
        return n_train if split == "train" else self._n_equations - n_train

    def examples(self, split: Split, start: int = 0, stop: int | None = None) -> Iterator[Example]:
        """The examples `start` to `stop` of `split`: the first part of a permutation of all is for training."""
        n_train, n = self.n_examples("train"), self._n_equations
        compute, p = OPERATIONS[self.operation], self.modulus
        seed = derive(self.seed, "grokking")
        for places in _chunks((range(n_train) if split == "train" else range(n_train, n))[start:stop]):
            for equation in permute(places, n, seed).tolist():
                x, y = equation % p, equation // p + self._first_y
                yield Example(f"{x} {self.operation} {y} =", str(compute(x, y, p)))


@dataclass(frozen=True)
class Arithmetic:
    """Products x*y of two numbers of n digits each, for n from `min_digits` to `max_digits`: ("12*34=", "408|").

    Of each n all pairs, where they are at most `max_samples`, else `max_samples` different ones; the share
    `val_fraction` of them is held out. (nanuGPT trains on all pairs of a short n, and of a longer one holds out half of
    what it drew with replacement.) No pair is in both splits; its mirror image (34*12 for 12*34) may be, as there.
    """

    min_digits: int = 1
    max_digits: int = 7
    max_samples: int = 100_000  # of each n
    val_fraction: float = 0.02
    seed: int = 0  # which pairs are drawn, and which are held out

    def __post_init__(self) -> None:
        if not 1 <= self.min_digits <= MAX_DIGITS:
            raise ValueError(f"data.min_digits: got {self.min_digits}, must be from 1 to {MAX_DIGITS}")
        if not self.min_digits <= self.max_digits <= MAX_DIGITS:
            raise ValueError(
                f"data.max_digits: got {self.max_digits}, must be from {self.min_digits} (data.min_digits) to "
                f"{MAX_DIGITS}"
            )
        if self.max_samples < 1:
            raise ValueError(f"data.max_samples: got {self.max_samples}, must be at least 1")
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"data.val_fraction: got {self.val_fraction}, must be between 0 and 1, for example 0.02")
        if not (self.n_examples("train") and self.n_examples("val")):
            raise ValueError(
                f"data.val_fraction: got {self.val_fraction}, which leaves a split without products; "
                "take it nearer to 0.5, or raise data.max_samples or data.max_digits"
            )

    def n_examples(self, split: Split) -> int:
        return sum(len(places) for places in self._places(split).values())

    def examples(self, split: Split, start: int = 0, stop: int | None = None) -> Iterator[Example]:
        """The examples `start` to `stop` of `split`, those of all n mixed."""
        places = self._places(split)
        ends = np.cumsum([len(of_n) for of_n in places.values()])
        total, order = int(ends[-1]), derive(self.seed, "arithmetic", split)
        for chunk in _chunks(range(total)[start:stop]):
            i = permute(chunk, total, order)
            k = np.searchsorted(ends, i, side="right")  # which n, counted from the shortest
            x, y = np.empty_like(i), np.empty_like(i)
            for this, (n_digits, of_n) in enumerate(places.items()):
                place = i[k == this] - ends[this] + of_n.stop  # the last i of this n is its last place
                x[k == this], y[k == this] = self._operands(n_digits, place)
            for a, b in zip(x.tolist(), y.tolist(), strict=True):
                yield Example(f"{a}*{b}=", f"{a * b}|")

    def _places(self, split: Split) -> dict[int, range]:
        """Which places of a permutation of all pairs of n digits belong to `split`, by n."""
        places = {}
        for n_digits in range(self.min_digits, self.max_digits + 1):
            n_drawn = min(_n_numbers(n_digits) ** 2, self.max_samples)
            n_train = n_drawn - round(n_drawn * self.val_fraction)
            places[n_digits] = range(n_train) if split == "train" else range(n_train, n_drawn)
        return places

    def _operands(self, n_digits: int, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n_numbers = _n_numbers(n_digits)
        pair = permute(place, n_numbers**2, derive(self.seed, "arithmetic", n_digits))
        smallest = 10 ** (n_digits - 1)
        return smallest + pair // n_numbers, smallest + pair % n_numbers


def _n_numbers(n_digits: int) -> int:
    return 9 * 10 ** (n_digits - 1)


def _chunks(places: range) -> Iterator[np.ndarray]:
    for first in range(places.start, places.stop, CHUNK):
        yield np.arange(first, min(first + CHUNK, places.stop))


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % divisor for divisor in range(2, isqrt(n) + 1))
