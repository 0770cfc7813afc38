"""A conversation with one model: what was said, how the next answer is drawn, and what of the past is still sent.

It shows nothing and reads nothing; the terminal does (terminal.py).
"""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol

from nanolit.inference.answer import Piece, TextRequest, append_piece
from nanolit.inference.params import SamplingParams
from nanolit.tokenizers.chat import render_prompt
from nanolit.tokenizers.messages import Message, Part
from nanolit.tokenizers.protocol import Tokenizer


class Answerer(Protocol):
    """What answers: inference/worker.py's Worker."""

    @property
    def block_size(self) -> int:
        """The most tokens of prompt and answer together."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    def stream(self, request: TextRequest) -> Iterator[Piece]:
        """Closing the iterator cancels the answer."""


@dataclass
class Figures:
    """Of the last answer."""

    n_prompt: int
    n_cached: int = 0  # tokens of the prompt that did not have to be computed
    n_tokens: int = 0
    first_s: float = 0.0  # until the first piece
    total_s: float = 0.0

    def __str__(self) -> str:
        writing_s = self.total_s - self.first_s
        rate = f" ({(self.n_tokens - 1) / writing_s:.1f} tokens/s)" if self.n_tokens > 1 and writing_s > 0 else ""
        return (
            f"last answer: {self.n_tokens} tokens in {self.total_s:.2f} s, the first after {self.first_s:.2f} s{rate}; "
            f"prompt: {self.n_prompt} tokens, {self.n_cached} of them known before"
        )


class Dialogue:
    def __init__(self, worker: Answerer, params: SamplingParams, system: str | None = None) -> None:
        self.worker, self.params, self.system = worker, params, system
        self.messages: list[Message] = []  # user and assistant in turns, all of them answered
        self.was_silent = False  # was nothing said when the model was last asked?
        self.unanswered: str | None = None  # and to what: a message that is not among the others
        self.n_left_out = 0  # messages, the oldest ones, that do not fit any more
        self.figures: Figures | None = None
        self._n_asked = 0

    def ask(self, text: str) -> Iterator[Piece]:
        """The answer, piece by piece. Whatever came of it when it ends, or is closed, is part of the conversation."""
        return self._answer(self.messages, text)

    def ask_again(self) -> Iterator[Piece]:
        """Another answer to the last message, in place of the one that it got."""
        if self.unanswered is not None:
            return self.ask(self.unanswered)
        if not self.messages:
            raise ValueError("nothing has been asked yet")
        question = self.messages[-2]["content"]
        assert isinstance(question, str)
        return self._answer(self.messages[:-2], question)

    def clear(self) -> None:
        self.messages, self.unanswered, self.n_left_out = [], None, 0

    def whole(self) -> list[Message]:
        """Everything that was said, also what the model does not see any more."""
        return [*self._of_system(), *self.messages]

    def _answer(self, before: list[Message], text: str) -> Iterator[Piece]:
        question = Message(role="user", content=text)
        prompt = self._prompt([*before, question])
        request = TextRequest(prompt, self._next_params(), chat=True)
        figures, parts, begin = Figures(len(prompt)), list[Part](), time.perf_counter()
        try:
            with closing(self.worker.stream(request)) as pieces:  # type: ignore[type-var]  # it is a generator
                for piece in pieces:
                    figures.total_s = time.perf_counter() - begin
                    figures.first_s = figures.first_s or figures.total_s
                    figures.n_tokens = piece.n_tokens if piece.finish else figures.n_tokens + len(piece.tokens)
                    figures.n_cached = piece.n_cached
                    append_piece(parts, piece)
                    yield piece
        finally:
            self.figures = figures
            content = _content(parts)
            self.was_silent = content is None
            self.unanswered = text if content is None and len(before) == len(self.messages) else None
            if content is not None:  # in one assignment: an interruption leaves no half of a turn
                self.messages = [*before, question, Message(role="assistant", content=content)]

    def _next_params(self) -> SamplingParams:
        """With a seed of its own for each answer, so that a conversation with a given seed can be had again."""
        self._n_asked += 1
        if self.params.seed is None:
            return self.params
        return replace(self.params, seed=self.params.seed + self._n_asked - 1)

    def _prompt(self, messages: list[Message]) -> list[int]:
        """As much of the conversation as leaves room for an answer: at least one whole turn, and the last ones."""
        size = self.worker.block_size
        room = size - min(self.params.max_new_tokens, size // 4)
        last = len(messages) - 1
        for first in range(min(self.n_left_out, last), last + 1, 2):
            ids = render_prompt([*self._of_system(), *messages[first:]], self.worker.tokenizer)
            if len(ids) <= room or (first == last and len(ids) < size):
                self.n_left_out = first
                return ids
        raise ValueError(
            f"your message: got {len(ids)} tokens with all that frames it, and the model sees {size} with its answer; "
            "shorten it"
        )

    def _of_system(self) -> list[Message]:
        return [] if self.system is None else [Message(role="system", content=self.system)]


def _content(parts: list[Part]) -> str | list[Part] | None:
    """What a message of these parts holds in nanochat's schema; None if it would say nothing."""
    kept: list[Part] = []
    for part in parts:
        if part["type"] == "python" and not part["text"].strip():
            continue  # an empty call
        if part["type"] == "python_output" and not (kept and kept[-1]["type"] == "python"):
            continue
        kept.append(part)
    if any(part["type"] == "python" for part in kept):
        return kept
    text = "".join(part["text"] for part in kept)
    return text if text.strip() else None
