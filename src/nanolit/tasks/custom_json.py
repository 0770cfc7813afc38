"""Conversations of one's own: a file of JSON lines, each an array of messages, as nanochat's CustomJSON has them, or an
object with `messages`.
"""

from typing import Any

from nanolit.tasks.rows import read_rows
from nanolit.tasks.task import Example, Task
from nanolit.tokenizers.messages import check

IDENTITY = "https://karpathy-public.s3.us-west-2.amazonaws.com/identity_conversations.jsonl"


class CustomJSON(Task):
    """All rows are checked at once: a file of one's own has faults of one's own."""

    def __init__(self, path: str | None = None, split: str = "train") -> None:
        if path is None:
            raise ValueError(f"path: not given; name a file of JSON lines (nanochat's own conversations: {IDENTITY})")
        rows = read_rows(path, "", None, split, shuffled=False)
        self.files = rows.files
        self._conversations = [_checked(row, rows.place(i)) for i, row in enumerate(rows.rows)]

    def __len__(self) -> int:
        return len(self._conversations)

    def example(self, index: int) -> Example:
        return self._conversations[index]


def _checked(row: Any, where: str) -> Example:
    messages = row.get("messages") if isinstance(row, dict) else row
    try:
        found = check(messages)
    except ValueError as error:
        raise ValueError(f"path: {where}: {error}") from error
    if len(found) < 2 or found[-1]["role"] != "assistant":
        raise ValueError(f"path: {where}: ends without an answer, allowed: an assistant's message last; add it")
    return Example(tuple(found))
