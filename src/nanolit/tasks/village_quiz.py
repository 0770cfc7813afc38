"""Multiple-choice questions about the village: the twin of ARC and MMLU."""

from nanolit.runtime.seeds import derive
from nanolit.tasks.task import Example, Task, TaskSplit
from nanolit.tokenizers.messages import Message
from nanolit.village.draw import Draw
from nanolit.village.questions import questions, questions_for, values_of

LETTERS = ("A", "B", "C", "D")


class VillageQuiz(Task):
    """Each question has the right answer and three others of its kind. The test split asks in words in which the same
    is never asked in training (village/questions.py). Written as `render_choices` writes it, without the words around:
    a small model learns from as many questions as it reads, and they are half of what it would read.
    """

    kind = "categorical"
    by_chance = 1 / len(LETTERS)
    extractor = "likeliest letter"

    def __init__(self, split: TaskSplit = "test", size: int = 1000, seed: int = 0, n_questions: int = 1) -> None:
        """`n_questions`: about the same choices, one after the other; the last answer is judged."""
        if not 1 <= n_questions <= len(LETTERS):
            raise ValueError(f"n_questions: got {n_questions}, allowed: 1 to {len(LETTERS)}")
        self.split, self.size, self.seed, self.n_questions = split, size, seed, n_questions
        self.is_held_out = split != "train"
        self._questions = questions(self.is_held_out, follows=False)

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
        said = [question.text + lines, LETTERS[place]]
        others = [choice for choice in draw.shuffled(choices) if choice != right]
        for value in others[: self.n_questions - 1]:
            found = questions_for(self.is_held_out, question.fact.relation, value)
            if found:
                said += [draw.pick(found).text, LETTERS[choices.index(value)]]
        roles = ("user", "assistant")
        messages = tuple(Message(role=roles[i % 2], content=text) for i, text in enumerate(said))
        return Example(messages, LETTERS, said[-1])

    def evaluate(self, example: Example, said: str) -> bool:
        return said == example.answer
