"""Which documents of a preparation are exact copies of an earlier one; nothing here looks at likeness.

Each job leaves the hashes of its documents in a file. One pass sorts all hashes into parts by their first bits, so that
a part fits into memory; the first document in the order of (job, place in the job) stays. How the documents were spread
over processes does not matter, and memory does not grow with their number nor with how often one is repeated.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from nanolit.runtime.files import atomic_path

KEY_BYTES = 16  # two different documents out of 10**12 share one with a probability of 10**-15
BYTES_PER_HASH = 100  # of a block: rows as read, keys with those seen before, their order, sorted keys; measured: 75
MAX_PARTS = 1 << 16
ROW = 3  # a row of a part: both halves of the key, the position among all documents


def write_hashes(path: Path | str, keys: Iterable[str]) -> None:
    """Writes the front of each hexadecimal hash (at least 32 digits), in the order of the job's documents."""
    with atomic_path(path) as temporary, temporary.open("wb", buffering=1 << 20) as file:
        for key in keys:
            raw = bytes.fromhex(key[: 2 * KEY_BYTES])
            assert len(raw) == KEY_BYTES, f"a hash of {len(raw)} bytes is too short"
            file.write(raw)


def find_duplicates(paths: list[Path], out: Callable[[int], Path], memory_bytes: int = 256 << 20) -> int:
    """Writes for job k to `out(k)` (.npy, uint64, sorted) which of its documents to drop; returns how many in all.

    `paths` are the files of `write_hashes`, job by job. On disk it needs 24 bytes a document beside the first output
    for a while; in memory at most `memory_bytes`, and 8 bytes for each document that one job drops.
    """
    if not paths:
        return 0
    firsts = np.cumsum([0, *map(_n_hashes, paths)], dtype="<u8")  # of each job, among all documents
    block = max(2, memory_bytes // BYTES_PER_HASH)
    folder = out(0).parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".duplicates-", dir=folder) as name:
        scratch = Path(name)
        n_dropped = 0
        for part in _scattered(paths, firsts, block, scratch):
            for positions in _repeated(part, block):
                n_dropped += len(positions)
                _append_by_job(positions, firsts, scratch)
            part.unlink()
        for job in range(len(paths)):
            found = scratch / f"job-{job}"
            dropped = np.fromfile(found, "<u8") if found.exists() else np.empty(0, "<u8")
            dropped.sort()
            with atomic_path(out(job)) as temporary, temporary.open("wb") as file:
                np.save(file, dropped, allow_pickle=False)
    return n_dropped


def _n_hashes(path: Path) -> int:
    n_hashes, rest = divmod(path.stat().st_size, KEY_BYTES)
    if rest:
        raise ValueError(f"{path}: {path.stat().st_size} bytes are no whole number of hashes; prepare the data again")
    return n_hashes


def _scattered(paths: list[Path], firsts: np.ndarray, block: int, scratch: Path) -> list[Path]:
    """Copies all hashes with their positions into part files by their first bits, each in the order of documents."""
    n_bits = 0  # half a block to a part, because chance does not fill parts alike
    while firsts[-1] > block // 2 << n_bits and 1 << n_bits < MAX_PARTS:
        n_bits += 1
    parts = [scratch / f"part-{number}" for number in range(1 << n_bits)]
    for path, first in zip(paths, firsts, strict=False):
        for begin, keys in _blocks(path, KEY_BYTES // 8, block):
            rows = np.empty((len(keys), ROW), "<u8")
            rows[:, :2] = keys
            rows[:, 2] = np.arange(first + begin, first + begin + len(keys), dtype="<u8")
            number = (keys[:, 0] >> np.uint64(48)).astype(np.uint16) >> np.uint16(16 - n_bits)
            order = np.argsort(number, kind="stable")
            ends = np.cumsum(np.bincount(number, minlength=len(parts)))
            for part, begin_of, end in zip(parts, [0, *ends], ends, strict=False):
                if begin_of < end:
                    _append(part, rows[order[begin_of:end]])
    return [part for part in parts if part.exists()]


def _repeated(part: Path, block: int) -> Iterator[np.ndarray]:
    """Positions whose key stood at an earlier position; of what was read only the distinct keys are remembered."""
    seen = np.empty((0, 2), "<u8")
    for _, rows in _blocks(part, ROW, block):
        keys = np.concatenate([seen, rows[:, :2]])
        order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: the earliest of equal keys comes first
        keys = keys[order]
        again = np.zeros(len(keys), bool)
        again[1:] = (keys[1:] == keys[:-1]).all(axis=1)
        yield rows[order[again] - len(seen), 2]
        seen = keys[~again]


def _blocks(path: Path, width: int, block: int) -> Iterator[tuple[int, np.ndarray]]:
    """The rows of a file in turn, and which is the first."""
    begin = 0
    with path.open("rb") as file:
        while len(rows := np.fromfile(file, "<u8", block * width).reshape(-1, width)):
            yield begin, rows
            begin += len(rows)


def _append_by_job(positions: np.ndarray, firsts: np.ndarray, scratch: Path) -> None:
    positions = np.sort(positions)
    for job, dropped in enumerate(np.split(positions, np.searchsorted(positions, firsts[1:-1]))):
        if len(dropped):
            _append(scratch / f"job-{job}", dropped - firsts[job])


def _append(path: Path, rows: np.ndarray) -> None:
    with path.open("ab") as file:  # opened anew each time: there may be more parts than a process may hold open
        rows.tofile(file)
