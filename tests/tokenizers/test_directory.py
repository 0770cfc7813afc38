import json

import pytest
from tokenizers import Tokenizer as HuggingFaceTokenizer

from nanolit.tokenizers.bpe import train_bpe
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.char import CharTokenizer
from nanolit.tokenizers.directory import TokenizerConfig, build_tokenizer, load_tokenizer
from nanolit.tokenizers.tiktoken_bpe import TiktokenTokenizer

TEXT = "Mira lives in the windmill.\n\nShe has 12 hens, 3 geese and 1 cat; they're noisy!  \r\n"
MADE = {
    "byte": ByteTokenizer,
    "char": lambda: CharTokenizer(TEXT),
    "bpe": lambda: train_bpe([TEXT] * 3, 300),
    "tiktoken": lambda: TiktokenTokenizer.from_name("gpt2"),
}


@pytest.fixture(params=MADE)
def tokenizer(request):
    if request.param == "tiktoken":
        request.getfixturevalue("tiktoken_cache")
    return MADE[request.param]()


def test_what_is_saved_is_loaded(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "folder")
    loaded = load_tokenizer(tmp_path / "folder")
    assert type(loaded) is type(tokenizer)
    for key in ("kind", "vocab_size", "eot_id", "fingerprint", "specials", "pattern"):
        assert getattr(loaded, key) == getattr(tokenizer, key)
    assert loaded.encode(TEXT) == tokenizer.encode(TEXT)
    assert (loaded.byte_lengths() == tokenizer.byte_lengths()).all()


def test_tokenizer_json_opens_elsewhere(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    elsewhere = HuggingFaceTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert elsewhere.encode(TEXT).ids == tokenizer.encode(TEXT)
    assert elsewhere.decode(tokenizer.encode(TEXT)) == TEXT
    assert elsewhere.get_vocab_size() == tokenizer.vocab_size
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    if tokenizer.eot_id is not None:
        assert elsewhere.token_to_id(config["eos_token"]) == tokenizer.eot_id


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        train_bpe([TEXT] * 3, 300).save(tmp_path / name)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_fingerprints_tell_tokenizers_apart():
    different = [
        ByteTokenizer(),
        CharTokenizer("abc"),
        CharTokenizer("abd"),
        train_bpe([TEXT], 300),
        train_bpe(["abab"], 300),
    ]
    assert len({each.fingerprint for each in different}) == len(different)
    assert CharTokenizer("abc").fingerprint == CharTokenizer("cba").fingerprint


def test_a_changed_vocabulary_is_noticed(tmp_path):
    CharTokenizer("abc").save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text().replace('"b"', '"x"'))
    with pytest.raises(ValueError, match="one of them was changed"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("missing", ["tokenizer.json", "tokenizer_config.json"])
def test_a_missing_file_is_named(tmp_path, missing):
    ByteTokenizer().save(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ValueError, match=f"no {missing} in it"):
        load_tokenizer(tmp_path)


def test_a_foreign_kind_and_broken_files_are_refused_in_one_line(tmp_path):
    CharTokenizer("abc").save(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no model with a vocabulary"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"kind": "unigram"}')
    with pytest.raises(ValueError, match="kind is 'unigram'; nanolit reads byte, char, bpe, tiktoken"):
        load_tokenizer(tmp_path)


def test_build_reads_text_only_where_it_must(tiktoken_cache):
    def unread():
        raise AssertionError("this kind needs no text")

    assert build_tokenizer(TokenizerConfig("byte"), unread).kind == "byte"
    assert build_tokenizer(TokenizerConfig("tiktoken", name="gpt2"), unread).vocab_size == 50257
    assert build_tokenizer(TokenizerConfig("char"), lambda: ["ab", "bc"]).vocab_size == 3


def test_bpe_learns_from_the_first_characters_only():
    seen = []

    def texts():
        for text in ["abab" * 10, "cdcd" * 10, "efef" * 10]:
            seen.append(text)
            yield text

    config = TokenizerConfig("bpe", vocab_size=300, train_chars=60)
    tokenizer = build_tokenizer(config, texts)
    assert len(seen) == 2
    assert len(tokenizer.encode("abab")) < 4 and len(tokenizer.encode("efef")) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "tiktoken"}, r"tokenizer\.name=None: tokenizer\.kind=tiktoken needs one of gpt2"),
        ({"kind": "tiktoken", "name": "gpt5"}, r"tokenizer\.name=gpt5"),
        ({"kind": "bpe"}, r"tokenizer\.vocab_size=None"),
        ({"kind": "bpe", "vocab_size": 256}, "257 or more"),
        ({"kind": "bpe", "vocab_size": 300, "train_chars": 0}, r"tokenizer\.train_chars=0"),
        ({"kind": "byte", "vocab_size": 300}, r"only for tokenizer\.kind=bpe"),
        ({"kind": "char", "train_chars": 300}, r"only for tokenizer\.kind=bpe"),
        ({"kind": "char", "name": "gpt2"}, r"only for tokenizer\.kind=tiktoken"),
    ],
)
def test_settings_that_do_not_fit_together(settings, message):
    with pytest.raises(ValueError, match=message):
        TokenizerConfig(**settings)
