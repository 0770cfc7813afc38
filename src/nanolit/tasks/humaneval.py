"""HumanEval (arXiv 2107.03374): 164 functions to be completed, judged by tests. openai/openai_humaneval, MIT."""

from nanolit.runtime.sandbox import How
from nanolit.tasks.code import TIMEOUT_S, Code, extract, imports_of
from nanolit.tasks.fields import field
from nanolit.tasks.rows import read_rows
from nanolit.tasks.task import Example, question_and_answer


class HumanEval(Code):
    def __init__(
        self,
        path: str | None = None,
        revision: str | None = None,
        sandbox: How = "auto",
        timeout_s: float = TIMEOUT_S,
        split: str = "test",
    ) -> None:
        super().__init__(sandbox, timeout_s)
        if split != "test":
            raise ValueError(f"split: got {split}, HumanEval has only test")
        self._rows = read_rows(path, "openai/openai_humaneval", None, split, revision)
        self.files = self._rows.files

    def __len__(self) -> int:
        return len(self._rows)

    def example(self, index: int) -> Example:
        row, where = self._rows.row(index), self._rows.place(index)
        told = {key: field(row, key, where, str) for key in ("prompt", "entry_point", "test")}
        solution = field(row, "canonical_solution", where, str)
        return Example(question_and_answer(told["prompt"], f"{told['prompt']}\n{solution}"), answer=told)

    def evaluate(self, example: Example, said: str) -> bool:
        """A whole function is taken as it is; what only goes on with the prompt, as base models do, is put behind."""
        told, code = example.answer, extract(said)
        is_whole = f"def {told['entry_point']}(" in code
        begin = imports_of(told["prompt"]) if is_whole else told["prompt"]
        body = code if is_whole else _until_unindented(code)
        return self.passes([begin + ("\n\n" if is_whole else "") + body, told["test"], f"check({told['entry_point']})"])


def _until_unindented(code: str) -> str:
    """The body of a function: what comes after it is no business of the test."""
    kept: list[str] = []
    for line in code.split("\n"):
        if kept and line and not line[0].isspace():
            break
        kept.append(line)
    return "\n".join(kept)
