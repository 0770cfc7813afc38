"""Problems of the village, to be solved with the calculator: the twin of GSM8K, and judged like it."""

from nanolit.runtime.seeds import derive
from nanolit.tasks.final_number import last_number, marked_number
from nanolit.tasks.task import Example, Task, TaskSplit, question_and_answer
from nanolit.tokenizers.messages import Part
from nanolit.village.draw import Draw
from nanolit.village.problems import problem

IN_HEAD_CHANCE = 0.6


class VillageMath(Task):
    """`max_steps`: of a problem; with 3 and more most of them are tales in which this and that happens. What is told is
    always solved with the calculator. Sums of the school book are solved in both ways, as people do: many are answered
    at once. All solutions are right; whether a model should calculate in its head, only rewards can tell it.
    """

    kind = "generative"
    tools = ("calculator",)
    max_new_tokens = 64
    extractor = "the number after ####"

    def __init__(self, split: TaskSplit = "test", size: int = 1000, seed: int = 0, max_steps: int = 5) -> None:
        if not 1 <= max_steps <= 6:
            raise ValueError(f"max_steps: got {max_steps}, allowed: 1 to 6")
        self.split, self.size, self.seed, self.max_steps = split, size, seed, max_steps

    def __len__(self) -> int:
        return self.size

    def example(self, index: int) -> Example:
        draw = Draw(derive(self.seed, "village_math", self.split, index))
        found = problem(draw, self.split, max_steps=self.max_steps)
        last = Part(type="text", text=f"{found.answer}\n#### {found.result}")
        if found.is_sum and draw.chance(IN_HEAD_CHANCE):
            return Example(question_and_answer(found.question, last["text"]), answer=str(found.result))
        # As the calculator prints it: the quotient of two whole numbers is a float there.
        said = f"{found.result}.0" if "/" in found.expression else str(found.result)
        answer = [Part(type="python", text=found.expression), Part(type="python_output", text=said), last]
        return Example(question_and_answer(found.question, answer), answer=str(found.result))

    def evaluate(self, example: Example, said: str) -> bool:
        return marked_number(said) == example.answer

    def scores(self, example: Example, said: str) -> dict[str, bool]:
        return {"strict": self.evaluate(example, said), "lenient": last_number(said) == float(example.answer)}
