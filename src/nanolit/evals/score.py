"""A score, with all that one must know to believe it or to measure it again. It judges nothing."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Score:
    task: str
    metric: str  # accuracy, pass@1, strict, …
    value: float
    n: int  # items
    standard_error: float  # of the mean over items
    by_chance: float  # what who guesses would get
    shots: int  # examples with their answers before the question
    prompt_hash: str  # of all prompts, in order: equal if and only if the same was asked
    template: str  # how an item became a prompt
    extractor: str  # what of the answer was compared

    @property
    def centred(self) -> float:
        """0 for who guesses, 1 for who is always right."""
        return (self.value - self.by_chance) / (1 - self.by_chance)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"centred": self.centred}


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and its standard error from the spread of the items (not a number of one item alone)."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, math.nan
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def prompt_hash(prompts: Iterable[Sequence[int] | str]) -> str:
    digest = hashlib.sha256()
    for prompt in prompts:
        digest.update(prompt.encode() if isinstance(prompt, str) else ",".join(map(str, prompt)).encode())
        digest.update(b"\n")
    return digest.hexdigest()[:16]
