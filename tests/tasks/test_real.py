"""The tasks of real data sets: nanochat's wording by hand, real GSM8K where it is, and corrupt rows as one line."""

from itertools import pairwise

import pytest

from nanolit.inference.tools import Calculator
from nanolit.tasks.arc import ARC
from nanolit.tasks.custom_json import CustomJSON
from nanolit.tasks.gsm8k import GSM8K, parts
from nanolit.tasks.humaneval import HumanEval
from nanolit.tasks.mmlu import MMLU
from nanolit.tasks.smoltalk import SmolTalk
from nanolit.tokenizers.chat import render
from nanolit.tokenizers.messages import check

from ..conftest import SHARED_DATA
from .rendering import assert_renders, bpe, said, write

WEATHER = {"question": "Tom has 2 bags of 3 nuts. How many?", "answer": "He has 2*3=<<2*3=6>>6 nuts.\n#### 6"}


def test_gsm8k_by_hand(tmp_path):
    task = GSM8K(path=write(tmp_path / "test.jsonl", [WEATHER]))
    (example,) = task
    assert example.messages[1]["content"] == [
        {"type": "text", "text": "He has 2*3="},
        {"type": "python", "text": "2*3"},
        {"type": "python_output", "text": "6"},
        {"type": "text", "text": "6 nuts.\n#### 6"},
    ]
    assert example.answer == "6" and task.tools == ("calculator",)
    for text, strict, lenient in (
        ("#### 6", True, True),
        ("9-6", False, True),
        ("It is -6", False, False),
        ("$6.00, surely", False, True),
        ("0.6 or .6", False, False),
        ("so 6\n#### 6,0", False, False),
        ("It is 6.", False, True),
        ("#### 6.0", False, True),
        ("#### 60 or 6", False, True),
        ("", False, False),
    ):
        assert task.scores(example, text) == {"strict": strict, "lenient": lenient}
    assert task.evaluate(example, "#### 6") and task.reward(example, "#### 7") == 0.0
    assert GSM8K(path=write(tmp_path / "x.jsonl", [WEATHER | {"answer": "#### 1,234"}]))[0].answer == "1234"
    assert parts("a <<1/2=.5=0.5>> b")[1:3] == [
        {"type": "python", "text": "1/2=.5"},
        {"type": "python_output", "text": "0.5"},
    ]


@pytest.mark.parametrize("split", ["train", "test"])
def test_all_of_gsm8k(split):
    if not (SHARED_DATA / "gsm8k").exists():
        pytest.skip(f"needs GSM8K at {SHARED_DATA / 'gsm8k'}")
    task = GSM8K(split=split, path=str(SHARED_DATA / "gsm8k"))
    assert len(task) == {"train": 7473, "test": 1319}[split]
    calculator, n_calls, n_same, tokenizer = Calculator(), 0, 0, bpe(str(e.messages) for e in task)
    for example in task:
        check(list(example.messages))
        assert_renders(example, tokenizer)
        assert all(task.scores(example, said(example)).values())
        content = example.messages[1]["content"]
        for call, output in pairwise(content):
            if not isinstance(content, str) and call["type"] == "python":
                n_calls += 1
                computed = calculator(call["text"])
                n_same += computed is not None and _number(computed) == _number(output["text"])
    assert n_calls - n_same <= 1, "of 28,000 only <<3/4=3/4>> is not a number in the data"


def _number(text: str) -> float | str:
    try:
        return round(float(text.replace(",", "").strip("$% ")), 2)
    except ValueError:
        return text


ARC_ROW = {
    "question": "Which is hot?",
    "choices": {"text": ["ice", "fire"], "label": ["A", "B"]},
    "answerKey": "B",
}


HUMANEVAL_ROW = {"prompt": "def f():", "entry_point": "f", "test": "check = print", "canonical_solution": " pass"}
MMLU_ROW = {"question": "2+2?", "subject": "maths", "choices": ["1", "2", "3", "4"], "answer": 3}


def test_choices_by_hand(tmp_path):
    task = ARC(path=write(tmp_path / "test.jsonl", [ARC_ROW]))
    (example,) = task
    assert example.messages[0]["content"] == (
        "Multiple Choice question: Which is hot?\n- ice=A\n- fire=B\n\n"
        "Respond only with the letter of the correct answer."
    )
    assert example.messages[1]["content"] == example.answer == "B" and example.letters == ("A", "B")
    assert task.evaluate(example, "B") and not task.evaluate(example, "A")
    for free in ("C", "", "B.", "It is fire, so B"):
        assert not task.evaluate(example, free) and task.reward(example, free) == 0.0, "as a policy may say"
    numbered = ARC_ROW | {"choices": {"text": ["ice", "fire"], "label": ["1", "2"]}, "answerKey": "2"}
    assert ARC(path=write(tmp_path / "n.jsonl", [numbered]))[0].letters == ("1", "2")
    assert MMLU(path=write(tmp_path / "m.jsonl", [MMLU_ROW]))[0].answer == "D"
    wrapped = MMLU(subset="auxiliary_train", split="train", path=write(tmp_path / "w.jsonl", [{"train": MMLU_ROW}]))
    assert wrapped[0].messages == MMLU(path=str(tmp_path / "m.jsonl"))[0].messages


@pytest.mark.parametrize(
    ("cls", "row", "told"),
    [
        (ARC, ARC_ROW | {"answerKey": "E"}, "row 1: its answer 'E' is not among its letters A, B"),
        (ARC, {"question": "?", "answerKey": "A"}, "row 1: has no choices"),
        (ARC, ARC_ROW | {"choices": {"text": ["ice"], "label": ["A", "B"]}}, "has 1 choices and 2 letters"),
        (MMLU, MMLU_ROW | {"answer": 4}, "its answer '4' is not among its letters"),
        (MMLU, MMLU_ROW | {"choices": ["1"]}, "has 1 choices and 4 letters"),
        (MMLU, MMLU_ROW | {"answer": "D"}, "its answer is a string, allowed: a whole number"),
        (MMLU, MMLU_ROW | {"answer": True}, "its answer is a boolean, allowed: a whole number"),
        (MMLU, MMLU_ROW | {"choices": ["1", "2", 3, "4"]}, "its choices hold a number, allowed: strings"),
        (HumanEval, HUMANEVAL_ROW | {"test": ["assert 1"]}, "row 1: its test is an array, allowed: a string"),
        (HumanEval, HUMANEVAL_ROW | {"entry_point": 3}, "its entry_point is a number, allowed: a string"),
        (HumanEval, HUMANEVAL_ROW | {"canonical_solution": None}, "has no canonical_solution (it has prompt,"),
        (HumanEval, HUMANEVAL_ROW | {"prompt": {}}, "its prompt is an object, allowed: a string"),
        (GSM8K, {"question": 7, "answer": "#### 6"}, "its question is a number, allowed: a string"),
        (GSM8K, {"question": "?", "answer": 6}, "its answer is a number, allowed: a string"),
        (GSM8K, {"question": "?"}, "has no answer"),
        (GSM8K, {"question": "?", "answer": "six"}, "does not end in ####"),
        (GSM8K, {"question": "?", "answer": "#### ,"}, "does not end in ####"),
        (GSM8K, ["?", "#### 6"], "has no answer (it has list)"),
        (MMLU, [1], "has no answer (it has list)"),
        (MMLU, MMLU_ROW | {"choices": "1234"}, "its choices is a string, allowed: an array"),
        (MMLU, MMLU_ROW | {"answer": -1}, "its answer '-1' is not among its letters"),
        (ARC, ARC_ROW | {"choices": {"text": ["ice", "fire"], "label": 3}}, "its label is a number, allowed: an array"),
        (ARC, ARC_ROW | {"choices": ["ice", "fire"]}, "its choices is an array, allowed: an object"),
        (ARC, ARC_ROW | {"choices": {"text": ["ice", "fire"], "label": [1, 2]}}, "its label hold a number, allowed"),
        (ARC, ARC_ROW | {"choices": {"text": ["ice", None], "label": ["A", "B"]}}, "its text hold null, allowed"),
        (ARC, ARC_ROW | {"answerKey": 1}, "its answerKey is a number, allowed: a string"),
        (ARC, ARC_ROW | {"question": ["?"]}, "its question is an array, allowed: a string"),
        (ARC, {key: ARC_ROW[key] for key in ("question", "choices")}, "has no answerKey (it has question"),
        (SmolTalk, {"messages": "Arr"}, "its messages is a string, allowed: an array"),
        (SmolTalk, {"messages": [{"role": "pirate", "content": "Arr"}]}, "role is 'pirate'"),
    ],
    ids=str,
)
def test_a_corrupt_row_is_one_line(tmp_path, cls, row, told):
    task = cls(path=write(tmp_path / "test.jsonl", [row]))
    with pytest.raises(ValueError) as error:
        task[0]
    assert told in str(error.value) and "\n" not in str(error.value)


def test_conversations_of_ones_own(tmp_path):
    chat = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "Me."}]
    task = CustomJSON(write(tmp_path / "mine.jsonl", [chat, {"messages": chat}]))
    assert len(task) == 2 and task[0] == task[1] and task.kind == "chat"
    with pytest.raises(ValueError, match="only learnt from"):
        task.evaluate(task[0], "Me.")
    for row, told in (
        (chat[:1], "ends without an answer"),
        ([chat[1], chat[0]], "row 2"),
        ([chat[0], chat[0]], "row 2"),
        ({"text": "x"}, "got null"),
        ([{"role": "user"}], "content"),
    ):
        with pytest.raises(ValueError, match=rf"^path: .*row 2.*{told}|^path: .*{told}"):
            CustomJSON(write(tmp_path / "bad.jsonl", [chat, row]))
    with pytest.raises(ValueError, match=r"^path: not given"):
        CustomJSON()


def test_smoltalk_by_hand(tmp_path):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "Farewell."},
    ]
    task = SmolTalk(path=write(tmp_path / "test.jsonl", [{"messages": messages, "source": "here"}]))
    assert list(task[0].messages) == messages and task.kind == "chat" and len(task) == 1
    tokenizer = bpe(["Be brief. Hi Hello. Bye Farewell."])
    rendered = render(task[0].messages, tokenizer)
    assert tokenizer.decode(rendered.ids.tolist()) == (
        "<|bos|><|user_start|>Be brief.\n\nHi<|user_end|><|assistant_start|>Hello.<|assistant_end|>"
        "<|user_start|>Bye<|user_end|><|assistant_start|>Farewell.<|assistant_end|>"
    )
    learnt = tokenizer.decode(rendered.ids[rendered.supervised].tolist())
    assert learnt == "Hello.<|assistant_end|>Farewell.<|assistant_end|>"
