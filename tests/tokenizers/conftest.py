"""Small tokenizer folders of the sorts that people publish, made with the `tokenizers` library itself."""

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from nanolit.tokenizers.byte_level import to_characters

CORPUS = [
    "The miller's daughter counts: 1, 22, 333, 4444 apples; she'll sell them! No!! No!! No!!",
    "Was kostet das Brötchen? Ça coûte 3,50 €.\r\n\r\n\tEnde\n",
    "aaaa aaaaa aaaaaaaa banana bandana abracadabra    def f(x):\n        return x ** 2\n",
    "日本語のテキスト 한국어 텍스트 हिन्दी 😀😃😄 \U0001f468‍\U0001f469‍\U0001f467",
] * 4
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
NANOCHAT = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]"
    r"|\s+(?!\S)|\s+"
)
TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"


def special(*names: str) -> list[AddedToken]:
    return [AddedToken(name, special=True, normalized=False) for name in names]


def bos_template(name: str, token_id: int) -> processors.PostProcessor:
    return processors.TemplateProcessing(f"{name} $A", f"{name} $A {name}:1 $B:1", [(name, token_id)])


def byte_level(cut: pre_tokenizers.PreTokenizer, vocab_size: int = 420) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = cut, decoders.ByteLevel()
    alphabet = [to_characters(bytes([byte])) for byte in range(256)]
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet))
    return tokenizer


def split(pattern: str, behavior: str = "isolated") -> pre_tokenizers.PreTokenizer:
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), behavior=behavior), as_bytes])


def gpt2() -> Tokenizer:
    tokenizer = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens(special("<|endoftext|>"))
    return tokenizer


def llama3() -> Tokenizer:
    """As made from tiktoken's ranks: every pair that makes a token is a merge, and whole pieces are looked up first."""
    content = json.loads(byte_level(split(LLAMA3)).to_str())
    vocabulary = content["model"]["vocab"]
    # Made by no merge: found only where it is a whole piece.
    vocabulary[to_characters(b" xyzzy")] = len(vocabulary)
    pairs = [
        (rank, spelling[:at], spelling[at:])
        for spelling, rank in vocabulary.items()
        for at in range(1, len(spelling))
        if spelling[:at] in vocabulary and spelling[at:] in vocabulary
    ]
    merges = [[left, right] for _, left, right in sorted(pairs, key=lambda pair: pair[0])]
    content["model"] |= {"ignore_merges": True, "merges": merges}
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.add_special_tokens(special("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"))
    begin = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), bos_template("<|begin_of_text|>", begin)]
    )
    return tokenizer


def nanochat() -> Tokenizer:
    tokenizer = byte_level(split(NANOCHAT))
    tokenizer.add_special_tokens(special("<|bos|>", "<|user_start|>", "<|assistant_end|>"))
    return tokenizer


def sentencepiece(normalizer, pre_tokenizer, decoder) -> Tokenizer:
    """BPE over "▁" for spaces; what it has no piece for is spelled in bytes."""
    learner = Tokenizer(models.BPE())
    learner.normalizer, learner.pre_tokenizer = normalizer, pre_tokenizer
    learner.train_from_iterator(CORPUS[:3], trainers.BpeTrainer(vocab_size=150))
    learnt = json.loads(learner.to_str())["model"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *learnt["vocab"]]
    model = models.BPE(
        vocab={name: i for i, name in enumerate(names)},
        merges=[tuple(merge) for merge in learnt["merges"]],
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizer, pre_tokenizer, decoder
    tokenizer.post_processor = bos_template("<s>", 1)
    tokenizer.add_special_tokens(special("<unk>", "<s>", "</s>"))
    return tokenizer


def fused(*more: decoders.Decoder) -> decoders.Decoder:
    return decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *more])


def llama2() -> Tokenizer:
    prepend = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return sentencepiece(prepend, None, fused(decoders.Strip(" ", 1, 0)))


def metaspace(scheme: str) -> Tokenizer:
    cut = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    strip = [decoders.Strip(" ", 1, 0)] if scheme != "never" else []
    return sentencepiece(None, cut, fused(*strip))


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    names = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=names, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def words() -> Tokenizer:
    seen = sorted({word for text in CORPUS for word in text.split()})
    names = ["[UNK]", "[EOS]", "<s>", *seen]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(special("[UNK]", "[EOS]", "<s>"))
    return tokenizer


def normalized() -> Tokenizer:
    tokenizer = gpt2()
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def with_added_word() -> Tokenizer:
    tokenizer = gpt2()
    tokenizer.add_tokens([AddedToken("    ", normalized=False), AddedToken("<tool>", normalized=False)])
    return tokenizer


def several_cuts() -> Tokenizer:
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer = byte_level(pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]))
    tokenizer.add_special_tokens(special("<|endoftext|>"))
    return tokenizer


def padded() -> Tokenizer:
    """Cuts texts and fills them up, unless it is told not to; "!" is ordinary text and the padding."""
    tokenizer = gpt2()
    tokenizer.add_special_tokens(special("!"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4, pad_token="!", pad_id=tokenizer.token_to_id("!"))
    return tokenizer


def padded_and_normalized() -> Tokenizer:
    tokenizer = padded()
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


FAST = {"gpt2": gpt2, "llama3": llama3, "nanochat": nanochat, "padded": padded}
WRAPPED = {
    "llama2": llama2,
    "metaspace_first": lambda: metaspace("first"),
    "metaspace_always": lambda: metaspace("always"),
    "metaspace_never": lambda: metaspace("never"),
    "unigram": unigram,
    "words": words,
    "normalized": normalized,
    "padded_and_normalized": padded_and_normalized,
    "with_added_word": with_added_word,
    "several_cuts": several_cuts,
}
SORTS = {**FAST, **WRAPPED}
_made: dict[str, str] = {}


def write_folder(folder: Path, name: str, **config) -> Path:
    """A tokenizer.json of the sort `name`; with `config`, a tokenizer_config.json too."""
    if name not in _made:
        _made[name] = SORTS[name]().to_str(pretty=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(_made[name], encoding="utf-8")
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def pytest_generate_tests(metafunc):
    """A test that asks for `sort` (`fast_sort`, `wrapped_sort`) runs for each of them."""
    for name, sorts in {"sort": SORTS, "fast_sort": FAST, "wrapped_sort": WRAPPED}.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, sorts)


@pytest.fixture
def write():
    return write_folder


@pytest.fixture
def folder(tmp_path, request):
    """The folder of the test's sort, without a tokenizer_config.json."""
    (name,) = (
        request.getfixturevalue(key) for key in ("sort", "fast_sort", "wrapped_sort") if key in request.fixturenames
    )
    return write_folder(tmp_path / "theirs", name)


@pytest.fixture
def library(folder):
    """The same folder, read by the `tokenizers` library, and asked for what we promise."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
