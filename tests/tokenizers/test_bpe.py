import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanolit.tokenizers.bpe import LONGEST_SPACE, BPETokenizer, train_bpe

CORPUS = [
    "The miller's daughter counts: 1, 22, 333, 4444 apples; she'll sell them!",
    "Was kostet das Brötchen? Ça coûte 3,50 €.\r\n\r\n\tEnde\n",
    "aaaa aaaaa aaaaaaaa banana bandana abracadabra    def f(x):\n        return x ** 2\n",
    "日本語のテキスト 한국어 텍스트 हिन्दी 😀😃😄 \U0001f468‍\U0001f469‍\U0001f467",
] * 4
BPE = train_bpe(CORPUS, 420)
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


@given(st.lists(TEXTS, max_size=4))
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


def test_few_pairs_give_a_smaller_vocabulary():
    small = train_bpe(["ab ab"], 5000)
    assert small.vocab_size == 256 + 1 + 1 and small.eot_id == 257  # only "ab" comes twice


def test_too_small_a_vocabulary_is_refused():
    with pytest.raises(ValueError, match=r"tokenizer\.vocab_size=256: must be at least 257"):
        train_bpe(CORPUS, 256)


def test_training_does_not_depend_on_threads():
    code = (
        "import random; from nanolit.tokenizers.bpe import train_bpe; r = random.Random(0); "
        "print(train_bpe((''.join(r.choices('abcde ', k=300)) for _ in range(200)), 600).fingerprint)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "3")
    }
    assert len(found) == 1


def test_a_merge_is_recovered_from_ranks_alone():
    # "abc" is ("ab", "c"), although "bc" is a token too.
    ranks = {b"a": 0, b"b": 1, b"c": 2, b"ab": 3, b"bc": 4, b"abc": 5}
    assert BPETokenizer(ranks, {"<|endoftext|>": 6}, "x")._merges == [(b"a", b"b"), (b"b", b"c"), (b"ab", b"c")]


def test_long_runs_of_white_space():
    assert BPE.decode(BPE.encode(" " * 100_000 + "x")) == " " * 100_000 + "x"
    with pytest.raises(ValueError, match="white-space characters at position 1 "):
        BPE.encode("x" + " " * LONGEST_SPACE)


def test_the_narrowest_array():
    assert BPE.encode_batch(["a"])[0].dtype == np.uint16
