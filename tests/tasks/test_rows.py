"""Rows from the hub and from files of every format: the same, in the same order; faults of files as one line."""

import gzip
import json

import datasets
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from nanolit.tasks import rows as rows_module
from nanolit.tasks.arc import ARC
from nanolit.tasks.gsm8k import GSM8K
from nanolit.tasks.mmlu import MMLU
from nanolit.tasks.rows import read_rows
from nanolit.tasks.smoltalk import SmolTalk

from .rendering import write


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
