"""What is asked of the engine and what it tells: ids, numbers, rows on their way. No tensors, no text, no threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from nanolit.inference.params import SamplingParams

if TYPE_CHECKING:
    import torch

Finish = Literal["stop", "length", "cancelled", "error"]
NO_SLOT = -1


class Interjection(Protocol):
    """What may speak in between (tool_calls.py): given all that a row has written, ids to be forced after it."""

    def __call__(self, written: Sequence[int]) -> Sequence[int]: ...


@dataclass(frozen=True)
class Request:
    prompt: Sequence[int]
    params: SamplingParams  # its `stop` strings are the reader's business, who has the text
    rows: Sequence[int] = (0,)  # numbers of the samples: sample i is the same whichever others are drawn with it
    stop_ids: frozenset[int] = frozenset()
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None  # None: no log-probabilities; k: those of each token, and of the k likeliest
    interject: Interjection | None = None
    when_full: Literal["stop", "slide"] = "stop"  # slide: forget the oldest tokens and go on
    client: str = ""  # requests of one client wait behind each other, clients take turns


class Scores(NamedTuple):
    """Log-probabilities of a token that was drawn."""

    logprob: float  # by the model
    sampled_logprob: float  # by the distribution drawn from: after penalties, temperature and filters
    top: tuple[tuple[int, float], ...]  # the likeliest by the model, with theirs


class Event(NamedTuple):
    row: Row
    token: int
    is_forced: bool = False
    scores: Scores | None = None
    finish: Finish | None = None  # this was the last one


class Group:
    """The rows of one request. One of them computes the prompt; the others start from what it found."""

    leader: Row | None = None
    is_computed = False
    bias: torch.Tensor | None = None  # (V,) what is added to logits, made once for all tokens (choose.py)


class Row:
    """One sample. `ids` are the prompt and what was written, drawn and forced; `start`: the first one that is seen."""

    def __init__(self, request: Request, number: int, generator: torch.Generator, group: Group) -> None:
        self.request, self.number, self.generator, self.group = request, number, generator, group
        self.ids = list(request.prompt)
        self.start = self.n_drawn = self.n_cached = 0
        self.counts: dict[int, int] = {}  # how often each token was drawn
        self.slot = NO_SLOT
        self.n_wrong = self.n_passes_off = 0  # guesses in a row that failed, and passes until the next one
        self.turn = 0  # the how manieth row it was that got a slot
        self.finish: Finish | None = None

    @property
    def has_slot(self) -> bool:
        return self.slot != NO_SLOT

    @property
    def written(self) -> list[int]:
        return self.ids[len(self.request.prompt) :]
