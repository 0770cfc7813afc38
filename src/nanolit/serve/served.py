"""What is served: models by name, each answered for by one worker or several. The workers are made elsewhere (cli/)."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from nanolit.inference.answer import Closed, Piece, TextRequest
from nanolit.serve.errors import Refusal
from nanolit.tokenizers.chat import has_chat_tokens
from nanolit.tokenizers.protocol import Tokenizer


class Ticket(Protocol):
    def cancel(self) -> None:
        """Pieces with finish="cancelled" follow for what has not ended."""


class Worker(Protocol):
    """What answers: inference/worker.py's."""

    @property
    def name(self) -> str:
        """The device that it computes on."""

    @property
    def is_alive(self) -> bool:
        """Does it take requests?"""

    @property
    def block_size(self) -> int:
        """The most tokens of prompt and answer together."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    def submit(self, request: TextRequest, deliver: Callable[[list[Piece]], None]) -> Ticket: ...

    def stats(self) -> Any:
        """inference/worker.py's WorkerStats."""


@dataclass
class Served:
    """A model under its name."""

    id: str
    workers: Sequence[Worker]
    fingerprint: str = "fp_nanolit"  # of what decides an answer beside the request: model, weights, version
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.block_size = min(worker.block_size for worker in self.workers)
        self.tokenizer = self.workers[0].tokenizer
        self.is_chat = has_chat_tokens(self.tokenizer)
        self._n_busy = [0] * len(self.workers)
        self._turn = itertools.count()

    def submit(self, request: TextRequest, deliver: Callable[[list[Piece]], None]) -> "Lease":
        """To the worker with the fewest answers to write; among equals, in turn. Those that have died are passed by."""
        n, turn = len(self.workers), next(self._turn)
        alive = [i for i in range(n) if self.workers[i].is_alive]
        if not alive:
            raise Closed
        chosen = min(alive, key=lambda i: (self._n_busy[i], (i - turn) % n))
        ticket = self.workers[chosen].submit(request, deliver)
        self._n_busy[chosen] += request.n
        return Lease(ticket, self._n_busy, chosen, request.n)

    @property
    def is_alive(self) -> bool:
        return any(worker.is_alive for worker in self.workers)

    @property
    def n_busy(self) -> int:
        return sum(self._n_busy)

    def card(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "model",
            "created": self.created,
            "owned_by": "nanolit",
            "context_length": self.block_size,
            "chat": self.is_chat,
        }


@dataclass
class Lease:
    """A ticket, and the place in a worker's load that it takes until it is closed."""

    ticket: Ticket
    loads: list[int]
    index: int
    n: int

    def close(self) -> None:
        self.ticket.cancel()
        self.loads[self.index] -= self.n
        self.n = 0


class Models:
    """By name."""

    def __init__(self, models: Sequence[Served]) -> None:
        assert models
        self.by_id = {model.id: model for model in models}
        assert len(self.by_id) == len(models)

    def __iter__(self):
        return iter(self.by_id.values())

    def find(self, name: str | None) -> Served:
        """The one of that name; where there is only one, it need not be named."""
        known = ", ".join(list(self.by_id)[:20])
        if name is None:
            if len(self.by_id) > 1:
                raise Refusal(f"model: missing; name one of {known}", "model")
            return next(iter(self.by_id.values()))
        if name not in self.by_id:
            told = f"model: there is no {name[:100]!r} here; known: {known}"
            raise Refusal(told, "model", status=404, code="model_not_found")
        return self.by_id[name]
