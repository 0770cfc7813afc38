"""The tasks of real data sets: nanochat's wording by hand, real GSM8K where it is, and faults as one line."""

import gzip
import json
from itertools import pairwise

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanolit.inference.tools import Calculator
from nanolit.tasks import rows as rows_module
from nanolit.tasks.arc import ARC
from nanolit.tasks.custom_json import CustomJSON
from nanolit.tasks.gsm8k import GSM8K, parts
from nanolit.tasks.mmlu import MMLU
from nanolit.tasks.rows import read_rows
from nanolit.tasks.smoltalk import SmolTalk
from nanolit.tasks.spelling_bee import SimpleSpelling, SpellingBee
from nanolit.tokenizers.messages import check

from ..conftest import SHARED_DATA


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def said(example) -> str:
    content = example.messages[-1]["content"]
    return content if isinstance(content, str) else "".join(p["text"] for p in content if p["type"] == "text")


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
    calculator, n_calls, n_same = Calculator(), 0, 0
    for example in task:
        check(list(example.messages))
        assert all(task.scores(example, said(example)).values())
        content = example.messages[1]["content"]
        for call, output in pairwise(content):
            if not isinstance(content, str) and call["type"] == "python":
                n_calls += 1
                computed = calculator(call["text"])
                n_same += computed is not None and _number(computed) == _number(output["text"])
    assert n_same / n_calls > 0.97, "the rest are rounded, or in words, in the data"


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
    with pytest.raises(ValueError, match=r"^answer: got 'C', allowed: A, B"):
        task.evaluate(example, "C")
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
        (GSM8K, {"question": "?"}, "has no answer"),
        (GSM8K, {"question": "?", "answer": "six"}, "does not end in ####"),
        (SmolTalk, {"messages": [{"role": "pirate", "content": "Arr"}]}, "role is 'pirate'"),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", ""),
)
def test_a_corrupt_row_is_one_line(tmp_path, cls, row, told):
    task = cls(path=write(tmp_path / "test.jsonl", [row]))
    with pytest.raises(ValueError) as error:
        task[0]
    assert told in str(error.value) and "\n" not in str(error.value)


def test_a_corrupt_file_is_one_line(tmp_path):
    bad = tmp_path / "test.jsonl"
    bad.write_text('{"question": 1}\n{"question": \n')
    with pytest.raises(ValueError, match=r"^path: .*test\.jsonl:2: is no JSON"):
        GSM8K(path=str(bad))
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(b'{"a": 1}\n' * 100)[:30])
    for path, told in (
        (tmp_path / "nowhere", "there is no"),
        (cut, "cannot be read"),
        (tmp_path, "for the split train, allowed: one file"),
    ):
        with pytest.raises(ValueError, match=rf"^path: .*{told}"):
            GSM8K(split="train", path=str(path))
    with pytest.raises(ValueError, match="did not come from the hub"):
        GSM8K()


def test_the_hub_gives_the_same_rows(tmp_path, monkeypatch):
    rows = [{"question": f"{i}?", "answer": f"#### {i}"} for i in range(50)]
    asked = []

    def load_dataset(name, subset, split, revision):
        asked.append((name, subset, split, revision))
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    of_hub, of_file = GSM8K(revision="abc"), GSM8K(path=write(tmp_path / "test.jsonl", rows))
    assert [e.answer for e in of_hub] == [e.answer for e in of_file] != [str(i) for i in range(50)]
    SmolTalk(split="train"), ARC("ARC-Challenge"), MMLU("auxiliary_train", "train")
    assert asked == [
        ("openai/gsm8k", "main", "test", "abc"),
        ("HuggingFaceTB/smol-smoltalk", None, "train", None),
        ("allenai/ai2_arc", "ARC-Challenge", "test", None),
        ("cais/mmlu", "auxiliary_train", "train", None),
    ]


@given(st.integers(1, 300))
def test_rows_are_shuffled_as_datasets_does(n):
    order = rows_module.np.random.default_rng(42).permutation(n).tolist()
    shuffled = datasets.Dataset.from_list([{"i": i} for i in range(n)]).shuffle(seed=42)
    assert order == shuffled["i"][:]


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


@pytest.mark.parametrize("cls", [SpellingBee, SimpleSpelling])
def test_words(cls, tmp_path):
    (tmp_path / "words.txt").write_text("".join(f"{word}\n" for word in _many_words()))
    train, test = (cls(split, 300, str(tmp_path / "words.txt")) for split in ("train", "test"))
    calculator = Calculator()
    for task in (train, test):
        for example in task:
            check(list(example.messages))
            assert task.evaluate(example, said(example)) and not task.evaluate(example, said(example) + "0")
            content = example.messages[1]["content"]
            if not isinstance(content, str):
                assert calculator(content[1]["text"]) == content[2]["text"] == example.answer
    learnt = {word for e in train for word in _words_in(e)}
    assert not learnt & {word for e in test for word in _words_in(e)}
    assert cls("train", 5, words="village")[0].messages != cls("train", 5, words="village")[1].messages


def _many_words():
    return ["".join(a + b + c) for a in "bdfgk" for b in "aeiou" for c in ("lm", "nt", "rs", "st", "mp", "ck", "sh")]


def _words_in(example):
    text = said(example)
    line = next(line for line in text.split("\n") if ":" in line and "," in line.partition(":")[2])
    return [line.partition(":")[0]]


def test_a_folder_has_a_file_for_each_split(tmp_path):
    write(tmp_path / "train.jsonl", [WEATHER])
    write(tmp_path / "test.jsonl", [WEATHER, WEATHER])
    assert (len(read_rows(str(tmp_path), "", None, "train")), len(read_rows(str(tmp_path), "", None, "test"))) == (1, 2)
