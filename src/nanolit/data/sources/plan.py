"""The portions in which a source is read: jobs, always the same ones, which any process reads alone and in any order.

What a job gives does not depend on who reads it, and nothing has to fit into memory. No file is opened here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from nanolit.data.config import Split
from nanolit.tokenizers.directory import TokenizerConfig
from nanolit.tokenizers.protocol import Tokenizer


class Job(NamedTuple):
    number: int
    n_bytes: int  # of text, as far as is known without reading: for progress
    parts: tuple[Any, ...]  # what it reads, as its plan knows it
    split: Split | None = None  # None: its documents are of several


class Item(NamedTuple):
    """A document, or a part of one."""

    split: Split
    content: Any  # text, or whatever the plan's `encode` makes tokens of
    key: str = ""  # SHA-256 of the document
    begins: bool = True
    ends: bool = True


class Encoded(NamedTuple):
    ids: np.ndarray
    supervised: np.ndarray | None = None  # which of them are to be predicted; None: all


@dataclass(frozen=True)
class Plan:
    """The jobs of a source. It travels to other processes as it is."""

    jobs: Sequence[Job]
    n_twins: int = field(default=0, kw_only=True)  # documents that are left out as copies without being read

    def items(self, job: Job) -> Iterator[Item]:
        """The job's documents in order; the first may go on from the job before."""
        raise TypeError(f"{type(self).__name__} reads nothing")

    def encode(self, tokenizer: Tokenizer, contents: list[Any]) -> list[Encoded]:
        return [Encoded(ids) for ids in tokenizer.encode_batch(contents)]

    def n_bytes(self, content: Any) -> int:
        return len(content) if content.isascii() else len(content.encode("utf-8", errors="replace"))

    def facts(self, job: Job) -> dict[str, Any]:
        """What is known of a job once it has been read, for the manifest."""
        return {}

    def texts(self, split: Split | None = None, max_document_chars: int | None = None) -> Iterator[str]:
        """All text in order, of one split or of all: documents, or parts of long ones; of each its beginning."""
        n_taken = 0
        for job in self.jobs:
            for item in self.items(job) if split is None or job.split in (None, split) else ():
                n_taken = 0 if item.begins else n_taken
                text = self.text(item.content)
                if max_document_chars is not None:
                    text = text[: max(max_document_chars - n_taken, 0)]
                n_taken += len(text)
                if text and split in (None, item.split):
                    yield text

    def text(self, content: Any) -> str:
        return content

    def learning_texts(self, tokenizer: TokenizerConfig) -> Iterator[str]:
        """What a tokenizer is made of: characters are counted in all of the text, as nanoGPT does; merges are learnt
        from the training split.
        """
        return self.texts(None if tokenizer.kind == "char" else "train", tokenizer.max_document_chars)


@dataclass(frozen=True)
class Source:
    identity: dict[str, Any]  # plain JSON
    make_plan: Callable[[int | None], Plan] = field(repr=False)  # from the bytes of text in one job; None: by the size

    def plan(self, job_bytes: int | None = None) -> Plan:
        return self.make_plan(job_bytes)

    def texts(self, split: Split | None = None, max_document_chars: int | None = None) -> Iterator[str]:
        return self.plan().texts(split, max_document_chars)

    def learning_texts(self, tokenizer: TokenizerConfig) -> Iterator[str]:
        return self.plan().learning_texts(tokenizer)
