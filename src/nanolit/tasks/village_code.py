"""Tiny functions, judged by tests that are run in the sandbox: the twin of HumanEval."""

from nanolit.runtime.sandbox import How
from nanolit.runtime.seeds import derive
from nanolit.tasks.code import TIMEOUT_S, Code, extract
from nanolit.tasks.task import Example, TaskSplit, question_and_answer
from nanolit.village.draw import Draw
from nanolit.village.programs import program


class VillageCode(Code):
    max_new_tokens = 64

    def __init__(
        self,
        split: TaskSplit = "test",
        size: int = 200,
        seed: int = 0,
        sandbox: How = "auto",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        super().__init__(sandbox, timeout_s)
        self.split, self.size, self.seed = split, size, seed

    def __len__(self) -> int:
        return self.size

    def example(self, index: int) -> Example:
        draw = Draw(derive(self.seed, "village_code", self.split, index))
        found = program(draw, self.split)
        answer = f"```python\n{found.code}\n```"
        return Example(question_and_answer(found.ask, answer), answer={"tests": found.tests, "name": found.name})

    def evaluate(self, example: Example, said: str) -> bool:
        return self.passes([extract(said), example.answer["tests"]])
