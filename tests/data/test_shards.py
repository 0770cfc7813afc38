import hashlib
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nanolit.data.shards import HEADER_BYTES, open_shard, shard_writer

FINGERPRINT = hashlib.sha256(b"a tokenizer").hexdigest()
DOCUMENTS = [np.array([1, 2, 3]), np.array([], dtype=int), np.array([65_535, 0])]


@pytest.fixture
def path(tmp_path, write_shard):
    write_shard(tmp_path / "a.bin", DOCUMENTS, 65_536, FINGERPRINT)
    return tmp_path / "a.bin"


@given(
    documents=st.lists(hnp.arrays(np.int64, st.integers(0, 20), elements=st.integers(0, 299)), max_size=8),
    vocab_size=st.sampled_from([300, 65_536, 65_537, 200_000]),
)
def test_what_is_written_is_read(documents, vocab_size, write_shard, tmp_path_factory):
    path = tmp_path_factory.mktemp("shard") / "a.bin"
    header = write_shard(path, documents, vocab_size, FINGERPRINT)
    shard = open_shard(path)
    assert shard.header == header
    assert shard.tokens.dtype.itemsize == (2 if vocab_size <= 65_536 else 4)
    assert shard.tokens.tolist() == [token for document in documents for token in document]
    assert shard.starts.tolist() == [sum(map(len, documents[:i])) for i in range(len(documents))]
    assert (header.n_documents, header.vocab_size, header.fingerprint) == (len(documents), vocab_size, FINGERPRINT)
    shard.verify()


def test_a_document_in_parts_is_one_document(tmp_path):
    with shard_writer(tmp_path / "a.bin", 10, FINGERPRINT) as writer:
        writer.append(np.array([1, 2]), ends=False)
        writer.append(np.array([3]))
        writer.append(np.array([4]))
    shard = open_shard(tmp_path / "a.bin")
    assert (shard.tokens.tolist(), shard.starts.tolist()) == ([1, 2, 3, 4], [0, 3])


def test_an_error_leaves_no_file(tmp_path, write_shard):
    with pytest.raises(ValueError, match="got token id 10, but the vocabulary has 10 ids"):
        write_shard(tmp_path / "a.bin", [np.array([9]), np.array([10])], 10, FINGERPRINT)
    assert list(tmp_path.iterdir()) == []


def test_a_vocabulary_over_the_widest_type_is_refused(tmp_path, write_shard):
    with pytest.raises(ValueError, match="vocabulary of 4294967297 ids is too large"):
        write_shard(tmp_path / "a.bin", [], (1 << 32) + 1, FINGERPRINT)


@pytest.mark.parametrize("n_bytes", [10, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 7, -1])
def test_a_truncated_shard_gives_both_sizes(path, n_bytes):
    content = path.read_bytes()
    path.write_bytes(content[:n_bytes])
    with pytest.raises(ValueError, match="truncated") as error:
        open_shard(path)
    announced = len(content) if n_bytes in (HEADER_BYTES, HEADER_BYTES + 7, -1) else HEADER_BYTES
    assert str(len(content[:n_bytes])) in str(error.value) and str(announced) in str(error.value)


def test_extra_bytes_are_noticed(path):
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ValueError, match="longer than its header says"):
        open_shard(path)


@pytest.mark.parametrize(
    ("offset", "raw", "message"),
    [
        (0, b"GGUF", "begins with b'GGUF"),
        (8, b"\x07", "format version 7, this nanolit reads 1"),
        (12, b"\x09", "dtype code 9"),
    ],
)
def test_foreign_headers_are_refused(path, offset, raw, message):
    content = bytearray(path.read_bytes())
    content[offset : offset + len(raw)] = raw
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        open_shard(path)


def test_a_missing_shard_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.bin: no such shard"):
        open_shard(tmp_path / "none.bin")


def test_verify_finds_a_flipped_bit(path):
    content = bytearray(path.read_bytes())
    content[HEADER_BYTES + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="the file is damaged"):
        open_shard(path).verify()


def test_a_shard_travels_to_a_worker_by_its_path(path):
    travelling = pickle.dumps(open_shard(path))
    assert len(travelling) < 1000
    assert pickle.loads(travelling).tokens.tolist() == [1, 2, 3, 65_535, 0]
