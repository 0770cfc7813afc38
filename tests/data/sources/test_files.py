import json
import os
import pickle

import datasets
import pytest

from nanolit.data.sources import files
from nanolit.data.sources.files import Span, find, hashed


def tree(folder, **contents):
    for name, content in contents.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def names(found):
    return [file.name for file in found]


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    contents = {"b.txt": "bee", "a.md": "ay", "sub__c.py": "sea = 1\n", "sub__d.bin": "no", ".hidden__e.txt": "no"}
    rows = {"sub__rows.JSONL": "{}", "sub__rows.csv.gz": "no gzip, as nobody reads it", "z.txt.zst": "nor zstd"}
    tree(folder, **contents, **rows, **{"sub__empty.txt": ""})
    return folder


def test_a_folder_is_its_visible_filled_files_of_known_endings_by_name(corpus, tmp_path):
    found = find(str(corpus), tmp_path)
    assert names(found) == ["a.md", "b.txt", "sub/c.py", "sub/rows.JSONL", "sub/rows.csv.gz", "z.txt.zst"]
    assert [file.kind for file in found] == ["text", "text", "text", "jsonl", "csv", "text"]
    assert [file.compression for file in found] == [None, None, None, None, "gzip", "zstd"]
    assert [file.n_bytes for file in found[:3]] == [2, 3, 8]
    spans = [Span(file, 0, file.n_bytes, file.n_bytes) for file in found]
    assert pickle.loads(pickle.dumps(spans)) == spans


def test_a_glob_sees_what_a_shell_sees(corpus, tmp_path, monkeypatch):
    assert names(find(f"{corpus}/**/*.[pt][yx]*", tmp_path)) == ["b.txt", "sub/c.py", "z.txt.zst"]
    assert names(find(f"{corpus}/.hidden/*", tmp_path)) == ["e.txt"]
    monkeypatch.chdir(corpus)
    assert names(find("sub/*.py", tmp_path)) == ["c.py"]


def test_a_file_that_is_named_counts_whatever_its_ending(corpus, tmp_path):
    (file,) = find(str(corpus / "sub/d.bin"), tmp_path)
    assert (file.name, file.kind) == ("d.bin", "text")


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
    with pytest.raises(ValueError, match=r"no text in this folder; files that count end in \.txt \.md .*\.arrow.*\.gz"):
        find(str(tmp_path / "pictures"), tmp_path)


def test_settings_in_json_are_no_rows(tmp_path):
    rows = {"array.json": ' [{"text": "a"}]', "lines.json": '\n{"text": "a"}\n{"text": "b"}', "bom.json": "\ufeff[1]"}
    settings = {"package.json": json.dumps({"name": "x"}, indent=2), "tsconfig.json": "// a comment\n{}"}
    tree(tmp_path / "code", **rows, **settings, **{"dataset_infos.json": '{"default": {}}', "main.js": "x"})
    assert names(find(str(tmp_path / "code"), tmp_path)) == ["array.json", "bom.json", "main.js"]
    (tmp_path / "code" / "main.js").unlink()
    assert names(find(str(tmp_path / "code"), tmp_path)) == ["array.json", "bom.json", "lines.json"]
    assert names(find(str(tmp_path / "code" / "package.json"), tmp_path)) == ["package.json"]


# --- splits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("splits", "endings"),
    [
        ({"d/train-00000-of-00002": "train", "d/train-00001-of-00002": "train", "d/test-0": "test"}, ".parquet"),
        ({"TRAIN": "train", "dev": "val", "test": "test"}, ".jsonl.gz"),
        ({"training/a": "train", "training/b": "train", "validation/a": "val"}, ".csv"),
        ({"TinyStoriesV2-GPT4-train": "train", "TinyStoriesV2-GPT4-valid": "val"}, ".txt"),
        ({"wiki.train.tokens": "train", "wiki.val.tokens": "val"}, ".txt.zst"),
    ],
)
def test_names_tell_splits(tmp_path, splits, endings):
    tree(tmp_path / "d", **{f"{name}{endings}".replace("/", "__"): "x" for name in splits})
    found = find(str(tmp_path / "d"), tmp_path)
    assert {file.name: file.split for file in found} == {f"{name}{endings}": split for name, split in splits.items()}


@pytest.mark.parametrize(
    "contents",
    [
        ["train.txt", "more.txt"],  # whose is the second?
        ["train.txt", "train_2.txt"],  # nothing but one split
        ["val.txt", "test.txt"],  # nothing to train on
        ["train.txt", "val_of_train.txt"],
        ["train.txt", "constraints.txt", "latest.txt"],  # parts of words
        ["train.py", "tests__test_train.py", "val.py"],
        ["train.txt", "test.txt", "README.md"],
    ],
)
def test_a_split_is_told_by_all_names_or_none(tmp_path, contents):
    tree(tmp_path / "train_and_val", **dict.fromkeys(contents, "x"))
    assert {file.split for file in find(str(tmp_path / "train_and_val"), tmp_path)} == {None}


# --- folders of datasets ---------------------------------------------------------------------------------------------


def test_a_saved_dataset_is_the_files_that_it_lists(tmp_path):
    datasets.Dataset.from_dict({"text": list("abcdef")}).save_to_disk(tmp_path / "saved", num_shards=3)
    tree(tmp_path / "saved", **{"cache-0123.arrow": "left over from map", "README.md": "about it"})
    found = find(str(tmp_path / "saved"), tmp_path)
    assert names(found) == [f"data-0000{i}-of-00003.arrow" for i in range(3)]
    found[1].path.unlink()
    with pytest.raises(ValueError, match=r"data-00001-of-00003\.arrow: not there, but .*state\.json names it"):
        find(str(tmp_path / "saved"), tmp_path)


def test_a_saved_dict_of_datasets_tells_its_splits(tmp_path):
    rows = datasets.Dataset.from_dict({"text": ["a", "b"]})
    saved = tmp_path / "saved"
    datasets.DatasetDict({"validation": rows, "train": rows, "test": rows}).save_to_disk(saved)
    found = find(str(saved), tmp_path)
    assert [(file.name.split("/")[0], file.split) for file in found] == [
        ("validation", "val"),
        ("train", "train"),
        ("test", "test"),
    ]
    assert names(find(str(tmp_path), tmp_path)) == sorted(f"saved/{name}" for name in names(found))
    (saved / "dataset_dict.json").write_text('["train"]')
    with pytest.raises(ValueError, match=r"dataset_dict\.json: has no list 'splits'"):
        find(str(saved), tmp_path)


# --- hashes ----------------------------------------------------------------------------------------------------------


def test_hashes_are_remembered_until_the_file_changes(tmp_path, monkeypatch):
    tree(tmp_path, **{"a.txt": "one"})
    path = tmp_path / "a.txt"
    os.utime(path, (1_000_000, 1_000_000))  # long ago: a file written just now may change within its time stamp
    (first,) = find(str(path), tmp_path)
    reads = []
    monkeypatch.setattr(files, "sha256_file", lambda p: reads.append(p) or "new")
    assert find(str(path), tmp_path) == [first] and reads == []
    path.write_text("two")
    assert find(str(path), tmp_path)[0].sha256 == "new" and reads == [path]
    assert find(str(path), tmp_path)[0].sha256 == "new" and reads == [path, path]  # too young to be remembered


def test_hashes_keep_the_order_and_what_is_learnt_before_an_interruption(tmp_path, monkeypatch):
    paths = [tmp_path / f"{i}.txt" for i in (3, 1, 2)]
    for path in paths:
        path.write_text(path.name)
        os.utime(path, (1_000_000, 1_000_000))
    plain = files.sha256_file

    def interrupted(path):
        if path == paths[2]:
            raise KeyboardInterrupt
        return plain(path)

    monkeypatch.setattr(files, "sha256_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hashed(tmp_path, paths, tmp_path / "root")
    reads = []
    monkeypatch.setattr(files, "sha256_file", lambda path: reads.append(path) or plain(path))
    assert names(hashed(tmp_path, [*paths, tmp_path], tmp_path / "root")) == ["3.txt", "1.txt", "2.txt"]
    assert reads == [paths[2]]


def test_the_card_of_a_data_set_is_no_document(tmp_path):
    for name in ("README.md", "notes.md", "train.jsonl", "test.jsonl"):
        (tmp_path / name).write_text('{"text": "a"}\n')
    assert [file.name for file in find(str(tmp_path), tmp_path / "root")] == ["notes.md", "test.jsonl", "train.jsonl"]
    (tmp_path / "notes.md").unlink()
    assert [file.split for file in find(str(tmp_path), tmp_path / "root")] == ["test", "train"]
    (tmp_path / "train.jsonl").unlink()
    (tmp_path / "test.jsonl").unlink()
    assert [file.name for file in find(str(tmp_path), tmp_path / "root")] == ["README.md"]


def test_what_a_folder_holds_besides_is_told(tmp_path, caplog):
    caplog.set_level("INFO")
    for name in ("a.txt", "b.log", "c.png", ".hidden.png"):
        (tmp_path / name).write_text("text")
    (tmp_path / "empty.txt").touch()
    assert [file.name for file in find(str(tmp_path), tmp_path / ".root")] == ["a.txt"]
    assert "left out 3 files that are empty or of no kind that is read: b.log, c.png, empty.txt" in caplog.text


def test_settings_beside_source_code_are_no_rows(tmp_path):
    (tmp_path / "package.json").write_text('{"name": "mine", "version": "1.0"}')
    (tmp_path / "index.js").write_text("let a = 1;")
    assert [file.name for file in find(str(tmp_path), tmp_path / ".root")] == ["index.js"]
    (tmp_path / "index.js").unlink()
    assert [file.name for file in find(str(tmp_path), tmp_path / ".root")] == ["package.json"]
