"""A token shard: one file that says what it holds; not a data set (that is a folder of shards, see `prepare`).

    header (256 bytes) | tokens (uint16 or uint32), zeros up to a multiple of 8 | first token of each document (uint64)
    | of supervised data: a bit for each token, whether it is to be predicted

Numbers are little-endian. A document may go on from the shard before: then the first one begins after token 0. The
header is written last and the file renamed into place: a shard is whole or absent.
"""

import hashlib
import struct
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nanolit.runtime.files import atomic_path

MAGIC = b"nanolit\0"
VERSION = 1
HEADER_BYTES = 256
# magic, version, dtype, vocabulary, tokens, documents, fingerprint, payload hash, flags
_LAYOUT = struct.Struct("<8sIIQQQ32s32sI")
_HAS_MASK = 1  # the only flag
DTYPES: dict[int, np.dtype] = {1: np.dtype("<u2"), 2: np.dtype("<u4")}


@dataclass(frozen=True)
class Header:
    dtype_code: int
    vocab_size: int
    n_tokens: int
    n_documents: int
    fingerprint: str  # of the tokenizer
    sha256: str  # of everything after the header
    has_mask: bool = False

    @property
    def dtype(self) -> np.dtype:
        return DTYPES[self.dtype_code]

    @property
    def starts_at(self) -> int:
        """Where the table of documents begins."""
        return HEADER_BYTES + _padded(self.n_tokens * self.dtype.itemsize)

    @property
    def mask_at(self) -> int:
        """Where the bits of the loss mask begin."""
        return self.starts_at + 8 * self.n_documents

    @property
    def file_bytes(self) -> int:
        return self.mask_at + (-(-self.n_tokens // 8) if self.has_mask else 0)

    def pack(self) -> bytes:
        hashes = bytes.fromhex(self.fingerprint), bytes.fromhex(self.sha256)
        numbers = self.dtype_code, self.vocab_size, self.n_tokens, self.n_documents
        flags = _HAS_MASK if self.has_mask else 0
        return _LAYOUT.pack(MAGIC, VERSION, *numbers, *hashes, flags).ljust(HEADER_BYTES, b"\0")

    @classmethod
    def unpack(cls, raw: bytes) -> "Header":
        _, _, dtype_code, vocab_size, n_tokens, n_documents, fingerprint, sha256, flags = _LAYOUT.unpack_from(raw)
        return cls(dtype_code, vocab_size, n_tokens, n_documents, fingerprint.hex(), sha256.hex(), flags == _HAS_MASK)


@dataclass(frozen=True)
class Shard:
    """Tokens on disk, mapped into memory. Whatever can give `tokens` can be a shard to `TokenWindows`."""

    path: Path
    header: Header
    tokens: np.ndarray = field(repr=False, compare=False)  # (n_tokens,) uint16 or uint32
    starts: np.ndarray = field(repr=False, compare=False)  # (n_documents,) uint64
    mask: np.ndarray | None = field(default=None, repr=False, compare=False)  # (n_tokens / 8,) uint8

    def supervised_slice(self, start: int, stop: int) -> np.ndarray | None:
        """Which of these tokens are to be predicted, as booleans; None where all are."""
        if self.mask is None:
            return None
        bits = np.unpackbits(self.mask[start // 8 : -(-stop // 8)])
        return bits[start % 8 :][: stop - start].view(bool)

    def supervised_at(self, positions: np.ndarray) -> np.ndarray | None:
        """The same of single tokens."""
        if self.mask is None:
            return None
        return (self.mask[positions >> 3] << (positions & 7).astype(np.uint8)) & 128 > 0

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
        self._mask: list[np.ndarray] = []  # packed bits, of supervised data
        self._bits = np.zeros(0, dtype=bool)  # fewer than 8, not packed yet
        file.write(bytes(HEADER_BYTES))

    def append(self, ids: np.ndarray, ends: bool = True, supervised: np.ndarray | None = None) -> None:
        """Adds a document, or a part of one: with `ends` False the next call goes on with the same document."""
        self.append_many(ids, np.zeros(0 if self._inside else 1, dtype=np.uint64), supervised)
        self._inside = not ends

    def append_many(self, ids: np.ndarray, starts: np.ndarray, supervised: np.ndarray | None = None) -> None:
        """Adds documents, which begin at the places `starts` within `ids`; what is before the first one goes on with
        the document before.

        `supervised` says of each token whether it is to be predicted; all calls have it or none.
        """
        if len(ids) and int(ids.max()) >= self.vocab_size:
            raise ValueError(
                f"got token id {int(ids.max())}, but the vocabulary has {self.vocab_size} ids; "
                "use the tokenizer that this vocabulary belongs to"
            )
        assert (supervised is not None) == bool(self._mask) or self.n_tokens == 0
        self._starts.frombytes((starts.astype(np.uint64) + np.uint64(self.n_tokens)).tobytes())
        self._write(ids.astype(DTYPES[self.dtype_code], copy=False))
        self.n_tokens += len(ids)
        if supervised is not None:
            bits = np.concatenate([self._bits, supervised])
            n_whole = len(bits) // 8 * 8
            self._mask.append(np.packbits(bits[:n_whole]))
            self._bits = bits[n_whole:]

    def _write(self, raw: bytes | np.ndarray) -> None:
        content: Any = raw if isinstance(raw, bytes) else np.ascontiguousarray(raw)
        self._digest.update(content)
        self._file.write(content)

    def finish(self) -> None:
        n_bytes = self.n_tokens * DTYPES[self.dtype_code].itemsize
        self._write(bytes(_padded(n_bytes) - n_bytes))
        self._write(np.array(self._starts, dtype="<u8"))
        for packed in (*self._mask, np.packbits(self._bits)):
            self._write(packed)
        self.header = Header(
            self.dtype_code,
            self.vocab_size,
            self.n_tokens,
            len(self._starts),
            self.fingerprint,
            self._digest.hexdigest(),
            has_mask=bool(self._mask),
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
    if header.dtype_code not in DTYPES:
        raise ValueError(f"{path}: dtype code {header.dtype_code}, known are {list(DTYPES)}; prepare the data again")
    if size != header.file_bytes:
        state = "truncated" if size < header.file_bytes else "longer than its header says"
        raise ValueError(
            f"{path}: {state}: it has {size} bytes, its header announces {header.file_bytes}; "
            "delete its folder and prepare the data again"
        )
    content = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))  # a plain array: slices of a memmap are slow
    tokens = content[HEADER_BYTES : HEADER_BYTES + header.n_tokens * header.dtype.itemsize].view(header.dtype)
    starts = content[header.starts_at : header.mask_at].view("<u8")
    return Shard(path, header, tokens, starts, content[header.mask_at :] if header.has_mask else None)


def dtype_code(vocab_size: int) -> int:
    """The narrowest token type that holds every id of the vocabulary."""
    for code, dtype in DTYPES.items():
        if vocab_size <= 1 << (8 * dtype.itemsize):
            return code
    raise ValueError(f"a vocabulary of {vocab_size} ids is too large for a shard; at most {1 << 32} fit")


def _padded(n_bytes: int) -> int:
    return -(-n_bytes // 8) * 8
