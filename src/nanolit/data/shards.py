"""A token shard: one file that says what it holds; not a data set (that is a folder of shards, see `prepare`).

    header (256 bytes) | tokens (uint16 or uint32), zeros up to a multiple of 8 | first token of each document (uint64)

Numbers are little-endian. The header is written last and the file renamed into place: a shard is whole or absent.
"""

import hashlib
import struct
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nanolit.runtime.files import atomic_path

MAGIC = b"nanolit\0"
VERSION = 1
HEADER_BYTES = 256
_LAYOUT = struct.Struct(
    "<8sIIQQQ32s32s"
)  # magic, version, dtype, vocabulary, tokens, documents, fingerprint, payload hash
_DTYPES: dict[int, np.dtype] = {1: np.dtype("<u2"), 2: np.dtype("<u4")}


@dataclass(frozen=True)
class Header:
    dtype_code: int
    vocab_size: int
    n_tokens: int
    n_documents: int
    fingerprint: str  # of the tokenizer
    sha256: str  # of everything after the header

    @property
    def dtype(self) -> np.dtype:
        return _DTYPES[self.dtype_code]

    @property
    def starts_at(self) -> int:
        """Where the table of documents begins."""
        return HEADER_BYTES + _padded(self.n_tokens * self.dtype.itemsize)

    @property
    def file_bytes(self) -> int:
        return self.starts_at + 8 * self.n_documents

    def pack(self) -> bytes:
        hashes = bytes.fromhex(self.fingerprint), bytes.fromhex(self.sha256)
        numbers = self.dtype_code, self.vocab_size, self.n_tokens, self.n_documents
        return _LAYOUT.pack(MAGIC, VERSION, *numbers, *hashes).ljust(HEADER_BYTES, b"\0")

    @classmethod
    def unpack(cls, raw: bytes) -> "Header":
        _, _, dtype_code, vocab_size, n_tokens, n_documents, fingerprint, sha256 = _LAYOUT.unpack_from(raw)
        return cls(dtype_code, vocab_size, n_tokens, n_documents, fingerprint.hex(), sha256.hex())


@dataclass(frozen=True)
class Shard:
    """Tokens on disk, mapped into memory. Whatever can give `tokens` can be a shard to `TokenWindows`."""

    path: Path
    header: Header
    tokens: np.ndarray = field(repr=False, compare=False)  # (n_tokens,) uint16 or uint32
    starts: np.ndarray = field(repr=False, compare=False)  # (n_documents,) uint64

    def __reduce__(self) -> tuple:
        return open_shard, (self.path,)  # a worker process maps the file itself instead of receiving its content

    def verify(self) -> None:
        """Reads the whole file and compares its hash; opening a shard does not, so that it takes no time."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            file.seek(HEADER_BYTES)
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        if digest.hexdigest() != self.header.sha256:
            raise ValueError(
                f"{self.path}: its content has sha256 {digest.hexdigest()}, its header says {self.header.sha256}; "
                "the file is damaged: delete its folder and prepare the data again"
            )


class ShardWriter:
    """Appends documents, one by one or in parts, to a shard; see `shard_writer`."""

    def __init__(self, file: BinaryIO, vocab_size: int, fingerprint: str) -> None:
        self.vocab_size = vocab_size
        self.fingerprint = fingerprint
        self.dtype_code = dtype_code(vocab_size)
        self.n_tokens = 0
        self.header: Header | None = None  # known at the end
        self._file = file
        self._starts = array("Q")
        self._inside = False  # a document has begun and has not ended
        self._digest = hashlib.sha256()
        file.write(bytes(HEADER_BYTES))

    def append(self, ids: np.ndarray, ends: bool = True) -> None:
        """Adds a document, or a part of one: with `ends` False the next call goes on with the same document."""
        if len(ids) and int(ids.max()) >= self.vocab_size:
            raise ValueError(
                f"got token id {int(ids.max())}, but the vocabulary has {self.vocab_size} ids; "
                "use the tokenizer that this vocabulary belongs to"
            )
        if not self._inside:
            self._starts.append(self.n_tokens)
        self._inside = not ends
        self._write(ids.astype(_DTYPES[self.dtype_code]).tobytes())
        self.n_tokens += len(ids)

    def _write(self, raw: bytes) -> None:
        self._digest.update(raw)
        self._file.write(raw)

    def finish(self) -> None:
        n_bytes = self.n_tokens * _DTYPES[self.dtype_code].itemsize
        self._write(bytes(_padded(n_bytes) - n_bytes))
        self._write(np.array(self._starts, dtype="<u8").tobytes())
        self.header = Header(
            self.dtype_code,
            self.vocab_size,
            self.n_tokens,
            len(self._starts),
            self.fingerprint,
            self._digest.hexdigest(),
        )
        self._file.seek(0)
        self._file.write(self.header.pack())


@contextmanager
def shard_writer(path: Path | str, vocab_size: int, fingerprint: str) -> Iterator[ShardWriter]:
    """Yields a writer; the file appears, whole, when the block ends without an error."""
    with atomic_path(path) as temporary, temporary.open("wb", buffering=1 << 20) as file:
        writer = ShardWriter(file, vocab_size, fingerprint)
        yield writer
        writer.finish()


def open_shard(path: Path | str) -> Shard:
    """Maps a shard into memory after checking what it says of itself against its size."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such shard; prepare the data again")
    size = path.stat().st_size
    with path.open("rb") as file:
        raw = file.read(HEADER_BYTES)
    if raw[:8] != MAGIC:
        raise ValueError(
            f"{path}: begins with {raw[:8]!r}, a nanolit shard with {MAGIC!r}; give a prepared data folder"
        )
    if len(raw) < HEADER_BYTES:
        raise ValueError(f"{path}: truncated in its header ({size} of {HEADER_BYTES} bytes); prepare the data again")
    version = int.from_bytes(raw[8:12], "little")
    if version != VERSION:
        raise ValueError(f"{path}: format version {version}, this nanolit reads {VERSION}; prepare the data again")
    header = Header.unpack(raw)
    if header.dtype_code not in _DTYPES:
        raise ValueError(f"{path}: dtype code {header.dtype_code}, known are {list(_DTYPES)}; prepare the data again")
    if size != header.file_bytes:
        state = "truncated" if size < header.file_bytes else "longer than its header says"
        raise ValueError(
            f"{path}: {state}: it has {size} bytes, its header announces {header.file_bytes}; "
            "delete its folder and prepare the data again"
        )
    content = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))  # a plain array: slices of a memmap are slow
    tokens = content[HEADER_BYTES : HEADER_BYTES + header.n_tokens * header.dtype.itemsize].view(header.dtype)
    return Shard(path, header, tokens, content[header.starts_at :].view("<u8"))


def dtype_code(vocab_size: int) -> int:
    """The narrowest token type that holds every id of the vocabulary."""
    for code, dtype in _DTYPES.items():
        if vocab_size <= 1 << (8 * dtype.itemsize):
            return code
    raise ValueError(f"a vocabulary of {vocab_size} ids is too large for a shard; at most {1 << 32} fit")


def _padded(n_bytes: int) -> int:
    return -(-n_bytes // 8) * 8
