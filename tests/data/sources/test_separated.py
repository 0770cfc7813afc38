import gzip
import hashlib
import json
import re
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanolit.data.config import DataConfig
from nanolit.data.sources import plain_text, separated
from nanolit.data.sources.files import DataFile, hashed
from nanolit.data.sources.open import open_source

SEPARATORS = ("<|endoftext|>", "==", "\n\n", "aba", "\n%\n", "é")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Separators across the borders of chunks."""
    for module in (plain_text, separated):
        monkeypatch.setattr(module, "CHUNK_BYTES", 5)


def read(path, target_bytes, separator, encoding="utf-8"):
    spans = separated.spans(hashed(path.parent, [path], path.parent), target_bytes, encoding, separator)
    edges = [span.start for span in spans] + [path.stat().st_size]
    assert edges[0] == 0 and [(span.stop, span.n_bytes) for span in spans] == [(b, b - a) for a, b in pairwise(edges)]
    texts, keys = [], []
    for span in spans:
        for document in separated.documents(span, encoding, separator):
            parts = list(document.parts)
            assert [ends for _, ends in parts] == [False] * (len(parts) - 1) + [True]
            texts.append("".join(text for text, _ in parts))
            keys.append(document.key)
    return texts, spans, keys


def naive(text, separator):
    """What Python's own `split` gives, for line ends of either kind."""
    if "\n" in separator:
        text = re.sub("|".join(map(re.escape, {separator, separator.replace("\n", "\r\n")})), "\0", text)
        return [part.strip() for part in text.split("\0") if part.strip()]
    return [part.strip() for part in text.split(separator) if part.strip()]


@settings(max_examples=300, deadline=None)
@given(
    documents=st.lists(st.text("ab=\né 한<|", max_size=20), max_size=9),
    separator=st.sampled_from(SEPARATORS),
    target_bytes=st.integers(1, 60),
    windows=st.booleans(),
)
def test_documents_come_once_and_in_order_wherever_the_file_is_cut(
    documents, separator, target_bytes, windows, tmp_path_factory
):
    path = tmp_path_factory.mktemp("separated") / "a.txt"
    text = separator.join(documents)
    if windows:
        text = text.replace("\n", "\r\n")
    path.write_bytes(text.encode())
    if not path.stat().st_size:
        return
    texts, spans, keys = read(path, target_bytes, separator)
    whole, _, whole_keys = read(path, 1 << 40, separator)
    assert texts == whole == naive(text, separator)
    assert keys == whole_keys == [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    assert len(spans) <= max(1, round(path.stat().st_size / target_bytes))


def test_a_large_file_is_cut_into_parts_of_about_the_size(tmp_path):
    stories = [f"Story {i}.\nIt ends.\n" for i in range(2000)]
    (tmp_path / "a.txt").write_text("<|endoftext|>\n".join(stories))
    texts, spans, _ = read(tmp_path / "a.txt", 4000, "<|endoftext|>")
    assert texts == [story.strip() for story in stories]
    assert all(3900 < span.n_bytes < 4100 for span in spans)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
def test_other_encodings_and_a_byte_order_mark(encoding, tmp_path):
    text = ("\ufeff" if encoding == "utf-8" else "") + "één<|>twee<|> \r\n<|>drie\r\n" * 3
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    texts, spans, _ = read(tmp_path / "a.txt", 10, "<|>", encoding)
    assert texts == ["één", "twee", "drie\r\néén", "twee", "drie\r\néén", "twee", "drie"]
    assert (len(spans) > 1) == (encoding == "utf-8")


def test_compressed_files_are_read_whole(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"one<|>two<|>three"))
    texts, spans, _ = read(path, 3, "<|>")
    assert texts == ["one", "two", "three"] and len(spans) == 1


def test_a_long_document_comes_in_parts(tmp_path):
    text = "A line of words.\n" * 50
    (tmp_path / "a.txt").write_text(f"{text}<|>short")
    file = hashed(tmp_path, [tmp_path / "a.txt"], tmp_path)
    (span,) = separated.spans(file, 1 << 30, "utf-8", "<|>")
    long, short = (list(d.parts) for d in separated.documents(span, "utf-8", "<|>"))
    assert len(long) > 10 and "".join(part for part, _ in long) == text.strip() and short == [("short", True)]


def described(path):
    return DataFile(path, path.name, path.stat().st_size, "", None)


class Counted:
    """A file that counts what is read of it."""

    n_read = 0

    def __init__(self, opened):
        self.opened = opened

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.opened.close()

    def __getattr__(self, name):
        return getattr(self.opened, name)

    def read(self, n):
        found = self.opened.read(n)
        Counted.n_read += len(found)
        return found


def test_a_cut_near_the_end_of_a_large_file_reads_its_surroundings(tmp_path, monkeypatch):
    monkeypatch.setattr(separated, "CHUNK_BYTES", 1 << 10)
    path = tmp_path / "a.txt"
    with path.open("wb") as sparse:
        sparse.seek(1 << 32)
        sparse.write(b"<|>" + b"x" * 999)
    file = described(path)
    monkeypatch.setattr(Path, "open", lambda path, mode, open=Path.open: Counted(open(path, mode)))
    assert separated._after_separator(file, (1 << 32) - 3000, "<|>") == (1 << 32) + 3
    assert Counted.n_read < 8000


def test_a_file_without_separators_is_read_through_once(tmp_path, monkeypatch):
    for module in (plain_text, separated):
        monkeypatch.setattr(module, "CHUNK_BYTES", 1 << 16)
    path = tmp_path / "a.txt"
    path.write_text("no separator here\n" * 600_000)  # 11 MB
    began = time.perf_counter()
    (span,) = separated.spans([described(path)], 10_000, "utf-8", "<|>")
    (document,) = separated.documents(span, "utf-8", "<|>")
    assert sum(len(text) for text, _ in document.parts) == path.stat().st_size - 1
    assert time.perf_counter() - began < 3  # with the square of the size it would be minutes


def test_a_source_with_a_separator_beside_rows(tmp_path):
    (tmp_path / "a.txt").write_text("one<|>two")
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "three<|>four"}))
    config = DataConfig(kind="text", source=str(tmp_path), separator="<|>")
    source = open_source(config, tmp_path / "root")
    assert list(source.texts()) == ["one", "two", "three<|>four"]
    assert source.identity["separator"] == "<|>" and source.identity["split"] == "document"
