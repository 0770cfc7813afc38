"""SpellingBee and SimpleSpelling: by hand, against Python's count, and no word of the test learnt."""

import pytest

from nanolit.inference.tools import Calculator
from nanolit.tasks import word_list
from nanolit.tasks.spelling_bee import SimpleSpelling, SpellingBee
from nanolit.tokenizers.messages import check

from .rendering import assert_renders, bpe, said


@pytest.mark.parametrize("cls", [SpellingBee, SimpleSpelling])
def test_words(cls, tmp_path):
    (tmp_path / "words.txt").write_text("".join(f"{word}\n" for word in _many_words()))
    train, test = (cls(split, 300, str(tmp_path / "words.txt")) for split in ("train", "test"))
    calculator, tokenizer = Calculator(), bpe(str(e.messages) for e in train)
    for task in (train, test):
        for example in task:
            check(list(example.messages))
            assert_renders(example, tokenizer)
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


def test_letters_by_hand(tmp_path):
    (tmp_path / "words.txt").write_text("sees\n")
    task = SpellingBee("train", 200, str(tmp_path / "words.txt"))
    example = next(e for e in task if e.messages[1]["content"][1]["text"] == "'sees'.count('e')")
    assert example.messages[1]["content"] == [
        {
            "type": "text",
            "text": "How often does 'e' stand in the word 'sees'? I count by hand first.\n\nThe word, spelt:\n"
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


def test_no_word_is_spelt_twice_before_all_are(tmp_path):
    (tmp_path / "words.txt").write_text("".join(f"{word}\n" for word in _many_words()))
    n = len(SimpleSpelling("train", 1, str(tmp_path / "words.txt"))._words)
    task = SimpleSpelling("train", 2 * n + 3, str(tmp_path / "words.txt"))
    spelt = [example.answer for example in task]
    assert len(set(spelt[:n])) == len(set(spelt[n : 2 * n])) == n and spelt[:n] != spelt[n : 2 * n] != sorted(spelt[:n])
    assert task[n + 1].answer == spelt[n + 1], "whichever is asked for first"


def test_a_score_says_that_the_items_are_not_nanochats():
    for cls in (SpellingBee, SimpleSpelling):
        assert "not nanochat's" in cls.extractor


def test_where_words_come_from(tmp_path, monkeypatch):
    def fetch(url, path):
        assert url.endswith("words_alpha.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{word}\n" for word in _many_words()))
        return path

    monkeypatch.setattr(word_list.download, "fetch", fetch)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    assert SpellingBee().files == (str(tmp_path / "words" / "words_alpha.txt"),)
    assert SimpleSpelling(words="village").files == ()

    def unreachable(url, path):
        raise ValueError(f"cannot download {url}: no network; place the file at {path}")

    monkeypatch.setattr(word_list.download, "fetch", unreachable)
    (tmp_path / "none.txt").write_text("123\n")
    (tmp_path / "latin.txt").write_bytes("abc\ndéf\n".encode("latin-1"))
    for arguments, told in (
        ({}, "path: not given, and cannot download .* or give path= a list of words, or words=village"),
        ({"path": str(tmp_path / "nowhere")}, "path: there is no .*or words=village"),
        ({"path": str(tmp_path / "latin.txt")}, r"path: .*latin.txt cannot be read \(.*\); give a list"),
        ({"path": str(tmp_path / "none.txt")}, "path: .*none.txt has no words for this split"),
        ({"path": "x.txt", "words": "village"}, "path: got x.txt, which words=village does not read"),
        ({"size": 0}, "size: got 0, must be at least 1"),
    ):
        with pytest.raises(ValueError, match=f"^{told}"):
            SpellingBee(**arguments)
