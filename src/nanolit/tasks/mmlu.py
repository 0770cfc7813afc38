"""MMLU (arXiv 2009.03300): questions of 57 subjects with four choices. cais/mmlu on the hub, MIT."""

from collections.abc import Sequence
from typing import Any, Literal

from nanolit.tasks.choices import Choices
from nanolit.tasks.fields import field, texts
from nanolit.tasks.rows import read_rows

LETTERS = ("A", "B", "C", "D")


class MMLU(Choices):
    """`auxiliary_train` are questions of other tests, to learn the form from."""

    def __init__(
        self,
        subset: Literal["all", "auxiliary_train"] = "all",
        split: Literal["train", "validation", "dev", "test"] = "test",
        path: str | None = None,
        revision: str | None = None,
    ) -> None:
        if subset == "auxiliary_train" and split != "train":
            raise ValueError(f"split: got {split}, auxiliary_train has only train; give split=train, or subset=all")
        super().__init__(read_rows(path, "cais/mmlu", subset, split, revision))

    def read(self, row: dict[str, Any], where: str) -> tuple[str, Sequence[str], Sequence[str], str]:
        if isinstance(row, dict) and isinstance(row.get("train"), dict):
            row = row["train"]  # so are the auxiliary ones wrapped
        number = field(row, "answer", where, int)
        answer = LETTERS[number] if 0 <= number < len(LETTERS) else str(number)
        return field(row, "question", where, str), texts(row, "choices", where), LETTERS, answer
