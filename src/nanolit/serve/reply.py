"""The answer to a request for text, as an application of its own: it writes while the model does, and listens whether
the client is still there.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from nanolit.inference.answer import Piece
from nanolit.serve.answers import Answers, Gone
from nanolit.serve.errors import Refusal, defect, stopping, too_slow
from nanolit.serve.metrics import Metrics
from nanolit.serve.responses import DONE, Answer, Form, event

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would collect the events
]
LAST_WORDS_S = 1.0  # for telling a client why it gets no more


class Going:
    """All answers that are being written, so that they can be ended."""

    def __init__(self) -> None:
        self._all: set[Answers] = set()
        self.is_draining = False

    def __len__(self) -> int:
        return len(self._all)

    def add(self, answers: Answers) -> None:
        self._all.add(answers)

    def discard(self, answers: Answers) -> None:
        self._all.discard(answers)

    def end_all(self) -> None:
        for answers in self._all:
            answers.end(stopping())


class Reply(Response):
    def __init__(self, form: Form, going: Going, metrics: Metrics, timeout_s: float, since: float) -> None:
        super().__init__()
        self.form, self.going, self.metrics, self.timeout_s, self.since = form, going, metrics, timeout_s, since

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self._answers(receive) as answers:
                if self.form.order.is_stream:
                    await self._stream(answers, send)
                else:
                    found = await self._collect(answers)
                    # Many answers with log-probabilities are long, and others go on meanwhile.
                    response = await asyncio.to_thread(lambda: JSONResponse(self.form.whole(found)))
                    await response(scope, receive, send)
        except Gone:
            self.status_code = 499

    @asynccontextmanager
    async def _answers(self, receive: Receive) -> AsyncIterator[Answers]:
        async with Answers(self.form.order) as answers:
            self.going.add(answers)
            listening = asyncio.create_task(_listen(receive, answers))
            try:
                yield answers
            finally:
                listening.cancel()
                self.going.discard(answers)

    async def _collect(self, answers: Answers) -> list[Answer]:
        found = [Answer() for _ in range(answers.n_answers)]
        try:
            async with asyncio.timeout(self._left_s()):
                async for pieces in answers:
                    self._note(pieces)
                    for piece in pieces:
                        found[piece.index].add(piece)
        except TimeoutError:
            raise too_slow(self.timeout_s) from None
        return found

    async def _stream(self, answers: Answers, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        try:
            async with asyncio.timeout(self._left_s()):
                await self._write(answers, send)
            return
        except TimeoutError:
            last = too_slow(self.timeout_s)
        except Refusal as refusal:
            last = refusal
        # Whoever has not read for so long gets no last words either.
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await _send(send, event(last.body()), is_last=True)
        except TimeoutError:
            raise Gone from None

    async def _write(self, answers: Answers, send: Send) -> None:
        form, found = self.form, [Answer() for _ in range(answers.n_answers)]
        if opening := form.opening():
            await _send(send, b"".join(event(form.chunk([choice])) for choice in opening))
        async for pieces in answers:
            self._note(pieces)
            for piece in pieces:
                found[piece.index].end(piece)
            if events := [event(form.chunk([form.delta(piece)])) for piece in pieces if form.says(piece)]:
                await _send(send, b"".join(events))
        usage = event(form.chunk([], form.usage(found))) if form.order.with_usage else b""
        await _send(send, usage + DONE, is_last=True)

    def _note(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if piece.finish == "error":
                raise defect()
            if piece.finish == "cancelled":  # and not by us: the worker is closing
                raise stopping()
        if self.since_first is None and any(piece.text or piece.tokens for piece in pieces):
            self.since_first = time.perf_counter() - self.since
            self.metrics.first_token.observe(self.since_first)

    since_first: float | None = None

    def _left_s(self) -> float:
        return max(0.0, self.since + self.timeout_s - time.perf_counter())


async def _send(send: Send, body: bytes, is_last: bool = False) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": not is_last})


async def _listen(receive: Receive, answers: Answers) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    answers.end(Gone())
