"""From a source to a folder of token shards that explains itself; not a loader of batches.

A prepared folder never changes: its name carries a hash of all that decides its bytes (source, split, tokenizer). While
it is built it is called `….partial`; there finished jobs wait for the others, through any number of kills. Complete, it
is renamed. Another text, seed or tokenizer makes another folder.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nanolit.data.preparation import duplicates
from nanolit.data.preparation.adopt import adopt
from nanolit.data.config import SPLITS, DataConfig
from nanolit.data.preparation.jobs import Progress, Receipt, Work, hash_documents, run_job
from nanolit.data.preparation.manifest import FORMAT, join
from nanolit.data.sources.plan import Job, Plan, Source
from nanolit.data.sources.open import open_source
from nanolit.data.preparation.workers import in_parts, run_jobs
from nanolit.runtime.files import write_json
from nanolit.tokenizers.directory import TokenizerConfig, build_tokenizer, identity, load_tokenizer
from nanolit.tokenizers.protocol import Tokenizer

REPORT_EVERY_S = 2.0

Report = Callable[[float | None, str], None]  # the part that is done, where it is known, and how much that is
Accept = Callable[[Tokenizer], None]
log = logging.getLogger("nanolit")


def prepare(
    data: DataConfig,
    tokenizer: TokenizerConfig,
    root: Path | str,
    progress: Report | None = None,
    n_workers: int | None = None,
    accept: Accept | None = None,
) -> Path:
    """The folder under `root` with the tokens of `data`, made if it is not there; `progress` is the log by default.

    `accept` may refuse, with a ValueError, the tokenizer before any text has gone through it. If another process makes
    the same folder, this one waits for it.
    """
    if data.kind == "tokens":
        return adopt(data, tokenizer, Path(root))
    build = Build(data, tokenizer, Path(root), progress, n_workers, accept)
    if not build.is_complete:
        with build.alone():
            if not build.is_complete:  # nobody else has made it in the meantime
                build.run()
                build.finish()
    return build.folder


def prepare_piece(
    data: DataConfig, tokenizer: TokenizerConfig, root: Path | str, piece: int, n_pieces: int, n_workers: int | None
) -> Path:
    """One of several independent parts of the same work, to be joined by `merge`; they may run at once, on any machine
    that sees `root`. Together they give the bytes that `prepare` gives.
    """
    if not 0 <= piece < n_pieces:
        raise ValueError(f"prepare.piece={piece}: must be 0 to {n_pieces - 1}, since prepare.pieces={n_pieces}")
    build = Build(data, tokenizer, Path(root), n_workers=n_workers)
    if not build.is_complete:
        with build.alone(f"-piece-{piece}-of-{n_pieces}"):
            build.run(piece, n_pieces)
    return build.folder


def merge(data: DataConfig, tokenizer: TokenizerConfig, root: Path | str) -> Path:
    """Joins what the pieces made; refuses if something is missing."""
    build = Build(data, tokenizer, Path(root))
    if not build.is_complete:
        with build.alone():
            jobs = build.plan.jobs
            missing = [job.number for job in jobs if not Receipt.read(build.work.receipt_path(job)).done]
            if missing:
                raise ValueError(
                    f"prepare.merge: {len(missing)} of {len(jobs)} portions of {build.folder.name} are not prepared "
                    f"yet, the first is number {missing[0]}; run the missing pieces, or leave out prepare.merge"
                )
            build.finish()
    return build.folder


def preparation_hash(source: Source, data: DataConfig, tokenizer: TokenizerConfig) -> str:
    """SHA-256 over all that decides the bytes of a prepared folder, and nothing that does not."""
    return hashlib.sha256(json.dumps(_decisive(source, data, tokenizer), sort_keys=True).encode()).hexdigest()


def _decisive(source: Source, data: DataConfig, tokenizer: TokenizerConfig) -> dict[str, Any]:
    settings = ("append_eot", "prepend_bos", "max_tokens", "shard_bytes", "tokens_per_shard", "deduplicate")
    return {
        "format": FORMAT,
        "source": source.identity,
        **{name: getattr(data, name) for name in (*settings, "on_the_fly")},
        "tokenizer": identity(tokenizer),
    }


@dataclass
class Build:
    """One folder in the making."""

    data: DataConfig
    config: TokenizerConfig
    root: Path
    progress: Report | None = None
    n_workers: int | None = None
    accept: Accept | None = None

    def __post_init__(self) -> None:
        if self.data.kind == "tokens":
            raise ValueError("data.kind=tokens: the tokens are used where they lie; there are no pieces to prepare")
        if self.data.append_eot and self.config.kind == "char" and self.data.kind != "conversations":
            raise ValueError(
                "data.append_eot=true: the char tokenizer has no end-of-text token; give data.append_eot=false, "
                "or tokenizer=byte"
            )
        self.source = open_source(self.data, self.root)
        digest = preparation_hash(self.source, self.data, self.config)
        self.folder = self.root / f"{self.data.name}-{digest[:12]}"
        self.partial = self.folder.with_name(f"{self.folder.name}.partial")

    @property
    def is_complete(self) -> bool:
        return (self.folder / "manifest.json").is_file()

    @cached_property
    def plan(self) -> Plan:
        return self.source.plan(self.data.shard_bytes)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Made once for all pieces and kept in the folder."""
        folder = self.partial / "tokenizer"
        with self.alone("-tokenizer"):
            if not (folder / "tokenizer_config.json").is_file():  # written last
                made = build_tokenizer(self.config, self._texts)
                if self.accept:
                    self.accept(made)
                made.save(folder)
        found = load_tokenizer(folder)
        if self.accept:
            self.accept(found)
        return found

    def _texts(self) -> Iterator[str]:
        # Characters are counted in all of the text, as nanoGPT does; merges are learnt from the training split.
        return self.plan.texts(None if self.config.kind == "char" else "train", self.config.max_document_chars)

    @cached_property
    def work(self) -> Work:
        data, tokenizer = self.data, self.tokenizer
        is_rendered = data.kind == "conversations"  # which brings its own marks
        prepend_bos = tokenizer.bos_id is not None if data.prepend_bos is None else data.prepend_bos
        if prepend_bos and tokenizer.bos_id is None and not is_rendered:
            raise ValueError(
                "data.prepend_bos=true: the tokenizer has no token that stands before a text; give "
                "data.prepend_bos=false, or name its bos_token in tokenizer_config.json"
            )
        if data.append_eot and tokenizer.eot_id is None and not is_rendered:
            raise ValueError(
                f"data.append_eot=true: the tokenizer in {self.config.path} has no end-of-text token; "
                "give data.append_eot=false, or name its eos_token in tokenizer_config.json"
            )
        is_one_token = prepend_bos and tokenizer.eot_id == tokenizer.bos_id  # it stands between two documents once
        return Work(
            plan=self.plan,
            folder=self.partial,
            splits=tuple(split for split in SPLITS if not (data.on_the_fly and split == "train")),
            append_eot=data.append_eot and not is_rendered and not is_one_token,
            prepend_bos=prepend_bos and not is_rendered,
            tokens_per_shard=data.tokens_per_shard,
        )

    @contextmanager
    def alone(self, what: str = "") -> Iterator[None]:
        """While nobody else does the same."""
        path = self.root / ".locks" / f"{self.folder.name}{what}"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0.1)
        except Timeout:
            log.info("%s is being prepared by another process; waiting for it", self.folder)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def run(self, piece: int = 0, n_pieces: int = 1) -> None:
        """All jobs, or those of a piece, unless they have been done before."""
        log.info("preparing %s in %s", self.data.name, self.folder)
        try:
            work, tokenizer = self.work, self.tokenizer
        except ValueError:  # refused before anything was prepared
            if not (self.partial / "jobs").exists():
                shutil.rmtree(self.partial, ignore_errors=True)
            raise
        if self.data.deduplicate:
            self._find_duplicates()
        jobs = [
            job for job in in_parts(self.plan.jobs, piece, n_pieces) if job.split is None or job.split in work.splits
        ]
        left = [job for job in jobs if not Receipt.read(work.receipt_path(job)).done]
        if len(left) < len(jobs):
            log.info("%d of %d portions were finished before", len(jobs) - len(left), len(jobs))
        # What is not for training comes first: of a training split with max_tokens the end is not needed.
        left.sort(key=lambda job: job.split in (None, "train"))
        counted = _Counted(self.data, self.progress or _log_progress(self.data.name), sum(job.n_bytes for job in left))
        cap = _Cap(self.data.max_tokens, jobs, left, work)
        with counted.to_the_end():
            run_jobs(run_job, work, tokenizer, left, counted.tell, self.n_workers, cap.is_reached)

    def _find_duplicates(self) -> None:
        work, jobs = self.work, self.plan.jobs
        (self.partial / "jobs").mkdir(parents=True, exist_ok=True)
        if all(work.duplicates_path(job.number).is_file() for job in jobs):
            return
        log.info("looking for documents that come twice")
        run_jobs(hash_documents, work, self.tokenizer, jobs, lambda progress: None, self.n_workers)
        found = duplicates.find_duplicates([work.hashes_path(job) for job in jobs], work.duplicates_path)
        log.info("%s documents come again; they are left out", f"{found:,}")

    def finish(self) -> None:
        """The manifest, and the name."""
        if not (self.partial / "manifest.json").is_file():
            decisive = _decisive(self.source, self.data, self.config)
            # Text that is encoded later has to be found again.
            decisive["on_the_fly"] = asdict(self.data) if self.data.on_the_fly else None
            write_json(self.partial / "manifest.json", join(self.work, self.tokenizer, self.data, decisive))
        shutil.rmtree(self.partial / "jobs", ignore_errors=True)
        self.partial.rename(self.folder)


class _Cap:
    """Whether the training tokens of the finished jobs, without a gap from the first on, are as many as are wanted."""

    def __init__(self, max_tokens: int | None, jobs: list[Job], left: list[Job], work: Work) -> None:
        self.max_tokens, self.left = max_tokens, left
        self.train = [job.number for job in jobs if job.split in (None, "train")]
        self.others = {job.number for job in left} - {*self.train}
        done = {job.number for job in jobs} - {job.number for job in left}
        receipts = {job.number: Receipt.read(work.receipt_path(job)) for job in jobs if job.number in done}
        self.n_tokens = {index: receipt.n_tokens("train") for index, receipt in receipts.items()}

    def is_reached(self, place: int, receipt: Receipt) -> bool:
        index = self.left[place].number
        self.n_tokens[index] = receipt.n_tokens("train")
        self.others.discard(index)
        if self.max_tokens is None or self.others:
            return False
        total = 0
        for index in self.train:
            if index not in self.n_tokens or total >= self.max_tokens:
                break
            total += self.n_tokens[index]
        return total >= self.max_tokens


class _Counted:
    """Adds up what the jobs tell, and reports it every so often."""

    def __init__(self, data: DataConfig, report: Report, n_bytes: int) -> None:
        self.max_tokens, self.report, self.n_bytes = data.max_tokens, report, n_bytes
        self.total = Progress()
        self.started_at = self.reported_at = time.monotonic()

    def tell(self, progress: Progress) -> None:
        self.total = Progress(*(a + b for a, b in zip(self.total, progress, strict=True)))
        if time.monotonic() - self.reported_at >= REPORT_EVERY_S:
            self.reported_at = time.monotonic()
            part = self.total.n_bytes / max(self.n_bytes, 1)
            if self.max_tokens:
                part = max(part, self.total.n_tokens / self.max_tokens)
            self.report(min(part, 0.999), self.text)

    @property
    def text(self) -> str:
        n_bytes, n_tokens, n_documents = self.total
        rate = n_bytes / 1e6 / max(time.monotonic() - self.started_at, 1e-3)
        return f"{n_documents:,} documents, {n_tokens:,} tokens, {n_bytes / 1e6:,.1f} MB at {rate:,.1f} MB/s"

    @contextmanager
    def to_the_end(self) -> Iterator[None]:
        yield
        self.report(1.0, self.text)


def _log_progress(name: str) -> Report:
    started_at = time.monotonic()

    def progress(part: float | None, done: str) -> None:
        seconds = time.monotonic() - started_at
        left = f", {seconds / part - seconds:.0f} s left" if part and part < 1 else ""
        log.info("preparing %s: %s%s in %.1f s%s", name, f"{part:.0%}, " if part else "", done, seconds, left)

    return progress
