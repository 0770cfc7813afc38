"""The answers to one request on their way: from the threads of workers to the coroutine that writes them to a client.

Whatever ends it (the last token, a client that went away, time, a server that stops) the workers are told at once.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType

from nanolit.inference.answer import Closed, Full, Piece
from nanolit.serve.errors import Refusal, busy, stopping
from nanolit.serve.requests import Order
from nanolit.serve.served import Lease


class Gone(Exception):
    """The client has hung up."""


class Answers:
    """What has arrived and is not read yet is bounded by the answers' own length."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.n_answers = self._n_going = sum(request.n for request in order.requests)
        self._loop, self._arrived = asyncio.get_running_loop(), asyncio.Event()
        self._pieces: list[Piece] = []
        self._leases: list[Lease] = []
        self._end: Exception | None = None

    async def __aenter__(self) -> "Answers":
        first = 0
        try:
            for request in self.order.requests:
                self._leases.append(self.order.model.submit(request, self._delivery(first)))
                first += request.n
        except Full as error:
            self._close()
            raise busy(str(error), error.retry_after_s) from None
        except Closed:
            self._close()
            raise stopping() from None
        except ValueError as error:
            self._close()
            raise Refusal(str(error)) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    async def __aiter__(self) -> AsyncIterator[list[Piece]]:
        """Together what came since the last time, `index` counted over all prompts."""
        while self._n_going:
            await self._arrived.wait()
            self._arrived.clear()
            if self._end is not None:
                raise self._end
            pieces, self._pieces = self._pieces, []
            self._n_going -= sum(piece.finish is not None for piece in pieces)
            yield pieces

    def end(self, error: Exception) -> None:
        """The reader is told instead of what would come next."""
        self._end = self._end or error
        self._arrived.set()

    def _close(self) -> None:
        for lease in self._leases:
            lease.close()

    def _delivery(self, first: int) -> Callable[[list[Piece]], None]:
        def deliver(pieces: list[Piece]) -> None:  # in the worker's thread
            try:
                self._loop.call_soon_threadsafe(self._take, first, pieces)
            except RuntimeError:  # the loop is closed: there is nobody to tell
                return

        return deliver

    def _take(self, first: int, pieces: list[Piece]) -> None:
        self._pieces += [piece._replace(index=first + piece.index) for piece in pieces] if first else pieces
        self._arrived.set()
