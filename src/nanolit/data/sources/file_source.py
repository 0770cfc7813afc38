"""Documents and conversations of files, here or elsewhere, and which of them are for validation; no tokens here."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from nanolit.data.config import DataConfig, Split, SplitRule
from nanolit.data.sources import formats, separated
from nanolit.data.sources.files import DataFile
from nanolit.data.sources.formats import Document, Span, spans
from nanolit.data.sources.plan import Encoded, Item, Job, Plan, Source
from nanolit.data.sources.remote import RemoteFile, fetched, remote_files
from nanolit.tokenizers.protocol import Tokenizer

CONTIGUOUS_BELOW = 100  # files: with fewer documents a split by hash may leave validation empty
MOST_SHARDS = 256
LEAST_SHARD_BYTES, MOST_SHARD_BYTES = 4 << 20, 256 << 20


@dataclass(frozen=True)
class FilePlan(Plan):
    """Documents of files. `rule` says which split each is of."""

    config: DataConfig
    root: Path
    rule: str
    n_train_chars: int = 0  # contiguous: the text from there on is for validation
    chars_before: tuple[int, ...] = ()  # contiguous: by job
    rows_before: tuple[int, ...] = ()  # rows: by job
    val_rows: np.ndarray | None = field(default=None, repr=False, compare=False)  # rows: sorted

    def items(self, job: Job) -> Iterator[Item]:
        if self.rule == "contiguous":
            return self._by_position(job)
        return self._by_document(job)

    def _by_document(self, job: Job) -> Iterator[Item]:
        for number, document in enumerate(self._documents(job)):
            split = self._split(job, number, document.key)
            begins = document.begins
            for text, ends in document.parts:
                yield Item(split, text, document.key, begins, ends)
                begins = False

    def _by_position(self, job: Job) -> Iterator[Item]:
        left = self.n_train_chars - self.chars_before[job.number]
        for document in self._documents(job):
            begins = document.begins
            for text, ends in document.parts:
                head, tail = text[: max(left, 0)], text[max(left, 0) :]
                is_cut = left >= 0
                left -= len(text)
                if head and job.split == "train":
                    yield Item("train", head, document.key, begins, ends and not tail)
                if tail and job.split == "val":  # a document of its own, and no copy of the first half
                    yield Item("val", tail, document.key[::-1], begins or is_cut, ends)
                begins = begins and not text

    def _split(self, job: Job, number: int, key: str) -> Split:
        if job.split is not None:
            return job.split
        if self.rule == "rows":
            assert self.val_rows is not None
            row = self.rows_before[job.number] + number
            at = int(np.searchsorted(self.val_rows, row))
            return "val" if at < len(self.val_rows) and self.val_rows[at] == row else "train"
        return "val" if int(key[:16], 16) < self.config.val_fraction * 2**64 else "train"

    def _documents(self, job: Job) -> Iterator["_Document"]:
        for part in job.parts:
            whole = [part] if isinstance(part, Span) else cut(self.config, [fetched(part, self.root)], 1 << 62)
            for span in whole:
                yield from self._documents_of(span)

    def _documents_of(self, span: Span) -> Iterator["_Document"]:
        if self.rule == "rows":
            yield from self._every_row(span)
            return
        if self.config.separator is not None and span.file.kind == "text":
            yield from map(_Document, separated.documents(span, self.encoding, self.config.separator))
            return
        begins = span.start == 0 or span.file.kind != "text"
        for document in formats.documents(span, self.encoding, self.config.text_field):
            yield _Document(document, begins)

    def _every_row(self, span: Span) -> Iterator["_Document"]:
        """Rows without text too, as numbers are drawn among all of them."""
        for where, row in formats.rows(span, self.encoding, [self.config.text_field]):
            text = formats.text_of(row, self.config.text_field, where) or ""
            parts = [(text, True)] if text else []
            yield _Document(Document(hashlib.sha256(text.encode()).hexdigest(), parts))

    def facts(self, job: Job) -> dict[str, Any]:
        """The hashes of files from elsewhere, each once; those of files here stand in the source's identity."""
        if self.config.source is not None:
            return {}
        parts = [part for part in job.parts if isinstance(part, RemoteFile) or part.start == 0]
        files = [fetched(part, self.root) if isinstance(part, RemoteFile) else part.file for part in parts]
        return {"files": [[file.name, file.sha256] for file in files]}

    @property
    def encoding(self) -> str:
        return self.config.encoding


class _Document:
    """A document as its file gives it, and whether it begins there."""

    def __init__(self, document: Document, begins: bool = True) -> None:
        self.key, self.parts, self.begins = document.key, document.parts, begins


@dataclass(frozen=True)
class ConversationPlan(FilePlan):
    def _documents_of(self, span: Span) -> Iterator[Any]:
        from nanolit.data.sources import conversations

        for where, row in formats.rows(span, self.encoding):
            example = conversations.parse(row, where, self.config.ignore_keys)
            yield _Document(Document(conversations.key(example), [((example, where), True)]))  # type: ignore[list-item]

    def encode(self, tokenizer: Tokenizer, contents: list[Any]) -> list[Encoded]:
        from nanolit.data.sources.conversations import encoded

        rows = []
        for example, where in contents:
            try:
                rows.append(encoded(example, tokenizer, self.config))
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
        return rows

    def n_bytes(self, content: Any) -> int:
        from nanolit.data.sources import conversations

        return conversations.n_bytes(content[0])

    def text(self, content: Any) -> str:
        from nanolit.data.sources import conversations

        return "\n\n".join(conversations.texts(content[0]))


def local_source(config: DataConfig, files: list[DataFile]) -> Source:
    rule = _rule(config, files)
    identity = {
        "kind": config.kind,
        "files": [[file.name, file.sha256] for file in files],
        **_reading(config, rule, has_rows=any(file.kind != "text" for file in files)),
    }

    def plan(job_bytes: int | None) -> Plan:
        target = job_bytes or default_shard_bytes(sum(file.n_bytes for file in files))
        groups: dict[Split | None, list[Span]] = {}
        kept = _without_twins(files) if config.deduplicate else files
        for span in cut(config, kept, target):
            groups.setdefault(_split_of_file(config, files, rule, span.file), []).append(span)
        plan = _file_plan(config, Path(), rule, jobs_of(groups, target))
        return replace(plan, n_twins=len(files) - len(kept))

    return Source(identity, plan)


def remote_source(config: DataConfig, root: Path) -> Source:
    origin, files = remote_files(config, root)
    rule = _rule(config, files)
    identity = {"kind": config.kind, **origin, **_reading(config, rule, has_rows=True)}

    def plan(job_bytes: int | None) -> Plan:
        if rule == "rows" or job_bytes is not None:  # rows have to be counted; or parts of files are wanted
            here = [fetched(file, root) for file in files]
            return local_source(replace(config, split=rule), here).plan(job_bytes)
        groups: dict[Split | None, list[Any]] = {}
        for file in files:
            groups.setdefault(_split_of_file(config, files, rule, file), []).append(file)
        return _file_plan(config, root, rule, jobs_of(groups, 1))  # a file each

    return Source(identity, plan)


def _rule(config: DataConfig, files: Sequence[DataFile | RemoteFile]) -> SplitRule:
    """Which documents are for validation: what was asked for, or what the files suggest."""
    is_named = all(file.split for file in files) and {file.split for file in files} > {"train"}
    if config.split == "named" and not is_named:
        raise ValueError(
            "data.split=named: needs files for training and for validation whose names say so (train, validation, "
            "valid, dev, val or test); rename them, or give data.split=document"
        )
    if config.split == "last_file" and len(files) < 2:
        raise ValueError("data.split=last_file: there is only one file; give two or more, or data.split=document")
    if config.split == "contiguous" and config.kind == "conversations":
        raise ValueError("data.split=contiguous: conversations are no joined text; give data.split=document or rows")
    if config.split != "auto":
        return config.split
    if is_named:
        return "named"
    # (A few documents would often leave validation empty if each were drawn.)
    plain = config.kind == "text" and config.separator is None and all(file.kind == "text" for file in files)
    return "contiguous" if plain and len(files) < CONTIGUOUS_BELOW else "document"


def _reading(config: DataConfig, rule: str, has_rows: bool) -> dict[str, Any]:
    """The settings that decide what comes out of the files."""
    told: dict[str, Any] = {"encoding": config.encoding, "split": rule}
    if rule in ("document", "contiguous", "rows"):
        told["val_fraction"] = config.val_fraction
    if rule == "rows":
        told["split_seed"] = config.split_seed
    if has_rows and config.kind == "text":
        told["text_field"] = config.text_field
    if config.separator is not None:
        told["separator"] = config.separator
    if config.kind == "conversations":
        told |= {"render": config.render, "ignore_keys": list(config.ignore_keys), **rendering(config)}
    return told


def rendering(config: DataConfig) -> dict[str, Any]:
    """The settings that decide how a conversation becomes tokens, where they are not the default."""
    told = {"loss_on": config.loss_on, "max_example_tokens": config.max_example_tokens}
    return {key: value for key, value in told.items() if value not in (None, "answer")}


def _split_of_file(config: DataConfig, files: Sequence[Any], rule: str, file: Any) -> Split | None:
    if rule == "last_file":
        return "val" if file.name == files[-1].name else "train"
    if rule != "named":
        return None
    has_val = any(other.split == "val" for other in files)
    return "val" if file.split == "test" and not has_val else file.split


def default_shard_bytes(n_bytes: int) -> int:
    return min(max(n_bytes // MOST_SHARDS, LEAST_SHARD_BYTES), MOST_SHARD_BYTES)


def cut(config: DataConfig, files: list[DataFile], target_bytes: int) -> list[Span]:
    """The files in parts that can be read alone."""
    if config.separator is None:
        return spans(files, target_bytes, config.encoding)
    cut_texts = [
        separated.spans([f], target_bytes, config.encoding, config.separator) for f in files if f.kind == "text"
    ]
    return [*chain(*cut_texts), *spans([f for f in files if f.kind != "text"], target_bytes, config.encoding)]


def jobs_of(groups: dict[Split | None, list[Any]], target_bytes: int) -> list[Job]:
    """Neighbouring parts of one split together, up to about `target_bytes`."""
    jobs: list[Job] = []
    for split, parts in groups.items():
        group: list[Any] = []
        n_bytes = 0
        for i, part in enumerate(parts):
            group.append(part)
            n_bytes += part.n_bytes
            if n_bytes >= 0.75 * target_bytes or i == len(parts) - 1:
                jobs.append(Job(len(jobs), n_bytes, tuple(group), split))
                group, n_bytes = [], 0
    return jobs


def _without_twins(files: list[DataFile]) -> list[DataFile]:
    """Of text files with equal content the first."""
    seen: set[str] = set()
    kept = []
    for file in files:
        if file.kind != "text" or file.sha256 not in seen:
            kept.append(file)
        seen.add(file.sha256)
    return kept


def _file_plan(config: DataConfig, root: Path, rule: str, jobs: list[Job]) -> FilePlan:
    kind = ConversationPlan if config.kind == "conversations" else FilePlan
    plan = kind(jobs, config, root, rule)
    if rule == "contiguous":
        counts = [sum(len(text) for document in plan._documents(job) for text, _ in document.parts) for job in jobs]
        n_train = int(sum(counts) * (1 - config.val_fraction))  # rounded as nanoGPT's int(n * 0.9)
        both: tuple[Split, ...] = ("train", "val")
        halves = [
            (job, split, before)
            for job, before, n_chars in zip(jobs, _before(counts), counts, strict=True)
            for split in both
            if (before < n_train if split == "train" else before + n_chars > n_train)
        ]
        jobs = [job._replace(number=number, split=split) for number, (job, split, _) in enumerate(halves)]
        return replace(plan, jobs=jobs, n_train_chars=n_train, chars_before=tuple(before for *_, before in halves))
    if rule == "rows":
        counts = [sum(formats.count_rows(span, config.encoding) for span in job.parts) for job in jobs]
        return replace(plan, rows_before=_before(counts), val_rows=_drawn_rows(sum(counts), config))
    return plan


def _drawn_rows(n_rows: int, config: DataConfig) -> np.ndarray:
    """The rows that `datasets.train_test_split(test_size=val_fraction, seed=split_seed, shuffle=True)` takes."""
    n_val = int(np.ceil(config.val_fraction * n_rows))
    return np.sort(np.random.default_rng(config.split_seed).permutation(n_rows)[:n_val])


def _before(counts: Iterable[int]) -> tuple[int, ...]:
    total, before = 0, []
    for count in counts:
        before.append(total)
        total += count
    return tuple(before)
