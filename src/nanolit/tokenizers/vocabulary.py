"""The half of a tokenizer that is a table: the bytes of each id, the special tokens, decoding; encoding is the kinds'.

A token is bytes, not characters: one character may be spread over several tokens, so bytes are joined before decoding.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer as HuggingFaceTokenizer

    from nanolit.tokenizers.origin import Origin

END_OF_TEXT = "<|endoftext|>"
# nanochat's, in its order. The first stands before every document, which is also how one ends.
CHAT_SPECIALS = (
    *("<|bos|>", "<|user_start|>", "<|user_end|>", "<|assistant_start|>", "<|assistant_end|>"),
    *("<|python_start|>", "<|python_end|>", "<|output_start|>", "<|output_end|>"),
)


class Vocabulary(ABC):
    """`tokens[id]` are the bytes of an id (b"" for specials and unused ids), `specials` maps names to ids."""

    kind: ClassVar[str]
    origin: "Origin | None" = None
    puts_before: bool = False  # may `encode` write something before a text, as SentencePiece's space?

    def __init__(self, tokens: Sequence[bytes], specials: dict[str, int], pattern: str = "") -> None:
        self._tokens = tuple(tokens)
        self.specials = specials
        self.pattern = pattern  # how text is cut before merging; empty: not cut
        self.vocab_size = len(self._tokens)
        self.bos_id = specials.get(CHAT_SPECIALS[0])
        self.eot_id = specials.get(END_OF_TEXT, self.bos_id)
        assert all(self._tokens[i] == b"" for i in specials.values())

    def remember(self, origin: "Origin") -> None:
        """It was read from a folder: its rules say where a text begins and ends, and its files are what is saved."""
        self.origin, self.eot_id, self.bos_id = origin, origin.eot_id, origin.bos_id

    @abstractmethod
    def encode(self, text: str) -> list[int]: ...

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """One array of ids per text, of whatever integer type is handy; the way to encode much."""

    def encode_rest(self, text: str) -> np.ndarray:
        return self.encode_batch([text])[0]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; specials are shown by name, bytes that are no UTF-8 as U+FFFD."""
        return b"".join([self._shown[i] for i in self._known(ids)]).decode("utf-8", errors="replace")

    def _known(self, ids: Iterable[int]) -> list[int]:
        ids = list(ids)
        if wrong := [i for i in (min(ids, default=0), max(ids, default=0)) if not 0 <= i < self.vocab_size]:
            raise ValueError(f"token id {wrong[0]} is not in the vocabulary; ids are 0 to {self.vocab_size - 1}")
        return ids

    def token_bytes(self, token_id: int) -> bytes:
        return self._tokens[token_id]

    def name_of(self, token_id: int | None) -> str | None:
        """A token that ends or begins a text, as the files of a tokenizer name it."""
        return None if token_id is None else self._shown[token_id].decode()

    def byte_lengths(self) -> np.ndarray:
        """How many bytes of text each id stands for (0 for specials): the denominator of bits per byte."""
        return np.array([len(token) for token in self._tokens], dtype=np.int32)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over what decides the ids: token bytes in id order, special tokens, split pattern."""
        digest = hashlib.sha256()
        for token in (*self._tokens, self.pattern.encode()):
            digest.update(len(token).to_bytes(4, "little") + token)
        for name, token_id in sorted(self.specials.items()):
            digest.update(f"{len(name)}:{name}={token_id};".encode())
        return digest.hexdigest()

    def save(self, folder: "Path | str") -> None:
        """Writes a folder that `directory.load_tokenizer` and other people's tools open."""
        from nanolit.tokenizers.directory import save

        save(self, folder)

    @abstractmethod
    def to_hugging_face(self) -> "HuggingFaceTokenizer":
        """The same tokenizer as an object of the `tokenizers` library: what `tokenizer.json` holds."""

    @cached_property
    def _shown(self) -> list[bytes]:
        shown = list(self._tokens)
        for name, token_id in self.specials.items():
            shown[token_id] = name.encode()
        return shown
