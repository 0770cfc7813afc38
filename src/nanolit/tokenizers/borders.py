"""Tokens as text in which one sees where each begins and which are learnt, for a terminal; plain text is `decode`'s.

A character that is spread over several tokens is one piece, as no border can be drawn within it.
"""

from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from nanolit.tokenizers.protocol import Tokenizer

BORDER = "│"
# Greens for what is learnt, else greys; neighbours take turns. Of the 256 colours, as themes redefine the first 16.
SHADES = {True: (28, 40), False: (240, 248)}


class Piece(NamedTuple):
    text: str
    is_learnt: bool
    is_special: bool


def pieces(ids: Iterable[int], supervised: Iterable[bool], tokenizer: Tokenizer) -> Iterator[Piece]:
    """Bytes that are no UTF-8 are spelt \\xff, and so is what could steer the terminal."""
    names = {token_id: name for name, token_id in tokenizer.specials.items()}
    decoder = getincrementaldecoder("utf-8")("backslashreplace")
    begun, was_learnt = "", False  # `begun`, or the decoder, holds tokens in whose last a character does not end
    for token_id, learnt in zip(map(int, ids), map(bool, supervised), strict=True):
        name = names.get(token_id)
        if decoder.getstate()[0] and (name is not None or learnt != was_learnt):
            yield Piece(_printable(begun + decoder.decode(b"", True)), was_learnt, False)
            begun = ""
        was_learnt = learnt
        if name is not None:
            yield Piece(name, learnt, True)
            continue
        begun += decoder.decode(tokenizer.token_bytes(token_id))
        if not decoder.getstate()[0]:
            yield Piece(_printable(begun), learnt, False)
            begun = ""
    if decoder.getstate()[0]:
        yield Piece(_printable(begun + decoder.decode(b"", True)), was_learnt, False)


def coloured(shown: Iterable[Piece]) -> str:
    """Learnt is green, the rest grey, special tokens are bold, and neighbours differ in shade."""
    codes = [
        (f"38;5;{SHADES[piece.is_learnt][number % 2]}{';1' if piece.is_special else ''}", piece.text)
        for number, piece in enumerate(shown)
    ]
    return "".join(f"\033[{code}m{text}\033[0m" for code, text in codes)


def plain(shown: Iterable[Piece], brackets: bool) -> str:
    """A line stands between two tokens; with `brackets`, what is learnt is in [ ]."""
    if not brackets:
        return BORDER.join(piece.text for piece in shown)
    runs = groupby(shown, key=lambda piece: piece.is_learnt)
    joined = [(is_learnt, BORDER.join(piece.text for piece in run)) for is_learnt, run in runs]
    return "".join(f"[{text}]" if is_learnt else text for is_learnt, text in joined)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text)
