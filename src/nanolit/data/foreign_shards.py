"""Token files of other projects, used where they lie: nanoGPT's and nanuGPT's raw .bin, the .bin with a header of
llm.c and modded-nanogpt. Nothing is converted or copied, and no meta.pkl is opened: pickles can run code.

    raw      tokens (uint16 or uint32) and nothing else; each document ends with the end-of-text token
    llmc     256 int32 (magic, version, number of tokens, zeros) | tokens; each document begins with it

Such a file does not say which tokenizer made it, so whoever opens it does.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from nanolit.data import shards
from nanolit.data.shards import Header, Shard
from nanolit.runtime.files import sha256_file

Format = Literal["llmc", "raw"]
HEADER_BYTES = 1024
# (magic, version) -> tokens; llm.c, dev/data/data_common.py: GPT-2 and Llama 3
LLMC: dict[tuple[int, int], str] = {(20240520, 1): "uint16", (20240801, 7): "uint32"}
LLMC_EVALUATION = 20240522  # multiple-choice questions, which are no stream of tokens
SAMPLE_TOKENS = 1_000_000
PRINTABLE = frozenset((*range(32, 127), *b"\t\n\r"))
CODES = {dtype.name: code for code, dtype in shards.DTYPES.items()}  # by what the user calls them


class ForeignShard(Shard):
    """A shard whose header was made up from what the file and its user say; the hash is of the whole file."""

    def __reduce__(self) -> tuple:
        # The positions of documents travel: to find them again would read the file in every worker.
        return _mapped, (self.path, self.header, self.starts)

    def verify(self) -> None:
        """Reads the whole file: its hash, and that every id is one of the vocabulary."""
        if (found := sha256_file(self.path)) != self.header.sha256:
            raise ValueError(
                f"{self.path}: its content has sha256 {found}, it had {self.header.sha256} when it was first used; "
                "get the file again, or begin a new run with it as it is"
            )
        for first in range(0, len(self.tokens), SAMPLE_TOKENS):
            _check_ids(self.path, self.tokens[first : first + SAMPLE_TOKENS], self.header.vocab_size)


def detect(path: Path | str) -> Format:
    """How the file is laid out. Whatever has no header counts as raw, so files known to be neither are refused."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; check data.train and data.val")
    with path.open("rb") as file:
        raw = file.read(1024)
    if raw.startswith(shards.MAGIC):
        raise ValueError(f"{path}: a shard of nanolit; give the prepared folder that it lies in")
    if raw.startswith(b"\x93NUMPY"):
        raise ValueError(f"{path}: a .npy array, no .bin of tokens; numpy.load(…).astype('uint16').tofile(PATH.bin)")
    if len(raw) >= 64 and all(byte in PRINTABLE for byte in raw):
        raise ValueError(f"{path}: is text, not tokens; data=text data.source={path} reads it")
    magic = int.from_bytes(raw[:4], "little")
    if magic == LLMC_EVALUATION:
        raise ValueError(f"{path}: an evaluation file of llm.c (magic {magic}); give one of its training .bin files")
    return "llmc" if magic in {known for known, _ in LLMC} else "raw"


def open_foreign(
    path: Path | str,
    fingerprint: str,
    vocab_size: int,
    dtype: str | None = None,
    *,
    sha256: str,
    eot_id: int | None = None,
    continues: bool = False,
) -> Shard:
    """Maps a token file into memory after checking its size, its header and the ids at both ends.

    `dtype` is of a raw file; without it, the narrowest that holds the vocabulary. `starts` stays empty unless `eot_id`
    is given, because windows do not need it and finding it reads the file. `continues` says that the file goes on with
    the document that the file before did not end.
    """
    path = Path(path)
    if dtype not in (None, *CODES):
        raise ValueError(f"data.dtype={dtype}: got another type than {' or '.join(CODES)}; leave it out or give one")
    layout = detect(path)
    n_bytes = path.stat().st_size - (HEADER_BYTES if layout == "llmc" else 0)
    if layout == "llmc":
        dtype, announced = _llmc_header(path, dtype)
    else:
        dtype, announced = dtype or f"uint{16 * shards.dtype_code(vocab_size)}", None
    n_tokens, rest = divmod(n_bytes, np.dtype(dtype).itemsize)
    if announced is not None and (rest or announced != n_tokens):
        held = f"{n_tokens} and {rest} bytes" if rest else n_tokens
        raise ValueError(f"{path}: its header announces {announced} tokens, it holds {held}; get the file again")
    if rest:
        raise ValueError(
            f"{path}: {n_bytes} bytes are not a whole number of {dtype} tokens; get the file again, or give data.dtype"
        )
    if not n_tokens:
        raise ValueError(f"{path}: has no tokens; get the file again, or leave it out")
    header = Header(CODES[dtype], vocab_size, n_tokens, 0, fingerprint, sha256)
    shard = _mapped(path, header, np.empty(0, "<u8"))
    for sample in (shard.tokens[:SAMPLE_TOKENS], shard.tokens[-SAMPLE_TOKENS:]):
        _check_ids(path, sample, vocab_size)
    if layout == "raw":
        _check_width(path, shard.tokens[:SAMPLE_TOKENS])
    if eot_id is None:
        return shard
    starts = document_starts(shard.tokens, eot_id, leads=layout == "llmc", continues=continues)
    return _mapped(path, Header(CODES[dtype], vocab_size, n_tokens, len(starts), fingerprint, sha256), starts)


def document_starts(tokens: np.ndarray, eot_id: int, *, leads: bool, continues: bool) -> np.ndarray:
    """Where documents begin, uint64: at each end-of-text token if it `leads` them, else after it, and at the front."""
    begins = not continues or (leads and tokens[0] == eot_id)
    found = [np.zeros(int(begins), "<u8")]
    for first in range(0, len(tokens), SAMPLE_TOKENS):
        at = np.flatnonzero(tokens[first : first + SAMPLE_TOKENS] == eot_id) + (first if leads else first + 1)
        found.append(at[(at > 0) & (at < len(tokens))].astype("<u8"))
    return np.concatenate(found)


def _mapped(path: Path, header: Header, starts: np.ndarray) -> ForeignShard:
    content = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))  # a plain array: slices of a memmap are slow
    first = len(content) - header.n_tokens * header.dtype.itemsize
    return ForeignShard(path=path, header=header, tokens=content[first:].view(header.dtype), starts=starts)


def _llmc_header(path: Path, dtype: str | None) -> tuple[str, int]:
    """The type and the number of tokens that the file announces."""
    with path.open("rb") as file:
        raw = file.read(HEADER_BYTES)
    if len(raw) < HEADER_BYTES:
        raise ValueError(f"{path}: truncated in its header ({len(raw)} of {HEADER_BYTES} bytes); get the file again")
    magic, version, n_tokens = (int(number) for number in np.frombuffer(raw, "<i4", 3))
    if (magic, version) not in LLMC:
        known = ", ".join(f"{v} (magic {m})" for m, v in LLMC)
        raise ValueError(f"{path}: version {version} with magic {magic}, readable are {known}; make it with llm.c")
    said = LLMC[magic, version]
    if dtype not in (None, said):
        raise ValueError(f"data.dtype={dtype}: {path} says in its header that it has {said}; leave data.dtype out")
    return said, n_tokens


def _check_ids(path: Path, tokens: np.ndarray, vocab_size: int) -> None:
    if (largest := int(tokens.max())) >= vocab_size:
        raise ValueError(
            f"{path}: holds token id {largest}, but the vocabulary has {vocab_size} ids; name the tokenizer that made "
            f"it, or another data.dtype than {tokens.dtype.name}"
        )


def _check_width(path: Path, tokens: np.ndarray) -> None:
    """uint32 read as uint16 gives ids that all exist: the lower halves, and a zero after each."""
    if tokens.dtype.itemsize == 2 and len(tokens) >= 64 and tokens.any() and not tokens[1::2].any():
        raise ValueError(f"{path}: every second uint16 is zero, so these are uint32 tokens; give data.dtype=uint32")
