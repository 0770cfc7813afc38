"""Rows of whole documents: which documents share a row is planned once for a shard, and kept beside the data.

document          one in each row; what is longer than a row is truncated, what is shorter padded
best_fit          nanochat's loader of 2026: every row begins with a document's beginning; of the next documents the
                  longest that fits is taken, and where none fits the shortest is cropped to fill the row: no padding
best_fit_padded   the same, but nothing is cropped to fit, the rest of the row is padded

Where the data says which tokens to predict, no example is ever cut, so that each keeps the token that ends it: what is
longer than a row is left out. What a mode wastes is said by `waste`.

A row of T inputs has T targets, each the token that follows the input in the file, never the beginning of the next
document in the row: what follows a document's last token is the delimiter, where there is one, and no target else.
"""

import hashlib
import logging
from array import array
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal

import numpy as np

from nanolit.data.serving.rows import IGNORE, Delimiter, Rows, has_loss_mask, require_documents
from nanolit.data.serving.windows import TokenWindows
from nanolit.data.shards import Shard
from nanolit.runtime.files import atomic_path

Mode = Literal["document", "best_fit", "best_fit_padded"]
Packing = Literal["stream", "document", "best_fit", "best_fit_padded"]  # stream: windows.py
PLANS = "packing"  # the folder beside the shards where plans are kept
BUFFER = 1000  # documents among which the best fit is looked for, as in nanochat
PLAN_VERSION = 1  # another rule, another number: plans on disk are made anew

_PIECES = np.dtype([("start", "<u8"), ("length", "<u4")])  # of a document: its tokens in the shard
_ROWS = np.dtype([("first", "<u4"), ("n_targets", "<u4")])  # first piece of the row; one entry more at the end
_SHIFT = 32  # of a length in a key that also holds a document's number

log = logging.getLogger("nanolit")


@dataclass(frozen=True)
class RowPlan:
    """Which pieces are in which row of a shard; memory-mapped where it is on disk."""

    pieces: np.ndarray
    rows: np.ndarray
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.rows) - 1

    def __reduce__(self) -> tuple:
        """A worker process maps the files itself."""
        return (RowPlan, (self.pieces, self.rows)) if self.path is None else (open_plan, (self.path,))


class PackedRows:
    def __init__(
        self,
        shards: Sequence[Shard],
        block_size: int,
        mode: Mode,
        *,
        mask_documents: bool = False,
        delimiter: Delimiter | None = None,
        cache: Path | None = None,
        name: str = "the data",
    ) -> None:
        require_documents(shards, f"data.loader.packing: got {mode}", name)
        self.block_size, self.mode, self.delimiter, self.mask_documents = block_size, mode, delimiter, mask_documents
        self.row_targets: int | None = None
        self.is_supervised = has_loss_mask(shards)
        if self.is_supervised and mode == "best_fit":
            raise ValueError(
                f"data.loader.packing: got best_fit, which crops documents, but {name} has examples with a loss mask, "
                "which must stay whole; use best_fit_padded"
            )
        self._shards = list(shards)
        self._plans = [plan_for(shard, mode, block_size, delimiter, cache) for shard in self._shards]
        self._ends = list(accumulate(map(len, self._plans)))  # rows up to the end of each shard
        if not self._ends[-1]:
            raise ValueError(
                f"data.loader.packing={mode}: no document of {name} fits into model.block_size={block_size}; "
                "give a larger model.block_size"
            )

    def __len__(self) -> int:
        return self._ends[-1]

    def take(self, indices: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        shape = len(indices), self.block_size
        inputs, targets, documents = (np.empty(shape, dtype=np.int64) for _ in range(3))  # (B, T) each
        for which, rows, number in self._by_shard(indices):
            shard = self._shards[number]
            source, document = _positions(self._plans[number], rows, self.block_size)
            is_padding = document == self.block_size
            source[is_padding] = 0
            following = shard.tokens[source + 1].astype(np.int64)
            supervised = shard.supervised_at(source + 1)
            following[is_padding if supervised is None else is_padding | ~supervised] = IGNORE
            inputs[which], targets[which], documents[which] = shard.tokens[source], following, document
        inputs[documents == self.block_size] = 0
        batch = {"inputs": inputs, "targets": targets}
        if self.mask_documents:
            batch["documents"] = documents
        if self.is_supervised:
            batch["examples"] = np.where(targets == IGNORE, -1, documents)
        return batch

    def n_targets(self, indices: Sequence[int] | np.ndarray) -> int:
        parts = self._by_shard(indices)
        return sum(int(self._plans[number].rows["n_targets"][local].sum(dtype=np.int64)) for _, local, number in parts)

    def waste(self) -> str:
        """Of documents that have anything to predict; what goes on from another shard is dropped."""
        n_documents = n_tokens = n_used = 0
        for shard, plan in zip(self._shards, self._plans, strict=True):
            _, lengths = document_spans(shard, self.delimiter)
            n_documents += len(lengths)
            goes_on = int(shard.starts[0]) if len(shard.starts) else len(shard.tokens)
            n_tokens += int(lengths.sum()) + max(goes_on - 1, 0)
            n_used += int(plan.pieces["length"].sum(dtype=np.int64))
        n_left_out = n_documents - sum(len(plan.pieces) for plan in self._plans)
        line = (
            f"packing {self.mode}: {n_documents:,} documents in {len(self):,} rows of {self.block_size}; "
            f"{1 - n_used / (len(self) * self.block_size):.1%} padding, {1 - n_used / n_tokens:.1%} of tokens dropped"
        )
        return line + (
            f", {n_left_out:,} longer than a row left out (a larger model.block_size takes more)" if n_left_out else ""
        )

    def _by_shard(self, indices: Sequence[int] | np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """(which of the indices, the rows of the shard that they are, number of the shard)"""
        rows = np.asarray(indices, dtype=np.int64)
        numbers = np.searchsorted(self._ends, rows, side="right")
        for number in np.unique(numbers).tolist():
            which = np.flatnonzero(numbers == number)
            yield which, rows[which] - (self._ends[number] - len(self._plans[number])), number


def evaluation_rows(
    shards: Sequence[Shard],
    block_size: int,
    packing: Packing = "stream",
    *,
    mask_documents: bool = False,
    delimiter: Delimiter | None = None,
    cache: Path | None = None,
    name: str = "the data",
) -> Rows:
    """A split for evaluation. Plain text is the whole stream whatever training does, every token predicted once, so
    that figures can be compared; examples with a loss mask are whole.
    """
    if not has_loss_mask(shards):
        return TokenWindows(
            shards, block_size, pad_last=True, mask_documents=mask_documents, delimiter=delimiter, name=name
        )
    mode: Mode = "best_fit_padded" if packing == "stream" else packing
    return PackedRows(
        shards, block_size, mode, mask_documents=mask_documents, delimiter=delimiter, cache=cache, name=name
    )


def _positions(plan: RowPlan, rows: np.ndarray, T: int) -> tuple[np.ndarray, np.ndarray]:
    """Of every input of `rows` (B, T): where it is in the shard, and the number of its document in the row, which is T
    where there is none: padding is a piece of its own at the end of every row, mostly of no length.
    """
    first = plan.rows["first"][rows].astype(np.int64)
    n_pieces = plan.rows["first"][rows + 1] - first + 1
    ends = n_pieces.cumsum()
    number = np.arange(ends[-1]) - np.repeat(ends - n_pieces, n_pieces)  # of each piece in its row
    paddings = ends - 1
    index = np.repeat(first, n_pieces) + number
    index[paddings] = 0
    pieces = plan.pieces[index]
    starts, lengths = pieces["start"].astype(np.int64), pieces["length"].astype(np.int64)
    lengths[paddings] = 0
    lengths[paddings] = T - np.add.reduceat(lengths, ends - n_pieces)
    number[paddings] = T
    before = lengths.cumsum() - lengths  # inputs of all pieces before this one
    source = np.arange(len(rows) * T) + np.repeat(starts - before, lengths)
    return source.reshape(-1, T), np.repeat(number, lengths).reshape(-1, T)


# Plans


def plan_for(shard: Shard, mode: Mode, block_size: int, delimiter: Delimiter | None, cache: Path | None) -> RowPlan:
    """From the folder `cache` if it is there, else made and put there."""
    if cache is None:
        return make_plan(shard, mode, block_size, delimiter)
    decisive = f"{PLAN_VERSION} {shard.header.sha256} {mode} {block_size} {delimiter}"
    path = cache / hashlib.sha256(decisive.encode()).hexdigest()[:16]
    try:
        return open_plan(path)
    except FileNotFoundError:
        plan = make_plan(shard, mode, block_size, delimiter)
    try:
        for array_, kind in ((plan.pieces, "pieces"), (plan.rows, "rows")):
            with atomic_path(_file(path, kind)) as temporary, temporary.open("wb") as file:
                np.save(file, array_, allow_pickle=False)
    except OSError as error:
        log.warning("the packing of %s is planned anew in every run: %s", shard.path, error)
        return plan
    return open_plan(path)


def open_plan(path: Path) -> RowPlan:
    pieces, rows = (np.load(_file(path, kind), mmap_mode="r", allow_pickle=False) for kind in ("pieces", "rows"))
    return RowPlan(np.asarray(pieces), np.asarray(rows), path)  # plain arrays: slices of a memmap are slow


def _file(path: Path, kind: str) -> Path:
    return path.with_name(f"{path.name}-{kind}.npy")


def make_plan(shard: Shard, mode: Mode, block_size: int, delimiter: Delimiter | None) -> RowPlan:
    begins, lengths = document_spans(shard, delimiter)
    is_supervised = has_loss_mask([shard])
    if is_supervised:
        fits = lengths <= block_size
        begins, lengths = begins[fits], lengths[fits]
    lengths = np.minimum(lengths, block_size)
    counts = supervised_targets(shard, begins, lengths) if is_supervised else None
    if mode == "document":
        order, first = np.arange(len(lengths)), np.arange(len(lengths) + 1)
    else:
        order, lengths, first = best_fit(lengths, block_size, crops=mode == "best_fit")
    pieces, rows = np.zeros(len(order), dtype=_PIECES), np.zeros(len(first), dtype=_ROWS)
    pieces["start"], pieces["length"], rows["first"] = begins[order], lengths, first
    if len(order):
        rows["n_targets"][:-1] = np.add.reduceat(lengths if counts is None else counts[order], first[:-1])
    return RowPlan(pieces, rows)


def document_spans(shard: Shard, delimiter: Delimiter | None) -> tuple[np.ndarray, np.ndarray]:
    """Where each document of the shard begins, and how many inputs it has: tokens with a next one to predict."""
    begins = shard.starts.astype(np.int64)
    if not len(begins):
        return begins, begins
    ends = np.append(begins[1:], len(shard.tokens)) - 1  # the last token of a document has no next one,
    if delimiter == "after":
        begins = np.maximum(begins - 1, 0)
    elif delimiter == "before" and not has_loss_mask([shard]):
        ends = np.minimum(ends + 1, len(shard.tokens) - 1)  # unless it is what begins the next
    has_any = ends > begins
    return begins[has_any], (ends - begins)[has_any]


def supervised_targets(shard: Shard, begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """How many targets of each span are to be predicted."""
    if not len(begins):
        return lengths
    mask = shard.supervised_slice(0, len(shard.tokens))
    edges = np.stack((begins + 1, begins + lengths + 1), axis=1).reshape(-1)
    within = edges[:-1] if edges[-1] == len(shard.tokens) else edges  # the last sum goes to the end by itself
    assert mask is not None
    return np.add.reduceat(mask, within, dtype=np.int64)[::2]


def best_fit(
    lengths: np.ndarray, capacity: int, crops: bool, buffer: int = BUFFER
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Documents of `lengths` (at most `capacity`) in rows: (document of each piece, its length, first piece of each row
    and, at the end, their number).

    Of equal lengths the one that came first is taken; but of the shortest, to be cropped, the one that came last.
    """
    last = (1 << _SHIFT) - 1
    keys = (lengths.astype(np.int64) << _SHIFT) + (last - np.arange(len(lengths)))
    coming = (key for at in range(0, len(keys), 1 << 16) for key in keys[at : at + (1 << 16)].tolist())
    waiting: list[int] = []  # sorted, so by length
    taken, firsts = array("Q"), array("Q", [0])
    room = capacity
    while True:
        while len(waiting) < buffer and (key := next(coming, -1)) >= 0:
            insort(waiting, key)
        if not waiting:
            break
        fits = bisect_left(waiting, (room + 1) << _SHIFT)
        if fits or crops:
            piece = waiting.pop(fits - 1) if fits else (room << _SHIFT) + (waiting.pop(0) & last)
            taken.append(piece)
            room -= piece >> _SHIFT
        if not room or not (fits or crops):
            firsts.append(len(taken))
            room = capacity
    if firsts[-1] < len(taken):
        firsts.append(len(taken))
    pieces = np.array(taken, dtype=np.int64)
    return last - (pieces & last), pieces >> _SHIFT, np.array(firsts, dtype=np.int64)
