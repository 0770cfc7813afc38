"""ARC (arXiv 1803.05457): science questions of schools, easy and challenging. allenai/ai2_arc, CC BY-SA 4.0."""

from collections.abc import Sequence
from typing import Any, Literal

from nanolit.tasks.choices import Choices
from nanolit.tasks.fields import field, texts
from nanolit.tasks.rows import read_rows


class ARC(Choices):
    def __init__(
        self,
        subset: Literal["ARC-Easy", "ARC-Challenge"] = "ARC-Easy",
        split: Literal["train", "validation", "test"] = "test",
        path: str | None = None,
        revision: str | None = None,
    ) -> None:
        super().__init__(read_rows(path, "allenai/ai2_arc", subset, split, revision))

    def read(self, row: dict[str, Any], where: str) -> tuple[str, Sequence[str], Sequence[str], str]:
        choices = field(row, "choices", where, dict)
        answers, labels = (texts(choices, key, where) for key in ("text", "label"))  # labels are A to E, or 1 to 4
        return field(row, "question", where, str), answers, labels, field(row, "answerKey", where, str)
