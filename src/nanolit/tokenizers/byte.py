"""One id per byte of UTF-8, and end of text: nothing to train, nothing to download, no text that it cannot write."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nanolit.tokenizers.byte_level import hugging_face_bpe, to_characters
from nanolit.tokenizers.vocabulary import END_OF_TEXT, Vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HuggingFaceTokenizer


class ByteTokenizer(Vocabulary):
    kind: ClassVar[str] = "byte"

    def __init__(self) -> None:
        super().__init__([*(bytes([byte]) for byte in range(256)), b""], {END_OF_TEXT: 256})

    def encode(self, text: str) -> list[int]:
        return list(text.encode("utf-8", errors="replace"))  # "replace": a lone surrogate has no UTF-8

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.frombuffer(text.encode("utf-8", errors="replace"), dtype=np.uint8) for text in texts]

    def to_hugging_face(self) -> "HuggingFaceTokenizer":
        vocabulary = {to_characters(bytes([byte])): byte for byte in range(256)}
        return hugging_face_bpe(vocabulary, [], self.specials, self.pattern)
