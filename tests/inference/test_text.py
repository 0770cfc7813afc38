"""What a reader sees while text is being written."""

from hypothesis import example, given
from hypothesis import strategies as st

from nanolit.inference.text import TextStream
from nanolit.tokenizers.byte import ByteTokenizer

TOKENIZER = ByteTokenizer()


def pieces(data: bytes, stop: tuple[str, ...] = ()) -> list[str]:
    stream = TextStream(TOKENIZER, stop)
    return [*(stream.push(byte) for byte in data), stream.close()]


@given(st.text(st.characters(codec="utf-8")))
@example("aé漢👩‍🚀")
def test_each_character_appears_whole_with_its_last_byte(text):
    assert [piece for piece in pieces(text.encode()) if piece] == list(text)


@given(st.binary())
def test_broken_bytes_show_as_python_replaces_them(data):
    assert "".join(pieces(data)) == data.decode("utf-8", errors="replace")


@given(st.text("ab€", max_size=12), st.lists(st.text("ab€", min_size=1, max_size=4), max_size=3).map(tuple))
def test_a_stop_string_is_never_shown_in_part(text, stop):
    found = [at for at in map(text.find, stop) if at >= 0]
    if not found:
        assert "".join(pieces(text.encode(), stop)) == text
        return
    shown = "".join(pieces(text.encode(), stop))
    # The first to be complete ends the text; another may have begun before it, but not ended.
    end = next(n for n in range(len(text) + 1) if any(s in text[:n] for s in stop))
    assert shown == text[: min(at for at in (text[:end].find(s) for s in stop) if at >= 0)]
    assert not any(s in shown for s in stop)


def test_only_what_could_become_a_stop_string_is_held_back():
    stream = TextStream(TOKENIZER, ("\nUser:",))
    shown = [stream.push(byte) for byte in b"hi\nUs\nUser: no"]
    assert shown[:3] == ["h", "i", ""] and shown[5] == "\nUs" and "".join(shown) == "hi\nUs"
    assert stream.ended and stream.close() == ""


def test_special_tokens_write_nothing():
    stream = TextStream(TOKENIZER)
    assert [stream.push(token) for token in (0xC3, 256, 0xA9)] == ["", "", "é"]
