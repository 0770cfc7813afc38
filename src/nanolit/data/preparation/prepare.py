"""From a source to a folder of token shards that explains itself; not a loader of batches.

A prepared folder never changes: its name carries a hash of all that decides its bytes (source, split, tokenizer). While
it is built it is called `….partial`; there finished jobs wait for the others, through any number of kills. Complete, it
is renamed. Another text, seed or tokenizer makes another folder.
"""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any

from nanolit.data.config import CHATS, SPLITS, DataConfig
from nanolit.data.preparation import duplicates
from nanolit.data.preparation.adopt import adopt
from nanolit.data.preparation.jobs import Progress, Receipt, Work, hash_documents, run_job
from nanolit.data.preparation.manifest import FORMAT, folder_name, is_training, join, needed, redo_damaged
from nanolit.data.preparation.workers import jobs_of_piece, run_jobs
from nanolit.data.sources.open import open_source
from nanolit.data.sources.plan import Job, Plan, Source
from nanolit.runtime.files import locked, read_json, write_json
from nanolit.tokenizers.directory import TokenizerConfig, build_tokenizer, identity, load_tokenizer
from nanolit.tokenizers.protocol import Tokenizer

REPORT_EVERY_S = 2.0
WHOLE, PIECE = "whole", "piece-"  # names of locks

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
    if build.is_complete:
        build.tell_where_text_is()
    else:
        with build.alone():
            if not build.is_complete:  # nobody else has made it in the meantime
                build.run()
                if not build.is_joined and redo_damaged(
                    build.work, needed(build.work, data.max_tokens)[0], thorough=False
                ):
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
        with build.alone(f"{PIECE}{piece}-of-{n_pieces}"):
            build.run(piece, n_pieces)
    return build.folder


def merge(data: DataConfig, tokenizer: TokenizerConfig, root: Path | str) -> Path:
    """Joins what the pieces made; refuses if something is missing."""
    build = Build(data, tokenizer, Path(root))
    if not build.is_complete:
        with build.alone():
            if not (build.is_complete or build.is_joined):
                n_jobs = len(build.work.jobs)
                done, missing = needed(build.work, data.max_tokens)
                if missing is not None:
                    raise ValueError(
                        f"prepare.merge: {len(done)} of {n_jobs} jobs of {build.folder.name} are done, number "
                        f"{missing.number} is not; run the missing pieces, or leave out prepare.merge"
                    )
                if damaged := redo_damaged(build.work, done, thorough=True):
                    raise ValueError(
                        f"prepare.merge: the shards of job(s) {', '.join(str(job.number) for job in damaged)} are "
                        "damaged; run the pieces again, which does these jobs only, or leave out prepare.merge"
                    )
            build.finish()
    return build.folder


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
        if self.data.append_eot and self.config.kind == "char" and self.data.kind not in CHATS:
            raise ValueError(
                "data.append_eot=true: the char tokenizer has no end-of-text token; give data.append_eot=false, "
                "or tokenizer=byte"
            )
        self.source = open_source(self.data, self.root)
        self.folder = self.root / folder_name(self.data, _decisive(self.source, self.data, self.config))
        self.partial = self.folder.with_name(f"{self.folder.name}.partial")

    @property
    def is_complete(self) -> bool:
        return (self.folder / "manifest.json").is_file()

    @property
    def is_joined(self) -> bool:
        """Has it only to be renamed?"""
        return (self.partial / "manifest.json").is_file()

    @cached_property
    def plan(self) -> Plan:
        return self.source.plan(self.data.shard_bytes)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Made once for all pieces and kept in the folder."""
        folder = self.partial / "tokenizer"
        with self.alone("tokenizer"):
            if not (folder / "tokenizer_config.json").is_file():  # written last
                made = build_tokenizer(self.config, lambda: self.plan.learning_texts(self.config))
                if self.accept:
                    self.accept(made)
                made.save(folder)
                if made.vocab_size < (self.config.vocab_size or 0):
                    log.info(
                        "tokenizer: %s ids instead of %s, as no other pair of tokens comes twice in the text",
                        *(f"{n:,}" for n in (made.vocab_size, self.config.vocab_size)),
                    )
        found = load_tokenizer(folder)
        if self.accept:
            self.accept(found)
        return found

    @cached_property
    def work(self) -> Work:
        data, tokenizer = self.data, self.tokenizer
        is_rendered = data.kind in CHATS  # which brings its own marks
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

    def tell_where_text_is(self) -> None:
        """Text that is encoded on the fly may have moved since; it is the same text, or the folder would be another."""
        path = self.folder / "manifest.json"
        if self.data.on_the_fly and (manifest := read_json(path))["on_the_fly"] != self._on_the_fly:
            write_json(path, manifest | {"on_the_fly": self._on_the_fly})

    @property
    def _on_the_fly(self) -> dict[str, Any] | None:
        """What it takes to find the text again, as JSON has it."""
        return json.loads(json.dumps(asdict(self.data))) if self.data.on_the_fly else None

    @contextmanager
    def alone(self, what: str = WHOLE) -> Iterator[None]:
        """While nobody else does the same."""
        with locked(self.root, f"{self.folder.name}/{what}", self._tell_waiting):
            yield

    def _tell_waiting(self) -> None:
        log.info("%s is being prepared by another process; waiting for it", self.folder)

    def run(self, piece: int = 0, n_pieces: int = 1) -> None:
        """All jobs, or those of a piece, unless they have been done before."""
        if self.is_joined:
            return
        try:
            self._run(piece, n_pieces)
        except ValueError:  # refused before anything was done that another attempt could use
            if n_pieces == 1 and not list(self.partial.glob("jobs/*.json")):
                shutil.rmtree(self.partial, ignore_errors=True)
            raise

    def _run(self, piece: int, n_pieces: int) -> None:
        work, tokenizer = self.work, self.tokenizer
        log.info("preparing %s in %s", self.data.name, self.folder)
        if self.data.deduplicate:
            self._find_duplicates()
        jobs = list(jobs_of_piece(work.jobs, piece, n_pieces))
        cap = _Cap(self.data.max_tokens, jobs, work)
        left = [job for job in jobs if job.number not in cap.n_tokens]
        if len(left) < len(jobs):
            log.info("%d of %d jobs were done before", len(jobs) - len(left), len(jobs))
        # What is not for training comes first: of a training split with max_tokens the end is not needed.
        others, training = [job for job in left if not is_training(job)], [job for job in left if is_training(job)]
        left = others if cap.is_full else others + training
        counted = _Counted(self.data, self.progress or _log_progress(self.data.name), sum(job.n_bytes for job in left))

        def enough(place: int, receipt: Receipt) -> bool:
            cap.note(left[place], receipt)
            return cap.is_full and all(job.number in cap.n_tokens for job in others)

        with counted.to_the_end():
            run_jobs(run_job, work, tokenizer, left, counted.tell, self.n_workers, enough)

    def _find_duplicates(self) -> None:
        work, jobs = self.work, self.plan.jobs
        (self.partial / "jobs").mkdir(parents=True, exist_ok=True)
        with self.alone("duplicates"):  # which pieces need whole
            if all(work.duplicates_path(job.number).is_file() for job in jobs):
                return
            log.info("looking for documents that come twice")
            run_jobs(hash_documents, work, self.tokenizer, jobs, lambda progress: None, self.n_workers)
            found = duplicates.find_duplicates([work.hashes_path(job) for job in jobs], work.duplicates_path)
            found += self.plan.n_twins
            log.info(
                "%s", f"documents that come again and are left out: {found:,}" if found else "no document comes again"
            )

    def finish(self) -> None:
        """The manifest, and the name."""
        if self.is_complete:
            return
        for lock in sorted((self.root / ".locks" / self.folder.name).glob(f"{PIECE}*")):
            with self.alone(lock.name):  # a piece that is still at work would miss the folder under its hands
                pass
        if not self.is_joined:
            decisive = _decisive(self.source, self.data, self.config)
            decisive["on_the_fly"] = self._on_the_fly
            try:
                manifest = join(self.work, self.tokenizer, self.data, decisive)
            except ValueError:  # a split without tokens: with these settings there is nothing to go on with
                shutil.rmtree(self.partial)
                raise
            write_json(self.partial / "manifest.json", manifest)
        shutil.rmtree(self.partial / "jobs", ignore_errors=True)
        self.partial.rename(self.folder)


class _Cap:
    """Are the training tokens of the finished jobs, without a gap from the first on, as many as are wanted?"""

    def __init__(self, max_tokens: int | None, jobs: list[Job], work: Work) -> None:
        self.max_tokens, self.training = max_tokens, [job.number for job in jobs if is_training(job)]
        self.n_tokens: dict[int, int] = {}  # for training, of each finished job
        for job in jobs:
            if (receipt := Receipt.read(work.receipt_path(job))).done:
                self.note(job, receipt)

    def note(self, job: Job, receipt: Receipt) -> None:
        self.n_tokens[job.number] = receipt.n_tokens("train")

    @property
    def is_full(self) -> bool:
        if self.max_tokens is None:
            return False
        whole = takewhile(self.n_tokens.__contains__, self.training)
        return any(total >= self.max_tokens for total in accumulate(self.n_tokens[number] for number in whole))


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
