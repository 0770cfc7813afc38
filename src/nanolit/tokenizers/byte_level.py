"""The Hugging Face spelling of bytes: each byte is one printable character, so that JSON can hold any token.

The table is GPT-2's: the printable Latin-1 bytes stand for themselves, the other 68 follow from U+0100 on.
"""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HuggingFaceTokenizer


@cache
def _characters() -> list[str]:
    """The character of each byte, by the byte's value."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


@cache
def _bytes() -> dict[str, int]:
    return {character: byte for byte, character in enumerate(_characters())}


def to_characters(token: bytes) -> str:
    return "".join(map(_characters().__getitem__, token))


def to_bytes(spelling: str) -> bytes:
    return bytes(map(_bytes().__getitem__, spelling))


def hugging_face_bpe(
    vocabulary: dict[str, int],
    merges: list[tuple[str, str]],
    specials: dict[str, int],
    pattern: str,
    begin: str | None = None,
) -> "HuggingFaceTokenizer":
    """A byte-level BPE of the `tokenizers` library; an empty `pattern` does not cut the text, `begin` is the special
    that it writes before each.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    # Specials are in the model's vocabulary too: else the library numbers them itself, without the gaps of cl100k.
    tokenizer = Tokenizer(models.BPE(vocab={**vocabulary, **specials}, merges=merges))
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    cut = [pre_tokenizers.Split(Regex(pattern), behavior="isolated")] if pattern else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cut, as_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    add_specials(tokenizer, specials, begin)
    return tokenizer


def add_specials(tokenizer: "HuggingFaceTokenizer", specials: dict[str, int], begin: str | None) -> None:
    from tokenizers import AddedToken, processors

    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in specials])
    if begin is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A {begin}:1 $B:1", special_tokens=[(begin, specials[begin])]
        )
