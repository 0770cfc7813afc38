import csv
import gzip
import hashlib
import itertools
import json
import pickle
import subprocess
import sys

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanolit.data.sources import formats, plain_text
from nanolit.data.sources.files import find
from nanolit.data.sources.formats import column_names, count_rows, documents, rows, spans, text_of


def read(files, target_bytes=1 << 20, encoding="utf-8", field="text"):
    """The documents as a consumer of all spans in their order would join them: key and text."""
    found, open_key = [], None
    for span in pickle.loads(pickle.dumps(spans(files, target_bytes, encoding))):
        for document in documents(span, encoding, field):
            if open_key is None:
                found.append((document.key, ""))
            assert open_key in (None, document.key)
            for text, ends in document.parts:
                found[-1] = (document.key, found[-1][1] + text)
                open_key = None if ends else document.key
    assert open_key is None
    return found


def texts(source, target_bytes=1 << 20, **kwargs):
    return [text for _, text in read(find(str(source), source.parent), target_bytes, **kwargs)]


def written(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- every format, the same rows -------------------------------------------------------------------------------------


def write_jsonl(path, table):
    written(path, "".join(json.dumps(row) + "\n" for row in table))


def write_json(path, table):
    written(path, json.dumps(table, indent=len(table) % 3 or None, ensure_ascii=False))


def write_lines_of_json(path, table):
    written(path, "\n".join(json.dumps(row) for row in table))


def write_csv(path, table, dialect="excel"):
    ending = "\n" if len(table) % 2 else "\r\n"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, dialect, quoting=csv.QUOTE_NONNUMERIC, lineterminator=ending)
        writer.writerow(["number", "text"])
        writer.writerows([row["number"], row["text"]] for row in table)


def write_tsv(path, table):
    write_csv(path, table, "excel-tab")


def as_table(table):
    return pa.table({"number": [row["number"] for row in table], "text": pa.array(row["text"] for row in table)})


def write_parquet(path, table):
    pq.write_table(as_table(table), path, row_group_size=3)


def write_arrow_file(path, table):
    with pa.ipc.new_file(path, as_table(table).schema) as writer:
        writer.write_table(as_table(table), max_chunksize=3)


def write_arrow_stream(path, table):
    with pa.ipc.new_stream(path, as_table(table).schema) as writer:
        writer.write_table(as_table(table), max_chunksize=3)


FORMATS = {
    **{"l.jsonl": write_jsonl, "l.ndjson": write_jsonl, "a.json": write_json, "b.json": write_lines_of_json},
    **{"c.csv": write_csv, "d.TSV": write_tsv, "p.parquet": write_parquet},
    **{"f.arrow": write_arrow_file, "s.arrow": write_arrow_stream},
}
TEXT = st.text(st.sampled_from("ab \n\r\t,\"'é漢\u2028\ufeff\x0c[]{}"), max_size=12)
TABLES = st.lists(TEXT, min_size=1, max_size=12).map(
    lambda found: [{"number": i, "text": text} for i, text in enumerate(found)]
)


def zstd(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("compress", [None, gzip.compress, zstd])
@pytest.mark.parametrize("name", FORMATS)
def test_all_formats_give_the_same_documents_and_rows(tmp_path, monkeypatch, name, compress):
    monkeypatch.setattr(plain_text, "CHUNK_BYTES", 7)
    monkeypatch.setattr(formats, "CHUNK_BYTES", 7)
    ending = {None: "", gzip.compress: ".gz", zstd: ".zst"}[compress]

    @settings(max_examples=30, deadline=None)
    @given(TABLES, st.integers(1, 80))
    def check(table, target_bytes):
        plain = tmp_path / name
        FORMATS[name](plain, table)
        path = written(tmp_path / (name + ending), compress(plain.read_bytes())) if compress else plain
        files = find(str(path), tmp_path)
        expected = [row["text"] for row in table if row["text"]]
        assert read(files, target_bytes) == [(hashlib.sha256(text.encode()).hexdigest(), text) for text in expected]
        found = [row for span in spans(files, target_bytes, "utf-8") for _, row in rows(span)]
        wanted = table if name[0] not in "cd" else [{**row, "number": str(row["number"])} for row in table]
        assert found == wanted
        assert sum(map(count_rows, spans(files, target_bytes, "utf-8"))) == len(table)
        for batch in (["text"], ["text", "none"]):
            (first, *_) = spans(files, target_bytes, "utf-8")
            assert next(rows(first, columns=batch))[1]["text"] == table[0]["text"]
        assert column_names(files[0]) == (None if "json" in name else ["number", "text"])

    check()


@pytest.mark.parametrize(
    ("name", "builder"), [("l.jsonl", "json"), ("a.json", "json"), ("c.csv", "csv"), ("p.parquet", "parquet")]
)
def test_rows_are_those_of_the_datasets_library(tmp_path, name, builder):
    table = [{"number": i, "text": f'{i} "quoted", é\n\nof {i} lines' * (i % 7 + 1)} for i in range(50)]
    FORMATS[name](tmp_path / name, table)
    loaded = datasets.load_dataset(
        builder, data_files=str(tmp_path / name), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert texts(tmp_path / name, 100) == loaded["text"][:]


@pytest.mark.parametrize("n_shards", [1, 3])
def test_a_folder_of_save_to_disk(tmp_path, n_shards):
    saved = datasets.Dataset.from_dict({"text": [f"text {i}" for i in range(20)], "other": [[{"a": 1}]] * 20})
    saved.save_to_disk(tmp_path / "saved", num_shards=n_shards)
    assert texts(tmp_path / "saved") == saved["text"][:]


def test_a_span_of_tables_is_about_as_large_as_wanted(tmp_path):
    table = [{"number": i, "text": hashlib.sha512(str(i).encode()).hexdigest() * 10} for i in range(300)]
    for name in ("p.parquet", "f.arrow"):
        FORMATS[name](tmp_path / name, table)
        files = find(str(tmp_path / name), tmp_path)
        found = spans(files, 20_000, "utf-8")
        sizes = [span.n_bytes for span in found]
        assert len(found) > 10 and max(sizes) < 30_000 and min(sizes[:-1]) >= 20_000
        assert files[0].n_bytes / 2 < sum(sizes) <= files[0].n_bytes  # the rest are statistics in the footer
        assert [(a.stop, b.start) for a, b in itertools.pairwise(found) if a.stop != b.start] == []
    for name in ("s.arrow", "c.csv", "a.json"):
        FORMATS[name](tmp_path / name, table)
        files = find(str(tmp_path / name), tmp_path)
        assert [span[1:] for span in spans(files, 20_000, "utf-8")] == [(0, files[0].n_bytes, files[0].n_bytes)]


@pytest.mark.parametrize(
    "of", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_all_types_of_strings_and_null(tmp_path, of):
    column = pa.array(["a", None, "", "b" * 30], pa.string()).cast(of)
    with pa.ipc.new_stream(tmp_path / "a.arrow", pa.schema([("text", of)])) as writer:
        writer.write_batch(pa.record_batch([column], names=["text"]))
    assert texts(tmp_path / "a.arrow") == ["a", "b" * 30]


def test_tables_without_rows(tmp_path):
    empty = pa.table({"text": pa.array([], pa.string())})
    pq.write_table(empty, tmp_path / "a.parquet")
    with pa.ipc.new_file(tmp_path / "b.arrow", empty.schema):
        pass
    written(tmp_path / "c.csv", "text\n")
    written(tmp_path / "d.json", " [ ]\n")
    written(tmp_path / "e.txt", "\ufeff")
    written(tmp_path / "f.txt.gz", gzip.compress(b""))
    assert texts(tmp_path) == []


# --- plain text ------------------------------------------------------------------------------------------------------


def test_a_file_of_text_is_one_document_whatever_its_spans(tmp_path):
    text = "A line of text.\n" * 20_000
    written(tmp_path / "a.txt", text)
    (file,) = find(str(tmp_path / "a.txt"), tmp_path)
    for target_bytes in (10_000, 100_000, 1 << 20):
        assert read([file], target_bytes) == [(hashlib.sha256(text.encode()).hexdigest(), text)]
    assert len(spans([file], 10_000, "utf-8")) == 32 and len(spans([file], 10_000, "latin-1")) == 1
    with pytest.raises(ValueError, match=r"a\.txt: plain text has no rows; give a file that ends in \.jsonl"):
        rows(spans([file], 10_000, "utf-8")[0])


def test_a_long_row_comes_in_parts(tmp_path):
    text = "line\n" * 600_000
    written(tmp_path / "a.jsonl", json.dumps({"text": text}))
    (span,) = spans(find(str(tmp_path / "a.jsonl"), tmp_path), 1 << 30, "utf-8")
    (document,) = documents(span, "utf-8", "text")
    parts = list(document.parts)
    assert len(parts) in (3, 4) and "".join(part for part, _ in parts) == text
    assert [ends for _, ends in parts] == [False] * (len(parts) - 1) + [True]


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_blank_lines_marks_and_halves_of_surrogate_pairs(tmp_path):
    lines = [{"text": "one"}, {"text": ""}, {"text": None}, {"text": "two \ud800 halves"}, {"text": "\U0001f600"}]
    written(tmp_path / "a.jsonl", "\ufeff" + "\r\n \n".join(map(json.dumps, lines)) + "\n")
    assert texts(tmp_path / "a.jsonl") == ["one", "two � halves", "\U0001f600"]
    (span,) = spans(find(str(tmp_path / "a.jsonl"), tmp_path), 1 << 30, "utf-8")
    found = [text_of(row, "text", place) for place, row in rows(span)]
    assert found == ["one", "", None, "two � halves", "\U0001f600"] and count_rows(span) == 5
    written(tmp_path / "b.jsonl", '{"text": "é"}\n'.encode("utf-16"))
    assert texts(tmp_path / "b.jsonl", encoding="utf-16") == ["é"]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("chunk", [1, 3, 16])
def test_json_in_any_chunks_is_json(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(plain_text, "CHUNK_BYTES", chunk)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(JSON_VALUES), st.sampled_from([None, 0, 2]), st.booleans())
    def check(values, indent, is_ascii):
        written(tmp_path / "a.json", json.dumps(values, indent=indent, ensure_ascii=is_ascii))
        written(tmp_path / "b.json", json.dumps({}) + "\n".join(json.dumps(v, ensure_ascii=is_ascii) for v in values))
        (array,) = spans(find(str(tmp_path / "a.json"), tmp_path), 1, "utf-8")
        assert [row for _, row in rows(array)] == values
        (stream,) = spans(find(str(tmp_path / "b.json"), tmp_path), 1, "utf-8")
        assert [row for _, row in rows(stream)] == [{}, *values]

    check()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[\n{"text": "a"},\n{"text": }]', r"a\.json:3: not JSON \(Expecting value\)"),
        ('[{"text": "a"}\n{"text": "b"}]', r"a\.json:2: not JSON \(the array goes on without ',' or has no end\)"),
        ('[{"text": "a"},\n{"text": "b"}\n', r"a\.json:3: not JSON \(the array goes on without ',' or has no end\)"),
        ('[{"text": "a"}]\n[]', r"a\.json:2: not JSON \(something follows the array\)"),
        ('[{"text": "a"},\n\n {"text": "b', r"a\.json:3: not JSON \(Unterminated string"),
        ('[{"text": "a"},\n]', r"a\.json:2: not JSON \(Expecting value\)"),
        ('{"text": "a"}\n{"text": "b"\n', r"a\.json:3: not JSON \(Expecting ',' delimiter\)"),
        ('{"text": "a"}\n\n{"body": "b"}', r"a\.json:3: no text under 'text' \(it has: body\)"),
        ("[" * 100_000, r"a\.json:1: not JSON \(maximum recursion"),
        ("[" + "1" * 5000 + "]", r"a\.json:1: not JSON \(Exceeds the limit"),
    ],
)
def test_bad_json_is_named_with_its_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as error:
        texts(written(tmp_path / "a.json", content))
    assert "\n" not in str(error.value)


def test_bad_json_ends_the_reading_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(plain_text, "CHUNK_BYTES", 100)
    (span,) = spans(find(str(written(tmp_path / "a.json", "[nothing, " + "1, " * 10_000)), tmp_path), 1, "utf-8")
    read_texts = []
    monkeypatch.setattr(
        formats, "decoded", lambda *args: (read_texts.append(text) or text for text in plain_text.decoded(*args))
    )
    with pytest.raises(ValueError, match="not JSON"):
        list(rows(span))
    assert len(read_texts) == 1


# --- bad rows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target_bytes", [1 << 20, 20])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"a\.jsonl:4: not JSON"),
        ('{"body": "x", "n": 1}', r"a\.jsonl:4: no text under 'text' \(it has: body, n\); name the right data\.text_f"),
        ("{}", r"a\.jsonl:4: no text under 'text' \(it has: nothing\)"),
        ('{"text": 3}', r"a\.jsonl:4: 'text' holds int, not text; name the right data\.text_field"),
        ("[1]", r"a\.jsonl:4: a row that is list and no object"),
        (b'"\xff"', r"a\.jsonl:4: byte 48 \(0xff\) is not utf-8"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path, line, message, target_bytes):
    line = line.encode() if isinstance(line, str) else line
    written(tmp_path / "a.jsonl", b'{"text": "fine"}\n\n{"text": "this is fine too"}\n' + line + b'\n{"text": "x"}\n')
    with pytest.raises(ValueError, match=message) as error:
        texts(tmp_path / "a.jsonl", target_bytes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('text,n\n"a\nb",1\nc\n', r"a\.csv:4: 1 fields, but the first line names 2 \(text, n\)"),
        ('text\n\n"a"b\n', r"a\.csv:3: not CSV \(',' expected after '\"'\)"),
        ('text\n"a\nb\n', r"a\.csv:2: not CSV \(unexpected end of data\)"),
        ("body,n\na,1\n", r"a\.csv:2: no text under 'text' \(it has: body, n\)"),
        (b"text\ncaf\xe9\n", r"a\.csv:2: byte 8 \(0xe9\) is not utf-8"),
    ],
)
def test_bad_csv_is_named_with_its_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as error:
        texts(written(tmp_path / "a.csv", content))
    assert "\n" not in str(error.value)


def test_a_field_of_csv_may_be_long_and_a_mark_may_stand_before_the_names(tmp_path):
    long = "word, " * 100_000
    assert texts(written(tmp_path / "a.csv", f'\ufefftext\n"{long}"\n')) == [long]


@pytest.mark.parametrize("name", ["p.parquet", "f.arrow", "s.arrow"])
def test_bad_rows_of_tables_are_named_with_their_number(tmp_path, name):
    FORMATS[name](tmp_path / name, [{"number": i, "text": "text"} for i in range(10)])
    with pytest.raises(ValueError, match=rf"{name} row 1: no text under 'body' \(it has: number, text\)"):
        texts(tmp_path / name, field="body")
    with pytest.raises(ValueError, match=rf"{name} row 1: 'number' holds int, not text"):
        texts(tmp_path / name, field="number")
    found = spans(find(str(tmp_path / name), tmp_path), 1, "utf-8")
    places = [str(place) for span in found for place, _ in rows(span)]
    assert places == [f"{tmp_path / name} row {i}" for i in range(1, 11)]
    assert len(found) == (1 if name == "s.arrow" else 4)


def test_strings_in_tables_that_are_no_text(tmp_path):
    lie = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\2\0\0\0\4\0\0\0"), pa.py_buffer(b"ab\xff\xfe"))
    pq.write_table(pa.table({"text": lie}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"row 1, or one of the 1 rows after it: b'\\xff\\xfe' is not UTF-8"):
        texts(tmp_path / "a.parquet")


@pytest.mark.parametrize("name", ["p.parquet", "f.arrow", "s.arrow"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_corrupt_table_is_one_clear_line(tmp_path, name, ending):
    FORMATS[name](tmp_path / name, [{"number": i, "text": "text" * 50} for i in range(10)])
    content = (tmp_path / name).read_bytes()
    damaged = [content[: len(content) // 2], content[:5], b"nothing of the kind, but long enough", content[100:]]
    if name == "p.parquet":
        damaged.append(content[:100] + bytes(300) + content[400:])  # the footer is fine, pages are not
    for bad in damaged:
        path = written(tmp_path / (name + ending), gzip.compress(bad) if ending else bad)
        kind = name.split(".")[1]
        with pytest.raises(ValueError, match=rf"{name}{ending}: not a readable {kind} file \(.*\); fetch it") as error:
            texts(path)
        assert "\n" not in str(error.value)


# --- memory ----------------------------------------------------------------------------------------------------------

PEAK = """
import resource, sys
from pathlib import Path
from nanolit.data.sources.files import find
from nanolit.data.sources.formats import documents, spans
import pyarrow.parquet
files = find(sys.argv[1], Path(sys.argv[2]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = (document for span in spans(files, 1 << 22, "utf-8") for document in documents(span, "utf-8", "text"))
n_chars = sum(len(text) for document in found for text, _ in document.parts)
print(n_chars, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize("name", ["a.txt", "b.txt", "a.jsonl", "a.parquet"])
def test_memory_is_a_small_multiple_of_the_longest_row(tmp_path, name):
    n_bytes = 60_000_000
    path = tmp_path / name
    if name == "a.parquet":  # one row group
        rows_of_text = [f"{i} " * 1000 for i in range(12_000)]
        n_bytes = sum(map(len, rows_of_text))
        pq.write_table(pa.table({"text": rows_of_text}), path, row_group_size=1 << 20, compression="none")
        del rows_of_text
    else:
        line = b"x" * n_bytes if name != "b.txt" else b"words " * (n_bytes // 6)
        path.write_bytes(b'{"text": "' + line + b'"}\n' if name == "a.jsonl" else line)
    command = [sys.executable, "-c", PEAK, str(path), str(tmp_path)]
    n, peak = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert n == n_bytes
    allowed = {"a.txt": 2.5, "b.txt": 0.3, "a.jsonl": 3.5, "a.parquet": 0.7}[name]
    assert peak < allowed * n_bytes


def test_a_compressed_text_is_known_by_what_it_holds(tmp_path):
    keys = set()
    for name, level in (("a.txt.gz", 1), ("b.txt.gz", 9)):
        (tmp_path / name).write_bytes(gzip.compress(b"the same text " * 100, level, mtime=level))
        keys |= {document.key for span in whole(tmp_path / name) for document in documents(span, "utf-8", "text")}
    (tmp_path / "c.txt").write_bytes(b"the same text " * 100)
    keys |= {document.key for span in whole(tmp_path / "c.txt") for document in documents(span, "utf-8", "text")}
    assert len(keys) == 1


def whole(path):
    return spans(find(str(path), path.parent / "root"), 1 << 30, "utf-8")
