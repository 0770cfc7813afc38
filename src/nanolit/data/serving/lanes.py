"""Training text encoded while training goes on, in an exact order, from exactly where a run stopped.

A batch of B sequences reads B lanes: row j of every optimizer step is the next piece of lane j. A lane is an endless
row of units (about a MiB of text each, see `plan.Job`): unit m of lane j is the unit that `order` gives sample
m * B + j. So which process or worker serves a row decides nothing, and a process encodes the lanes of its rows only.

Where a lane stands after so many steps follows from the numbers of tokens of its units before. They are noted in a file
as they become known: a memory, not a state. Without it they are counted again, and nothing changes but the time.

The next rows are encoded in threads while one is trained on. Several workers would each encode what the others skip.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from nanolit.data.order import window_of
from nanolit.data.preparation.jobs import Work, encoded_block
from nanolit.data.serving.batches import MicroBatches
from nanolit.data.serving.rows import Delimiter
from nanolit.data.sources.plan import Item
from nanolit.runtime.devices import n_cores
from nanolit.runtime.files import atomic_path
from nanolit.tokenizers.protocol import Tokenizer

PORTION_CHARS = 1 << 15  # encoded at once
PART_CHARS = 1 << 12  # a long document is encoded in parts of about this size
AHEAD_ROWS = 2  # are to be there when a row is served
READ_CHARS = 1 << 21  # of text that a lane holds at once, so that it holds no file open for a usual unit
WALKED_UNITS = 1 << 10  # looked up at once on the way to where a lane stands
UNKNOWN = -1

log = logging.getLogger("nanolit")


class Lanes:
    """The rows of a run by the number of the sample: endless, and of no other order than this."""

    def __init__(
        self,
        work: Work,
        tokenizer: Tokenizer,
        block_size: int,
        n_lanes: int,
        seed: int,
        shuffle: bool,
        memory: Path,
        *,
        mask_documents: bool = False,
        delimiter: Delimiter | None = None,
    ) -> None:
        self.work, self.tokenizer = work, tokenizer
        self.block_size, self.n_lanes, self.seed, self.shuffle = block_size, n_lanes, seed, shuffle
        self.mask_documents, self.delimiter = mask_documents, delimiter
        if mask_documents and delimiter is None:
            raise ValueError(
                "data.loader.mask_documents: got true, but no token stands between documents; give "
                "data.append_eot=true, or data.on_the_fly=false"
            )
        self.row_targets: int | None = block_size
        self.units = [job for job in work.plan.jobs if job.split in (None, "train")]
        if len(self.units) < n_lanes:
            raise ValueError(
                f"data.on_the_fly: got true, but the training text has {len(self.units)} portions that can be read "
                f"alone, too few for the {n_lanes} rows of a batch; give data.on_the_fly=false, more text (of parquet: "
                "more row groups), or a smaller batch_size"
            )
        self.memory = memory
        self._forget()

    def __len__(self) -> int:
        """In units: how many tokens there are is known only in the end."""
        return len(self.units)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_process": None, "_counts": None, "_lanes": {}, "_pool": None}

    def _forget(self) -> None:
        """A worker process finds its own places, with files and threads of its own."""
        self._process: int | None = os.getpid()
        self._counts: np.ndarray | None = None  # of tokens, by unit
        self._lanes: dict[int, _Lane] = {}
        self._pool: ThreadPoolExecutor | None = None

    def take(self, samples: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        if self._process != os.getpid():
            self._forget()
        T, n = self.block_size, len(samples)
        steps, numbers = np.divmod(np.asarray(samples, dtype=np.int64), self.n_lanes)
        inputs, targets = np.empty((n, T), dtype=np.int64), np.empty((n, T), dtype=np.int64)
        begins = np.zeros((n, T), dtype=np.int64)
        skipped = self.delimiter == "after"  # it is what the next document begins with

        def serve(lane: _Lane, rows: list[int]) -> None:
            for row in rows:
                lane.go_to(int(steps[row]) * T)
                inputs[row], targets[row] = lane.ids[:T], lane.ids[1 : T + 1]
                begins[row, 1:] = lane.begins[1 + skipped : T + skipped]

        self.counts()  # made before there are threads that want it
        pool = self._pool = self._pool or ThreadPoolExecutor(n_cores())
        rows_of: dict[_Lane, list[int]] = {}
        for row, number in enumerate(numbers.tolist()):
            if number not in self._lanes:
                self._lanes[number] = _Lane(self, number)
            rows_of.setdefault(self._lanes[number], []).append(row)
        lacking = []
        for lane, rows in rows_of.items():
            lane.settle()
            if all(lane.holds(int(steps[row]) * T) for row in rows):
                serve(lane, rows)
            else:
                lacking.append((lane, rows))
        list(pool.map(serve, *zip(*lacking, strict=True)))
        for lane in rows_of:
            lane.look_ahead(pool)
        batch = {"inputs": inputs, "targets": targets}
        return batch | ({"documents": begins.cumsum(axis=1)} if self.mask_documents else {})

    def n_targets(self, samples: Sequence[int] | np.ndarray) -> int:
        return len(samples) * self.block_size

    def waste(self) -> str:
        return f"packing stream, encoded on the fly: {len(self.units):,} portions of text; nothing dropped, no padding"

    # What lanes ask for

    def units_at(self, number: int, place: int, n: int) -> np.ndarray:
        """The numbers of the units at `n` places of a lane."""
        samples = np.arange(place, place + n, dtype=np.int64) * self.n_lanes + number
        return window_of(samples, len(self.units), self.seed, self.shuffle)

    def counts(self) -> np.ndarray:
        if self._counts is None:
            self._counts = _opened(self.memory, len(self.units))
        return self._counts

    def remember(self, unit: int, n_tokens: int) -> None:
        """Whoever else counts the same unit at the same time writes the same number."""
        if self.counts()[unit] not in (UNKNOWN, n_tokens):
            raise ValueError(
                f"{self.memory}: says {self.counts()[unit]} tokens of portion {unit}, which has {n_tokens}; it is of "
                "other text: delete it, and go on from a checkpoint before it was used"
            )
        self.counts()[unit] = n_tokens


class _Lane:
    """One lane: the unit that it is in, what of it is text, and what is encoded and not served yet."""

    def __init__(self, lanes: Lanes, number: int) -> None:
        self.lanes, self.number = lanes, number
        self.coming: Future[None] | None = None  # a thread has this lane until then
        self._begin(place=0, at=0)

    def _begin(self, place: int, at: int) -> None:
        """To the unit at `place`, which begins with the token `at` of the lane."""
        self.start = at  # of `ids` in the lane
        self.ids = np.zeros(0, dtype=np.uint32)
        self.begins = np.zeros(0, dtype=bool)  # a document begins with this token
        self._to_unit(place, at)

    def _to_unit(self, place: int, at: int) -> None:
        self.place, self.unit_start = place, at
        self.n_encoded = 0  # of the unit
        self.unread: Iterator[Item] = self._items()  # which opens no file before it is asked
        self.held: Iterator[Item] = iter(())

    def look_ahead(self, pool: ThreadPoolExecutor) -> None:
        """Has the rows after this one encoded while it is trained on."""
        start = self.start + AHEAD_ROWS * self.lanes.block_size
        if not self.holds(start):
            self.coming = pool.submit(self._encode_to, start)

    def settle(self) -> None:
        if self.coming is not None:
            self.coming.result()
            self.coming = None

    def holds(self, start: int) -> bool:
        return self.start <= start and start + self.lanes.block_size < self.start + len(self.ids)

    def go_to(self, start: int) -> None:
        """Encodes what is missing of the row that begins with the token `start`, and drops what is before it."""
        if start < self.start:
            self._begin(place=0, at=0)
        self._drop(start)
        while not self.holds(start):
            if not len(self.ids):
                self._pass_units(start)
            self._encode_more()
            self._drop(start)

    def _drop(self, start: int) -> None:
        passed = min(start - self.start, len(self.ids))
        self.ids, self.begins, self.start = self.ids[passed:], self.begins[passed:], self.start + passed

    def _pass_units(self, start: int) -> None:
        """To the unit that holds the token `start`, as far as the numbers of tokens on the way are known."""
        lanes, place, at = self.lanes, self.place, self.unit_start
        while True:
            counts = lanes.counts()[lanes.units_at(self.number, place, WALKED_UNITS)]
            unknown = np.flatnonzero(counts == UNKNOWN)
            ends = at + counts[: unknown[0] if len(unknown) else None].cumsum()
            passed = int(np.searchsorted(ends, start, side="right"))
            if passed:
                place, at = place + passed, int(ends[passed - 1])
            if passed < len(counts):
                break
            if at == self.unit_start and place - self.place >= len(lanes) and self._is_barren():
                raise ValueError(
                    f"data.on_the_fly: got true, but row {self.number} of a batch finds no text for training in any of "
                    f"the {len(lanes)} portions; give more text, or data.on_the_fly=false"
                )
        if place > self.place:
            self._begin(place, at)

    def _is_barren(self) -> bool:
        """Of a lane that has met no text for an epoch; it meets the same units in all epochs if they are in order."""
        return not self.lanes.shuffle or not self.lanes.counts().any()

    def _encode_to(self, start: int) -> None:
        while not self.holds(start):
            self._encode_more()

    def _encode_more(self) -> None:
        # What lanes take first of a unit differs, so that they do not all run dry in the same step.
        n_chars = PORTION_CHARS if self.n_encoded else PORTION_CHARS * (self.number + 1) // self.lanes.n_lanes
        portion = _first(self.held, n_chars)
        if not portion:
            self.held = iter(_first(self.unread, READ_CHARS))
            portion = _first(self.held, n_chars)
        if not portion:
            self.lanes.remember(int(self.lanes.units_at(self.number, self.place, 1)[0]), self.n_encoded)
            self._to_unit(self.place + 1, self.unit_start + self.n_encoded)
            return
        block = encoded_block(self.lanes.work, self.lanes.tokenizer, portion)
        begins = np.zeros(len(block.ids) + 1, dtype=bool)
        begins[block.starts.astype(np.int64)] = True
        begins[0] |= not self.n_encoded  # what goes on from another unit is a document of its own here
        self.n_encoded += len(block.ids)
        self.ids, self.begins = np.concatenate([self.ids, block.ids]), np.concatenate([self.begins, begins[:-1]])

    def _items(self) -> Iterator[Item]:
        """The training text of the unit, long documents in parts."""
        unit = self.lanes.units[int(self.lanes.units_at(self.number, self.place, 1)[0])]
        for item in self.lanes.work.plan.items(unit):
            if item.split == "train":
                yield from _parts(item)


def _first(items: Iterator[Item], n_chars: int) -> list[Item]:
    """The next items that have so many characters together, or all that are left."""
    taken = []
    for item in items:
        taken.append(item)
        n_chars -= len(item.content)
        if n_chars <= 0:
            break
    return taken


def _parts(item: Item) -> Iterator[Item]:
    """The item, if it is long in parts that give the tokens of the whole."""
    text = item.content
    if len(text) <= 2 * PART_CHARS:
        yield item
        return
    from nanolit.data.sources.plain_text import in_parts

    begins = item.begins
    for part, is_last in in_parts(text[at : at + PART_CHARS] for at in range(0, len(text), PART_CHARS)):
        yield item._replace(content=part, begins=begins, ends=item.ends and is_last)
        begins = False


def _opened(path: Path, n_units: int) -> np.ndarray:
    """The numbers of tokens of the units, shared with all processes that read the same text through the file `path`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock")):
            counts = _mapped(path)
            if counts is None or counts.shape != (n_units,):
                with atomic_path(path) as temporary, temporary.open("wb") as file:
                    np.save(file, np.full(n_units, UNKNOWN, dtype=np.int64))
                counts = _mapped(path)
        assert counts is not None
        return counts
    except OSError as error:
        log.warning("a run that goes on will have to count the tokens of its text anew: %s", error)
        return np.full(n_units, UNKNOWN, dtype=np.int64)


def _mapped(path: Path) -> np.ndarray | None:
    try:
        return np.load(path, mmap_mode="r+", allow_pickle=False) if path.is_file() else None
    except (ValueError, EOFError):  # cut short, or no array: it is only a memory
        return None


class LaneBatches(MicroBatches):
    """Micro-batches of rows that are known by the number of the sample."""

    def _rows_of(self, first: int, n_samples: int) -> np.ndarray:
        return np.arange(first, first + n_samples)
