"""GSM8K (arXiv 2110.14168): word problems whose steps are calculated by a tool. openai/gsm8k on the hub, MIT."""

import re
from typing import Literal

from nanolit.tasks.fields import field
from nanolit.tasks.final_number import last_number, marked_number
from nanolit.tasks.rows import read_rows
from nanolit.tasks.task import Example, Task, question_and_answer
from nanolit.tokenizers.messages import Part

CALCULATION = re.compile(r"(<<[^>]+>>)")


class GSM8K(Task):
    kind = "generative"
    tools = ("calculator",)
    extractor = "the number after ####"

    def __init__(
        self,
        split: Literal["train", "test"] = "test",
        subset: Literal["main", "socratic"] = "main",
        path: str | None = None,
        revision: str | None = None,
    ) -> None:
        self._rows = read_rows(path, "openai/gsm8k", subset, split, revision)
        self.files = self._rows.files

    def __len__(self) -> int:
        return len(self._rows)

    def example(self, index: int) -> Example:
        row, where = self._rows.row(index), self._rows.place(index)
        answer = field(row, "answer", where, str)
        reference = marked_number(answer)
        if reference is None or last_number(reference) is None:
            raise ValueError(f"{where}: its answer does not end in #### and a number; mend or remove the row")
        return Example(question_and_answer(field(row, "question", where, str), parts(answer)), answer=reference)

    def evaluate(self, example: Example, said: str) -> bool:
        return marked_number(said) == example.answer

    def scores(self, example: Example, said: str) -> dict[str, bool]:
        return {"strict": self.evaluate(example, said), "lenient": last_number(said) == last_number(example.answer)}


def parts(answer: str) -> list[Part]:
    """`<<48/2=24>>` is a call of the tool and what it said."""
    found = []
    for piece in CALCULATION.split(answer):
        if not CALCULATION.fullmatch(piece):
            found.append(Part(type="text", text=piece))
            continue
        inner = piece[2:-2]
        expression, equals, result = inner.rpartition("=")
        found.append(Part(type="python", text=expression if equals else inner))
        found.append(Part(type="python_output", text=result if equals else ""))
    return [part for part in found if part["text"] or part["type"] != "text"]
