"""What a user may choose about how tasks are asked, checked; here without torch, so that a command can tell of it at
once.
"""

from dataclasses import dataclass
from typing import Literal

from nanolit.inference.params import SamplingParams

Template = Literal["auto", "chat", "completion"]


@dataclass(frozen=True)
class AskConfig:
    template: Template = "auto"  # auto: a chat if the tokenizer has the tokens for one (prompts.py)
    shots: int = 0  # examples of the task's train split before each question
    n_samples: int = 1  # answers to each question of a generative task
    temperature: float = 0.0
    top_k: int | None = None
    max_new_tokens: int | None = None  # None: what the task says
    pass_at: tuple[int, ...] | None = None  # for which k pass@k is told; None: 1 and n_samples
    batch_size: int = 8  # prompts or answers at once; no score depends on it
    seed: int = 1337  # of the shots and of what is drawn

    def __post_init__(self) -> None:
        for name, least in (("shots", 0), ("n_samples", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: got {getattr(self, name)}, must be at least {least}")
        SamplingParams(
            1 if self.max_new_tokens is None else self.max_new_tokens, self.temperature, self.top_k
        )  # checks
        if self.n_samples > 1 and self.temperature == 0:
            raise ValueError(f"n_samples: got {self.n_samples}, at temperature=0 all are the same; give temperature=1")
        for k in self.pass_at or ():
            if not 1 <= k <= self.n_samples:
                raise ValueError(
                    f"pass_at: got {k}, allowed: 1 to n_samples={self.n_samples}; draw more answers, n_samples={k}"
                )

    @property
    def ks(self) -> tuple[int, ...]:
        return tuple(sorted({*(self.pass_at or (1, self.n_samples))}))
