"""What is shown of tokens is what they decode to, and its borders are theirs."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanolit.tokenizers.borders import BORDER, Piece, coloured, pieces, plain
from nanolit.tokenizers.bpe import BPETokenizer, train_bpe
from nanolit.tokenizers.byte import ByteTokenizer

BYTES = ByteTokenizer()
VISIBLE = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters=BORDER + "[]\x1b"))


@pytest.fixture(scope="module")
def bpe() -> BPETokenizer:
    return train_bpe(["The miller's daughter sells apples. Ça coûte 3,50 €. 日本 😀 "] * 3, 320)


def spelled(raw: bytes) -> str:
    """By another road than the one that is tested: the whole at once."""
    text = raw.decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


@given(VISIBLE)
def test_a_piece_is_a_token_or_the_tokens_of_one_character(bpe, text):
    for tokenizer in (bpe, BYTES):
        ids = tokenizer.encode(text)
        shown = plain(pieces(ids, [True] * len(ids), tokenizer), brackets=False)
        # A border stands exactly where what has been read is whole characters.
        expected, read = [""], b""
        for token_id in ids:
            expected[-1] += tokenizer.token_bytes(token_id).decode("latin-1")
            read += tokenizer.token_bytes(token_id)
            try:
                read.decode()
            except UnicodeDecodeError:
                continue
            expected.append("")
        assert shown.split(BORDER) == [
            part.encode("latin-1").decode() for part in expected[: len(expected) - 1] or [""]
        ]


@given(st.lists(st.integers(0, 256)))
def test_any_bytes_are_shown_and_none_steers_the_terminal(ids):
    found = list(pieces(ids, [False] * len(ids), BYTES))
    whole = "".join(piece.text for piece in found)
    parts = re.split("(<special>)", "".join("<special>" if i == 256 else chr(i) for i in ids))
    assert whole == "".join(
        "<|endoftext|>" if part == "<special>" else spelled(part.encode("latin-1")) for part in parts
    )
    assert all(char.isprintable() or char in "\n\t" for char in whole)
    assert sum(piece.is_special for piece in found) == ids.count(256)


@given(VISIBLE, st.data())
def test_brackets_hold_what_is_learnt(text, data):
    ids = [*BYTES.encode(text), 256]
    ascii_only = text.isascii()
    learnt = data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    shown = plain(pieces(ids, learnt, BYTES), brackets=True)
    assert shown.count("[") == shown.count("]") == sum(np.diff([0, *map(int, learnt)]) == 1)
    if ascii_only:
        inside = "".join(re.findall(r"\[(.*?)\]", shown)).replace(BORDER, "")
        assert inside == BYTES.decode([i for i, is_learnt in zip(ids, learnt, strict=True) if is_learnt])


def test_colours_take_turns_and_say_what_is_learnt():
    shown = coloured(
        [Piece("a", False, False), Piece("b", True, False), Piece("c", True, True), Piece("d", True, False)]
    )
    codes = re.findall(r"\033\[38;5;(\d+)(;1)?m(.)\033\[0m", shown)
    assert [(text, bold) for _, bold, text in codes] == [("a", ""), ("b", ""), ("c", ";1"), ("d", "")]
    grey, green, other_green, green_again = [code for code, _, _ in codes]
    assert len({grey, green, other_green}) == 3 and green == green_again
