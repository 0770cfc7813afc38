"""SmolTalk, the small one: conversations of many kinds to learn from. HuggingFaceTB/smol-smoltalk, Apache 2.0."""

from typing import Literal

from nanolit.tasks.fields import field
from nanolit.tasks.rows import read_rows
from nanolit.tasks.task import Example, Task
from nanolit.tokenizers.messages import check


class SmolTalk(Task):
    def __init__(
        self, split: Literal["train", "test"] = "test", path: str | None = None, revision: str | None = None
    ) -> None:
        self._rows = read_rows(path, "HuggingFaceTB/smol-smoltalk", None, split, revision)
        self.files = self._rows.files

    def __len__(self) -> int:
        return len(self._rows)

    def example(self, index: int) -> Example:
        where = self._rows.place(index)
        messages = field(self._rows.row(index), "messages", where, list)
        try:
            return Example(tuple(check(messages)))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
