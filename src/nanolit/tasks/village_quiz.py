"""Multiple-choice questions about the village: the twin of ARC and MMLU."""

from nanolit.runtime.seeds import derive
from nanolit.tasks.task import Example, Task, TaskSplit, question_and_answer
from nanolit.village.draw import Draw
from nanolit.village.questions import questions, values_of

LETTERS = ("A", "B", "C", "D")


class VillageQuiz(Task):
    """Each question has the right answer and three others of its kind. Val and test ask in words in which the same
    is never asked in training (village/questions.py). Written as `render_choices` writes it, without the words around:
    a small model learns from as many questions as it reads, and they are half of what it would read.
    """

    kind = "categorical"
    by_chance = 1 / len(LETTERS)
    extractor = "likeliest letter"

    def __init__(self, split: TaskSplit = "test", size: int = 1000, seed: int = 0) -> None:
        self.split, self.size, self.seed = split, size, seed
        self._questions = questions(split, follows=False)

    def __len__(self) -> int:
        return self.size

    def example(self, index: int) -> Example:
        draw = Draw(derive(self.seed, "village_quiz", self.split, index))
        question = draw.pick(self._questions)
        right = question.fact.value
        wrong = draw.shuffled([value for value in values_of(question.fact.relation) if value != right])
        place = draw.below(len(LETTERS))
        choices = wrong[: len(LETTERS) - 1]
        choices.insert(place, right)
        lines = "".join(f"\n- {choice}={letter}" for letter, choice in zip(LETTERS, choices, strict=True))
        return Example(question_and_answer(question.text + lines, LETTERS[place]), LETTERS, LETTERS[place])

    def evaluate(self, example: Example, said: str) -> bool:
        return said == example.answer
