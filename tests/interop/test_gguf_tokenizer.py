"""What a GGUF file says of a tokenizer, read as llama.cpp reads it, gives the tokenizer's ids.

llama.cpp itself is not at hand: its two ways of merging are written out here from its source, naively, with the rules
that the names in `tokenizer.ggml.pre` stand for. (The llama.cpp of llama-cpp-python 0.3.36 gave the same ids.)
"""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

gguf = pytest.importorskip("gguf")

from nanolit.interop.gguf_file import write_gguf  # noqa: E402
from nanolit.interop.gguf_tokenizer import describe  # noqa: E402
from nanolit.models.config import GPTConfig  # noqa: E402
from nanolit.models.gpt import GPT  # noqa: E402
from nanolit.models.tensor_files import Tensors  # noqa: E402
from nanolit.tokenizers.bpe import train_bpe  # noqa: E402
from nanolit.tokenizers.byte import ByteTokenizer  # noqa: E402
from nanolit.tokenizers.char import CharTokenizer  # noqa: E402
from nanolit.tokenizers.directory import load_tokenizer  # noqa: E402
from nanolit.tokenizers.tiktoken_bpe import PATTERNS, TiktokenTokenizer  # noqa: E402

TEXT = (
    "The miller's daughter can't say that we've 3 or 33 or 3333 or 1234567 loaves.\n\n  They'LL ask: \"why?\"\tÉté à la"
    " plage, où l'été finit; 日本 and 😀 too (twice!!).\r\n The miller's daughter said that they'd told 22 and 4321.  "
)
TEXTS = st.lists(st.sampled_from(TEXT.split(" ")) | st.sampled_from(" 17\nae'é.") | st.text(max_size=3)).map("".join)
often = settings(max_examples=150, deadline=None)
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

GPT2_RULE = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
LATER_RULE = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}NUMBERS"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
RULES = {
    "gpt-2": [GPT2_RULE],
    "llama-bpe": [LATER_RULE.replace("NUMBERS", "{1,3}")],
    "qwen2": [LATER_RULE.replace("NUMBERS", "")],
    "smollm": [r"\p{N}", GPT2_RULE],
}


def keys_of(tmp_path, tokenizer, **config):
    """The keys of a file with this tokenizer, and the sentences about it."""
    config = GPTConfig(**{"vocab_size": tokenizer.vocab_size} | config, n_layer=1, n_head=1, n_embd=2, block_size=8)
    notes = write_gguf(tmp_path / "m.gguf", config, Tensors.of(GPT(config).state_dict()), tokenizer, name="m")
    fields = gguf.GGUFReader(tmp_path / "m.gguf").fields
    keys = {name.removeprefix("tokenizer."): field.contents() for name, field in fields.items()}
    return keys, [note for note in notes if note.startswith("tokenizer: ")]


def merged_by_rank(keys):
    """llama.cpp's tokenizer model gpt2: cut by the rule, spell bytes as characters, merge the pair listed first."""
    tokens, types = keys["ggml.tokens"], keys["ggml.token_type"]
    vocabulary = {token: i for i, token in enumerate(tokens) if types[i] == NORMAL}
    merges = [tuple(merge.split(" ")) for merge in keys["ggml.merges"]]
    reader = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=keys["ggml.pre"] == "llama-bpe"))
    cuts = [pre_tokenizers.Split(Regex(rule), "isolated") for rule in RULES[keys["ggml.pre"]]]
    reader.pre_tokenizer = pre_tokenizers.Sequence(
        [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return lambda text: reader.encode(text).ids


def merged_by_score(keys):
    """llama.cpp's tokenizer model llama: merge the neighbours whose union has the highest score; the rest are bytes."""
    ids = {token: i for i, token in enumerate(keys["ggml.tokens"])}
    scores = dict(zip(keys["ggml.tokens"], keys["ggml.scores"], strict=True))

    def encode(text):
        if keys["ggml.add_space_prefix"] and text:
            text = " " + text
        parts = list(text.replace(" ", "▁"))
        while True:
            unions = [left + right for left, right in pairwise(parts)]
            known = [i for i, union in enumerate(unions) if union in ids]
            if not known:
                break
            best = max(known, key=lambda i: (scores[unions[i]], -i))
            parts[best : best + 2] = [unions[best]]
        spelt = [[part] if part in ids else [f"<0x{byte:02X}>" for byte in part.encode()] for part in parts]
        return [ids[token] for part in spelt for token in part]

    return encode


@pytest.fixture(scope="module")
def trained():
    return train_bpe([TEXT * 3], 400)


def folder_with(tmp_path, content, config):
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return load_tokenizer(tmp_path)


# Byte-level BPE


def cut_by(*patterns, use_regex=False):
    """A pre-tokenizer of tokenizer.json."""
    cuts = [{"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False} for p in patterns]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}
    return {"type": "Sequence", "pretokenizers": [*cuts, level]}


CUTS = {
    "gpt-2": cut_by(use_regex=True),
    "gpt-2 as a pattern": cut_by(PATTERNS["gpt2"]),
    "llama-bpe": cut_by(PATTERNS["cl100k_base"]),
    "qwen2": cut_by(PATTERNS["cl100k_base"].replace("{1,3}", "")),
    "llama-bpe possessive": cut_by(  # as nanochat writes it
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
        r"|\s*[\r\n]|\s+(?!\S)|\s+"
    ),
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, *cut_by(use_regex=True)["pretokenizers"]],
    },
}


@pytest.mark.parametrize("name", CUTS)
def test_byte_level_bpe_gives_the_same_ids(tmp_path, trained, name):
    content = json.loads(trained.to_hugging_face().to_str()) | {"pre_tokenizer": CUTS[name]}
    tokenizer = folder_with(tmp_path, content, {"eos_token": "<|endoftext|>"})
    keys, notes = keys_of(tmp_path, tokenizer)
    assert keys["ggml.model"] == "gpt2" and keys["ggml.pre"] == name.split()[0]
    assert not notes
    read = merged_by_rank(keys)

    @often
    @given(TEXTS)
    def check(text):
        assert read(text) == tokenizer.encode(text)

    check()
    assert read(TEXT) == tokenizer.encode(TEXT)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "cl100k_base"])
def test_tiktokens_encodings_give_the_same_ids(tmp_path, tiktoken_cache, name):
    tokenizer = TiktokenTokenizer.from_name(name)
    keys, _ = keys_of(tmp_path, tokenizer)
    read = merged_by_rank(keys)

    @often
    @given(TEXTS)
    def check(text):
        assert read(text) == tokenizer.encode(text)

    check()
    end = tokenizer.specials["<|endoftext|>"]
    assert keys["ggml.eos_token_id"] == keys["ggml.bos_token_id"] == end and keys["ggml.add_bos_token"] is False
    assert [i for i, kind in enumerate(keys["ggml.token_type"]) if kind == CONTROL] == sorted(
        tokenizer.specials.values()
    )


def test_our_own_pattern_differs_in_long_numbers_only_and_says_so(tmp_path, trained):
    keys, notes = keys_of(tmp_path, trained)
    assert len(notes) == 1 and "runs of three digits, the tokenizer into runs of two" in notes[0]
    read = merged_by_rank(keys)

    @often
    @given(
        TEXTS.filter(
            lambda text: not any(a.isnumeric() and b.isnumeric() for a, b in zip(text, text[2:], strict=False))
        )
    )
    def check(text):
        assert read(text) == trained.encode(text)

    check()
    longer = train_bpe([TEXT * 3 + " 1234 2345" * 50], 400)
    read = merged_by_rank(keys_of(tmp_path, longer)[0])
    assert read("22345") != longer.encode("22345"), "else the sentence would be idle"


def test_bytes_are_bytes(tmp_path):
    keys, notes = keys_of(tmp_path, ByteTokenizer())
    read = merged_by_rank(keys | {"ggml.merges": []})
    assert keys["ggml.merges"] == ["<none> <none>"] and "<none>" not in keys["ggml.tokens"]
    assert read(TEXT) == ByteTokenizer().encode(TEXT) and keys["ggml.eos_token_id"] == 256
    assert not notes


def test_o200k_says_where_llama_cpp_cuts_otherwise(tmp_path, trained):
    content = json.loads(trained.to_hugging_face().to_str()) | {"pre_tokenizer": cut_by(PATTERNS["o200k_base"])}
    config = {"eos_token": "<|endoftext|>", "tokenizer_class": "PreTrainedTokenizerFast"}
    keys, notes = keys_of(tmp_path, folder_with(tmp_path, content, config))
    assert keys["ggml.pre"] == "gpt-4o"
    assert keys["ggml.bos_token_id"] == keys["ggml.eos_token_id"] == trained.eot_id  # its default would be id 11
    assert len(notes) == 1 and "combining marks" in notes[0]


def test_an_unknown_rule_is_told(tmp_path, trained):
    content = json.loads(trained.to_hugging_face().to_str()) | {"pre_tokenizer": cut_by(r"\p{L}+|\s+")}
    keys, notes = keys_of(tmp_path, folder_with(tmp_path, content, {}))
    assert keys["ggml.pre"] == "default"
    assert len(notes) == 1 and "has no rule" in notes[0] and notes[0].endswith(r"the rule is \p{L}+|\s+")


def test_what_llama_cpp_leaves_out_is_told(tmp_path, trained):
    content = json.loads(trained.to_hugging_face().to_str())
    content["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    content["normalizer"] = {"type": "NFC"}
    content["added_tokens"][0]["lstrip"] = True
    _, notes = keys_of(tmp_path, folder_with(tmp_path, content, {}))
    assert len(notes) == 3
    for words in ("normalizer, NFC", "a space before every text", "the spaces beside them"):
        assert any(words in note for note in notes), words


# Rows, special tokens, template


def test_padded_rows_are_unused_and_never_drawn(tmp_path, trained):
    n = trained.vocab_size
    keys, notes = keys_of(tmp_path, trained, vocab_size=n + 3, vocab_multiple=64)
    n_rows = -(-(n + 3) // 64) * 64
    assert len(keys["ggml.tokens"]) == len(keys["ggml.token_type"]) == n_rows == keys["gpt2.vocab_size"]
    assert keys["ggml.tokens"][n:] == [f"[PAD{i}]" for i in range(n, n_rows)]
    assert set(keys["ggml.token_type"][n:]) == {UNUSED} and UNUSED not in keys["ggml.token_type"][:n]
    assert keys["ggml.suppress_tokens"] == list(range(n, n_rows))
    assert any(note.startswith(f"tokenizer: {n_rows - n} of {n_rows} ids stand for no token") for note in notes)


def test_the_names_and_rules_of_a_folder_are_carried(tmp_path, trained):
    content = json.loads(trained.to_hugging_face().to_str()) | {"pre_tokenizer": CUTS["gpt-2"]}
    like = content["added_tokens"][0]
    begin, tool = trained.vocab_size, trained.vocab_size + 1
    content["added_tokens"] += [
        like | {"id": begin, "content": "<|begin|>"},
        like | {"id": tool, "content": "[tool]", "special": False},
    ]
    piece = {"Sequence": {"id": "A", "type_id": 0}}
    special = {"id": "<|begin|>", "ids": [begin], "tokens": ["<|begin|>"]}
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|begin|>", "type_id": 0}}, piece],
        "pair": [piece, piece],
        "special_tokens": {"<|begin|>": special},
    }
    config = {"eos_token": "<|endoftext|>", "pad_token": {"content": "[tool]"}, "chat_template": "{{ messages }}"}
    keys, notes = keys_of(tmp_path, folder_with(tmp_path, content, config))
    assert keys["ggml.bos_token_id"] == begin and keys["ggml.add_bos_token"] is True
    assert keys["ggml.eos_token_id"] == trained.eot_id and keys["ggml.padding_token_id"] == tool
    assert keys["chat_template"] == "{{ messages }}"
    assert [keys["ggml.token_type"][i] for i in (trained.eot_id, begin, tool)] == [CONTROL, CONTROL, USER_DEFINED]
    assert not notes


def test_a_tokenizer_without_an_end_says_what_llama_cpp_takes_for_one(tmp_path, trained):
    content = json.loads(trained.to_hugging_face().to_str()) | {"pre_tokenizer": CUTS["gpt-2"], "added_tokens": []}
    content["model"]["vocab"]["<none>"] = content["model"]["vocab"].pop("<|endoftext|>")
    keys, notes = keys_of(tmp_path, folder_with(tmp_path, content, {}))
    assert "ggml.eos_token_id" not in keys
    assert notes == [
        f"tokenizer: names no end of text, and llama.cpp takes id 11, {keys['ggml.tokens'][11]!r}, for one"
    ]


def test_a_tokenizer_of_another_model_is_refused(tmp_path, trained):
    with pytest.raises(ValueError, match=r"tokenizer: has \d+ ids, the model 300; give the model's own"):
        keys_of(tmp_path, trained, vocab_size=300)
    assert not list(tmp_path.iterdir())


def test_two_ids_of_one_spelling_are_refused(tmp_path, trained):
    content = json.loads(trained.to_hugging_face().to_str()) | {"pre_tokenizer": CUTS["gpt-2"]}
    content["model"]["vocab"]["[PAD999]"] = trained.vocab_size
    tokenizer = folder_with(tmp_path, content, {})
    with pytest.raises(ValueError, match=r"two ids have one spelling"):
        keys_of(tmp_path, tokenizer, vocab_size=1000)


@pytest.mark.parametrize("kind", ["char", "unigram"])
def test_kinds_that_llama_cpp_has_not_are_refused(tmp_path, kind):
    tokenizer = CharTokenizer("abc")
    if kind == "unigram":
        unigram = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0))
        tokenizer = folder_with(tmp_path, json.loads(unigram.to_str()), {})
    with pytest.raises(ValueError, match=r"this is (WordLevel|Unigram); tokenizer=none writes the model without"):
        keys_of(tmp_path, tokenizer)
    assert not (tmp_path / "m.gguf").exists()


# SentencePiece's BPE

LEGACY = {
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    },
    "pre_tokenizer": None,
}
METASPACE = {
    "normalizer": None,
    "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False},
}
BARE = {"normalizer": LEGACY["normalizer"]["normalizers"][1], "pre_tokenizer": None}


@pytest.fixture(scope="module")
def pieces():
    """A tokenizer.json as transformers makes it from SentencePiece's file: all pairs of a token, tokens by score."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    learner.train_from_iterator([TEXT] * 3, trainers.BpeTrainer(vocab_size=300, show_progress=False))
    learnt = sorted(learner.get_vocab().items(), key=lambda item: item[1])
    merged = [token for token, _ in learnt if len(token) > 1]
    single = [token for token, _ in learnt if len(token) == 1]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *merged, *single]
    vocabulary = {token: i for i, token in enumerate(names)}
    merges = [
        (token[:i], token[i:])
        for token in merged
        for i in range(1, len(token))
        if token[:i] in vocabulary and token[i:] in vocabulary
    ]
    model = models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return json.loads(tokenizer.to_str())


@pytest.mark.parametrize("steps", [LEGACY, METASPACE, BARE], ids=["legacy", "metaspace", "bare"])
def test_sentence_piece_gives_the_same_ids(tmp_path, pieces, steps):
    config = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
    tokenizer = folder_with(tmp_path, pieces | steps, config)
    keys, notes = keys_of(tmp_path, tokenizer)
    assert keys["ggml.model"] == "llama" and keys["ggml.pre"] == "default" and "ggml.merges" not in keys
    assert keys["ggml.add_space_prefix"] == (steps is not BARE)
    ids = (keys["ggml.bos_token_id"], keys["ggml.eos_token_id"], keys["ggml.unknown_token_id"])
    assert ids == (1, 2, 0) and keys["ggml.add_bos_token"] is True
    assert (
        keys["ggml.token_type"][:4] == [UNKNOWN, CONTROL, CONTROL, BYTE] and keys["ggml.token_type"].count(BYTE) == 256
    )
    read = merged_by_score(keys)
    assert ["before one that begins with a space" in note for note in notes] == [True] * (steps is METASPACE)
    texts = TEXTS.filter(lambda text: not text.startswith((" ", "▁"))) if steps is METASPACE else TEXTS

    @often
    @given(texts)
    def check(text):
        assert read(text) == tokenizer.encode(text)

    check()
    assert read(TEXT) == tokenizer.encode(TEXT)
    if steps is METASPACE:
        assert read(" The") != tokenizer.encode(" The"), "else the sentence would be idle"


def test_merges_that_no_score_can_say_are_refused(pieces):
    model = pieces["model"]
    unions = ["".join(pair) for pair in model["merges"]]
    at = next(i for i, union in enumerate(unions) if unions.count(union) > 1)
    others = [*model["merges"][:at], *model["merges"][at + 1 :]]
    for changed, words in (
        ({"merges": others}, r"never merges .* is a token; llama\.cpp would"),
        ({"merges": [*others, model["merges"][at]]}, r"stand among others, which no scores can say"),
        ({"vocab": {k: v for k, v in model["vocab"].items() if k != "<0x41>"}}, r"no token for the byte <0x41>"),
    ):
        with pytest.raises(ValueError, match=rf"^tokenizer: .*{words}.*; tokenizer=none writes the model without"):
            describe(pieces | LEGACY | {"model": model | changed})
    assert describe(pieces | LEGACY).scores


@pytest.mark.parametrize(
    "steps",
    [
        {"normalizer": {"type": "NFKC"}, "pre_tokenizer": None},
        {"normalizer": None, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "split": True}},
        {"normalizer": {"type": "Prepend", "prepend": "_"}, "pre_tokenizer": None},
    ],
)
def test_steps_that_llama_cpp_does_not_take_are_refused(pieces, steps):
    kind = (steps["normalizer"] or steps["pre_tokenizer"])["type"]
    with pytest.raises(ValueError, match=rf"tokenizer: its step {kind} is none that llama\.cpp takes"):
        describe(pieces | steps)
