import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanolit.data import text_files
from nanolit.data.text_files import documents, find
from nanolit.tokenizers.bpe import train_bpe
from nanolit.tokenizers.byte import ByteTokenizer


def texts(files, encoding="utf-8", field="text"):
    return ["".join(text for text, _ in document.parts) for document in documents(files, encoding, field)]


def tree(folder, **contents):
    for name, content in contents.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    files = {"b.txt": "bee", "a.md": "ay", "sub__c.py": "sea = 1\n", "sub__d.bin": "no", ".hidden__e.txt": "no"}
    tree(folder, **files, **{"sub__empty.txt": ""})
    return folder


def test_a_folder_is_its_visible_filled_text_files_by_name(corpus, tmp_path):
    files = find(str(corpus), tmp_path)
    assert [file.name for file in files] == ["a.md", "b.txt", "sub/c.py"]
    assert texts(files) == ["ay", "bee", "sea = 1\n"]


def test_a_glob(corpus, tmp_path, monkeypatch):
    assert [file.name for file in find(f"{corpus}/**/*.[pt][yx]*", tmp_path) if file.name[0] != "."] == [
        "b.txt",
        "sub/c.py",
    ]
    monkeypatch.chdir(corpus)
    assert [file.name for file in find("sub/*.py", tmp_path)] == ["c.py"]


def test_a_file_counts_whatever_its_ending(corpus, tmp_path):
    assert texts(find(str(corpus / "sub/d.bin"), tmp_path)) == ["no"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none.txt", r"none\.txt: no such file.*check the path"),
        ("*.none", "no file fits it as a pattern"),
        ("sub/empty.txt", "the file is empty; put text into it"),
        ("[e]mpty", "no such file"),
    ],
)
def test_nothing_to_read_is_one_clear_line(corpus, tmp_path, source, message):
    with pytest.raises(ValueError, match=r"data\.source=.*" + message) as error:
        find(str(corpus / source), tmp_path)
    assert "\n" not in str(error.value)


def test_a_folder_without_text_says_what_would_count(tmp_path):
    tree(tmp_path, **{"pictures__a.png": "x"})
    with pytest.raises(ValueError, match=r"no text in this folder; files that count end in \.txt \.md"):
        find(str(tmp_path / "pictures"), tmp_path)


@pytest.mark.parametrize("before", [0, 5, text_files.CHUNK_BYTES - 1, text_files.CHUNK_BYTES + 3])
def test_undecodable_bytes_are_named_with_their_place(tmp_path, before):
    tree(tmp_path, **{"latin.txt": b"a" * before + "é".encode() + b"caf\xe9!"})
    files = find(str(tmp_path / "latin.txt"), tmp_path)
    with pytest.raises(ValueError, match=rf"latin\.txt: byte {before + 5} \(0xe9\) is not utf-8; .*data\.encoding"):
        texts(files)
    assert texts(files, encoding="latin-1")[0].endswith("café!")


def test_line_ends_stay_and_a_byte_order_mark_goes(tmp_path):
    tree(tmp_path, **{"a.txt": b"\xef\xbb\xbfone\r\ntwo\r"})
    assert texts(find(str(tmp_path / "a.txt"), tmp_path)) == ["one\r\ntwo\r"]


def test_jsonl_gives_a_document_per_row(tmp_path):
    rows = [{"text": "one"}, {"text": ""}, {"text": "two \ud800 halves"}]
    tree(tmp_path, **{"a.jsonl": "\n\n".join(map(json.dumps, rows)) + "\n"})
    assert texts(find(str(tmp_path / "a.jsonl"), tmp_path)) == ["one", "two � halves"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"a\.jsonl:2: not JSON"),
        ('{"body": "x"}', r"a\.jsonl:2: no text under 'text' \(it has: body\); name the right data\.text_field"),
        ('{"text": 3}', r"a\.jsonl:2: no text under 'text'"),
        ("[1]", r"a\.jsonl:2: no text under 'text' \(it has: list\)"),
        (b'"\xff"', r"a\.jsonl:2: not JSON"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path, line, message):
    line = line.encode() if isinstance(line, str) else line
    tree(tmp_path, **{"a.jsonl": b'{"text": "fine"}\n' + line + b"\n"})
    with pytest.raises(ValueError, match=message):
        texts(find(str(tmp_path / "a.jsonl"), tmp_path))


LINES = st.lists(
    st.sampled_from(["a", "b!", "//", " ", "\n", "\r\n", "\n\n", " \n", "!\n/", "12", "'s", "é", "\t"])
).map("".join)
BPE = train_bpe(["a b! // \n\n 12 's é a\nb!\n12\n/ !\r\n"] * 3, 280)


@settings(max_examples=300)
@given(LINES, st.integers(1, 7))
def test_parts_give_the_ids_of_the_whole(text, chunk):
    parts = list(text_files._in_parts(text[i : i + chunk] for i in range(0, len(text), chunk)))
    assert "".join(part for part, _ in parts) == text
    assert [ends for _, ends in parts] == [False] * (len(parts) - 1) + [True]
    for tokenizer in (BPE, ByteTokenizer()):
        assert [i for part, _ in parts for i in tokenizer.encode(part)] == tokenizer.encode(text)


def test_long_text_does_come_in_parts(tmp_path):
    tree(tmp_path, **{"a.txt": "line\n" * 600_000})
    (document,) = documents(find(str(tmp_path / "a.txt"), tmp_path), "utf-8", "text")
    parts = [text for text, _ in document.parts]
    assert len(parts) == 3 and "".join(parts) == "line\n" * 600_000


def test_hashes_are_remembered_until_the_file_changes(tmp_path, monkeypatch):
    tree(tmp_path, **{"a.txt": "one"})
    path = tmp_path / "a.txt"
    os.utime(path, (1_000_000, 1_000_000))  # long ago: a file written just now may change within its time stamp
    (first,) = find(str(path), tmp_path)
    reads = []
    monkeypatch.setattr(text_files, "sha256_file", lambda p: reads.append(p) or "new")
    assert find(str(path), tmp_path) == [first] and reads == []
    path.write_text("two")
    assert find(str(path), tmp_path)[0].sha256 == "new" and reads == [path]
    assert find(str(path), tmp_path)[0].sha256 == "new" and reads == [path, path]  # too young to be remembered
