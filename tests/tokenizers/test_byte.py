import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nanolit.tokenizers.byte import ByteTokenizer

BYTE = ByteTokenizer()
HUGGING_FACE = BYTE.to_hugging_face()
HUGGING_FACE.encode_special_tokens = True  # its own default reads special tokens out of plain text


@given(st.text())
def test_ids_are_the_bytes_of_utf8(text):
    assert BYTE.encode(text) == list(text.encode())
    assert BYTE.decode(BYTE.encode(text)) == text


@given(st.binary())
def test_any_bytes_as_text_come_back(content):
    text = content.decode("latin-1")
    assert BYTE.decode(BYTE.encode(text)) == text


@given(st.text())
def test_hugging_face_gives_the_same_ids_and_text(text):
    assert HUGGING_FACE.encode(text).ids == BYTE.encode(text)
    assert HUGGING_FACE.decode(BYTE.encode(text)) == text


@given(st.lists(st.text(), max_size=5))
def test_a_batch_is_its_texts(texts):
    assert [ids.tolist() for ids in BYTE.encode_batch(texts)] == [BYTE.encode(text) for text in texts]


def test_a_lone_surrogate_is_a_question_mark_in_both_ways():
    assert BYTE.encode("a\ud800") == [97, 63]
    assert BYTE.encode_batch(["a\ud800"])[0].tolist() == [97, 63]


def test_end_of_text_is_an_id_that_no_text_gives():
    assert (BYTE.vocab_size, BYTE.eot_id) == (257, 256)
    assert BYTE.eot_id not in BYTE.encode("<|endoftext|>")
    assert np.array_equal(BYTE.byte_lengths(), [1] * 256 + [0])
