"""What is asked of a worker and what it says: text, in pieces to be shown at once. Not ids and rows (request.py)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from nanolit.inference.params import SamplingParams
from nanolit.inference.request import Finish
from nanolit.tokenizers.messages import Part

Kind = Literal["text", "python", "python_output"]  # what the model says, asks a tool, and is told by it


@dataclass(frozen=True)
class TextRequest:
    prompt: Sequence[int]  # rendered by whoever asks: tokenizers/chat.py's render_prompt, or generate.py's text_prompt
    params: SamplingParams
    n: int = 1  # answers
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None  # None: none; k: each drawn token's, and those of the k likeliest
    chat: bool = False  # the answer is an assistant's: it may call tools, and ends with its turn
    client: str = ""  # requests of one client queue behind each other, clients take turns


class Full(ValueError):
    """The queue is; `retry_after_s` is when a place in it may be free."""

    def __init__(self, n_waiting: int, retry_after_s: int) -> None:
        super().__init__(f"{n_waiting} answers are waiting already; ask again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Closed(Exception):
    """The worker takes no more requests."""


class TokenInfo(NamedTuple):
    """A token that was drawn. `logprob` is the model's own, `sampled_logprob` that of the distribution drawn from."""

    id: int
    bytes: bytes
    logprob: float | None = None
    sampled_logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()  # by the model, the likeliest first


class Piece(NamedTuple):
    """Whole characters of one answer, in order. `tokens` are those drawn since the piece before, without specials."""

    index: int  # type: ignore[assignment]  # which of the n answers
    kind: Kind
    text: str
    tokens: tuple[TokenInfo, ...] = ()
    finish: Finish | None = None  # on the last piece of an answer, and there also:
    n_tokens: int = 0  # that were drawn, the end of the turn included
    n_cached: int = 0  # of the prompt that did not have to be computed


def append_piece(parts: list[Part], piece: Piece) -> None:
    """What was said before grows by `piece`, or by a new part where another kind begins."""
    if parts and parts[-1]["type"] == piece.kind:
        parts[-1]["text"] += piece.text
    elif piece.text or piece.kind == "python_output":  # a tool may say nothing
        parts.append(Part(type=piece.kind, text=piece.text))
