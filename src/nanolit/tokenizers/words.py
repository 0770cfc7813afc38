"""One id per word of a fixed list, and the lists of two puzzles; words are told apart by white space, so it knows no
text but what is written in them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nanolit.tokenizers.byte_level import add_specials
from nanolit.tokenizers.char import CharTokenizer
from nanolit.tokenizers.vocabulary import Vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HuggingFaceTokenizer

# The `tokenizers` library takes no separator of ASCII for white space, as Python does.
WORD = re.compile(r"[\S\x1c-\x1f]+")

# nanuGPT's vocabularies, in its order of ids. The operations are computed in data/sources/puzzles.py.
BEGIN_OF_EQUATION = "<|eos|>"
OPERATIONS = (
    *("x+y", "x-y", "x/y", "(x//y)if(y%2==1)else(x-y)", "x^2+y^2", "x^2+xy+y^2", "x^2+xy+y^2+x"),
    *("x^3+xy", "x^3+xy^2+x"),
)
ARITHMETIC_CHARACTERS = "0123456789$_|=.Eei+-*/^%\\~ \n\r<>,"
END_OF_PRODUCT = "|"


class WordTokenizer(Vocabulary):
    """A word is written with a blank before it, which the first of a text does not show: `token_bytes` of the words of
    a text are one byte more than the text has.
    """

    kind: ClassVar[str] = "words"

    def __init__(self, words: Sequence[str], specials: Mapping[str, int], bos_id: int | None = None) -> None:
        tokens = [b"" if word in specials else f" {word}".encode() for word in words]
        super().__init__(tokens, dict(specials))
        self.words = tuple(words)
        self.bos_id = self.eot_id = bos_id
        self._ids = {word: i for i, word in enumerate(words) if word not in specials}

    def encode(self, text: str) -> list[int]:
        try:
            return [self._ids[word] for word in WORD.findall(text)]
        except KeyError as error:
            raise ValueError(
                f"the word {error} is not among the {len(self._ids)} that the tokenizer knows "
                f"({', '.join(list(self._ids)[:4])}, …); leave it out, or take another tokenizer"
            ) from None

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.array(self.encode(text), dtype=np.int32) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        return super().decode(ids).removeprefix(" ")

    def name_of(self, token_id: int | None) -> str | None:
        return None if token_id is None else self.words[token_id]

    def to_hugging_face(self) -> "HuggingFaceTokenizer":
        from tokenizers import Tokenizer, models, pre_tokenizers

        tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(self.words)}))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        add_specials(tokenizer, self.specials, self.name_of(self.bos_id))
        return tokenizer

    @cached_property
    def _shown(self) -> list[bytes]:
        return [f" {word}".encode() for word in self.words]


def grokking_tokenizer(modulus: int) -> WordTokenizer:
    """`12 x/y 5 =` and the answer `80`, for numbers below `modulus`; each equation begins with BEGIN_OF_EQUATION."""
    words = [BEGIN_OF_EQUATION, "=", *OPERATIONS, *map(str, range(modulus))]
    return WordTokenizer(words, {BEGIN_OF_EQUATION: 0}, bos_id=0)


def arithmetic_tokenizer() -> CharTokenizer:
    """`12*34=408|`: characters in nanuGPT's order, of which `|` ends a text. Its bos `$` and pad `_` are in no text."""
    return CharTokenizer(ARITHMETIC_CHARACTERS, in_order=True, end=END_OF_PRODUCT)
