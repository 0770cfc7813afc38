"""A prepared folder, open: its shards are mapped into memory, its tokenizer is read when asked for."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nanolit.data.config import DataConfig, Split
from nanolit.data.foreign_shards import open_foreign
from nanolit.data.preparation.jobs import Work
from nanolit.data.preparation.manifest import FORMAT
from nanolit.data.serving.rows import Delimiter
from nanolit.data.shards import Shard, open_shard
from nanolit.data.sources.open import open_source
from nanolit.runtime.files import read_json
from nanolit.runtime.typed import build
from nanolit.tokenizers.directory import load_tokenizer
from nanolit.tokenizers.protocol import Tokenizer


@dataclass(frozen=True)
class Prepared:
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
        if split not in self.splits:
            raise ValueError(
                f"split: {self.folder} has no {split} split in tokens, only {', '.join(self.splits)}; give one of these"
            )
        return self.splits[split]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        tokenizer = load_tokenizer(self.folder / "tokenizer")
        self.require(tokenizer)
        return tokenizer

    @property
    def is_supervised(self) -> bool:
        """Does it say which tokens are to be predicted?"""
        return any(shard.header.has_mask for shards in self.splits.values() for shard in shards)

    @property
    def delimiter(self) -> Delimiter | None:
        """Where the token stands that tells documents apart."""
        marks = self.manifest["marks"]
        if marks["prepend_bos"]:
            return "before"
        return "after" if marks["append_eot"] else None

    def text_work(self, job_bytes: int) -> Work:
        """The training text in portions, of data that is to be encoded on the fly."""
        data = build(DataConfig, self.manifest["on_the_fly"], "data")
        source = open_source(data, self.folder.parent)
        if source.identity != self.manifest["source"]:
            raise ValueError(
                f"{self.folder}: its training text is to be encoded on the fly, and is no longer what it was when the "
                f"folder was prepared; restore it ({data.source or data.dataset or data.url or data.kind}), or prepare "
                "again"
            )
        marks = self.manifest["marks"]
        return Work(source.plan(job_bytes), self.folder, ("train",), **marks, tokens_per_shard=data.tokens_per_shard)

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
    shard = _adopted(folder, entry, manifest) if "foreign" in entry else open_shard(folder / entry["file"])
    for what, found, expected in (
        ("tokenizer fingerprint", shard.header.fingerprint, manifest["tokenizer"]["fingerprint"]),
        ("content hash", shard.header.sha256, entry["sha256"]),
        ("number of tokens", shard.header.n_tokens, entry["tokens"]),
    ):
        if found != expected:
            raise ValueError(
                f"{shard.path}: has {what} {found}, manifest.json says {expected}; the file belongs to other data: "
                f"delete {folder} and prepare it again"
            )
    return shard


def _adopted(folder: Path, entry: dict[str, Any], manifest: dict[str, Any]) -> Shard:
    """A file of another program, which says neither its tokenizer nor where its documents begin."""
    known, told = manifest["tokenizer"], entry["foreign"]
    shard = open_foreign(
        entry["file"], known["fingerprint"], known["vocab_size"], told["dtype"], sha256=entry["sha256"]
    )
    starts = np.load(folder / told["starts"], mmap_mode="r")
    return replace(shard, starts=starts, header=replace(shard.header, n_documents=len(starts)))
