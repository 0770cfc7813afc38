"""Words of a list, and the lists of the two puzzles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanolit.data.sources.puzzles import OPERATIONS, Arithmetic, Grokking
from nanolit.tokenizers.words import WordTokenizer, arithmetic_tokenizer, grokking_tokenizer

WORDS = WordTokenizer(["<s>", "a", "bé", "=", "10"], {"<s>": 0}, bos_id=0)
HUGGING_FACE = WORDS.to_hugging_face()
SPACES = st.text(st.sampled_from(" \t\n\r\x0b\x0c\x85\xa0\u2003\u3000"), min_size=1, max_size=3)
TEXTS = st.lists(st.sampled_from(["a", "bé", "=", "10"])).map(" ".join)


@given(TEXTS)
def test_words_come_back_with_single_blanks(text):
    ids = WORDS.encode(text)
    assert ids == [WORDS.words.index(word) for word in text.split()]
    assert WORDS.decode(ids) == text and WORDS.encode_batch([text])[0].tolist() == ids
    assert b"".join(map(WORDS.token_bytes, ids)) == (f" {text}" if text else "").encode()
    assert WORDS.byte_lengths()[ids].sum() == (len(text.encode()) + 1 if text else 0)


@given(st.lists(st.sampled_from(["a", "bé", "=", "10"]) | SPACES).map("".join))
def test_the_tokenizers_library_agrees_or_refuses_too(text):
    try:
        ids = WORDS.encode(text)
    except ValueError:
        with pytest.raises(Exception, match=r"Missing .UNK. token"):
            HUGGING_FACE.encode(text)
    else:
        assert HUGGING_FACE.encode(text).ids == [0, *ids] and HUGGING_FACE.decode(ids) == WORDS.decode(ids)


@pytest.mark.parametrize("text", ["a c =", "a <s>", "a a\x1ca"])
def test_a_word_that_is_not_in_the_list_is_named(text):
    with pytest.raises(ValueError, match=r"the word .* is not among the 4 that the tokenizer knows"):
        WORDS.encode(text)


def test_a_special_token_is_shown_by_its_name():
    assert WORDS.decode([0, 1, 3, 4]) == "<s> a = 10"
    assert WORDS.token_bytes(0) == b"" and WORDS.byte_lengths()[0] == 0


def test_every_equation_can_be_written():
    tokenizer = grokking_tokenizer(5)
    assert tokenizer.words[:11] == ("<|eos|>", "=", *OPERATIONS)  # nanuGPT's order
    assert (tokenizer.bos_id, tokenizer.eot_id, tokenizer.vocab_size) == (0, 0, 5 + 11)
    for operation in OPERATIONS:
        equations = Grokking(operation, modulus=5)
        for example in equations.examples("train"):
            assert len(tokenizer.encode(example.question)) == 4 and len(tokenizer.encode(example.answer)) == 1


def test_every_product_can_be_written():
    tokenizer = arithmetic_tokenizer()
    assert tokenizer.vocab_size == 32 and tokenizer.encode("0129$_|=") == [0, 1, 2, 9, 10, 11, 12, 13]  # nanuGPT's ids
    assert tokenizer.decode([tokenizer.eot_id]) == "|" and tokenizer.bos_id is None
    for example in Arithmetic(max_digits=2).examples("val"):
        text = "".join(example)
        assert tokenizer.decode(tokenizer.encode(text)) == text
