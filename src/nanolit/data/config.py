"""What to train on, as settings: the recipes in conf/data are choices of these fields. Nothing is read here."""

import codecs
import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from nanolit.runtime.typed import refuse_unread

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
SplitRule = Literal["auto", "named", "document", "contiguous", "rows", "last_file"]
NUMBER = re.compile(r"\{(:0\d+d)?\}")  # where the number stands in a url of many files

# Besides name, kind and tokens_per_shard, which all read.
_OF_FILES = (
    *("source", "dataset", "subset", "revision", "url", "sha256", "n_files", "max_files"),
    *("encoding", "split", "val_fraction", "split_seed"),
)
_OF_TEXTS = ("text_field", "separator")
_OF_DOCUMENTS = ("append_eot", "prepend_bos", "max_tokens", "shard_bytes", "deduplicate", "on_the_fly")
_OF_CONVERSATIONS = ("max_tokens", "shard_bytes", "deduplicate", "loss_on", "max_example_tokens")
CHATS = ("conversations", "tasks")  # the kinds whose rendering brings marks of its own
READ_BY = {
    "village": (*_OF_DOCUMENTS, "seed", "documents", "val_documents"),
    "text": (*_OF_DOCUMENTS, *_OF_FILES, *_OF_TEXTS),
    "conversations": (*_OF_CONVERSATIONS, *_OF_FILES, "render", "ignore_keys"),
    "tasks": (*_OF_CONVERSATIONS, "tasks", "val_tasks", "order_of_tasks"),
    "preferences": ("source", "val_fraction"),
    "tokens": ("train", "val", "dtype"),
    "grokking": ("prepend_bos", "append_eot", "operation", "modulus", "train_fraction", "seed"),
    "arithmetic": (*("min_digits", "max_digits", "max_samples", "val_fraction", "loss_on", "seed"), "append_eot"),
}


@dataclass(frozen=True)
class DataConfig:
    """Text comes from `source` (a path or a glob), else `dataset` (a name on the hub), else `url`."""

    name: str = "village"
    kind: Literal["village", "text", "conversations", "tasks", "preferences", "tokens", "grokking", "arithmetic"] = (
        "village"
    )
    # How documents are told apart: an end-of-text token after each, or the tokenizer's first token before each
    append_eot: bool = True
    prepend_bos: bool | None = None  # None: where the tokenizer's own rules say so
    # How much, and in which portions
    max_tokens: int | None = None  # of the training split; the rest of the text is not read
    shard_bytes: int | None = None  # of text in one shard; None: 4 MiB to 256 MiB, and 256 shards up to 64 GiB
    tokens_per_shard: int = 100_000_000  # about; a shard that has them ends with the document
    deduplicate: bool = False  # leave out documents whose text was there before
    on_the_fly: bool = False  # leave the training split as text; it is encoded while training goes on
    # Files, and which of their documents are for validation
    source: str | None = None
    dataset: str | None = None  # on the Hugging Face hub
    subset: str | None = None  # of the data set: its configuration
    revision: str | None = None  # of the data set; None: the newest when it was first asked for
    text_field: str = "text"  # of a row of .jsonl, .json, .csv, .parquet or .arrow
    separator: str | None = None  # of documents within a text file; None: a file is one document
    encoding: str = "utf-8"
    url: str | list[str] | None = None  # {:05d} in it stands for the number of a file
    sha256: str | None = None  # of the one file at `url`
    n_files: int | None = None  # of a url with a number
    max_files: int | None = None  # of these; the first ones, and the last, which is for validation
    # named: by the names of files (train, validation, ...); document: by a hash of each, so that a growing corpus moves
    # none; contiguous: the tail of the joined text; rows: nanoGPT's draw by split_seed; last_file: nanochat's;
    # auto: named where all names tell, contiguous for less than 100 plain files, else document
    split: SplitRule = "auto"
    val_fraction: float = 0.1
    split_seed: int = 2357
    # Conversations: with the tokenizer's chat tokens, or a prompt, its completion and end of text
    render: Literal["auto", "chat", "completion"] = "auto"
    ignore_keys: tuple[str, ...] = ()  # of rows and messages, besides those that are known
    # Of conversations and puzzles: every token is learnt, or those of answers; None: answers, of arithmetic all
    loss_on: Literal["all", "answer"] | None = None
    max_example_tokens: int | None = None  # a longer conversation ends with the last answer that fits
    # Tasks, by name, as conf/task describes them (tasks/build.py): what is learnt, mixed, and what is for validation
    tasks: dict[str, Any] | None = None
    val_tasks: dict[str, Any] | None = None
    order_of_tasks: Literal["shuffled", "sequence"] = "shuffled"  # sequence: one task after the other, as they stand
    # Tokens of other programs, used where they lie
    train: str | None = None
    val: str | None = None
    dtype: Literal["uint16", "uint32"] | None = None  # of files without a header; None: by the vocabulary
    # Generated
    seed: int = 0
    documents: int = 25_000
    val_documents: int = 500
    operation: str = "x/y"
    modulus: int = 97
    train_fraction: float = 0.5
    min_digits: int = 1
    max_digits: int = 7
    max_samples: int = 100_000  # for each number of digits

    def __post_init__(self) -> None:
        refuse_unread(self, READ_BY, "data")
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ValueError(f"data.name={self.name!r}: names a folder; use letters, digits, '.', '-' and '_'")
        counts = ("documents", "val_documents", "tokens_per_shard", "max_tokens", "shard_bytes", "n_files")
        for key in (*counts, "max_example_tokens"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ValueError(f"data.{key}={value}: must be at least 1")
        for key in ("val_fraction", "train_fraction"):
            if not 0 < getattr(self, key) < 1:
                raise ValueError(f"data.{key}={getattr(self, key)}: must be between 0 and 1, for example 0.1")
        if self.kind in ("text", "conversations") and self.source is self.dataset is self.url is None:
            raise ValueError("data.source: not given; say which text, for example data.source=my_book.txt")
        if self.kind == "preferences" and self.source is None:
            raise ValueError("data.source: not given; say which pairs, for example data.source=pairs.jsonl")
        if self.kind == "tokens" and (self.train is None or self.val is None):
            missing = "train" if self.train is None else "val"
            raise ValueError(f"data.{missing}: not given; say which file, as data.{missing}={missing}.bin")
        if self.kind == "tasks" and not self.tasks:
            raise ValueError("data.tasks: not given; name at least one task of conf/task, as data=village_sft does")
        if self.kind in ("text", "conversations"):
            self._check_files()
        for key, nothing in (("max_tokens", None), ("deduplicate", False)):
            if self.on_the_fly and getattr(self, key) != nothing:
                raise ValueError(
                    f"data.{key}={getattr(self, key)}: needs all text to be read before training, but "
                    "data.on_the_fly=true leaves it for later; leave one of them out"
                )
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            raise ValueError(f"data.encoding={self.encoding}: no such encoding; try utf-8 or latin-1") from None

    def _check_files(self) -> None:
        """What is said of a url is refused where no url of that sort is read; a `source` takes the place of all."""
        is_one = self.dataset is None and isinstance(self.url, str)
        is_numbered = is_one and NUMBER.search(str(self.url)) is not None
        if self.source is None and is_numbered and self.n_files is None:
            raise ValueError("data.n_files: not given; data.url has a number in it, say how many files there are")
        for key, is_read, of in (
            ("sha256", is_one and not is_numbered, "one file at data.url"),
            ("n_files", is_numbered, "a data.url with a number in it"),
            ("max_files", is_numbered, "a data.url with a number in it"),
            ("subset", self.dataset is not None, "a data.dataset"),
            ("revision", self.dataset is not None, "a data.dataset"),
        ):
            if self.source is None and getattr(self, key) is not None and not is_read:
                raise ValueError(f"data.{key}={getattr(self, key)}: is read of {of} only; leave it out")
        if self.max_files is not None and self.max_files < 2:
            raise ValueError(f"data.max_files={self.max_files}: must be at least 2, since the last is for validation")
        if self.separator == "":
            raise ValueError("data.separator: got an empty text; give what stands between documents, or null")
