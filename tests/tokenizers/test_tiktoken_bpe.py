import pytest
import requests
import tiktoken
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanolit.tokenizers.tiktoken_bpe import FILES, N_IDS, TiktokenTokenizer

WORDS = [
    " the",
    "The",
    "'s",
    "'LL",
    "n't",
    " \n",
    "\n\n",
    "\r\n",
    "   ",
    "1234",
    "99",
    "()",
    "!!!\n",
    "//\n/",
    "é",
    "ſ",
    "日本",
    "x",
]
TEXTS = st.text() | st.lists(st.sampled_from(WORDS) | st.text(max_size=2)).map("".join)


@pytest.mark.parametrize("name", FILES)
def test_ids_equal_tiktokens_and_hugging_faces(name, tiktoken_cache):
    ours = TiktokenTokenizer.from_name(name)
    theirs = tiktoken.get_encoding(name)
    hugging_face = ours.to_hugging_face() if name != "o200k_base" else None  # its 200,000 merges take 6 s to recover
    if hugging_face is not None:
        hugging_face.encode_special_tokens = True  # its own default reads special tokens out of plain text
    assert (ours.vocab_size, ours.eot_id) == (theirs.n_vocab, theirs.eot_token)
    assert ours.vocab_size == N_IDS[name]

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(TEXTS)
    def check(text):
        ids = theirs.encode_ordinary(text)
        assert ours.encode(text) == ids
        assert ours.decode(ids) == text
        assert ours.byte_lengths()[ids].sum() == len(text.encode())
        if hugging_face is not None:
            assert hugging_face.encode(text).ids == ids
            assert hugging_face.decode(ids) == text

    check()


def test_gpt2_by_heart(tiktoken_cache):
    gpt2 = TiktokenTokenizer.from_name("gpt2")
    assert (gpt2.vocab_size, gpt2.eot_id) == (50257, 50256)
    assert gpt2.encode("Hello world") == [15496, 995]


def test_hugging_face_numbers_the_specials_as_tiktoken_does(tiktoken_cache):
    cl100k = TiktokenTokenizer.from_name("cl100k_base")
    hugging_face = cl100k.to_hugging_face()
    for name, token_id in cl100k.specials.items():
        assert hugging_face.token_to_id(name) == token_id and hugging_face.encode(name).ids == [token_id]
    assert cl100k.decode([100256, 100276]) == "<|endofprompt|>"  # an unused id and a special one


def test_without_network_the_error_says_which_file_goes_where(tmp_path, monkeypatch):
    def no_network(url, *_, **__):
        raise requests.exceptions.ConnectionError("no route to host")

    monkeypatch.setattr(requests, "get", no_network)
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=r"tokenizer\.name=gpt2: tiktoken cannot get its files") as error:
        TiktokenTokenizer.from_name("gpt2")
    for url in FILES["gpt2"]:
        assert url in str(error.value)
    assert str(tmp_path / "cache" / "6d1cbeee0f20b3d9449abfede4726ed8212e3aee") in str(error.value)  # vocab.bpe


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="choose one of gpt2, cl100k_base, o200k_base"):
        TiktokenTokenizer.from_name("gpt5")
