"""Byte-level BPE: cut text by a pattern, then merge bytes by rank; trained here, or given (see `tiktoken_bpe`).

rustbpe trains, tiktoken encodes, and the `tokenizers` library, which does both several times as slowly, gives the same
ids for ranks in the order of the merges (tests/tokenizers/test_bpe.py).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nanolit.tokenizers.byte_level import hugging_face_bpe, to_characters
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

MARK = "\0\0"
PORTION_CHARS, N_PORTIONS = 1 << 15, 1 << 10


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
        self._refuse_endless_space(text)
        return self._encoding.encode_ordinary(text)

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        dtype = np.uint16 if self.vocab_size <= 1 << 16 else np.uint32
        return [self._encode(text).astype(dtype, copy=False) for text in texts]

    def _encode(self, text: str) -> np.ndarray:
        """Without a list in between it takes about 15 % less time."""
        self._refuse_endless_space(text)
        try:
            return self._encoding.encode_to_numpy(text, disallowed_special=())
        except UnicodeEncodeError:  # lone surrogates, which only the other way replaces
            return np.array(self._encoding.encode_ordinary(text), dtype=np.uint32)

    def _refuse_endless_space(self, text: str) -> None:
        if len(text) >= LONGEST_SPACE and (run := re.search(rf"\s{{{LONGEST_SPACE}}}", text)):
            raise ValueError(
                f"a run of more than {LONGEST_SPACE:,} white-space characters at position {run.start()} is beyond "
                "what the BPE engine can split; shorten it, or use tokenizer=byte"
            )

    def to_hugging_face(self) -> "HuggingFaceTokenizer":
        if self.origin is not None:
            return open_library(self.origin.text)
        vocabulary = {to_characters(token): rank for token, rank in self._ranks.items()}
        merges = [(to_characters(left), to_characters(right)) for left, right in self._merges]
        return hugging_face_bpe(vocabulary, merges, self.specials, self.pattern, self.name_of(self.bos_id))

    @cached_property
    def _encoding(self) -> "tiktoken.Encoding":
        import tiktoken

        # Our specials are unknown to it: then nothing in a text can become one. Without any, encode_to_numpy tries
        # each position of a text for one.
        never = {"<|a token that is never allowed|>": self.vocab_size}
        return tiktoken.Encoding(self.kind, pat_str=self.pattern, mergeable_ranks=self._ranks, special_tokens=never)

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


def train_bpe(
    texts: Iterable[str],
    vocab_size: int,
    pattern: str = SPLIT_PATTERN,
    specials: Sequence[str] = (END_OF_TEXT,),
) -> BPETokenizer:
    """A vocabulary of at most `vocab_size` ids: bytes, then what is merged, the most frequent pair first and of equal
    ones that of the lowest ids, then `specials`. A pair that comes once is not worth an id: few texts give fewer ids.

    rustbpe counts distinct pieces and merges them, so that memory grows with these (100 MB of Python source: 165 MiB;
    20 MB of words none of which comes twice: 860 MiB), and neither the number of threads nor the order of texts changes
    a rank. The trainer of `tokenizers` takes 2.6 to 4 times as long (20 MB, 4096 ids: benchmarks/bpe_training.py).
    """
    import rustbpe

    least = 256 + len(specials)
    if vocab_size < least:
        raise ValueError(
            f"tokenizer.vocab_size={vocab_size}: must be at least {least} (256 bytes, {len(specials)} special)"
        )
    learner = rustbpe.Tokenizer()
    learner.train_from_iterator(_portions(texts), vocab_size - len(specials), buffer_size=N_PORTIONS, pattern=pattern)
    tokens = [bytes(token) for token, _ in learner.get_mergeable_ranks()]
    if MARK.encode() in tokens:
        del tokens[tokens.index(MARK.encode()) :]
    ranks = {token: rank for rank, token in enumerate(tokens)}
    assert len(ranks) == len(tokens), "two merges made the same bytes"
    return BPETokenizer(ranks, {name: len(ranks) + i for i, name in enumerate(specials)}, pattern)


def _portions(texts: Iterable[str]) -> Iterator[str]:
    """What the trainer, which holds `N_PORTIONS` at once, is given: short portions without NUL, then the mark.

    The mark is a pair that comes once and has the lowest ids of all, so it is merged after the last pair that comes
    twice and before any other that comes once.
    """
    for text in texts:
        known = text.encode("utf-8", errors="replace").decode()  # "replace": a lone surrogate has no UTF-8
        for part in known.split("\0"):
            yield from (part[i : i + PORTION_CHARS] for i in range(0, len(part), PORTION_CHARS))
    yield MARK
