import json

import pytest
from tokenizers import Tokenizer as HuggingFaceTokenizer

from nanolit.tokenizers.bpe import SPLIT_PATTERN, train_bpe
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.char import CharTokenizer
from nanolit.tokenizers.directory import TokenizerConfig, build_tokenizer, identity, load_tokenizer, size_before_text
from nanolit.tokenizers.tiktoken_bpe import PATTERNS, TiktokenTokenizer
from nanolit.tokenizers.vocabulary import CHAT_SPECIALS
from nanolit.tokenizers.words import arithmetic_tokenizer, grokking_tokenizer

TEXT = "Mira lives in the windmill.\n\nShe has 12 hens, 3 geese and 1 cat; they're noisy!  \r\n"
MADE = {
    "byte": ByteTokenizer,
    "chat": lambda: train_bpe([TEXT] * 3, 300, PATTERNS["gpt2"], CHAT_SPECIALS),
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
    for key in ("kind", "vocab_size", "eot_id", "bos_id", "fingerprint", "specials", "pattern"):
        assert getattr(loaded, key) == getattr(tokenizer, key)
    assert loaded.encode(TEXT) == tokenizer.encode(TEXT)
    assert (loaded.byte_lengths() == tokenizer.byte_lengths()).all()


def test_tokenizer_json_opens_elsewhere(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    elsewhere = HuggingFaceTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert elsewhere.encode(TEXT, add_special_tokens=False).ids == tokenizer.encode(TEXT)
    assert elsewhere.decode(tokenizer.encode(TEXT)) == TEXT
    assert elsewhere.get_vocab_size() == tokenizer.vocab_size
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    if tokenizer.eot_id is not None:
        assert elsewhere.token_to_id(config["eos_token"]) == tokenizer.eot_id


@pytest.mark.parametrize(
    ("make", "text"),
    [
        *((MADE[kind], TEXT) for kind in ("byte", "char", "bpe", "chat")),
        (lambda: grokking_tokenizer(7), "6 x^2+xy+y^2 0 = 1"),
        (lambda: grokking_tokenizer(7), "5 (x//y)if(y%2==1)else(x-y) 3 ="),
        (arithmetic_tokenizer, "12*34=408|\r\n <0.1E-5>"),
    ],
)
def test_transformers_gives_the_same_ids_and_text(make, text, tmp_path):
    transformers = pytest.importorskip("transformers")
    made = make()
    made.save(tmp_path)
    for tokenizer in (made, load_tokenizer(tmp_path)):
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
        assert (theirs.eos_token_id, len(theirs)) == (tokenizer.eot_id, tokenizer.vocab_size)
        ids = tokenizer.encode(text)
        assert theirs(text)["input_ids"] == [*([] if tokenizer.bos_id is None else [tokenizer.bos_id]), *ids]
        assert theirs.decode(ids) == tokenizer.decode(ids) == text


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


def test_a_missing_file_is_named(tmp_path):
    ByteTokenizer().save(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"no tokenizer\.json in it.*give one that has it"):
        load_tokenizer(tmp_path)
    with pytest.raises(ValueError, match=r"nowhere: no tokenizer\.json in it.*there is no such folder"):
        load_tokenizer(tmp_path / "nowhere")
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(ValueError, match=r"an older format: open it with transformers"):
        load_tokenizer(tmp_path)


def test_without_tokenizer_config_it_is_like_any_other_folder(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    loaded = load_tokenizer(tmp_path)
    assert loaded.encode(TEXT) == tokenizer.encode(TEXT) and loaded.eot_id == tokenizer.eot_id
    if tokenizer.kind in ("bpe", "tiktoken"):
        assert (loaded.kind, loaded.fingerprint) == ("bpe", tokenizer.fingerprint)
    assert (loaded.byte_lengths() == tokenizer.byte_lengths()).all()


def test_a_foreign_kind_and_broken_files_are_refused_in_one_line(tmp_path):
    CharTokenizer("abc").save(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no model with a vocabulary"):
        load_tokenizer(tmp_path)
    CharTokenizer("abc").save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"kind": "bpe"}')
    with pytest.raises(ValueError, match="not a byte-level BPE, as its kind bpe says"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"kind": "unigram"}')
    with pytest.raises(
        ValueError, match="kind is 'unigram'; nanolit reads byte, char, words, bpe, tiktoken, hugging_face"
    ):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json: holds list, expected settings"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a readable JSON file"),
        ("[]", "holds no model with a vocabulary"),
        ('{"model": {"vocab": {}}}', "holds no model with a vocabulary"),
        ('{"model": {"vocab": {"a": "0"}}}', "holds no model with a vocabulary"),
        ('{"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 0}]}', "lacks its id, content or special"),
        ('{"model": {"vocab": {"a": 0}, "merges": ["a"]}}', "the merge 'a' is not of two parts"),
        ('{"model": {"type": "Strange", "vocab": {"a": 0}}}', "the tokenizers library cannot read it"),
        ('{"model": {"vocab": {"a": 0}}, "post_processor": {"type": "Strange"}}', "library cannot read it"),
    ],
)
def test_a_broken_tokenizer_json_is_said_in_one_line_with_its_folder(tmp_path, content, message):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        load_tokenizer(tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


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


def test_it_learns_from_no_more_than_is_asked_for():
    config = TokenizerConfig("bpe", vocab_size=300, train_chars=40)
    tokenizer = build_tokenizer(config, lambda: ["ab" * 10, "cd" * 10, "ef" * 10])
    assert [len(tokenizer.encode(pair * 2)) for pair in ("ab", "cd", "ef")] == [1, 1, 4]


def test_the_other_settings_of_a_bpe_reach_it():
    config = TokenizerConfig("bpe", vocab_size=300, specials="chat", pattern="gpt4")
    tokenizer = build_tokenizer(config, lambda: [TEXT] * 3)
    assert tuple(tokenizer.specials) == CHAT_SPECIALS and tokenizer.pattern == PATTERNS["cl100k_base"]


def test_lists_of_words_and_characters_need_no_text():
    for config, size in (
        (TokenizerConfig("grokking", modulus=97), 97 + 11),
        (TokenizerConfig("arithmetic"), 32),
        (TokenizerConfig("char", characters="cab"), 3),
    ):
        assert size_before_text(config) == size == build_tokenizer(config, tuple).vocab_size


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "bpe", "vocab_size": 264, "specials": "chat"}, "265 or more"),
        ({"kind": "bpe", "vocab_size": 300, "train_chars": 2**31}, r"train_chars=2147483648: must be from 1 to 2,147"),
        (
            {"kind": "bpe", "vocab_size": 300, "max_document_chars": 0},
            r"tokenizer\.max_document_chars=0: must be from 1",
        ),
        ({"kind": "bpe", "vocab_size": 300, "pattern": r"\w+"}, r"tokenizer\.pattern=\\w\+: .* take gpt2, gpt4, gpt4o"),
        ({"kind": "byte", "specials": "chat"}, r"tokenizer\.kind=byte does not read it, only bpe"),
        ({"kind": "bpe", "vocab_size": 300, "characters": "ab"}, r"tokenizer\.kind=bpe does not read it, only char"),
        ({"kind": "grokking"}, r"tokenizer\.modulus=None: must be the number that data\.modulus is"),
        ({"kind": "tiktoken"}, r"tokenizer\.name=None: tokenizer\.kind=tiktoken needs one of gpt2"),
        ({"kind": "tiktoken", "name": "gpt5"}, r"tokenizer\.name=gpt5"),
        ({"kind": "bpe"}, r"tokenizer\.vocab_size=None"),
        ({"kind": "bpe", "vocab_size": 256}, "257 or more"),
        ({"kind": "bpe", "vocab_size": 300, "train_chars": 0}, r"tokenizer\.train_chars=0"),
        ({"kind": "byte", "vocab_size": 300}, r"tokenizer\.kind=byte does not read it, only bpe"),
        ({"kind": "char", "train_chars": 300}, r"tokenizer\.kind=char does not read it, only bpe"),
        ({"kind": "char", "name": "gpt2"}, r"tokenizer\.kind=char does not read it, only tiktoken"),
        ({"kind": "bpe", "vocab_size": 300, "path": "x"}, r"tokenizer\.kind=bpe does not read it, only folder"),
        ({"kind": "folder"}, r"tokenizer\.path: not given; say which folder"),
        ({"kind": "folder", "path": "x", "name": "gpt2"}, r"tokenizer\.kind=folder does not read it, only tiktoken"),
    ],
)
def test_settings_that_do_not_fit_together(settings, message):
    with pytest.raises(ValueError, match=message):
        TokenizerConfig(**settings)


# --- kind: folder ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [".", "model", "tokenizer"], ids=["folder", "run", "prepared data"])
def test_a_folder_is_built_from_where_the_tokenizer_lies(tmp_path, inside):
    made = train_bpe([TEXT] * 3, 300)
    made.save(tmp_path / inside)
    built = build_tokenizer(TokenizerConfig("folder", path=str(tmp_path)), lambda: [])
    assert (built.kind, built.fingerprint) == ("bpe", made.fingerprint)


def test_a_folder_is_identified_by_its_content(write, tmp_path):
    def identified(folder):
        return identity(TokenizerConfig("folder", path=str(folder)))

    one = write(tmp_path / "one", "llama3", eos_token="<|end_of_text|>", chat_template="a")
    same = write(tmp_path / "same", "llama3", eos_token="<|end_of_text|>", chat_template="a")
    load_tokenizer(one).save(tmp_path / "run" / "model")
    assert identified(one) == identified(same) == identified(tmp_path / "run")
    others = [
        write(tmp_path / "2", "llama3", eos_token="<|eot_id|>", chat_template="a"),  # documents end otherwise
        write(tmp_path / "3", "llama3", eos_token="<|end_of_text|>", chat_template="b"),
        write(tmp_path / "4", "gpt2", eos_token="<|end_of_text|>", chat_template="a"),
    ]
    assert len({identified(folder)["content"] for folder in (one, *others)}) == 4
    with pytest.raises(ValueError, match=r"tokenizer\.path: .*nowhere: no tokenizer\.json in it"):
        identified(tmp_path / "nowhere")


def test_the_identity_of_the_other_kinds_is_their_settings():
    assert identity(TokenizerConfig("byte")) == {"kind": "byte"}
    assert identity(TokenizerConfig("tiktoken", name="gpt2")) == {"kind": "tiktoken", "name": "gpt2"}
    assert identity(TokenizerConfig("grokking", modulus=97)) == {"kind": "grokking", "modulus": 97}
    base = {"kind": "bpe", "vocab_size": 300, "train_chars": 60}
    changes = [{}, {"specials": "chat"}, {"pattern": "gpt2"}, {"max_document_chars": 9}, {"train_chars": 61}]
    found = [identity(TokenizerConfig(**(base | change))) for change in changes]
    assert all(base.items() <= each.items() for each in found[:4])
    assert all(found.count(each) == 1 for each in found)
    assert identity(TokenizerConfig(**base, pattern=SPLIT_PATTERN)) == found[0]
