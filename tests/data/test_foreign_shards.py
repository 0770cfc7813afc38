"""Files written as nanoGPT, nanuGPT, llm.c and modded-nanogpt write them, read where they lie."""

import hashlib
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanolit.data.foreign_shards import detect, open_foreign
from nanolit.data.serving.windows import TokenWindows
from nanolit.data.shards import open_shard
from nanolit.runtime.files import sha256_file

FINGERPRINT = hashlib.sha256(b"a tokenizer").hexdigest()
EOT = 50256
GPT2, LLAMA3 = (20240520, 1, np.uint16), (20240801, 7, np.uint32)


def raw_file(path, ids, dtype=np.uint16):
    np.array(ids, dtype=dtype).tofile(path)  # as nanoGPT's prepare.py
    return path


def llmc_file(path, ids, kind=GPT2, announced=None):
    header = np.zeros(256, dtype=np.int32)
    header[:3] = kind[0], kind[1], len(ids) if announced is None else announced
    with path.open("wb") as file:
        file.write(header.tobytes())
        file.write(np.array(ids, dtype=kind[2]).tobytes())
    return path


def opened(path, vocab_size=50257, dtype=None, **more):
    return open_foreign(path, FINGERPRINT, vocab_size, dtype, sha256=sha256_file(path), **more)


@pytest.mark.parametrize(
    ("write", "vocab_size", "dtype", "layout"),
    [
        (raw_file, 50257, None, "raw"),
        (raw_file, 50257, "uint16", "raw"),
        (lambda path, ids: raw_file(path, ids, np.uint32), 50257, "uint32", "raw"),
        (lambda path, ids: raw_file(path, ids, np.uint32), 100_277, None, "raw"),
        (llmc_file, 50257, None, "llmc"),
        (lambda path, ids: llmc_file(path, ids, LLAMA3), 128_256, None, "llmc"),
        (lambda path, ids: llmc_file(path, ids, LLAMA3), 128_256, "uint32", "llmc"),
    ],
)
def test_windows_are_those_of_the_same_tokens_in_our_own_shard(tmp_path, write_shard, write, vocab_size, dtype, layout):
    ids = np.random.default_rng(0).integers(0, vocab_size, 1001)
    path = write(tmp_path / "train.bin", ids)
    write_shard(tmp_path / "ours.bin", [ids], vocab_size, FINGERPRINT)
    shard, ours = opened(path, vocab_size, dtype), open_shard(tmp_path / "ours.bin")
    assert detect(path) == layout
    assert shard.tokens.dtype == np.fromfile(path, shard.tokens.dtype).dtype
    assert (shard.header.n_tokens, shard.header.vocab_size, len(shard.starts)) == (1001, vocab_size, 0)
    # Two files are one stream, foreign or not.
    windows, expected = (TokenWindows([one, one], 64, stride=7) for one in (shard, ours))
    got, wanted = windows.take(range(len(windows))), expected.take(range(len(expected)))
    assert got.keys() == wanted.keys()
    for key in got:
        np.testing.assert_array_equal(got[key], wanted[key])
    shard.verify()


@given(documents=st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=8))
def test_documents_begin_where_they_began(documents, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shard")
    first_of = np.cumsum([0, *(len(document) + 1 for document in documents)])[:-1].tolist()
    trailing = raw_file(folder / "a.bin", [i for document in documents for i in (*document, EOT)])
    leading = llmc_file(folder / "b.bin", [i for document in documents for i in (EOT, *document)])
    for path in (trailing, leading):
        shard = opened(path, eot_id=EOT)
        assert shard.starts.tolist() == first_of and shard.starts.dtype == np.uint64
        assert shard.header.n_documents == len(documents)


@pytest.mark.parametrize(
    ("write", "ids", "continues", "starts"),
    [
        (raw_file, [1, 2, EOT, 3], False, [0, 3]),
        (raw_file, [1, 2, EOT, 3], True, [3]),
        (llmc_file, [1, 2, EOT, 3], False, [0, 2]),
        (llmc_file, [1, 2, EOT, 3], True, [2]),
        (llmc_file, [EOT, 2], True, [0]),
        (raw_file, [EOT, 2], True, [1]),
        (raw_file, [1, 2], True, []),
    ],
)
def test_what_stands_before_the_first_document_may_belong_to_the_file_before(tmp_path, write, ids, continues, starts):
    shard = opened(write(tmp_path / "a.bin", ids), eot_id=EOT, continues=continues)
    assert shard.starts.tolist() == starts and shard.header.n_documents == len(starts)


@pytest.mark.parametrize("write", [raw_file, llmc_file])
def test_it_travels_to_a_worker_by_its_path(tmp_path, write):
    shard = opened(write(tmp_path / "a.bin", [*range(50_000), EOT, 7]), eot_id=EOT)
    travelling = pickle.dumps(shard)
    assert len(travelling) < 1000
    arrived = pickle.loads(travelling)
    assert arrived == shard
    np.testing.assert_array_equal(arrived.tokens, shard.tokens)
    np.testing.assert_array_equal(arrived.starts, shard.starts)
    arrived.verify()


@pytest.mark.parametrize(
    ("content", "vocab_size", "dtype", "told"),
    [
        (b"", 50257, None, "has no tokens"),
        (b"abc", 50257, None, "3 bytes are not a whole number of uint16 tokens"),
        (b"abcdef", 50257, "uint32", "6 bytes are not a whole number of uint32 tokens"),
        (b"ab", 50257, "int64", "data.dtype=int64: got another type than uint16 or uint32"),
        (np.array([1, 50257], np.uint16).tobytes(), 50257, None, "holds token id 50257, but the vocabulary has 50257"),
        (np.arange(100, dtype=np.uint32).tobytes(), 50257, None, "every second uint16 is zero.*data.dtype=uint32"),
        (np.arange(1, 101, dtype=np.uint16).tobytes(), 100_277, "uint32", "another data.dtype than uint32"),
        (b"nanolit\0" + bytes(248), 50257, None, "a shard of nanolit; give the prepared folder"),
        (b"\x93NUMPY" + bytes(100), 50257, None, "a .npy array"),
        (np.array([20240522, 1], np.int32).tobytes(), 50257, None, "an evaluation file of llm.c"),
        (np.array([20240520, 1], np.int32).tobytes(), 50257, None, r"truncated in its header \(8 of 1024 bytes\)"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, content, vocab_size, dtype, told):
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(ValueError, match=told) as error:
        opened(tmp_path / "a.bin", vocab_size, dtype)
    assert "\n" not in str(error.value) and ("a.bin" in str(error.value) or "data.dtype" in str(error.value))


@pytest.mark.parametrize(
    ("kind", "announced", "told"),
    [
        (GPT2, 9, "announces 9 tokens, it holds 10"),
        (GPT2, 11, "announces 11 tokens, it holds 10"),
        (GPT2, -1, "announces -1 tokens, it holds 10"),
        ((20240520, 1, np.uint8), 10, "announces 10 tokens, it holds 5;"),
        ((20240520, 7, np.uint32), 10, "version 7 with magic 20240520"),
        ((20240801, 1, np.uint16), 10, "version 1 with magic 20240801"),
    ],
)
def test_a_header_that_does_not_fit(tmp_path, kind, announced, told):
    path = llmc_file(tmp_path / "a.bin", list(range(10)), kind, announced)
    with pytest.raises(ValueError, match=told):
        opened(path)


def test_an_odd_end_and_another_type(tmp_path):
    path = llmc_file(tmp_path / "a.bin", list(range(10)))
    with pytest.raises(ValueError, match=r"data.dtype=uint32: .* says in its header that it has uint16"):
        opened(path, dtype="uint32")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="announces 10 tokens, it holds 9 and 1 bytes"):
        opened(path)
    with pytest.raises(ValueError, match=r"none\.bin: no such file"):
        open_foreign(tmp_path / "none.bin", FINGERPRINT, 50257, sha256="")


def test_both_ends_are_looked_at_when_it_is_opened_and_all_when_it_is_verified(tmp_path, monkeypatch):
    monkeypatch.setattr("nanolit.data.foreign_shards.SAMPLE_TOKENS", 100)
    ids = np.ones(1000, int)
    for position, fails_at_once in ((50, True), (950, True), (500, False)):
        path = raw_file(tmp_path / "a.bin", np.where(np.arange(1000) == position, 60_000, ids))
        if fails_at_once:
            with pytest.raises(ValueError, match="holds token id 60000"):
                opened(path)
        else:
            with pytest.raises(ValueError, match="holds token id 60000"):
                opened(path).verify()


def test_verify_finds_a_changed_file(tmp_path):
    path = raw_file(tmp_path / "a.bin", range(10))
    shard = opened(path)
    raw_file(path, [1] * 10)
    with pytest.raises(ValueError, match="when it was first used"):
        shard.verify()


def test_text_is_not_taken_for_tokens(tmp_path):
    (tmp_path / "a.txt").write_text("Two letters are always an id of GPT-2.\n" * 40)
    with pytest.raises(ValueError, match=r"a\.txt: is text, not tokens; data=text data\.source="):
        detect(tmp_path / "a.txt")
