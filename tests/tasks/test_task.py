"""Slices, mixtures and sequences against Python's own lists; sections of the configuration against the classes."""

import json
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanolit.tasks.build import make_mixture, make_task
from nanolit.tasks.task import Example, Task, TaskMixture, TaskSequence, TaskSlice, question_and_answer, render_choices

HERE = __name__


class Doubles(Task):
    """Twice a number; `first` keeps several of them apart."""

    kind = "generative"
    by_chance = 0.125
    max_new_tokens = 7
    tools = ("calculator",)
    extractor = "all of it"

    def __init__(self, size: int = 20, first: int = 0, names: Sequence[str] = (), factor: float = 2.0) -> None:
        self.numbers, self.files, self.names, self.factor = range(first, first + size), (f"{first}.txt",), names, factor

    def __len__(self) -> int:
        return len(self.numbers)

    def example(self, index: int) -> Example:
        n = self.numbers[index]
        return Example(question_and_answer(f"2*{n}?", str(2 * n)), answer=2 * n)

    def evaluate(self, example: Example, said: str) -> bool:
        return said == str(example.answer)

    def scores(self, example: Example, said: str) -> dict[str, bool]:
        return {"strict": self.evaluate(example, said), "odd": said[-1:] in "13579"}

    def reward(self, example: Example, said: str) -> float:
        return 0.5 * self.evaluate(example, said)


class Needs(Task):
    def __init__(self, word: str) -> None:
        raise ValueError(f"word: got {word}, allowed: none")


def numbers(task: Task) -> list[int]:
    return [example.answer // 2 for example in task]


@given(st.integers(1, 30), st.integers(0, 40), st.none() | st.integers(1, 40), st.integers(1, 5))
def test_a_slice_is_a_slice_of_a_list(size, start, stop, step):
    expected = list(range(size))[start:stop:step]
    if not expected:
        with pytest.raises(ValueError, match=r"^start: got .*(which are none|allowed: 0 <= start < stop)"):
            TaskSlice(Doubles(size), start, stop, step)
        return
    task = TaskSlice(Doubles(size), start, stop, step)
    assert numbers(task) == expected == [task[i].answer // 2 for i in range(len(task))]
    with pytest.raises(IndexError, match=f"has {len(expected)} examples"):
        task[len(expected)]


@pytest.mark.parametrize(("start", "stop", "step"), [(-1, None, 1), (0, None, 0), (3, 3, 1), (5, 2, 1)])
def test_a_slice_that_is_none_is_refused(start, stop, step):
    with pytest.raises(ValueError, match=r"^start: got .*allowed: 0 <= start < stop, step >= 1"):
        TaskSlice(Doubles(), start, stop, step)


def test_a_slice_judges_as_its_task_does():
    task, whole = TaskSlice(TaskSlice(Doubles(), 2), 1, None, 3), Doubles()
    assert numbers(task) == [3, 6, 9, 12, 15, 18]
    for name in ("kind", "by_chance", "max_new_tokens", "tools", "files", "extractor"):
        assert getattr(task, name) == getattr(whole, name) != getattr(Task, name)
    for said in ("6", "7"):
        example = task[0]
        assert task.evaluate(example, said) == whole.evaluate(example, said) == (said == "6")
        assert task.scores(example, said) == whole.scores(example, said)
        assert task.reward(example, said) == whole.reward(example, said) == (0.5 if said == "6" else 0.0)


sizes = st.lists(st.integers(1, 12), min_size=1, max_size=4)


@given(sizes)
def test_a_mixture_is_shuffled_as_nanochat_does(sizes):
    tasks = [Doubles(size, 100 * i) for i, size in enumerate(sizes)]
    pairs = [(i, j) for i, size in enumerate(sizes) for j in range(size)]
    in_a_row = TaskSequence(tasks)
    assert [in_a_row.place(k) for k in range(len(in_a_row))] == pairs
    random.Random(42).shuffle(pairs)
    mixed = TaskMixture(tasks)
    assert [mixed.place(k) for k in range(len(mixed))] == pairs
    assert numbers(mixed) == [100 * i + j for i, j in pairs]
    assert numbers(in_a_row) == sorted(numbers(mixed))
    assert mixed.files == tuple(f"{100 * i}.txt" for i in range(len(sizes)))


def test_what_is_given_twice_is_learnt_twice():
    sections = {
        "few": {"_target_": f"{HERE}.Doubles", "size": 3, "times": 4},
        "many": {"_target_": f"{HERE}.Doubles", "size": 30, "first": 100, "start": 10, "stop": 20},
    }
    mixture = make_mixture(sections)
    assert sorted(numbers(mixture)) == sorted([0, 1, 2] * 4 + list(range(110, 120)))
    told = {mixture.name_of(k) for k in range(len(mixture)) if numbers(mixture)[k] == 112}
    assert told == {"example 2 of many"}
    assert numbers(make_mixture(json.loads(json.dumps(sections)))) == numbers(mixture)
    assert numbers(make_mixture(sections, "sequence")) == [0, 1, 2] * 4 + list(range(110, 120))


def test_what_is_only_learnt_from_has_no_score():
    class Talk(Task):
        def __len__(self) -> int:
            return 1

        def example(self, index: int) -> Example:
            return Example(question_and_answer("a", "b"))

    task = Talk()
    for judge in (task.evaluate, task.scores, task.reward):
        with pytest.raises(ValueError, match="Talk is only learnt from"):
            judge(task[0], "b")
    for broken in (lambda: len(Task()), lambda: Task().example(0)):
        with pytest.raises(TypeError, match=r"^Task "):
            broken()


def test_all_settings_arrive():
    task = make_task("d", {"_target_": f"{HERE}.Doubles", "size": 9, "names": ["a"], "factor": 3, "step": 4})
    assert isinstance(task, TaskSlice) and numbers(task) == [0, 4, 8]
    assert task.task.names == ["a"] and task.task.factor == 3.0
    assert type(make_task("d", {"_target_": f"{HERE}.Doubles"})) is Doubles


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"sise": 3}, r"^task\.d\.sise: no such setting; did you mean size\?$"),
        ({"stpo": 3}, r"^task\.d\.stpo: no such setting; did you mean stop\?$"),
        ({"size": "many"}, r"^task\.d\.size: got 'many' \(str\), expected int$"),
        ({"size": None}, r"^task\.d\.size: got None"),
        ({"start": 3, "stop": 2}, r"^task\.d\.start: got 3:2:1, allowed: 0 <= start < stop"),
        ({"start": 20}, r"^task\.d\.start: got 20:None:1 of 20 examples, which are none"),
        ({"times": 0}, r"^task\.d\.times: got 0, must be at least 1; leave the task out instead$"),
        ({"times": "2"}, r"^task\.d\.times: got '2'"),
        ({"_target_": None}, r"^task\.d\._target_: got None, allowed: the path of a class"),
        ({"_target_": "Doubles"}, r"^task\.d\._target_: got 'Doubles', allowed: the path of a class"),
        ({"_target_": "no.such.Thing"}, r"^task\.d\._target_: no\.such\.Thing cannot be imported"),
        ({"_target_": f"{HERE}.Triples"}, r"^task\.d\._target_: .*Triples cannot be imported"),
        ({"_target_": f"{HERE}.numbers"}, r"^task\.d\._target_: .*numbers is no Task; derive it"),
        ({"_target_": f"{HERE}.Needs"}, r"^task\.d\.word: missing; give it a value \(str\)$"),
        ({"_target_": f"{HERE}.Needs", "word": "x"}, r"^task\.d\.word: got x, allowed: none$"),
        ({"_target_": "nanolit.tasks.arc.ARC", "split": "tset"}, r"^task\.d\.split: got 'tset' .*train, validation, t"),
        ({"_target_": "nanolit.tasks.spelling_bee.SpellingBee", "split": "val"}, r"^task\.d\.split: got 'val'"),
    ],
)
def test_a_wrong_section_is_one_line(section, told):
    for make in (make_task, lambda name, section: make_mixture({name: section})):
        with pytest.raises(ValueError, match=told) as error:
            make("d", {"_target_": f"{HERE}.Doubles"} | section)
        assert "\n" not in str(error.value)


def test_choices_are_rendered_alike_from_pairs_and_mappings():
    expected = "Multiple Choice question: Q?\n- x=A\n- y=B\n\nRespond only with the letter of the correct answer."
    assert render_choices("Q?", {"A": "x", "B": "y"}) == render_choices("Q?", [("A", "x"), ("B", "y")]) == expected
