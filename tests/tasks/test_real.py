"""The tasks of real data sets: nanochat's wording by hand, real GSM8K where it is, and faults as one line."""

import gzip
import json
from itertools import pairwise

import datasets
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from nanolit.inference.tools import Calculator
from nanolit.tasks import rows as rows_module
from nanolit.tasks import spelling_bee
from nanolit.tasks.arc import ARC
from nanolit.tasks.custom_json import CustomJSON
from nanolit.tasks.gsm8k import GSM8K, parts
from nanolit.tasks.mmlu import MMLU
from nanolit.tasks.rows import read_rows
from nanolit.tasks.smoltalk import SmolTalk
from nanolit.tasks.spelling_bee import SimpleSpelling, SpellingBee
from nanolit.tokenizers.bpe import train_bpe
from nanolit.tokenizers.chat import render, render_prompt
from nanolit.tokenizers.messages import check
from nanolit.tokenizers.protocol import Tokenizer
from nanolit.tokenizers.vocabulary import CHAT_SPECIALS
from nanolit.village.draw import is_held_out

from ..conftest import SHARED_DATA


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def bpe(texts) -> Tokenizer:
    return train_bpe(list(texts)[:100], 400, specials=CHAT_SPECIALS)


def assert_renders(example, tokenizer) -> None:
    """The prompt is the beginning of the whole, what is learnt is the answer without what a tool said, and its end."""
    rendered, prompt = render(example.messages, tokenizer), render_prompt(example.messages, tokenizer, drop_answer=True)
    n = len(prompt)
    assert rendered.ids[:n].tolist() == prompt and not rendered.supervised[:n].any()
    assert rendered.supervised[-1] and rendered.ids[-1] == tokenizer.specials["<|assistant_end|>"]
    content = example.messages[-1]["content"]
    learnt = tokenizer.decode(rendered.ids[rendered.supervised].tolist())
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    marks = {"text": ("", ""), "python": ("<|python_start|>", "<|python_end|>")}
    told = "".join(marks[p["type"]][0] + p["text"] + marks[p["type"]][1] for p in parts if p["type"] in marks)
    assert learnt == told + "<|assistant_end|>"


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
        (GSM8K, {"question": "?", "answer": "#### ,"}, "does not end in ####"),
        (GSM8K, ["?", "#### 6"], "has no answer (it has list)"),
        (MMLU, [1], "has no choices (it has list)"),
        (MMLU, MMLU_ROW | {"choices": "1234"}, "its choices are a string, allowed: an array"),
        (MMLU, MMLU_ROW | {"answer": -1}, "its answer '-1' is not among its letters"),
        (ARC, ARC_ROW | {"choices": {"text": ["ice", "fire"], "label": 3}}, "its letters are a number, allowed"),
        (ARC, ARC_ROW | {"choices": ["ice", "fire"]}, "has no text (it has list)"),
        (ARC, {key: ARC_ROW[key] for key in ("question", "choices")}, "its answer 'None' is not among"),
        (SmolTalk, {"messages": [{"role": "pirate", "content": "Arr"}]}, "role is 'pirate'"),
    ],
    ids=str,
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
    others = {"damaged.jsonl.gz": _damaged(), "a.parquet": b"PAR1 no more", "latin.jsonl": b'{"a": "\xe9"}\n'}
    others |= {"table.json": b'{"a": 1}', "half.json": b'[{"a": 1}', "empty.jsonl": b"\n"}
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    for path, told in (
        (tmp_path / "nowhere", "there is no"),
        (cut, "cannot be read"),
        (tmp_path / "damaged.jsonl.gz", "cannot be read"),
        (tmp_path / "a.parquet", "cannot be read"),
        (tmp_path / "latin.jsonl", "cannot be read"),
        (tmp_path / "half.json", "cannot be read"),
        (tmp_path / "table.json", "has dict, allowed: an array of rows"),
        (tmp_path / "empty.jsonl", "has no rows"),
        (tmp_path, "has no file for the split train; add it as train.jsonl"),
    ):
        with pytest.raises(ValueError, match=rf"^path: .*{told}") as error:
            GSM8K(split="train", path=str(path))
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"did not come from the hub .*give path= a file or folder") as error:
        GSM8K()
    assert "\n" not in str(error.value)


def _damaged() -> bytes:
    """A gzip file whose compressed bytes were exchanged: zlib says so, not gzip."""
    content = bytearray(gzip.compress(b"".join(b'{"a": %d}\n' % (i * i) for i in range(200))))
    content[30:60] = bytes(255 for _ in range(30))
    return bytes(content)


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


ROWS = [{"question": f"{i}?", "answer": f"#### {i}"} for i in range(9)]


def _in_all_ways(folder) -> None:
    lines = "".join(json.dumps(row) + "\n\n" for row in ROWS)
    (folder / "a.jsonl").write_text(lines)
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "a.json").write_text(json.dumps(ROWS, indent=1))
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), folder / "a.parquet")


def test_rows_are_the_same_in_all_formats(tmp_path):
    _in_all_ways(tmp_path)
    for ending in rows_module.ENDINGS:
        rows = read_rows(str(tmp_path / f"a{ending}"), "", None, "test", shuffled=False)
        assert rows.rows == ROWS and rows.files == (str(tmp_path / f"a{ending}"),)
        assert rows.place(3).endswith(f"a{ending}, row 4")


def test_a_folder_has_files_for_each_split(tmp_path):
    def found(subset=None, split="test"):
        return [row["question"] for row in read_rows(str(tmp_path), "", subset, split, shuffled=False).rows]

    write(tmp_path / "train.jsonl", ROWS[:1])
    write(tmp_path / "my_test_rows.jsonl", ROWS[1:2])
    write(tmp_path / "contest.jsonl", ROWS)  # has "test" in its name, but no word that is "test"
    assert (found(split="train"), found()) == (["0?"], ["1?"])
    write(tmp_path / "test.jsonl", ROWS[2:3])
    assert found() == ["2?"], "the plain name goes before"
    for number in range(3):  # as the hub keeps them
        (tmp_path / "main").mkdir(exist_ok=True)
        part = ROWS[3 * number : 3 * number + 3]
        parquet.write_table(pyarrow.Table.from_pylist(part), tmp_path / "main" / f"test-0000{number}-of-00003.parquet")
    assert found("main") == [row["question"] for row in ROWS] and found("socratic") == ["2?"]
    assert len(GSM8K(path=str(tmp_path)).files) == 3
    (tmp_path / "main" / "test-00001-of-00003.parquet").unlink()
    with pytest.raises(ValueError, match=r"^path: .* has test-00000-of-00003\.parquet, test-00002-.* or all its parts"):
        found("main")
    write(tmp_path / "test.json", ROWS)
    with pytest.raises(ValueError, match=r"has test\.json, test\.jsonl for the split test, allowed: one file"):
        found()


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


def test_letters_by_hand(tmp_path):
    (tmp_path / "words.txt").write_text("sees\n" if not is_held_out(("spelling", "sees"), 50) else "eases\n")
    task = SpellingBee("train", 200, str(tmp_path / "words.txt"))
    example = next(e for e in task if e.messages[1]["content"][1]["text"] == "'sees'.count('e')")
    assert example.messages[1]["content"] == [
        {
            "type": "text",
            "text": "How often is there a 'e' in the word 'sees'? I count by hand first.\n\nThe word, spelt:\n"
            "sees:s,e,e,s\n\nWhich of these are 'e':\n1:s\n2:e yes, 1\n3:e yes, 2\n4:s\n\nThat makes 2.\n\n"
            "And by Python:\n\n",
        },
        {"type": "python", "text": "'sees'.count('e')"},
        {"type": "python_output", "text": "2"},
        {"type": "text", "text": "\n\nPython counts 2.\n\n#### 2"},
    ]
    asked = [e.messages[0]["content"] for e in task]
    assert all("sees" in text for text in asked) and len(set(asked)) > 100
    in_word = [e.messages[1]["content"][1]["text"][-3] in "sees" for e in task]
    assert 0.85 < sum(in_word) / len(in_word) < 0.97  # nine of ten, and some of the rest by chance
    assert sum(text.endswith("?") for text in asked) in range(70, 131)
    assert not all(text.isascii() for text in asked), "other languages ask too"
    spelling = SimpleSpelling("train", 1, str(tmp_path / "words.txt"))[0]
    assert [m["content"] for m in spelling.messages] == ["Spell the word: sees", "sees:s,e,e,s"]


def test_where_words_come_from(tmp_path, monkeypatch):
    def fetch(url, path):
        assert url.endswith("words_alpha.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{word}\n" for word in _many_words()))
        return path

    monkeypatch.setattr(spelling_bee.download, "fetch", fetch)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    assert SpellingBee().files == (str(tmp_path / "words" / "words_alpha.txt"),)
    assert SimpleSpelling(words="village").files == ()

    def unreachable(url, path):
        raise ValueError(f"cannot download {url}: no network; place the file at {path}")

    monkeypatch.setattr(spelling_bee.download, "fetch", unreachable)
    (tmp_path / "none.txt").write_text("123\n")
    for arguments, told in (
        ({}, "path: not given, and cannot download .* or give path= a list of words, or words=village"),
        ({"path": str(tmp_path / "nowhere")}, "path: there is no .*or words=village"),
        ({"path": str(tmp_path / "none.txt")}, "path: .*none.txt has no words for this split"),
        ({"path": "x.txt", "words": "village"}, "path: got x.txt, which words=village does not read"),
        ({"size": 0}, "size: got 0, must be at least 1"),
    ):
        with pytest.raises(ValueError, match=f"^{told}"):
            SpellingBee(**arguments)
