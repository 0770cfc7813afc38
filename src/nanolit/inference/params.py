"""What a user may ask of a model that writes, checked; here without torch, so that a command can tell of it at once."""

from dataclasses import dataclass
from typing import Literal

TEMPERATURE = 0.8  # at which commands, the samples of a run and a saved model write unless they are told otherwise
Weights = Literal["auto", "stored", "float32", "bfloat16", "int8"]  # weights.py
N_SLOTS = 32  # rows at once, where nobody says how many
MAX_GUESSES = 15  # in a pass; the cache has room for so many beyond the end of a text (kv_cache.py's PAD)
Decoding = Literal["eager", "graphs", "compile"]  # fixed.py


@dataclass(frozen=True)
class SamplingParams:
    """How to choose each token, and when to stop. The defaults sample from the model's own distribution."""

    max_new_tokens: int = 256
    temperature: float = 1.0  # 0: always the likeliest token
    top_k: int | None = None  # only the k likeliest
    top_p: float | None = None  # only the likeliest that together reach probability p (arXiv 1904.09751)
    min_p: float | None = None  # only those with at least min_p times the probability of the likeliest
    repetition_penalty: float = 1.0  # above 1: tokens seen before are less likely (arXiv 1909.05858)
    presence_penalty: float = 0.0  # what the logit of a token that was written before loses, once
    frequency_penalty: float = 0.0  # and each time that it was written; both as OpenAI's
    seed: int | None = None  # None: another one each time
    stop: tuple[str, ...] = ()  # the text ends before the first of these

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens: got {self.max_new_tokens}, must be at least 1")
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature: got {self.temperature}, must be a number from 0 (greedy) on")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k: got {self.top_k}, must be at least 1, or null for all tokens")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p: got {self.top_p}, must be above 0 and at most 1, or null for all tokens")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p: got {self.min_p}, must be from 0 to 1, or null for all tokens")
        if not 0 < self.repetition_penalty < float("inf"):
            raise ValueError(f"repetition_penalty: got {self.repetition_penalty}, must be positive (1 changes nothing)")
        for name in ("presence_penalty", "frequency_penalty"):
            if not -2 <= getattr(self, name) <= 2:
                raise ValueError(f"{name}: got {getattr(self, name)}, must be from -2 to 2 (0 changes nothing)")
        if "" in self.stop:
            raise ValueError("stop: got an empty string, which ends every text at once; remove it")


@dataclass(frozen=True)
class EngineSettings:
    n_slots: int | None = None  # rows at once; None: N_SLOTS, or fewer if the memory says so
    max_len: int | None = None  # tokens of prompt and answer together; None: all that the model sees
    memory_gib: float | None = None  # for the cache; None: at most half of what is free
    max_queue: int = 256  # waiting answers, beyond which a worker refuses
    n_guesses: int = 7  # tokens that are guessed ahead at most; 0: none
    decoding: Decoding = "eager"  # fixed.py; graphs for CUDA only. Which is faster on a GPU is not measured yet
    reuse_prefixes: bool = True  # start from what an earlier or a neighbouring row has computed of the same beginning

    def __post_init__(self) -> None:
        for name in ("n_slots", "max_len", "memory_gib"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}: got {value}, must be positive, or null to be chosen")
        if self.max_queue < 1:
            raise ValueError(f"max_queue: got {self.max_queue}, must be at least 1")
        if not 0 <= self.n_guesses <= MAX_GUESSES:
            raise ValueError(f"n_guesses: got {self.n_guesses}, must be from 0 (no guessing) to {MAX_GUESSES}")
