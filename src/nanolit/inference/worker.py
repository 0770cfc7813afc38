"""The engine in a thread of its own: requests come from any thread, text goes back piece by piece.

The thread takes what has arrived, cancels what is not wanted any more, lets the engine make a step, and hands out what
was said. It knows nothing of HTTP; whoever asks is called back in this thread and must be quick.
"""

import logging
import math
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from nanolit.inference.answer import Closed, Full, Piece, TextRequest
from nanolit.inference.engine import Engine
from nanolit.inference.params import EngineSettings
from nanolit.inference.reader import Reader
from nanolit.inference.request import Event, Finish, Request, Row
from nanolit.inference.tool_calls import ToolCalls
from nanolit.inference.tools import Calculator, Tool
from nanolit.models.gpt import GPT
from nanolit.models.network import Network
from nanolit.tokenizers.chat import ends_of_answer, has_chat_tokens
from nanolit.tokenizers.protocol import Tokenizer

Deliver = Callable[[list[Piece]], None]


@dataclass(frozen=True)
class WorkerStats:
    slots: int
    waiting: int = 0
    running: int = 0
    generated_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0  # of these, so many did not have to be computed
    requests_finished: dict[str, int] = field(default_factory=dict)  # answers, by how they ended
    steps: int = 0


class Ticket:
    """A request that was taken."""

    def __init__(self, worker: "Worker", request: TextRequest, deliver: Deliver) -> None:
        self._worker, self.request, self.deliver = worker, request, deliver
        self.begin: float | None = None  # when its first token came
        self.rows: dict[Row, Reader] = {}  # that have not ended

    def cancel(self) -> None:
        """From any thread, as often as one likes. Pieces with finish="cancelled" follow for what has not ended."""
        self._worker.cancel(self)


class Worker:
    """`tools` are for chats; `draft`: a smaller model of the same vocabulary, which guesses ahead (speculate.py)."""

    def __init__(
        self,
        model: Network,
        tokenizer: Tokenizer,
        *,
        tools: Sequence[Tool] | None = None,
        settings: EngineSettings | None = None,
        name: str = "",
        draft: GPT | None = None,
    ) -> None:
        model.eval()
        self.tokenizer, self.name = tokenizer, name
        self._engine = Engine(model, settings, tokenizer.vocab_size, draft)
        self.block_size = self._engine.max_len
        chosen = [Calculator()] if tools is None else tools
        self._tool_calls = ToolCalls(tokenizer, chosen) if has_chat_tokens(tokenizer) else None
        self._changed = threading.Condition()  # guards the next four
        self._arrived: list[tuple[Ticket, Request]] = []
        self._unwanted: list[Ticket] = []
        self._is_closing = False
        self._stats = WorkerStats(self._engine.n_slots)
        self._readers: dict[Row, tuple[Ticket, Reader]] = {}
        self._told: dict[Ticket, list[Piece]] = {}  # of this step, by whom it is for
        self._counts: Counter[str] = Counter()
        self._finished: Counter[str] = Counter()
        self._answer_s = 1.0  # what an answer takes, about
        self._thread = threading.Thread(target=self._run, name=f"nanolit-worker {name}", daemon=True)
        self._thread.start()

    # From any thread

    def submit(self, request: TextRequest, deliver: Deliver) -> Ticket:
        """`deliver` is called in the worker's thread, at most once a step, with what is new of this request."""
        asked = self._in_ids(request)
        self._engine.check(asked)
        ticket = Ticket(self, request, deliver)
        with self._changed:
            if self._is_closing:
                raise Closed
            stats = self.stats()
            n_in_queue = stats.waiting + request.n - (stats.slots - stats.running)
            if n_in_queue > self._engine.settings.max_queue and stats.waiting:  # one alone may be longer than the queue
                raise Full(stats.waiting, max(1, math.ceil(min(60.0, self._answer_s * stats.waiting / stats.slots))))
            self._arrived.append((ticket, asked))
            self._changed.notify()
        return ticket

    def stream(self, request: TextRequest) -> Iterator[Piece]:
        """The pieces of one request as they come; closing the iterator cancels it."""
        arrived: queue.SimpleQueue[list[Piece]] = queue.SimpleQueue()
        ticket, n_left = self.submit(request, arrived.put), request.n
        try:
            while n_left:
                for piece in arrived.get():
                    n_left -= piece.finish is not None
                    yield piece
        finally:
            ticket.cancel()

    def cancel(self, ticket: Ticket) -> None:
        with self._changed:
            self._unwanted.append(ticket)
            self._changed.notify()

    def stats(self) -> WorkerStats:
        with self._changed:
            n_arrived = sum(ticket.request.n for ticket, _ in self._arrived)
            return replace(self._stats, waiting=self._stats.waiting + n_arrived)

    def close(self, timeout_s: float | None = None) -> None:
        """Takes no more requests; the thread stops when the last answer has ended, after `timeout_s` at once."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            with self._changed:
                tickets = {ticket for ticket, _ in [*self._arrived, *self._readers.values()]}
            for ticket in tickets:
                ticket.cancel()
            self._thread.join()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    # In the worker's thread

    def _run(self) -> None:
        try:
            while self._take_news():
                self._step()
                self._tell()
                self._hand_out()
        finally:  # nobody waits for ever for a thread that has died
            with self._changed:
                self._is_closing = True
                arrived, self._arrived = self._arrived, []
            self._end_broken(list(self._readers))
            for ticket, _ in arrived:
                self._told[ticket] = [Piece(i, "text", "", finish="error") for i in range(ticket.request.n)]
            self._tell()
            self._hand_out()

    def _step(self) -> None:
        try:
            events = self._engine.step()
        except Exception:  # out of memory, or a defect: whatever it is, those who wait are told, and others go on
            logging.getLogger(__name__).exception("a step failed; the answers that were being written are lost")
            self._engine.reset()
            self._end_broken([row for row in self._readers if row.finish is not None])  # also whose end was not told
        else:
            self._counts["steps"] += bool(events)
            self._read(events)

    def _take_news(self) -> bool:
        """Waits for something to do; False: there will be nothing more."""
        with self._changed:
            while self._engine.is_idle and not self._arrived and not self._unwanted:
                if self._is_closing:
                    return False
                self._changed.wait()
            arrived, self._arrived = self._arrived, []
            unwanted, self._unwanted = self._unwanted, []
            for ticket, request in arrived:
                for index, row in enumerate(self._engine.submit(request)):
                    ticket.rows[row] = Reader(index, ticket.request, self.tokenizer)
                    self._readers[row] = ticket, ticket.rows[row]
                self._counts["prompt"] += len(request.prompt)
            self._tell()
        for ticket in unwanted:
            rows = list(ticket.rows)
            for row in rows:
                self._engine.cancel(row)
            self._end(ticket, [(row, "cancelled") for row in rows])
        return True

    def _read(self, events: Sequence[Event]) -> None:
        ended: dict[Row, Finish] = {}
        touched: dict[Ticket, None] = {}
        for event in events:
            if event.row not in self._readers:
                continue
            ticket, reader = self._readers[event.row]
            touched[ticket] = None
            ticket.begin = ticket.begin or time.perf_counter()
            was_stopped = reader.is_stopped
            reader.push(event)
            self._counts["generated"] += not (event.is_forced or was_stopped)
            if reader.is_stopped and event.row.finish is None:
                self._engine.cancel(event.row)
            if event.row.finish is not None:
                ended[event.row] = event.row.finish
        for ticket in touched:
            pieces = [piece for row, reader in ticket.rows.items() if row not in ended for piece in reader.take()]
            self._end(ticket, [(row, ended[row]) for row in list(ticket.rows) if row in ended], pieces)

    def _end_broken(self, rows: Sequence[Row]) -> None:
        for ticket in {self._readers[row][0] for row in rows if row in self._readers}:
            self._end(ticket, [(row, "error") for row in list(ticket.rows) if row in rows])

    def _end(self, ticket: Ticket, ended: Sequence[tuple[Row, Finish]], pieces: Sequence[Piece] = ()) -> None:
        """The last pieces of these rows are to be told after others of the same request."""
        told = list(pieces)
        for row, finish in ended:
            reader = ticket.rows.pop(row)
            del self._readers[row]
            told += reader.end(finish, row.n_cached)
            self._finished[told[-1].finish or ""] += 1
            self._counts["cached"] += row.n_cached if row.number == 0 else 0
            if ticket.begin is not None:
                self._answer_s += 0.1 * (time.perf_counter() - ticket.begin - self._answer_s)
        if told:
            self._told.setdefault(ticket, []).extend(told)

    def _hand_out(self) -> None:
        """After the figures, so that who has an answer finds it counted."""
        told, self._told = self._told, {}
        for ticket, pieces in told.items():
            try:
                ticket.deliver(pieces)
            except Exception:  # code of somebody's, in our thread: its faults are its own
                logging.getLogger(__name__).exception("whoever asked did not take the answer; it is cancelled")
                ticket.cancel()

    def _tell(self) -> None:
        engine, counts = self._engine, self._counts
        with self._changed:
            self._stats = WorkerStats(
                slots=engine.n_slots,
                waiting=len(engine.waiting),
                running=len(engine.running),
                generated_tokens=counts["generated"],
                prompt_tokens=counts["prompt"],
                cached_tokens=counts["cached"],
                requests_finished=dict(self._finished),
                steps=counts["steps"],
            )

    def _in_ids(self, request: TextRequest) -> Request:
        """An answer ends with its turn, or where a new conversation would begin; a text at the end of text."""
        tokenizer = self.tokenizer
        if request.chat and self._tool_calls is None:
            raise ValueError("chat: this tokenizer has no chat tokens; ask for a text")
        ends = ends_of_answer(tokenizer) if request.chat else {tokenizer.eot_id} - {None}
        return Request(
            request.prompt,
            request.params,
            range(request.n),
            frozenset(ends),  # type: ignore[arg-type]
            request.logit_bias,
            request.logprobs,
            self._tool_calls if request.chat else None,
            client=request.client,
        )
