import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanolit.tokenizers.char import CharTokenizer

ALPHABET = "\t\n\r !'.,09AZaz\x00\x85  éßñאगक्षह한글漢\ue000\ufeff\ufffd\U0001f600\U00020000"
CHAR = CharTokenizer(ALPHABET)
HUGGING_FACE = CHAR.to_hugging_face()
TEXTS = st.text(alphabet=sorted(set(ALPHABET)))


@given(TEXTS)
def test_ids_are_positions_in_the_sorted_alphabet(text):
    alphabet = sorted(set(ALPHABET))
    assert CHAR.encode(text) == [alphabet.index(character) for character in text]
    assert CHAR.decode(CHAR.encode(text)) == text
    assert CHAR.byte_lengths()[CHAR.encode(text)].sum() == len(text.encode())


@given(TEXTS)
def test_hugging_face_gives_the_same_ids_and_text(text):
    assert HUGGING_FACE.encode(text).ids == CHAR.encode(text)
    assert HUGGING_FACE.decode(CHAR.encode(text)) == text


@given(st.sets(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40), st.data())
def test_any_alphabet(characters, data):
    tokenizer = CharTokenizer.from_texts(characters)
    text = data.draw(st.text(alphabet=sorted(characters)))
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.vocab_size == len(characters)
    assert [ids.tolist() for ids in tokenizer.encode_batch([text, ""])] == [tokenizer.encode(text), []]


@pytest.mark.parametrize("stranger", ["b", "\x01", "\U0010ffff"])
def test_an_unknown_character_is_named_with_its_position(stranger):
    with pytest.raises(ValueError, match="at position 3 is not among the 2 characters") as error:
        CharTokenizer("ac").encode("aca" + stranger + "a")
    assert repr(stranger) in str(error.value)


def test_no_end_of_text():
    assert CHAR.eot_id is None


def test_empty_text_is_refused():
    with pytest.raises(ValueError, match="the text is empty"):
        CharTokenizer.from_texts(["", ""])


def test_a_list_keeps_its_order():
    tokenizer = CharTokenizer("ba\n", in_order=True, end="\n")
    assert tokenizer.encode("ab\n") == [1, 0, 2] and tokenizer.eot_id == 2
    assert tokenizer.byte_lengths().tolist() == [1, 1, 1]  # what ends a text is text
    with pytest.raises(ValueError, match=r"tokenizer\.characters: 'b' comes twice"):
        CharTokenizer("bab", in_order=True)


def test_tiny_shakespeare_has_65_characters(tiny_shakespeare):
    text = tiny_shakespeare.read_text(encoding="utf-8")
    tokenizer = CharTokenizer.from_texts([text])
    assert tokenizer.vocab_size == 65
    assert tokenizer.encode("\n A") == [0, 1, 13]  # nanoGPT's ids
