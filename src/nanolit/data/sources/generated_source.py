"""Text that is written while it is read: the embedded village, and puzzles with their answers."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from nanolit.data.config import DataConfig, Split
from nanolit.data.sources.plan import Encoded, Item, Job, Plan, Source
from nanolit.data.sources.puzzles import Arithmetic, Grokking
from nanolit.runtime.files import sha256_file
from nanolit.tokenizers.protocol import Tokenizer

VILLAGE_DOCUMENTS = 5000  # in one job
BYTES_OF_VILLAGE = 560  # of text in a document, roughly: for progress


class _VillagePart(NamedTuple):
    seed: int
    split: Split
    start: int
    stop: int


@dataclass(frozen=True)
class VillagePlan(Plan):
    def items(self, job: Job) -> Iterator[Item]:
        from nanolit.village import documents

        for part in job.parts:
            assert part.split != "test"
            for text in documents(part.seed, part.split, part.start, part.stop):
                yield Item(part.split, text, hashlib.sha256(text.encode()).hexdigest())


def village_source(config: DataConfig) -> Source:
    sizes = {"seed": config.seed, "documents": config.documents, "val_documents": config.val_documents}

    def plan(job_bytes: int | None) -> Plan:
        step = VILLAGE_DOCUMENTS if job_bytes is None else max(job_bytes // BYTES_OF_VILLAGE, 1)
        counts: dict[Split, int] = {"train": config.documents, "val": config.val_documents}
        parts = [
            _VillagePart(config.seed, split, start, min(start + step, n))
            for split, n in counts.items()
            for start in range(0, n, step)
        ]
        jobs = [Job(i, (p.stop - p.start) * BYTES_OF_VILLAGE, (p,), p.split) for i, p in enumerate(parts)]
        return VillagePlan(jobs)

    return Source({"kind": "village", "generator": _village_code_hash(), **sizes}, plan)


def _village_code_hash() -> str:
    """The village's text changes with its code; found without importing it."""
    spec = find_spec("nanolit.village")
    assert spec is not None and spec.submodule_search_locations
    digest = hashlib.sha256()
    for path in sorted(Path(spec.submodule_search_locations[0]).glob("*.py")):
        digest.update(f"{path.name} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


# --- puzzles ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PuzzlePlan(Plan):
    """Questions with their answers; the loss is on the answers, or on all."""

    puzzle: Grokking | Arithmetic
    answers_only: bool

    def items(self, job: Job) -> Iterator[Item]:
        (split,) = job.parts
        for example in self.puzzle.examples(split):
            yield Item(split, example, hashlib.sha256("".join(example).encode()).hexdigest())

    def encode(self, tokenizer: Tokenizer, contents: list[Any]) -> list[Encoded]:
        questions = tokenizer.encode_batch([example.question for example in contents])
        answers = tokenizer.encode_batch([example.answer for example in contents])
        return [self._joined(*pair) for pair in zip(questions, answers, strict=True)]

    def _joined(self, question: np.ndarray, answer: np.ndarray) -> Encoded:
        ids = np.concatenate([question, answer])
        return Encoded(ids, np.arange(len(ids)) >= len(question) if self.answers_only else None)

    def n_bytes(self, content: Any) -> int:
        return sum(map(len, content))

    def text(self, content: Any) -> str:
        return " ".join(content)


def puzzle_source(config: DataConfig) -> Source:
    if config.kind == "grokking":
        puzzle: Grokking | Arithmetic = Grokking(config.operation, config.modulus, config.train_fraction, config.seed)
        identity: dict[str, Any] = {"kind": "grokking", **asdict(puzzle)}
    else:
        puzzle = Arithmetic(config.min_digits, config.max_digits, config.max_samples, config.val_fraction, config.seed)
        identity = {"kind": "arithmetic", **asdict(puzzle), "loss_on": config.loss_on}
    answers_only = config.kind == "grokking" or config.loss_on == "answer"

    def plan(job_bytes: int | None) -> Plan:
        splits: tuple[Literal["train", "val"], ...] = ("train", "val")
        jobs = [Job(i, 12 * puzzle.n_examples(split), (split,), split) for i, split in enumerate(splits)]
        return PuzzlePlan(jobs, puzzle, answers_only)

    return Source(identity, plan)
