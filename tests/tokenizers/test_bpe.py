import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import regex
import rustbpe
from hypothesis import given
from hypothesis import strategies as st

from nanolit.tokenizers.bpe import LONGEST_SPACE, PORTION_CHARS, SPLIT_PATTERN, BPETokenizer, train_bpe
from nanolit.tokenizers.vocabulary import CHAT_SPECIALS

CORPUS = [
    "The miller's daughter counts: 1, 22, 333, 4444 apples; she'll sell them!",
    "Was kostet das Brötchen? Ça coûte 3,50 €.\r\n\r\n\tEnde\n",
    "aaaa aaaaa aaaaaaaa banana bandana abracadabra    def f(x):\n        return x ** 2\n",
    "日本語のテキスト 한국어 텍스트 हिन्दी 😀😃😄 \U0001f468‍\U0001f469‍\U0001f467",
] * 4
BPE = train_bpe(CORPUS, 420)
CHAT = train_bpe(CORPUS, 420, specials=CHAT_SPECIALS)
LEARNER = rustbpe.Tokenizer()
LEARNER.train_from_iterator(iter(CORPUS), 419, pattern=SPLIT_PATTERN)
HUGGING_FACE = BPE.to_hugging_face()
HUGGING_FACE.encode_special_tokens = True  # its own default reads special tokens out of plain text
# Uniform random text rarely holds anything that merges: pieces of the corpus and of what splits are added.
PIECES = sorted(
    {piece for text in CORPUS for size in (1, 2, 3, 5, 9) for piece in (text[i : i + size] for i in range(20))}
)
TEXTS = st.text() | st.lists(st.sampled_from([*PIECES, " ", "  ", "\n", "'s", "'LL", "12"]) | st.text(max_size=2)).map(
    "".join
)


@given(TEXTS)
def test_hugging_face_gives_the_same_ids_and_text(text):
    assert HUGGING_FACE.encode(text).ids == BPE.encode(text)
    assert HUGGING_FACE.decode(BPE.encode(text)) == text


@given(TEXTS)
def test_round_trip_and_exact_byte_lengths(text):
    ids = BPE.encode(text)
    assert BPE.decode(ids) == text
    assert b"".join(map(BPE.token_bytes, ids)) == text.encode()
    assert BPE.byte_lengths()[ids].sum() == len(text.encode())


@given(st.binary())
def test_any_bytes_as_text_come_back(content):
    text = content.decode("latin-1")
    assert BPE.decode(BPE.encode(text)) == text


@given(st.lists(TEXTS | st.text(st.characters(codec=None)), max_size=4))
def test_a_batch_is_its_texts(texts):
    assert [ids.tolist() for ids in BPE.encode_batch(texts)] == [BPE.encode(text) for text in texts]


def test_it_compresses_and_fills_the_vocabulary():
    assert BPE.vocab_size == 420
    assert len(BPE.encode(CORPUS[0])) < 0.6 * len(CORPUS[0])


def test_end_of_text_comes_last_and_no_text_gives_it():
    assert BPE.eot_id == BPE.vocab_size - 1
    assert BPE.token_bytes(BPE.eot_id) == b"" and BPE.byte_lengths()[BPE.eot_id] == 0
    assert BPE.eot_id not in BPE.encode("<|endoftext|>") and BPE.decode(BPE.encode("<|endoftext|>")) == "<|endoftext|>"
    assert BPE.decode([BPE.eot_id]) == "<|endoftext|>"


def test_characters_over_several_tokens_are_joined_before_decoding():
    plain = train_bpe(["a"], 257)
    ids = plain.encode("é😀")
    assert len(ids) == 6 and plain.decode(ids) == "é😀"
    assert plain.decode(ids[:1]) == "�"


@pytest.mark.parametrize("wrong", [-1, 420])
def test_an_id_outside_of_the_vocabulary_is_named(wrong):
    with pytest.raises(ValueError, match=f"token id {wrong} is not in the vocabulary; ids are 0 to 419"):
        BPE.decode([5, wrong])


# --- training --------------------------------------------------------------------------------------------------------


def naive_ranks(texts, vocab_size):
    """Count everything anew for every merge; the pair that comes most, of equal ones that of the lowest ids."""
    tokens = [bytes([byte]) for byte in range(256)]
    words = [list(piece.encode()) for text in texts for piece in regex.findall(SPLIT_PATTERN, text)]
    while len(tokens) < vocab_size - 1:
        counts = Counter(pair for word in words for pair in pairwise(word))
        pair = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if pair is None or counts[pair] < 2:
            break
        tokens.append(tokens[pair[0]] + tokens[pair[1]])
        for word in words:
            for i in range(len(word) - 1, 0, -1) if pair[0] != pair[1] else range(1, len(word)):
                if tuple(word[i - 1 : i + 1]) == pair:
                    word[i - 1 : i + 1] = [len(tokens) - 1]
    return {token: rank for rank, token in enumerate(tokens)}


# Of characters that are not assigned yet, libraries of different years think differently: which are letters?
ASSIGNED = st.characters(exclude_categories=("Cs", "Cn"))


@given(
    st.lists(st.text(alphabet="ab \n1é") | st.sampled_from(CORPUS) | st.text(ASSIGNED, max_size=9), max_size=6),
    st.integers(257, 320) | st.just(5000),
)
def test_merges_are_those_of_the_naive_rule_and_ids_those_of_hugging_face(texts, vocab_size):
    texts = [text.replace("\0", "") for text in texts]
    trained = train_bpe(texts, vocab_size)
    assert trained._ranks == naive_ranks(texts, vocab_size)
    library = trained.to_hugging_face()
    for text in texts:
        assert library.encode(text).ids == trained.encode(text)


@given(TEXTS)
def test_the_trainer_cuts_text_as_the_encoder_does(text):
    assert LEARNER.encode(text) == BPE.encode(text)


def test_few_pairs_give_a_smaller_vocabulary():
    small = train_bpe(["ab ab"], 5000)
    assert small.vocab_size == 256 + 1 + 1 and small.eot_id == 257  # only "ab" comes twice


def test_what_no_tokenizer_should_learn_does_no_harm():
    # NUL parts texts, a lone surrogate is a question mark, and what is nothing is nothing.
    expected = train_bpe(["ab", "ab?", ""], 300)._ranks
    assert train_bpe(["ab\0ab\ud800", "\0" * 100, ""], 300)._ranks == expected
    assert b"\0\0" not in expected
    assert train_bpe([], 300).vocab_size == 257


def test_a_text_of_any_length_is_learnt():
    assert b"x" * 64 in train_bpe(["x" * (3 * PORTION_CHARS) + " " * 2_000_000], 300)._ranks


def test_too_small_a_vocabulary_is_refused():
    with pytest.raises(ValueError, match=r"tokenizer\.vocab_size=256: must be at least 257"):
        train_bpe(CORPUS, 256)
    with pytest.raises(ValueError, match=r"must be at least 265 \(256 bytes, 9 special\)"):
        train_bpe(CORPUS, 264, specials=CHAT_SPECIALS)


def test_training_depends_neither_on_threads_nor_on_the_order_of_texts():
    code = (
        "import random, sys; from nanolit.tokenizers.bpe import train_bpe; r = random.Random(0); "
        "texts = [''.join(r.choices('abcde ', k=300)) for _ in range(200)]; "
        "texts = texts[::-1] if sys.argv[1] == 'reversed' else texts; print(train_bpe(iter(texts), 600).fingerprint)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code, order],
            env={**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads, order in (("1", "as it is"), ("3", "as it is"), ("2", "reversed"))
    }
    assert len(found) == 1


@given(st.lists(st.sampled_from([*CHAT_SPECIALS, "<|endoftext|>", "<|", "bos|>", " "]) | st.text(max_size=3)))
def test_chat_tokens_come_last_in_nanochats_order_and_no_text_gives_them(parts):
    text = "".join(parts)
    ids = CHAT.encode(text)
    assert CHAT.decode(ids) == text and max(ids, default=0) < 420 - 9
    assert CHAT.encode_batch([text])[0].tolist() == ids


def test_the_first_chat_token_begins_and_ends_a_document():
    assert [CHAT.specials[name] for name in CHAT_SPECIALS] == list(range(420 - 9, 420))
    assert CHAT.bos_id == CHAT.eot_id == 411 and CHAT.decode([411]) == "<|bos|>"
    assert CHAT.to_hugging_face().encode("a").ids == [411, *CHAT.encode("a")]


def test_a_merge_is_recovered_from_ranks_alone():
    # "abc" is ("ab", "c"), although "bc" is a token too.
    ranks = {b"a": 0, b"b": 1, b"c": 2, b"ab": 3, b"bc": 4, b"abc": 5}
    assert BPETokenizer(ranks, {"<|endoftext|>": 6}, "x")._merges == [(b"a", b"b"), (b"b", b"c"), (b"ab", b"c")]


def test_long_runs_of_white_space():
    assert BPE.decode(BPE.encode(" " * 100_000 + "x")) == " " * 100_000 + "x"
    with pytest.raises(ValueError, match="white-space characters at position 1 "):
        BPE.encode("x" + " " * LONGEST_SPACE)


def test_what_stands_for_no_special_token_is_text_too():
    text = "é<|a token that is never allowed|>" * 2
    assert BPE.encode_batch([text])[0].tolist() == BPE.encode(text) and BPE.decode(BPE.encode(text)) == text


def test_the_narrowest_array():
    assert BPE.encode_batch(["a"])[0].dtype == np.uint16
