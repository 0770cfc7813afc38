"""From a source to a folder of token shards that explains itself; not a loader of batches.

A prepared folder never changes: its name carries a hash of all that decides its bytes (source, split, tokenizer), and
it is renamed into place when it is complete. Another text, seed or tokenizer makes another folder.
"""

import hashlib
import json
import logging
import os
import shutil
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from nanolit.data.shards import Header, Shard, ShardWriter, open_shard, shard_writer
from nanolit.data.sources import DataConfig, Piece, Source, Split, open_source
from nanolit.runtime.files import atomic_folder, read_json, write_json
from nanolit.tokenizers.directory import TokenizerConfig, build_tokenizer, identity, load_tokenizer
from nanolit.tokenizers.protocol import Tokenizer

FORMAT = 1
JOB_CHARS = 1 << 18  # what one thread tokenizes at a time

REPORT_EVERY_S = 2.0

Progress = Callable[[float | None, str], None]  # the part that is done, where it is known, and how much that is
log = logging.getLogger("nanolit")


def prepare(
    data: DataConfig,
    tokenizer: TokenizerConfig,
    root: Path | str,
    progress: Progress | None = None,
    n_threads: int | None = None,
    accept: Callable[[Tokenizer], None] | None = None,
) -> Path:
    """The folder under `root` with the tokens of `data`, made if it is not there; `progress` is the log by default.

    `accept` may refuse, with a ValueError, the tokenizer before any text has gone through it.
    """
    if data.append_eot and tokenizer.kind == "char":
        raise ValueError(
            "data.append_eot=true: the char tokenizer has no end-of-text token; give data.append_eot=false, "
            "or tokenizer=byte"
        )
    root = Path(root)
    source = open_source(data, root)
    folder = root / f"{data.name}-{preparation_hash(source, data, tokenizer)[:12]}"
    if (folder / "manifest.json").is_file():
        return folder
    for left_over in root.glob(f"*{folder.name}.*"):
        log.warning("%s is left over from a preparation that was killed, or is still going on", left_over)
    # A name of its own for each process: where two prepare the same at once, the first rename wins.
    built = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}")
    progress = progress or _log_progress(data.name)
    log.info("preparing %s in %s", data.name, folder)
    with atomic_folder(built) as temporary:
        _build(source, data, tokenizer, temporary, progress, n_threads or os.cpu_count() or 1, accept)
    try:
        built.rename(folder)
    except OSError:
        shutil.rmtree(built)
        if not (folder / "manifest.json").is_file():
            raise
    return folder


def preparation_hash(source: Source, data: DataConfig, tokenizer: TokenizerConfig) -> str:
    """SHA-256 over all that decides the bytes of a prepared folder, and nothing that does not."""
    return hashlib.sha256(json.dumps(_decisive(source, data, tokenizer), sort_keys=True).encode()).hexdigest()


def _decisive(source: Source, data: DataConfig, tokenizer: TokenizerConfig) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "source": source.identity,
        "append_eot": data.append_eot,
        "tokens_per_shard": data.tokens_per_shard,
        "tokenizer": identity(tokenizer),
    }


def _build(
    source: Source,
    data: DataConfig,
    config: TokenizerConfig,
    folder: Path,
    progress: Progress,
    n_threads: int,
    accept: Callable[[Tokenizer], None] | None,
) -> None:
    def texts() -> Iterator[str]:
        # Characters are counted in all of the text, as nanoGPT does; merges are learnt from the training split.
        return (piece.text for piece in source.pieces() if config.kind == "char" or piece.split == "train")

    tokenizer = build_tokenizer(config, texts)
    if accept:
        accept(tokenizer)
    if data.append_eot and tokenizer.eot_id is None:
        raise ValueError(
            f"data.append_eot=true: the tokenizer in {config.path} has no end-of-text token; "
            "give data.append_eot=false, or name its eos_token in tokenizer_config.json"
        )
    tokenizer.save(folder / "tokenizer")
    eot = np.array([tokenizer.eot_id]) if data.append_eot else None
    reported_at = time.monotonic()
    with ExitStack() as stack:
        splits = {
            name: stack.enter_context(_SplitWriter(folder, name, tokenizer, data.tokens_per_shard))
            for name in ("train", "val")
        }
        for piece, ids in _tokenized(source.pieces(), tokenizer, n_threads):
            splits[piece.split].append(piece, ids, eot)
            if time.monotonic() - reported_at >= REPORT_EVERY_S:
                reported_at = time.monotonic()
                _report(progress, source, list(splits.values()))
        _report(progress, source, list(splits.values()))
    for name, split in splits.items():
        if split.n_tokens == 0:
            raise ValueError(
                f"data.name={data.name}: the {name} split came out empty; give more text, data.split=contiguous, "
                f"or another data.val_fraction (now {data.val_fraction})"
            )
    manifest = _decisive(source, data, config)
    manifest["tokenizer"] |= {"fingerprint": tokenizer.fingerprint, "vocab_size": tokenizer.vocab_size}
    manifest["splits"] = {name: split.summary() for name, split in splits.items()}
    manifest["versions"] = _versions()
    write_json(folder / "manifest.json", manifest)


def _tokenized(pieces: Iterator[Piece], tokenizer: Tokenizer, n_threads: int) -> Iterator[tuple[Piece, np.ndarray]]:
    """Pieces with their ids, in order. Threads, not processes: tiktoken lets go of Python's lock while it works."""
    with ThreadPoolExecutor(n_threads) as pool:
        running: deque = deque()
        try:
            for job in _jobs(pieces):
                running.append((job, pool.submit(tokenizer.encode_batch, [piece.text for piece in job])))
                if len(running) > 2 * n_threads:
                    job, ids = running.popleft()
                    yield from zip(job, ids.result(), strict=True)
            while running:
                job, ids = running.popleft()
                yield from zip(job, ids.result(), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)


def _jobs(pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    job: list[Piece] = []
    n_chars = 0
    for piece in pieces:
        job.append(piece)
        n_chars += len(piece.text)
        if n_chars >= JOB_CHARS:
            yield job
            job, n_chars = [], 0
    if job:
        yield job


class _SplitWriter:
    """One split's shards: a new one begins after the document that fills the last."""

    def __init__(self, folder: Path, name: str, tokenizer: Tokenizer, tokens_per_shard: int) -> None:
        self.folder, self.name, self.tokenizer, self.tokens_per_shard = folder, name, tokenizer, tokens_per_shard
        self.n_bytes = 0  # of text
        self.n_documents = 0
        self.n_tokens = 0
        self.shards: list[tuple[str, ShardWriter]] = []
        self._open = ExitStack()
        self._between = True  # no document has begun

    def __enter__(self) -> "_SplitWriter":
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def append(self, piece: Piece, ids: np.ndarray, eot: np.ndarray | None) -> None:
        full = self.shards and self.shards[-1][1].n_tokens >= self.tokens_per_shard
        if not self.shards or (self._between and full):
            self._open.close()
            file = f"{self.name}-{len(self.shards):05d}.bin"
            opened = shard_writer(self.folder / file, self.tokenizer.vocab_size, self.tokenizer.fingerprint)
            self.shards.append((file, self._open.enter_context(opened)))
        writer = self.shards[-1][1]
        writer.append(ids, ends=piece.ends and eot is None)
        self.n_tokens += len(ids)
        self.n_bytes += len(piece.text) if piece.text.isascii() else len(piece.text.encode())
        self.n_documents += self._between
        self._between = piece.ends
        if piece.ends and eot is not None:
            writer.append(eot)
            self.n_tokens += 1

    def summary(self) -> dict[str, Any]:
        headers = {file: _known(writer.header) for file, writer in self.shards}
        shards = [{"file": file, "tokens": h.n_tokens, "sha256": h.sha256} for file, h in headers.items()]
        return {"documents": self.n_documents, "tokens": self.n_tokens, "bytes": self.n_bytes, "shards": shards}


def _known(header: Header | None) -> Header:
    assert header is not None
    return header


def _report(progress: Progress, source: Source, splits: list[_SplitWriter]) -> None:
    n_documents, n_tokens, n_bytes = (
        sum(getattr(split, key) for split in splits) for key in ("n_documents", "n_tokens", "n_bytes")
    )
    part = None
    if source.n_documents:
        part = n_documents / source.n_documents
    elif source.n_bytes:
        part = min(1.0, n_bytes / source.n_bytes)
    progress(part, f"{n_documents:,} documents, {n_tokens:,} tokens")


def _log_progress(name: str) -> Progress:
    started_at = time.monotonic()

    def progress(part: float | None, done: str) -> None:
        seconds = time.monotonic() - started_at
        left = f", {seconds / part - seconds:.0f} s left" if part and part < 1 else ""
        log.info("preparing %s: %s%s in %.1f s%s", name, f"{part:.0%}, " if part else "", done, seconds, left)

    return progress


def _versions() -> dict[str, str]:
    versions = {"python": sys.version.split()[0]}
    for package in ("nanolit", "numpy", "tiktoken", "tokenizers", "datasets"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


@dataclass(frozen=True)
class Prepared:
    """A prepared folder, open: its shards are mapped into memory, its tokenizer is read when asked for."""

    folder: Path
    manifest: dict[str, Any]
    splits: dict[str, tuple[Shard, ...]]

    @classmethod
    def open(cls, folder: Path | str) -> "Prepared":
        """Checks headers, sizes and fingerprints against the manifest; `verify` checks the content too."""
        folder = Path(folder)
        if not (folder / "manifest.json").is_file():
            raise ValueError(f"{folder}: no manifest.json in it, so it is no prepared data; run `nanolit prepare`")
        manifest = read_json(folder / "manifest.json")
        if manifest.get("format") != FORMAT:
            raise ValueError(
                f"{folder}: format {manifest.get('format')}, this nanolit reads {FORMAT}; prepare it again"
            )
        splits = {
            name: tuple(_checked_shard(folder, shard, manifest) for shard in split["shards"])
            for name, split in manifest["splits"].items()
        }
        return cls(folder, manifest, splits)

    def shards(self, split: Split) -> tuple[Shard, ...]:
        return self.splits[split]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        tokenizer = load_tokenizer(self.folder / "tokenizer")
        self.require(tokenizer)
        return tokenizer

    def require(self, tokenizer: Tokenizer) -> None:
        """Refuses a tokenizer other than the one that wrote the shards."""
        wrote = self.manifest["tokenizer"]["fingerprint"]
        if tokenizer.fingerprint != wrote:
            raise ValueError(
                f"{self.folder}: its tokens were made by a tokenizer with fingerprint {wrote}, the one given "
                f"({tokenizer.kind}) has {tokenizer.fingerprint}; prepare the data with the tokenizer that you want"
            )

    def verify(self) -> None:
        """Reads everything and compares all hashes."""
        self.require(load_tokenizer(self.folder / "tokenizer"))
        for shards in self.splits.values():
            for shard in shards:
                shard.verify()


def _checked_shard(folder: Path, entry: dict[str, Any], manifest: dict[str, Any]) -> Shard:
    shard = open_shard(folder / entry["file"])
    for what, found, expected in (
        ("tokenizer fingerprint", shard.header.fingerprint, manifest["tokenizer"]["fingerprint"]),
        ("content hash", shard.header.sha256, entry["sha256"]),
    ):
        if found != expected:
            raise ValueError(
                f"{shard.path}: has {what} {found}, manifest.json says {expected}; the file belongs to other data: "
                f"delete {folder} and prepare it again"
            )
    return shard
