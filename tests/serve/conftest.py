"""An answerer that speaks from a script, for conversations without a model."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from nanolit.inference.answer import Piece, TextRequest
from nanolit.inference.params import SamplingParams
from nanolit.serve.dialogue import Dialogue
from nanolit.tokenizers.bpe import SPLIT_PATTERN, BPETokenizer
from nanolit.tokenizers.vocabulary import CHAT_SPECIALS

BYTES = BPETokenizer(
    {bytes([byte]): byte for byte in range(256)}, {name: 256 + i for i, name in enumerate(CHAT_SPECIALS)}, SPLIT_PATTERN
)


def _said(*parts: str, finish: str | None = "stop") -> list[Piece]:
    """Pieces of text, and of python where they begin with !, of its output where with =."""
    kinds = {"!": "python", "=": "python_output"}
    pieces = [Piece(0, kinds.get(part[:1], "text"), part.lstrip("!="), ()) for part in parts]
    return [*pieces, Piece(0, "text", "", (), finish, len(parts) + 1, 7)] if finish else pieces


@dataclass
class Script:
    """Says what stands in `answers`, one after the other; knows what was asked, and what was closed early."""

    answers: list[list[Piece]]
    block_size: int = 1000
    tokenizer: BPETokenizer = BYTES
    asked: list[TextRequest] = field(default_factory=list)
    n_cancelled: int = 0

    def stream(self, request):
        self.asked.append(request)
        is_whole = False
        try:
            yield from self.answers.pop(0)
            is_whole = True
        finally:
            self.n_cancelled += not is_whole


@pytest.fixture(scope="session")
def bytewise() -> BPETokenizer:
    """Every byte is a token; chat tokens after them."""
    return BYTES


@pytest.fixture
def said() -> Callable[..., list[Piece]]:
    return _said


@pytest.fixture
def scripted() -> Callable[..., Dialogue]:
    """A conversation in which the answers are those given, one after the other."""

    def make(*answers: list[Piece], system: str | None = None, block_size: int = 1000, **params) -> Dialogue:
        return Dialogue(Script(list(answers), block_size), SamplingParams(**params), system)

    return make
