"""One id per character: those of a given text in sorted order, as nanoGPT's character recipe, or a list as it stands.
No special token, but a character may be what ends a text.

A character that the text did not have is an error, not an unknown token: a model cannot have learnt anything about it.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nanolit.tokenizers.vocabulary import Vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HuggingFaceTokenizer


class CharTokenizer(Vocabulary):
    kind: ClassVar[str] = "char"

    def __init__(self, characters: str, in_order: bool = False, end: str | None = None) -> None:
        """With `in_order`, an id is the place in `characters`; otherwise they are sorted, and may come repeatedly."""
        self.characters = characters if in_order else "".join(sorted(set(characters)))
        if twice := next((c for i, c in enumerate(self.characters) if c in self.characters[:i]), None):
            raise ValueError(
                f"tokenizer.characters: {twice!r} comes twice; give each character once, in the order of ids"
            )
        super().__init__([character.encode() for character in self.characters], {})
        self.eot_id = None if end is None else self.characters.index(end)
        codes = _codes(self.characters)
        self._id_of_code = np.full(int(codes.max(initial=0)) + 1, -1, dtype=np.int32)
        self._id_of_code[codes] = np.arange(len(codes))

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> "CharTokenizer":
        characters: set[str] = set()
        for text in texts:
            characters.update(text)
        if not characters:
            raise ValueError("tokenizer.kind=char: the text is empty, so there are no characters; give some text")
        return cls("".join(characters))

    def encode(self, text: str) -> list[int]:
        return self._encode(text).tolist()

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [self._encode(text) for text in texts]

    def _encode(self, text: str) -> np.ndarray:
        codes = _codes(text)
        known = len(self._id_of_code)
        ids = self._id_of_code[np.minimum(codes, known - 1)]
        unknown = np.flatnonzero((ids < 0) | (codes >= known))
        if len(unknown):
            position = int(unknown[0])
            raise ValueError(
                f"character {text[position]!r} at position {position} is not among the {self.vocab_size} characters "
                "of the training text; leave it out, or train with tokenizer=byte, which knows every character"
            )
        return ids

    def to_hugging_face(self) -> "HuggingFaceTokenizer":
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

        tokenizer = Tokenizer(models.WordLevel({character: i for i, character in enumerate(self.characters)}))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
        tokenizer.decoder = decoders.Fuse()
        return tokenizer


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
