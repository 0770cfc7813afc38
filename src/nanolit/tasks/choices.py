"""Questions with lettered choices, from rows: what ARC and MMLU share."""

from collections.abc import Sequence
from typing import Any

from nanolit.tasks.rows import Rows
from nanolit.tasks.task import Example, Task, question_and_answer, render_choices


class Choices(Task):
    """Subclasses say where question, choices, letters and answer stand in a row."""

    kind = "categorical"
    by_chance = 0.25
    extractor = "likeliest letter"

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.files = rows.files

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, row: dict[str, Any], where: str) -> tuple[str, Sequence[str], Sequence[str], str]:
        """Question, choices, their letters, and the right letter."""
        raise TypeError(f"{type(self).__name__} does not say where its choices stand")

    def example(self, index: int) -> Example:
        where = self._rows.place(index)
        question, choices, letters, answer = self.read(self._rows.row(index), where)
        if len(choices) < 2 or len(choices) != len(letters):
            raise ValueError(
                f"{where}: has {len(choices)} choices and {len(letters)} letters, allowed: as many, and at least 2; "
                "mend or remove the row"
            )
        if answer not in letters:
            raise ValueError(
                f"{where}: its answer {answer!r} is not among its letters {', '.join(letters)}; mend or remove the row"
            )
        asked = render_choices(question, list(zip(letters, choices, strict=True)))
        return Example(question_and_answer(asked, answer), tuple(letters), answer)

    def evaluate(self, example: Example, said: str) -> bool:
        """A text that is no letter, as reinforcement learning meets it, is wrong like any other."""
        return said == example.answer
