"""Where text comes from, and which of it is for validation; no tokens here.

A source says what it is (`identity`: file hashes, seeds, the split rule, whatever decides the text, and nothing else)
and gives its text in pieces as often as it is asked to, so that nothing has to fit into memory.
"""

import codecs
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nanolit.data import text_files
from nanolit.runtime.download import fetch
from nanolit.runtime.files import sha256_file
from nanolit.runtime.typed import refuse_unread

Split = Literal["train", "val"]
OPENWEBTEXT = "Skylion007/openwebtext"
CONTIGUOUS_BELOW = 100  # files: with fewer documents a split by hash may leave validation empty

# Besides name, kind, append_eot and tokens_per_shard, which all read.
READ_BY = {
    "village": ("seed", "documents", "val_documents"),
    "text": ("source", "text_field", "val_fraction", "url", "sha256", "encoding", "split"),
    "openwebtext": ("source", "text_field", "val_fraction", "revision", "split_seed"),
}


@dataclass(frozen=True)
class DataConfig:
    """What to train on. `source` (a path, or a data set's name) goes before `url`; see conf/data for the recipes."""

    name: str = "village"
    kind: Literal["village", "text", "openwebtext"] = "village"
    append_eot: bool = True  # an end-of-text token after each document
    tokens_per_shard: int = 100_000_000
    source: str | None = None
    text_field: str = "text"  # of a row of a .jsonl file or a data set
    val_fraction: float = 0.1
    url: str | None = None
    sha256: str | None = None
    encoding: str = "utf-8"
    # contiguous: the tail of the joined text; document: by a hash of each, so that a growing corpus moves none;
    # auto: contiguous for fewer than 100 files
    split: Literal["auto", "contiguous", "document"] = "auto"
    revision: str | None = None  # of a data set on the hub
    split_seed: int = 2357
    seed: int = 0  # of the village
    documents: int = 25_000
    val_documents: int = 500

    def __post_init__(self) -> None:
        refuse_unread(self, READ_BY, "data")
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ValueError(f"data.name={self.name!r}: names a folder; use letters, digits, '.', '-' and '_'")
        for key in ("documents", "val_documents", "tokens_per_shard"):
            if getattr(self, key) < 1:
                raise ValueError(f"data.{key}={getattr(self, key)}: must be at least 1")
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"data.val_fraction={self.val_fraction}: must be between 0 and 1, for example 0.1")
        if self.kind == "text" and self.source is None and self.url is None:
            raise ValueError("data.source: not given; say which text, for example data.source=my_book.txt")
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            raise ValueError(f"data.encoding={self.encoding}: no such encoding; try utf-8 or latin-1") from None


class Piece(NamedTuple):
    """A document, or a part of one that is not its end (`ends` False)."""

    split: Split
    text: str
    ends: bool = True


@dataclass(frozen=True)
class Source:
    identity: dict[str, Any]  # plain JSON
    pieces: Callable[[], Iterator[Piece]]
    n_documents: int | None = None  # how much there will be, where it is known: for progress only
    n_bytes: int | None = None


def open_source(config: DataConfig, root: Path) -> Source:
    """The source of `config`; downloads and hashes go under `root`."""
    return {"village": _village, "text": _text, "openwebtext": _openwebtext}[config.kind](config, root)


# --- the village -----------------------------------------------------------------------------------------------------


def _village(config: DataConfig, root: Path) -> Source:
    def pieces() -> Iterator[Piece]:
        from nanolit.village import documents

        for text in documents(config.seed, "train", 0, config.documents):
            yield Piece("train", text)
        for text in documents(config.seed, "val", 0, config.val_documents):
            yield Piece("val", text)

    sizes = {"seed": config.seed, "documents": config.documents, "val_documents": config.val_documents}
    n_documents = config.documents + config.val_documents
    return Source({"kind": "village", "generator": _village_code_hash(), **sizes}, pieces, n_documents=n_documents)


def _village_code_hash() -> str:
    """The village's text changes with its code; found without importing it."""
    spec = find_spec("nanolit.village")
    assert spec is not None and spec.submodule_search_locations
    digest = hashlib.sha256()
    for path in sorted(Path(spec.submodule_search_locations[0]).glob("*.py")):
        digest.update(f"{path.name} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


# --- files of text ---------------------------------------------------------------------------------------------------


def _text(config: DataConfig, root: Path) -> Source:
    path = config.source
    if path is None:
        assert config.url is not None
        target = root / "downloads" / config.url.rstrip("/").rsplit("/", 1)[-1]
        path = str(fetch(config.url, target, config.sha256, remedy="data.source=PATH"))
    files = text_files.find(path, root)
    has_rows = any(file.path.suffix == ".jsonl" for file in files)
    contiguous = len(files) < CONTIGUOUS_BELOW and not has_rows
    split = config.split if config.split != "auto" else "contiguous" if contiguous else "document"

    def documents() -> Iterator[text_files.Document]:
        return text_files.documents(files, config.encoding, config.text_field)

    def pieces() -> Iterator[Piece]:
        return (_by_position if split == "contiguous" else _by_hash)(documents, config.val_fraction)

    identity = {
        "kind": "text",
        "files": [[file.name, file.sha256] for file in files],
        "encoding": config.encoding,
        "split": split,
        "val_fraction": config.val_fraction,
        **({"text_field": config.text_field} if has_rows else {}),
    }
    return Source(identity, pieces, n_bytes=sum(file.n_bytes for file in files))


def _by_position(documents: Callable[[], Iterator[text_files.Document]], val_fraction: float) -> Iterator[Piece]:
    """The last `val_fraction` of all characters is for validation, if need be from the middle of a document."""
    n_chars = sum(len(text) for document in documents() for text, _ in document.parts)
    n_train = int(n_chars * (1 - val_fraction))  # rounded as nanoGPT's int(n * 0.9)
    for document in documents():
        for text, ends in document.parts:
            head, tail = text[:n_train], text[n_train:]
            n_train -= len(head)
            if head:
                yield Piece("train", head, ends and not tail)
            if tail:
                yield Piece("val", tail, ends)


def _by_hash(documents: Callable[[], Iterator[text_files.Document]], val_fraction: float) -> Iterator[Piece]:
    for document in documents():
        split: Split = "val" if int(document.sha256[:16], 16) < val_fraction * 2**64 else "train"
        for text, ends in document.parts:
            yield Piece(split, text, ends)


# --- OpenWebText, or any data set of rows with a text ----------------------------------------------------------------


def _openwebtext(config: DataConfig, root: Path) -> Source:
    name = config.source or OPENWEBTEXT
    local = Path(name).expanduser()
    if local.is_dir():
        files = [[file.name, file.sha256] for file in text_files.hashed(local, local.rglob("*"), root)]
        origin: dict[str, Any] = {"files": files}
    else:
        origin = {"dataset": name, "revision": config.revision}

    def pieces() -> Iterator[Piece]:
        rows = _load_rows(name, config.revision)
        if config.text_field not in rows.column_names:
            raise ValueError(f"data.text_field={config.text_field}: the rows of {name} have {rows.column_names}")
        parts = rows.train_test_split(test_size=config.val_fraction, seed=config.split_seed, shuffle=True)
        splits: dict[Split, Any] = {"train": parts["train"], "val": parts["test"]}
        for split, part in splits.items():
            for batch in part.iter(1000):
                yield from (Piece(split, text) for text in batch[config.text_field] if text)

    settings = {"text_field": config.text_field, "val_fraction": config.val_fraction, "split_seed": config.split_seed}
    return Source({"kind": "openwebtext", **origin, **settings}, pieces)


def _load_rows(name: str, revision: str | None) -> Any:
    """A `datasets.Dataset`: the split "train" of a data set on the hub, or of a folder that `datasets` can read."""
    import datasets

    local = Path(name).expanduser()
    try:
        if (local / "dataset_dict.json").is_file():
            return datasets.load_from_disk(str(local))["train"]
        if (local / "state.json").is_file():
            return datasets.load_from_disk(str(local))
        return datasets.load_dataset(str(local) if local.is_dir() else name, split="train", revision=revision)
    except (OSError, ValueError) as error:  # no network, no such data set, no "train" in it
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"data.source={name}: cannot be loaded ({reason}); where there is a network, save it with "
            f"datasets.load_dataset('{name}').save_to_disk(PATH), bring it here and give data.source=PATH"
        ) from error
