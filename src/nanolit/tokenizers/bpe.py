"""Byte-level BPE: cut text by a pattern, then merge bytes by rank; trained here, or given (see `tiktoken_bpe`).

The `tokenizers` library trains, tiktoken encodes: it is several times as fast, and both give the same ids for ranks in
the order of the merges (tests/tokenizers/test_bpe.py).
"""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nanolit.tokenizers.byte_level import hugging_face_bpe, to_bytes, to_characters
from nanolit.tokenizers.origin import open_library
from nanolit.tokenizers.vocabulary import END_OF_TEXT, Vocabulary

if TYPE_CHECKING:
    import tiktoken
    from tokenizers import Tokenizer as HuggingFaceTokenizer

# GPT-4's pattern, but numbers in runs of at most two digits, which wastes fewer ids of a small vocabulary. It keeps to
# what tiktoken's regex engine and the one of `tokenizers` read alike: possessive quantifiers, for one, they do not.
SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# tiktoken's regex engine dies of a stack overflow on a run of a million white-space characters.
LONGEST_SPACE = 500_000


class BPETokenizer(Vocabulary):
    """`ranks` maps the bytes of a token to its id; tokens with lower ids are merged first."""

    kind: ClassVar[str] = "bpe"

    def __init__(self, ranks: dict[bytes, int], specials: dict[str, int], pattern: str) -> None:
        tokens = [b""] * (max(*ranks.values(), *specials.values()) + 1)
        for token, rank in ranks.items():
            tokens[rank] = token
        super().__init__(tokens, specials, pattern)
        self._ranks = ranks

    def encode(self, text: str) -> list[int]:
        if len(text) >= LONGEST_SPACE and (run := re.search(rf"\s{{{LONGEST_SPACE}}}", text)):
            raise ValueError(
                f"a run of more than {LONGEST_SPACE:,} white-space characters at position {run.start()} is beyond "
                "what the BPE engine can split; shorten it, or use tokenizer=byte"
            )
        return self._encoding.encode_ordinary(text)

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        dtype = np.uint16 if self.vocab_size <= 1 << 16 else np.uint32
        return [np.array(self.encode(text), dtype=dtype) for text in texts]

    def to_hugging_face(self) -> "HuggingFaceTokenizer":
        if self.origin is not None:
            return open_library(self.origin.text)
        vocabulary = {to_characters(token): rank for token, rank in self._ranks.items()}
        merges = [(to_characters(left), to_characters(right)) for left, right in self._merges]
        return hugging_face_bpe(vocabulary, merges, self.specials, self.pattern)

    @cached_property
    def _encoding(self) -> "tiktoken.Encoding":
        import tiktoken

        # No specials here: then nothing in a text can become one.
        return tiktoken.Encoding(self.kind, pat_str=self.pattern, mergeable_ranks=self._ranks, special_tokens={})

    @cached_property
    def _merges(self) -> list[tuple[bytes, bytes]]:
        """The pair that makes each token, in rank order: its own bytes merged with the ranks below its own."""
        return [
            _last_merge(token, rank, self._ranks) for token, rank in sorted(self._ranks.items(), key=_rank) if token[1:]
        ]


def _rank(item: tuple[bytes, int]) -> int:
    return item[1]


def _last_merge(token: bytes, rank: int, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [ranks.get(left + right, rank) for left, right in pairwise(parts)]
        lowest = min(pairs)
        assert lowest < rank, f"no pair of lower rank makes {token!r}"
        at = pairs.index(lowest)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]


def train_bpe(texts: Iterable[str], vocab_size: int) -> BPETokenizer:
    """A vocabulary of at most `vocab_size` ids, end-of-text last (fewer if the texts have fewer pairs that repeat)."""
    from tokenizers import trainers

    allowed = 256 + 1
    if vocab_size < allowed:
        raise ValueError(f"tokenizer.vocab_size={vocab_size}: must be at least {allowed} (256 bytes and end of text)")
    alphabet = [to_characters(bytes([byte])) for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1, min_frequency=2, initial_alphabet=alphabet, show_progress=False
    )
    # The trainer needs a tokenizer to cut the text with; its own merges are what comes out.
    learner = hugging_face_bpe({}, [], {}, SPLIT_PATTERN)
    learner.train_from_iterator(texts, trainer)
    ranks = {to_bytes(spelling): i for spelling, i in learner.get_vocab().items()}
    return BPETokenizer(ranks, {END_OF_TEXT: len(ranks)}, SPLIT_PATTERN)
