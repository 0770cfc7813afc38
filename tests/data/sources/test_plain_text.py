import codecs
import gzip
import itertools
import json
import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanolit.data.sources import plain_text
from nanolit.data.sources.files import DataFile, Span
from nanolit.data.sources.plain_text import cut, decoded, in_parts, lines, lines_before
from nanolit.tokenizers.bpe import SPLIT_PATTERN, BPETokenizer, train_bpe
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.tiktoken_bpe import PATTERNS

WORDS = (
    *("a", "A", "é", "漢", "12", "b!", "//", "'s", "!\n/"),
    *(" ", "   ", "\n", "\r\n", "\n\n", " \n", "\t", "\u00a0", "\x1c"),
)
TEXTS = st.lists(st.sampled_from(WORDS)).map("".join)
# Every two bytes make a token, so that the ids show where the pattern cuts.
BYTES = sorted(set("".join(WORDS).encode()))
PAIRS = [bytes(pair) for pair in itertools.product(BYTES, BYTES)]
RANKS = {token: rank for rank, token in enumerate([*(bytes([i]) for i in range(256)), *PAIRS])}
TOKENIZERS = [
    *(BPETokenizer(RANKS, {}, pattern) for pattern in (SPLIT_PATTERN, *PATTERNS.values())),
    train_bpe(["a b! // \n\n 12 's é a\nb!\n12\n/ !\r\n"] * 3, 280),
    ByteTokenizer(),
]


@pytest.fixture
def small_chunks(monkeypatch):
    """So that tiny texts meet all edges: hypothesis draws, this only has to hold for all of them."""
    monkeypatch.setattr(plain_text, "CHUNK_BYTES", 5)
    monkeypatch.setattr(plain_text, "WINDOW_BYTES", 3)


def written(path, content):
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(content)
    return DataFile(path, path.name, len(content), "0" * 64, None)


def whole(file):
    return Span(file, 0, file.n_bytes, file.n_bytes)


# --- cuts ------------------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(TEXTS, st.integers(1, 7))
def test_parts_give_the_ids_of_the_whole(text, chunk):
    parts = list(in_parts(text[i : i + chunk] for i in range(0, len(text), chunk)))
    assert "".join(part for part, _ in parts) == text
    assert [ends for _, ends in parts] == [False] * (len(parts) - 1) + [True]
    assert all(part for part, _ in parts) or not text
    for tokenizer in TOKENIZERS:
        assert [i for part, _ in parts for i in tokenizer.encode(part)] == tokenizer.encode(text)


@pytest.mark.parametrize("line", ["line\n", "line of text\r\n", "word, ", "a\n" + "b" * plain_text.WINDOW_BYTES])
def test_long_text_does_come_in_parts(line):
    text = line * (3 * plain_text.CHUNK_BYTES // len(line))
    texts = (text[i : i + plain_text.CHUNK_BYTES] for i in range(0, len(text), plain_text.CHUNK_BYTES))
    parts = [part for part, _ in in_parts(texts)]
    assert len(parts) in (3, 4) and "".join(parts) == text


def test_no_place_to_cut_is_one_part():
    assert list(in_parts(["\u6f22" * 10, "", "\n\n", "\r\n x"])) == [("\u6f22" * 10 + "\n\n\r\n x", True)]


@pytest.mark.usefixtures("small_chunks")
def test_spans_of_text_join_to_the_file_and_give_its_ids(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "a.txt"

    @settings(max_examples=300)
    @given(TEXTS.filter(len), st.integers(1, 30))
    def check(text, target_bytes):
        file = written(path, text)
        spans = cut(file, target_bytes)
        assert [span.start for span in spans] == [0, *(span.stop for span in spans)][:-1]
        assert sum(span.n_bytes for span in spans) == spans[-1].stop == file.n_bytes
        parts = [part for span in spans for part, _ in in_parts(decoded(span, "utf-8"))]
        assert "".join(parts) == text
        for tokenizer in TOKENIZERS:
            assert [i for part in parts for i in tokenizer.encode(part)] == tokenizer.encode(text)

    check()


@pytest.mark.usefixtures("small_chunks")
def test_spans_of_lines_begin_lines(tmp_path_factory):
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"

    @settings(max_examples=200)
    @given(TEXTS.filter(len), st.integers(1, 30))
    def check(text, target_bytes):
        file = written(path, text)
        spans = cut(file, target_bytes)
        content = text.encode()
        for span in spans:
            assert span.start == 0 or content[span.start - 1 : span.start] == b"\n"
            assert lines_before(span) == content[: span.start].count(b"\n")
        found = [line for span in spans for line in lines(decoded(span, "utf-8"))]
        assert found == (text.removesuffix("\n").split("\n") if text != "\n" else [""])

    check()


def test_spans_are_about_as_large_as_wanted_and_little_is_read(tmp_path, monkeypatch):
    numbers = random.Random(0)
    text = "".join("word " * numbers.randrange(20) + "end.\n" for _ in range(40_000))
    for name in ("a.txt", "a.jsonl"):
        spans = cut(written(tmp_path / name, text), 100_000)
        assert len(spans) == round(len(text) / 100_000)
        assert all(90_000 < span.n_bytes < 110_000 for span in spans)
    assert len(cut(written(tmp_path / "one_line.txt", "x" * 300_000), 1000)) == 1


# --- decoding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [0, 5, plain_text.CHUNK_BYTES - 1, plain_text.CHUNK_BYTES + 3])
def test_undecodable_bytes_are_named_with_their_place(tmp_path, before):
    file = written(tmp_path / "latin.txt", b"a" * before + "é".encode() + b"caf\xe9!")
    with pytest.raises(ValueError, match=rf"latin\.txt: byte {before + 5} \(0xe9\) is not utf-8; .*data\.encoding"):
        list(decoded(whole(file), "utf-8"))
    assert "".join(decoded(whole(file), "latin-1")).endswith("café!")


@pytest.mark.usefixtures("small_chunks")
def test_the_place_of_undecodable_bytes_in_any_span(tmp_path_factory):
    path = tmp_path_factory.mktemp("bad") / "a.jsonl"

    @given(st.lists(st.sampled_from(["a\n", "é\n", "abc", "漢", "\ufeff"])), st.integers(1, 9))
    def check(words, target_bytes):
        good = "".join(words).encode()
        spans = cut(written(path, good + b"\xe9!\nmore\n"), target_bytes)
        line = good.count(b"\n") + 1
        place = rf"a\.jsonl:{line}: byte {len(good)} \(0xe9\) is not utf-8"
        with pytest.raises(ValueError, match=place):
            for span in spans:
                list(decoded(span, "utf-8"))

    check()


@pytest.mark.parametrize(
    "content",
    [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", gzip.compress(b"text", mtime=0), b"PK\3\4\0\0\xff"],
    ids=["png", "gzip", "zip"],
)
def test_a_binary_file_is_called_one(tmp_path, content):
    with pytest.raises(
        ValueError, match=r"a\.bin: no text but binary data .*give it its ending \(.*\.parquet"
    ) as error:
        list(decoded(whole(written(tmp_path / "a.bin", content)), "utf-8"))
    assert "\n" not in str(error.value)


def test_line_ends_stay_and_a_byte_order_mark_at_the_start_goes(tmp_path):
    file = written(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\ntwo\r\xef\xbb\xbf")
    assert "".join(decoded(whole(file), "utf-8")) == "one\r\ntwo\r\ufeff"
    assert list(decoded(whole(written(tmp_path / "b.txt", codecs.BOM_UTF8)), "utf-8")) == []
    assert "".join(decoded(whole(written(tmp_path / "c.txt", "é\n".encode("utf-16"))), "utf-16")) == "é\n"


# --- compression -----------------------------------------------------------------------------------------------------


def zstd(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(("ending", "compress"), [(".gz", gzip.compress), (".zst", zstd)])
def test_compressed_text_and_what_is_left_of_it(tmp_path, ending, compress):
    text = json.dumps(list(range(300))) + "é" * plain_text.CHUNK_BYTES
    joined = compress(text[:1000].encode()) + compress(text[1000:].encode())  # as `cat` does, and parallel gzips
    assert "".join(decoded(whole(written(tmp_path / f"a.txt{ending}", joined)), "utf-8")) == text
    one = compress(text.encode())
    for length in [*range(1, 40), *range(40, len(one), 97), len(one) - 1]:
        file = written(tmp_path / f"b.txt{ending}", one[:length])
        kind = {".gz": "gzip", ".zst": "zstd"}[ending]
        with pytest.raises(ValueError, match=rf"b\.txt{ending}: not a readable {kind} file \(.*\); fetch it again"):
            list(decoded(whole(file), "utf-8"))


def test_a_file_that_is_gone_stays_an_error_of_the_system(tmp_path):
    file = DataFile(tmp_path / "gone.txt.gz", "gone.txt.gz", 1, "", None)
    with pytest.raises(FileNotFoundError, match=r"gone\.txt\.gz"):
        list(decoded(whole(file), "utf-8"))
