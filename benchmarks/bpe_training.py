"""What training a BPE costs over the two libraries that can, called directly on the same documents with equal patterns.

    python benchmarks/bpe_training.py [mb=20] [vocab_size=4096] [repeats=7] [text=FILE]

The text is the village's, or a file's, of which each 2,000 characters are a document. The three take turns. Promise, of
20 MB and 4096 ids: at most 1.2 times the time of the faster library.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import rustbpe
from reporting import Row, read_arguments, report, stop
from tokenizers import trainers

from nanolit.tokenizers.bpe import SPLIT_PATTERN, train_bpe
from nanolit.tokenizers.byte_level import hugging_face_bpe, to_characters
from nanolit.village import documents

DOCUMENT_CHARS = 2000


@dataclass(frozen=True)
class Arguments:
    mb: float = 20.0
    vocab_size: int = 4096
    repeats: int = 7
    text: Path | None = None


def village(n_chars: int) -> list[str]:
    texts: list[str] = []
    n = 0
    while n < n_chars:
        more = list(documents(0, "train", len(texts), len(texts) + 5000))
        texts += more
        n += sum(map(len, more))
    while n - len(texts[-1]) >= n_chars:
        n -= len(texts.pop())
    return texts


def file(path: Path, n_chars: int) -> list[str]:
    with path.open(encoding="utf-8") as opened:
        text = opened.read(n_chars)
    if len(text) < n_chars:
        stop(f"text: {path} has {len(text):,} characters, fewer than mb={n_chars / 1e6}")
    return [text[i : i + DOCUMENT_CHARS] for i in range(0, n_chars, DOCUMENT_CHARS)]


def rustbpe_directly(texts: list[str], vocab_size: int) -> int:
    learner = rustbpe.Tokenizer()
    learner.train_from_iterator(iter(texts), vocab_size - 1, pattern=SPLIT_PATTERN)
    return len(learner.get_mergeable_ranks()) + 1


def tokenizers_directly(texts: list[str], vocab_size: int) -> int:
    alphabet = [to_characters(bytes([byte])) for byte in range(256)]
    learner = hugging_face_bpe({}, [], {}, SPLIT_PATTERN)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1, min_frequency=2, initial_alphabet=alphabet, show_progress=False
    )
    learner.train_from_iterator(iter(texts), trainer)
    return learner.get_vocab_size() + 1


WAYS: dict[str, Callable[[list[str], int], int]] = {
    "nanolit": lambda texts, vocab_size: train_bpe(iter(texts), vocab_size).vocab_size,
    "rustbpe": rustbpe_directly,
    "tokenizers": tokenizers_directly,
}


def main() -> None:
    given = read_arguments(Arguments, __doc__)
    n_chars = int(given.mb * 1e6)
    texts = village(n_chars) if given.text is None else file(given.text, n_chars)
    n_bytes = sum(len(text.encode()) for text in texts)
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    sizes = {}
    for _ in range(given.repeats):
        for name, train in WAYS.items():
            started = time.perf_counter()
            sizes[name] = train(texts, given.vocab_size)
            seconds[name].append(time.perf_counter() - started)
    faster = min(("rustbpe", "tokenizers"), key=lambda name: statistics.median(seconds[name]))
    ratios = [ours / theirs for ours, theirs in zip(seconds["nanolit"], seconds[faster], strict=True)]
    rows = [Row(name, "s", values) for name, values in seconds.items()]
    rows.append(Row(f"nanolit / {faster}", "", ratios, "<= 1.2"))
    report("bpe_training", rows, {"bytes": n_bytes, "documents": len(texts), "ids": sizes})


if __name__ == "__main__":
    main()
