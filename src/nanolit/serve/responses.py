"""Pieces of answers as OpenAI's objects: whole, or as the chunks of a stream. Chat and completions differ in their
choices only.
"""

import codecs
import json
import math
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from nanolit.inference.answer import Piece, TokenInfo, append_piece
from nanolit.serve.requests import Order
from nanolit.tokenizers.messages import Part

LEAST_LOGPROB = -9999.0  # OpenAI's word for minus infinity, which JSON cannot say


@dataclass
class Answer:
    """One of the answers, growing."""

    parts: list[Part] = field(default_factory=list)
    tokens: list[TokenInfo] = field(default_factory=list)  # of its text; what a tool was asked is not its text
    finish: str | None = None
    n_tokens: int = 0
    n_cached: int = 0

    def add(self, piece: Piece) -> None:
        append_piece(self.parts, piece)
        if piece.kind == "text":
            self.tokens += piece.tokens
        self.end(piece)

    def end(self, piece: Piece) -> None:
        if piece.finish is not None:
            self.finish, self.n_tokens, self.n_cached = piece.finish, piece.n_tokens, piece.n_cached

    @property
    def text(self) -> str:
        return "".join(part["text"] for part in self.parts if part["type"] == "text")


class Form:
    """How the answers to one order are written."""

    kind: ClassVar[str]
    chunk_kind: ClassVar[str]
    prefix: ClassVar[str]

    def __init__(self, order: Order) -> None:
        self.order, self.tokenizer = order, order.model.tokenizer
        self.n_answers = sum(request.n for request in order.requests)
        self.id, self.created = self.prefix + secrets.token_hex(12), int(time.time())
        self.with_logprobs = order.requests[0].logprobs is not None

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        choices = [self.choice(i, answer) for i, answer in enumerate(answers)]
        return {**self._head(self.kind), "choices": choices, "usage": self.usage(answers)}

    def opening(self) -> list[dict[str, Any]]:
        """What a stream begins with."""
        return []

    def choice(self, index: int, answer: Answer) -> dict[str, Any]:
        raise AssertionError

    def delta(self, piece: Piece) -> dict[str, Any]:
        raise AssertionError

    def says(self, piece: Piece) -> bool:
        """Is there anything in it for a client?"""
        shown = piece.text or piece.finish or piece.kind == "python_output"
        return bool(shown or (self.with_logprobs and piece.tokens))

    def chunk(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> dict[str, Any]:
        told = {"usage": usage} if self.order.with_usage else {}
        return {**self._head(self.chunk_kind), "choices": choices, **told}

    def usage(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """Prompts count once each, however many answers they get."""
        n_prompt = n_cached = first = 0
        for request in self.order.requests:
            n_prompt += len(request.prompt)
            n_cached += min(answer.n_cached for answer in answers[first : first + request.n])
            first += request.n
        n_answer = sum(answer.n_tokens for answer in answers)
        return {
            "prompt_tokens": n_prompt,
            "completion_tokens": n_answer,
            "total_tokens": n_prompt + n_answer,
            "prompt_tokens_details": {"cached_tokens": n_cached},
        }

    def _head(self, kind: str) -> dict[str, Any]:
        model = self.order.model
        about = {"id": self.id, "object": kind, "created": self.created, "model": model.id}
        return {**about, "system_fingerprint": model.fingerprint}


class ChatForm(Form):
    kind, chunk_kind, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl-"

    def choice(self, index: int, answer: Answer) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        if any(part["type"] != "text" for part in answer.parts):
            message["parts"] = answer.parts
        logprobs = self._logprobs(answer.tokens)
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": answer.finish}

    def opening(self) -> list[dict[str, Any]]:
        return [self._delta(i, {"role": "assistant", "content": ""}) for i in range(self.n_answers)]

    def delta(self, piece: Piece) -> dict[str, Any]:
        delta: dict[str, Any] = {}
        if piece.kind != "text" and (piece.text or piece.finish is None):
            delta = {"part": {"type": piece.kind, "text": piece.text}}
        elif piece.text or piece.tokens:
            delta = {"content": piece.text}
        logprobs = self._logprobs(piece.tokens) if piece.tokens and piece.kind == "text" else None
        return self._delta(piece.index, delta, logprobs, piece.finish)

    def _delta(
        self, index: int, delta: dict[str, Any], logprobs: dict[str, Any] | None = None, finish: str | None = None
    ) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}

    def _logprobs(self, tokens: Sequence[TokenInfo]) -> dict[str, Any] | None:
        if not self.with_logprobs:
            return None
        entries = []
        for info in tokens:
            tops = [self._entry(token, self.tokenizer.token_bytes(token), logprob) for token, logprob in info.top]
            entry = self._entry(info.id, info.bytes, info.logprob)
            entries.append({**entry, "sampled_logprob": _finite(info.sampled_logprob), "top_logprobs": tops})
        return {"content": entries, "refusal": None}

    def _entry(self, token: int, of_it: bytes, logprob: float | None) -> dict[str, Any]:
        text = self.tokenizer.decode([token])  # a special one has no bytes, but a name
        return {"token": text, "logprob": _finite(logprob), "bytes": list(of_it)}


class TextForm(Form):
    kind = chunk_kind = "text_completion"
    prefix = "cmpl-"

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self._offsets = [_Offsets() for _ in range(self.n_answers)]

    def choice(self, index: int, answer: Answer) -> dict[str, Any]:
        text = self._echo(index) + answer.text
        logprobs = self._logprobs(index, answer.tokens)
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": answer.finish}

    def opening(self) -> list[dict[str, Any]]:
        if not self.order.echoes:
            return []
        about = {"logprobs": None, "finish_reason": None}
        return [{"index": i, "text": self._echo(i), **about} for i in range(self.n_answers)]

    def delta(self, piece: Piece) -> dict[str, Any]:
        logprobs = self._logprobs(piece.index, piece.tokens) if piece.tokens else None
        return {"index": piece.index, "text": piece.text, "logprobs": logprobs, "finish_reason": piece.finish}

    def _echo(self, index: int) -> str:
        return self.order.echoes[index // self.order.requests[0].n] if self.order.echoes else ""

    def _logprobs(self, index: int, tokens: Sequence[TokenInfo]) -> dict[str, Any] | None:
        if not self.with_logprobs:
            return None
        named, offsets = self._named, self._offsets[index]
        return {
            "tokens": [named(info.id) for info in tokens],
            "token_logprobs": [_finite(info.logprob) for info in tokens],
            "sampled_logprobs": [_finite(info.sampled_logprob) for info in tokens],
            "top_logprobs": [{named(token): _finite(logprob) for token, logprob in info.top} for info in tokens],
            "text_offset": [offsets.next(info.bytes) for info in tokens],
        }

    def _named(self, token: int) -> str:
        """Part of a character by its bytes, as OpenAI writes it: as text all such tokens would have one name."""
        text = self.tokenizer.decode([token])
        return (
            text
            if "\ufffd" not in text
            else "bytes:" + "".join(f"\\x{b:02x}" for b in self.tokenizer.token_bytes(token))
        )


class _Offsets:
    """Where in its answer each token begins, in characters; one that begins within a character, at that character."""

    def __init__(self) -> None:
        self._decoder, self._at = codecs.getincrementaldecoder("utf-8")(errors="replace"), 0

    def next(self, token: bytes) -> int:
        at = self._at
        self._at += len(self._decoder.decode(token))
        return at


def event(value: Any) -> bytes:
    """One event of a stream."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return b"data: " + text.encode("utf-8", errors="replace") + b"\n\n"


DONE = b"data: [DONE]\n\n"


def _finite(logprob: float | None) -> float | None:
    if logprob is None:
        return None
    return LEAST_LOGPROB if math.isnan(logprob) else max(logprob, LEAST_LOGPROB)
