"""What a task is: a list of conversations that end with the right answer, and a judge of other answers.

The same object gives conversations to fine-tuning, scores to evaluation and rewards to reinforcement learning. It
knows no tokens and no model. A new task is a class in a file of its own and a YAML in conf/task (docs/tasks.md).
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nanolit.tokenizers.messages import Message

TaskSplit = Literal["train", "val", "test"]
SHUFFLE_SEED = 42  # of mixtures and of sets from the hub, as nanochat's


@dataclass(frozen=True)
class Example:
    """A conversation whose last message is the right answer, and what is needed to judge another one."""

    messages: tuple[Message, ...]
    letters: tuple[str, ...] = ()  # of a categorical task: what may be answered
    answer: Any = None  # what `evaluate` compares with


class Task:
    """A sequence of examples. Subclasses give `__len__`, `example` and, unless they are only talked, `evaluate`."""

    # chat: is only learnt from; categorical: one of a few letters is chosen; generative: an answer is written
    kind: Literal["chat", "categorical", "generative"] = "chat"
    by_chance: float = 0.0  # the share of right answers of who guesses
    max_new_tokens: int = 512
    stop: tuple[str, ...] = ()  # texts that end an answer, beside the end of the turn
    tools: tuple[str, ...] = ()  # which may be called in an answer, by name: calculator
    files: tuple[str, ...] = ()  # what its examples were read from: decides, with its settings, what they are
    extractor: str = "whole answer"  # what is compared, told with a score

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__} does not say how many examples it has")

    def example(self, index: int) -> Example:
        """Example `index`, 0 <= index < len(self); the same one each time."""
        raise TypeError(f"{type(self).__name__} has no examples")

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"got {index}, {type(self).__name__} has {len(self)} examples")
        return self.example(index)

    def __iter__(self) -> Iterator[Example]:
        return (self.example(index) for index in range(len(self)))

    def evaluate(self, example: Example, said: str) -> bool:
        """Is what was said (the text of an answer, without calls of tools and what they said) right?"""
        raise ValueError(f"{type(self).__name__} is only learnt from: its answers have no score")

    def scores(self, example: Example, said: str) -> dict[str, bool]:
        """All verdicts by their names; the first is the task's score."""
        return {"accuracy": self.evaluate(example, said)}

    def reward(self, example: Example, said: str) -> float:
        return float(self.evaluate(example, said))

    def judge(self, example: Example, said: str) -> tuple[bool, float]:
        is_right = self.evaluate(example, said)  # once, if its reward is no other: it may be a program to run
        return is_right, float(is_right) if type(self).reward is Task.reward else self.reward(example, said)


class TaskSlice(Task):
    """Every `step`-th example of a task, from `start` on, before `stop`."""

    def __init__(self, task: Task, start: int = 0, stop: int | None = None, step: int = 1) -> None:
        if start < 0 or step < 1 or (stop is not None and stop <= start):
            raise ValueError(f"start: got {start}:{stop}:{step}, allowed: 0 <= start < stop, step >= 1; mend the slice")
        self.task, self._numbers = task, range(len(task))[start:stop:step]
        if not self._numbers:
            raise ValueError(f"start: got {start}:{stop}:{step} of {len(task)} examples, which are none; widen it")
        for name in ("kind", "by_chance", "max_new_tokens", "stop", "tools", "files", "extractor"):
            setattr(self, name, getattr(task, name))

    def __len__(self) -> int:
        return len(self._numbers)

    def example(self, index: int) -> Example:
        return self.task.example(self._numbers[index])

    def evaluate(self, example: Example, said: str) -> bool:
        return self.task.evaluate(example, said)

    def scores(self, example: Example, said: str) -> dict[str, bool]:
        return self.task.scores(example, said)

    def reward(self, example: Example, said: str) -> float:
        return self.task.reward(example, said)

    def judge(self, example: Example, said: str) -> tuple[bool, float]:
        return self.task.judge(example, said)


class TaskSequence(Task):
    """Tasks one after the other, to be learnt from."""

    def __init__(self, tasks: Sequence[Task], names: Sequence[str] | None = None) -> None:
        self.tasks = tuple(tasks)
        self.names = tuple(names or (type(task).__name__ for task in tasks))
        self.files = tuple(file for task in tasks for file in task.files)
        self._places = self._order([(i, j) for i, task in enumerate(self.tasks) for j in range(len(task))])

    def _order(self, places: list[tuple[int, int]]) -> list[tuple[int, int]]:
        return places

    def __len__(self) -> int:
        return len(self._places)

    def example(self, index: int) -> Example:
        task, inner = self._places[index]
        return self.tasks[task].example(inner)

    def place(self, index: int) -> tuple[int, int]:
        """Which of `tasks` example `index` is of, and its number there."""
        return self._places[index]

    def name_of(self, index: int) -> str:
        """Which task example `index` is of, and its number there, for messages to the user."""
        task, inner = self._places[index]
        return f"example {inner} of {self.names[task]}"


class TaskMixture(TaskSequence):
    """Tasks shuffled together, always in the same way. A task that is given twice is learnt twice."""

    def _order(self, places: list[tuple[int, int]]) -> list[tuple[int, int]]:
        random.Random(SHUFFLE_SEED).shuffle(places)
        return places


def render_choices(question: str, choices: Mapping[str, str] | Sequence[tuple[str, str]]) -> str:
    """A multiple-choice question in nanochat's words: the letter after the choice and without a space, so that it is
    one token and stands where a model looks for it.
    """
    pairs = choices.items() if isinstance(choices, Mapping) else choices
    lines = "".join(f"- {choice}={letter}\n" for letter, choice in pairs)
    return f"Multiple Choice question: {question}\n{lines}\nRespond only with the letter of the correct answer."


def question_and_answer(question: str, answer: Any) -> tuple[Message, ...]:
    """A conversation of one question; the answer is a text or parts."""
    return Message(role="user", content=question), Message(role="assistant", content=answer)
