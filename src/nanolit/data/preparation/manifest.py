"""What a prepared folder says of itself: `manifest.json`, joined from the receipts of all jobs."""

import hashlib
import json
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from nanolit.data.config import DataConfig
from nanolit.data.preparation.jobs import Receipt, Work
from nanolit.data.shards import open_shard, shard_writer
from nanolit.data.sources.plan import Job
from nanolit.tokenizers.protocol import Tokenizer

FORMAT = 2
COPIED_TOKENS = 1 << 24  # at once, where a shard is cut


def join(work: Work, tokenizer: Tokenizer, data: DataConfig, decisive: dict[str, Any]) -> dict[str, Any]:
    """The manifest of the finished jobs; of a training split with `max_tokens` the rest of the files is removed."""
    jobs, missing = needed(work, data.max_tokens)
    assert missing is None, f"job {missing} is not finished"
    receipts = [Receipt.read(work.receipt_path(job)) for job in jobs]
    splits: dict[str, Any] = {}
    for split in work.splits:
        shards = [shard for receipt in receipts for shard in receipt.shards.get(split, ())]
        if split == "train" and data.max_tokens is not None:
            shards = _capped(work.folder, shards, data.max_tokens, tokenizer)
        totals = {name: sum(shard[name] for shard in shards) for name in ("documents", "tokens", "bytes")}
        listed = [{name: shard[name] for name in ("file", "tokens", "sha256")} for shard in shards]
        if shards or split != "test":
            splits[split] = totals | {"shards": listed}
        if split != "test" and totals["tokens"] == 0:
            raise ValueError(
                f"data.name={data.name}: the {split} split came out empty, of "
                f"{sum(len(r.shards) > 0 for r in receipts)} job(s) with text; give more of it, another "
                f"data.val_fraction (now {data.val_fraction}), or another data.split, as "
                f"{'rows' if data.kind == 'conversations' else 'contiguous'}"
            )
    kept = {shard["file"] for facts in splits.values() for shard in facts["shards"]}
    for path in work.folder.iterdir():
        if path.is_file() and path.name not in kept:
            path.unlink()
    return {
        **with_tokenizer(decisive, tokenizer),
        "marks": {"append_eot": work.append_eot, "prepend_bos": work.prepend_bos},
        "splits": splits,
        "jobs": [job.number for job in jobs],
        "left_out": {"duplicates": work.plan.n_twins + sum(receipt.n_dropped for receipt in receipts)},
        **_facts(receipts),
        "versions": versions(),
    }


def with_tokenizer(decisive: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """What was decided before there was a tokenizer, and which one it became."""
    found = {"fingerprint": tokenizer.fingerprint, "vocab_size": tokenizer.vocab_size}
    return decisive | {"tokenizer": decisive["tokenizer"] | found}


def folder_name(data: DataConfig, decisive: dict[str, Any]) -> str:
    """A prepared folder carries a hash of all that decides its bytes, and nothing that does not."""
    return f"{data.name}-{hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:12]}"


def is_training(job: Job) -> bool:
    return job.split in (None, "train")


def needed(work: Work, max_tokens: int | None) -> tuple[list[Job], Job | None]:
    """The jobs whose shards make up the result, in order: all, or as many as it takes to reach `max_tokens`. And the
    first of them that is not finished; behind it nobody knows.
    """
    found, n_tokens, missing = [], 0, None
    for job in work.jobs:
        if is_training(job) and max_tokens is not None and n_tokens >= max_tokens:
            continue
        receipt = Receipt.read(work.receipt_path(job))
        if receipt.done:
            found.append(job)
            n_tokens += receipt.n_tokens("train")
        else:
            missing = missing or job
            if is_training(job) and max_tokens is not None:
                break
    return found, missing


def redo_damaged(work: Work, jobs: list[Job], thorough: bool) -> list[Job]:
    """The jobs whose shards are not what their receipts say. They lose the receipts, so that they are done again."""
    damaged = []
    for job in jobs:
        shards = [shard for of_split in Receipt.read(work.receipt_path(job)).shards.values() for shard in of_split]
        try:
            whole = all(_is_whole(work.folder / shard["file"], shard, thorough) for shard in shards)
        except ValueError:
            whole = False
        if not whole:
            work.receipt_path(job).unlink()
            damaged.append(job)
    return damaged


def _is_whole(path: Path, facts: dict[str, Any], thorough: bool) -> bool:
    shard = open_shard(path)
    if thorough:
        shard.verify()
    return (shard.header.sha256, shard.header.n_tokens) == (facts["sha256"], facts["tokens"])


def _capped(folder: Path, shards: list[dict[str, Any]], max_tokens: int, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """The first shards, the last of them cut, with `max_tokens` tokens or all there are."""
    kept: list[dict[str, Any]] = []
    left = max_tokens
    for shard in shards:
        if left <= 0:
            break
        if shard["tokens"] <= left:
            kept.append(shard)
        elif (n_tokens := _whole_examples(folder / shard["file"], left)) > 0:
            kept.append(_cut(folder, shard, n_tokens, tokenizer))
        left -= shard["tokens"]
    return kept


def _whole_examples(path: Path, n_tokens: int) -> int:
    """Where a shard may be cut: of supervised data only between two examples."""
    shard = open_shard(path)
    if shard.mask is None:
        return n_tokens
    return int(shard.starts[shard.starts <= n_tokens].max(initial=0))


def _cut(folder: Path, facts: dict[str, Any], n_tokens: int, tokenizer: Tokenizer) -> dict[str, Any]:
    """The shard's first tokens in its place. Done again after a kill, it finds the same."""
    shard = open_shard(folder / facts["file"])
    ids = shard.tokens[:n_tokens]
    starts = shard.starts[shard.starts < n_tokens]
    byte_lengths, n_bytes = tokenizer.byte_lengths(), 0
    with shard_writer(folder / facts["file"], tokenizer.vocab_size, tokenizer.fingerprint) as writer:
        for at in range(0, n_tokens, COPIED_TOKENS):
            part = slice(at, min(at + COPIED_TOKENS, n_tokens))
            within = starts[(starts >= at) & (starts < part.stop)] - np.uint64(at)
            writer.append_many(ids[part], within, shard.supervised_slice(part.start, part.stop))
            n_bytes += int(byte_lengths[ids[part]].sum())
    assert writer.header is not None
    changed = {"documents": len(starts), "tokens": n_tokens, "bytes": n_bytes, "sha256": writer.header.sha256}
    return facts | changed


def _facts(receipts: list[Receipt]) -> dict[str, Any]:
    """What the jobs found out, as lists."""
    facts: dict[str, Any] = {}
    for receipt in receipts:
        for name, values in receipt.facts.items():
            facts.setdefault(name, []).extend(values)
    return facts


def versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for package in ("nanolit", "numpy", "tiktoken", "rustbpe", "tokenizers", "pyarrow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
