"""Who is next: clients take turns, and what one client asked for stays in order."""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()  # by client; the first one has its turn
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def push(self, client: str, item: T) -> None:
        self._waiting.setdefault(client, deque()).append(item)
        self._n += 1

    def pop(self) -> T:
        client, items = next(iter(self._waiting.items()))
        item = items.popleft()
        self._waiting.move_to_end(client)
        self._drop_if_empty(client)
        self._n -= 1
        return item

    def remove(self, client: str, item: T) -> None:
        """It must be waiting."""
        self._waiting[client].remove(item)
        self._drop_if_empty(client)
        self._n -= 1

    def _drop_if_empty(self, client: str) -> None:
        if not self._waiting[client]:
            del self._waiting[client]
