"""One job of a preparation: its documents as shards, and a receipt of them. Killed at any moment, it goes on after its
last receipt, and ends with the same bytes.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nanolit.data.config import Split
from nanolit.data.preparation.duplicates import write_hashes
from nanolit.data.shards import ShardWriter, shard_writer
from nanolit.data.sources.plan import Encoded, Item, Job, Plan
from nanolit.runtime.files import read_json, write_json
from nanolit.tokenizers.protocol import Tokenizer

BATCH_CHARS = 1 << 18  # what one thread encodes at a time
MAX_CHARS = 1 << 24  # what is held in memory at once, unless a single text is longer


class Progress(NamedTuple):
    """What has been added since the last time."""

    n_bytes: int = 0
    n_tokens: int = 0
    n_documents: int = 0


Tell = Callable[[Progress], None]  # may raise, which ends the job


@dataclass(frozen=True)
class Work:
    """What all jobs of a preparation share. It travels to other processes as it is."""

    plan: Plan
    folder: Path  # what is being built: shards, jobs/ with the receipts
    splits: tuple[Split, ...]  # to be written
    append_eot: bool
    prepend_bos: bool
    tokens_per_shard: int
    n_threads: int = 1

    @property
    def jobs(self) -> list[Job]:
        """Those that have something to be written."""
        return [job for job in self.plan.jobs if job.split is None or job.split in self.splits]

    def receipt_path(self, job: Job) -> Path:
        return self.folder / "jobs" / f"{job.number:05d}.json"

    def hashes_path(self, job: Job) -> Path:
        return self.folder / "jobs" / f"{job.number:05d}.hashes"

    def duplicates_path(self, index: int) -> Path:
        return self.folder / "jobs" / f"{index:05d}.duplicates.npy"


@dataclass
class Receipt:
    """What of a job is safe on the disk: by split the facts of each finished shard, and how many items are in them."""

    n_items: int = 0
    done: bool = False
    n_dropped: int = 0  # documents whose text was there before
    shards: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)  # what the plan knows of the job once it is read

    @classmethod
    def read(cls, path: Path) -> "Receipt":
        return cls(**read_json(path)) if path.is_file() else cls()

    def n_tokens(self, split: Split) -> int:
        return sum(shard["tokens"] for shard in self.shards.get(split, ()))


class Block(NamedTuple):
    """The documents of one split in one batch, as tokens."""

    ids: np.ndarray  # (n,)
    starts: np.ndarray  # where documents begin
    supervised: np.ndarray | None  # (n,)
    n_bytes: int  # of text


def run_job(work: Work, tokenizer: Tokenizer, job: Job, tell: Tell) -> Receipt:
    path = work.receipt_path(job)
    receipt = Receipt.read(path)
    if receipt.done:
        return receipt
    with _Shards(work, tokenizer, job, receipt) as shards:
        for batch, blocks in _encoded(work, tokenizer, _wanted(work, job, receipt)):
            for split, block in blocks.items():
                shards.append(split, block)
                tell(Progress(block.n_bytes, len(block.ids), len(block.starts)))
            if shards.are_full and batch[-1][1].ends:
                shards.close()
                receipt.n_items = batch[-1][0] + 1
                write_json(path, receipt.__dict__)
    receipt.done, receipt.facts = True, work.plan.facts(job)
    write_json(path, receipt.__dict__)
    return receipt


def hash_documents(work: Work, tokenizer: Tokenizer, job: Job, tell: Tell) -> None:
    """What `duplicates` compares."""

    def keys() -> Iterator[str]:
        for item in work.plan.items(job):
            if item.begins:
                tell(Progress())
                yield item.key

    if not work.hashes_path(job).is_file():
        write_hashes(work.hashes_path(job), keys())


def _wanted(work: Work, job: Job, receipt: Receipt) -> Iterator[tuple[int, Item]]:
    """The numbered items that are still to be written."""
    path = work.duplicates_path(job.number)
    duplicates = set(np.load(path).tolist()) if path.is_file() else set()
    receipt.n_dropped = len(duplicates)
    document = -1
    for number, item in enumerate(work.plan.items(job)):
        document += item.begins
        if number >= receipt.n_items and item.split in work.splits and not (document in duplicates and document >= 0):
            yield number, item


Batch = list[tuple[int, Item]]


def _encoded(work: Work, tokenizer: Tokenizer, items: Iterator[tuple[int, Item]]) -> Iterator[tuple[Batch, dict]]:
    """Batches with their blocks, in order. In threads: tiktoken lets go of Python's lock while it works."""
    if work.n_threads == 1:
        for batch, _ in _batches(work.plan, items):
            yield batch, _blocks(work, tokenizer, batch)
        return
    with ThreadPoolExecutor(work.n_threads) as pool:
        running: deque[tuple[Batch, int, Future[dict]]] = deque()
        n_held = 0
        try:
            for batch, n_chars in _batches(work.plan, items):
                running.append((batch, n_chars, pool.submit(_blocks, work, tokenizer, batch)))
                n_held += n_chars
                while running and (len(running) > 2 * work.n_threads or n_held > MAX_CHARS):
                    batch, n_chars, blocks = running.popleft()
                    yield batch, blocks.result()
                    n_held -= n_chars
            while running:
                batch, _, blocks = running.popleft()
                yield batch, blocks.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _batches(plan: Plan, items: Iterator[tuple[int, Item]]) -> Iterator[tuple[Batch, int]]:
    batch: Batch = []
    n_chars = 0
    for number, item in items:
        batch.append((number, item))
        n_chars += len(item.content) if isinstance(item.content, str) else plan.n_bytes(item.content)
        if n_chars >= BATCH_CHARS:
            yield batch, n_chars
            batch, n_chars = [], 0
    if batch:
        yield batch, n_chars


def _blocks(work: Work, tokenizer: Tokenizer, batch: Batch) -> dict[Split, Block]:
    by_split: dict[Split, list[Item]] = {}
    for _, item in batch:
        by_split.setdefault(item.split, []).append(item)
    return {split: encoded_block(work, tokenizer, items) for split, items in by_split.items()}


def encoded_block(work: Work, tokenizer: Tokenizer, items: list[Item]) -> Block:
    encoded = _encode(work, tokenizer, items)
    before = _mark(tokenizer.bos_id if work.prepend_bos else None)
    after = _mark(tokenizer.eot_id if work.append_eot else None)
    arrays: list[np.ndarray] = []
    starts: list[int] = []
    masks: list[np.ndarray] = []
    n_tokens = 0
    for item, document in zip(items, encoded, strict=True):
        marked = [*(before if item.begins else ()), document.ids, *(after if item.ends else ())]
        if item.begins:
            starts.append(n_tokens)
        n_tokens += sum(map(len, marked))
        arrays += marked
        if document.supervised is not None:
            masks += _mask(document, n_before=len(before) if item.begins else 0, n_after=len(after) if item.ends else 0)
    ids = np.concatenate(arrays, dtype=np.uint32, casting="unsafe") if arrays else np.zeros(0, np.uint32)
    supervised = np.concatenate(masks) if masks else None
    n_bytes = sum(work.plan.n_bytes(item.content) for item in items)
    return Block(ids, np.array(starts, dtype=np.uint64), supervised, n_bytes)


def _encode(work: Work, tokenizer: Tokenizer, items: list[Item]) -> list[Encoded]:
    try:
        encoded = work.plan.encode(tokenizer, [item.content for item in items])
    except ValueError as error:
        for item in items:  # which of them was it?
            try:
                work.plan.encode(tokenizer, [item.content])
            except ValueError as reason:
                begins = work.plan.text(item.content)[:40]
                raise ValueError(f"{reason} (in the text that begins {begins!r})") from error
        raise
    if not tokenizer.puts_before:
        return encoded
    return [
        found if item.begins else Encoded(tokenizer.encode_rest(item.content), found.supervised)
        for item, found in zip(items, encoded, strict=True)
    ]


def _mark(token_id: int | None) -> list[np.ndarray]:
    return [] if token_id is None else [np.array([token_id], dtype=np.uint32)]


def _mask(document: Encoded, n_before: int, n_after: int) -> list[np.ndarray]:
    """Of a document with its marks: nobody predicts where it begins, everybody where it ends."""
    assert document.supervised is not None
    return [np.zeros(n_before, dtype=bool), document.supervised, np.ones(n_after, dtype=bool)]


class _Shards:
    """The shards of a job that are open, one for each split that it has met. They are full and closed together."""

    def __init__(self, work: Work, tokenizer: Tokenizer, job: Job, receipt: Receipt) -> None:
        self.work, self.tokenizer, self.job, self.receipt = work, tokenizer, job, receipt
        self._writers: dict[Split, tuple[str, ShardWriter]] = {}
        self._n_bytes: dict[Split, int] = {}
        self._open = ExitStack()

    def __enter__(self) -> "_Shards":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.close()
        else:
            self._open.__exit__(kind, error, trace)

    @property
    def are_full(self) -> bool:
        return any(writer.n_tokens >= self.work.tokens_per_shard for _, writer in self._writers.values())

    def append(self, split: Split, block: Block) -> None:
        if split not in self._writers:
            n_before = len(self.receipt.shards.get(split, ()))
            file = f"{split}-{self.job.number:05d}{f'-{n_before}' if n_before else ''}.bin"
            opened = shard_writer(self.work.folder / file, self.tokenizer.vocab_size, self.tokenizer.fingerprint)
            self._writers[split] = file, self._open.enter_context(opened)
            self._n_bytes[split] = 0
        self._writers[split][1].append_many(block.ids, block.starts, block.supervised)
        self._n_bytes[split] += block.n_bytes

    def close(self) -> None:
        self._open.close()
        for split, (file, writer) in self._writers.items():
            assert writer.header is not None
            facts = {
                "file": file,
                "documents": writer.header.n_documents,
                "tokens": writer.header.n_tokens,
                "bytes": self._n_bytes[split],
                "sha256": writer.header.sha256,
            }
            self.receipt.shards.setdefault(split, []).append(facts)
        self._writers.clear()
