"""What a folder says beyond ids: where texts begin and end, and all that `transformers` reads from a saved copy."""

import json

import pytest

from nanolit.tokenizers.directory import load_tokenizer

TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"
OTHER = "{% for m in messages %}[{{ m.content }}]{% endfor %}"
TALK = [{"role": "user", "content": "Hi there"}, {"role": "assistant", "content": "12 hens"}]
DESCRIBED = {"__type": "AddedToken", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}


def names(tokenizer):
    """eos and bos, as text."""
    return tuple(None if i is None else tokenizer.decode([i]) for i in (tokenizer.eot_id, tokenizer.bos_id))


@pytest.mark.parametrize(
    ("name", "config", "beside", "expected"),
    [
        ("gpt2", {}, {}, ("<|endoftext|>", None)),
        ("gpt2", {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}, {}, ("<|endoftext|>", None)),
        ("gpt2", {"bos_token": "<|endoftext|>", "add_bos_token": True}, {}, ("<|endoftext|>", "<|endoftext|>")),
        ("llama3", {}, {}, ("<|end_of_text|>", "<|begin_of_text|>")),
        ("llama3", {"eos_token": "<|eot_id|>"}, {}, ("<|eot_id|>", "<|begin_of_text|>")),
        ("llama3", {"eos_token": {**DESCRIBED, "content": "<|eot_id|>"}}, {}, ("<|eot_id|>", "<|begin_of_text|>")),
        ("llama3", {"model_max_length": 9}, {"eos_token": "<|eot_id|>"}, ("<|eot_id|>", "<|begin_of_text|>")),
        ("llama3", {}, {"eos_token": {"content": "<|eot_id|>"}}, ("<|eot_id|>", "<|begin_of_text|>")),
        ("llama3", {"eos_token": "<|eot_id|>"}, {"eos_token": "<|end_of_text|>"}, ("<|eot_id|>", "<|begin_of_text|>")),
        ("llama3", {"eos_token": "not in the vocabulary"}, {}, ("<|end_of_text|>", "<|begin_of_text|>")),
        ("nanochat", {}, {}, ("<|bos|>", None)),
        ("nanochat", {"eos_token": "<|assistant_end|>", "bos_token": "<|bos|>"}, {}, ("<|assistant_end|>", None)),
        ("llama2", {}, {}, ("</s>", "<s>")),
        ("words", {"eos_token": "[EOS]", "add_bos_token": True, "bos_token": "<s>"}, {}, ("[EOS]", "<s>")),
        ("words", {}, {}, (None, None)),
        ("padded", {"eos_token": "!"}, {}, ("!", None)),
    ],
)
def test_where_texts_begin_and_end(write, tmp_path, name, config, beside, expected):
    folder = write(tmp_path / "theirs", name, **config)
    if beside:
        (folder / "special_tokens_map.json").write_text(json.dumps(beside))
    tokenizer = load_tokenizer(folder)
    assert names(tokenizer) == expected
    tokenizer.save(tmp_path / "ours")
    assert names(load_tokenizer(tmp_path / "ours")) == expected


def test_encode_writes_no_bos(write, tmp_path):
    tokenizer = load_tokenizer(write(tmp_path, "llama3"))
    assert tokenizer.bos_id not in tokenizer.encode("Hi <|begin_of_text|>")


def test_a_saved_copy_is_the_same_tokenizer_and_copies_stay_equal(write, tmp_path, sort):
    folder = write(tmp_path / "theirs", sort, chat_template=TEMPLATE, padding_side="left")
    (folder / "added_tokens.json").write_text('{"x": 1}')
    first = load_tokenizer(folder)
    first.save(tmp_path / "one")
    second = load_tokenizer(tmp_path / "one")
    second.save(tmp_path / "two")
    assert type(second) is type(first) and second.kind == first.kind and second.fingerprint == first.fingerprint
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["added_tokens.json", "tokenizer.json", "tokenizer_config.json"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert (tmp_path / "one" / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    config = json.loads((tmp_path / "one" / "tokenizer_config.json").read_text())
    assert config["chat_template"] == TEMPLATE and config["padding_side"] == "left"
    assert first.to_hugging_face().to_str() == second.to_hugging_face().to_str()


def test_code_beside_the_files_is_not_carried(write, tmp_path):
    theirs = {"auto_map": {"AutoTokenizer": ["code.Tokenizer", None]}, "tokenizer_class": "Tokenizer"}
    load_tokenizer(write(tmp_path, "gpt2", **theirs)).save(tmp_path / "ours")
    config = json.loads((tmp_path / "ours" / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast" and "auto_map" not in config


# --- what transformers makes of a saved copy -------------------------------------------------------------------------


def described(sort):
    """tokenizer_config.json as it comes with such tokenizers."""
    begin, end, pad = {
        "llama3": ("<|begin_of_text|>", "<|eot_id|>", None),
        "nanochat": ("<|bos|>", "<|assistant_end|>", "<|bos|>"),
        "words": ("<s>", "[EOS]", None),
        "unigram": (None, "</s>", "<pad>"),
    }.get(sort, ("<s>", "</s>", None) if "meta" in sort or sort == "llama2" else (*["<|endoftext|>"] * 2, "!"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": begin, "eos_token": end, "pad_token": pad}
    if sort == "several_cuts":
        del config["pad_token"]
    if sort == "llama2":
        config |= {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "legacy": True}
        config["unk_token"] = {**DESCRIBED, "content": "<unk>"}
    return config


def same_in_transformers(theirs, ours):
    transformers = pytest.importorskip("transformers")
    one, two = (transformers.AutoTokenizer.from_pretrained(folder) for folder in (theirs, ours))
    assert type(one) is type(two) and one.special_tokens_map == two.special_tokens_map
    assert one.added_tokens_decoder == two.added_tokens_decoder and len(one) == len(two)
    for text in ("The miller's daughter: 22 Brötchen!", " a\n\n", "<s>a</s>", "<|endoftext|>b", ""):
        for around in (True, False):
            ids = one(text, add_special_tokens=around)["input_ids"]
            assert two(text, add_special_tokens=around)["input_ids"] == ids
            assert one.decode(ids) == two.decode(ids)
    return one, two


def test_transformers_finds_in_a_copy_what_it_finds_in_the_original(write, tmp_path, sort):
    folder = write(tmp_path / "theirs", sort, chat_template=TEMPLATE, **described(sort))
    tokenizer = load_tokenizer(folder)
    tokenizer.save(tmp_path / "ours")
    one, two = same_in_transformers(folder, tmp_path / "ours")
    assert one.apply_chat_template(TALK, tokenize=False) == two.apply_chat_template(TALK, tokenize=False)
    assert "12 hens" in two.apply_chat_template(TALK, tokenize=False)
    if sort != "llama2":  # whose class makes a tokenizer of its own
        begun = two("Mira")["input_ids"]
        assert begun == [i for i in [tokenizer.bos_id] if i is not None] + tokenizer.encode("Mira")


def test_chat_templates_in_files_of_their_own(write, tmp_path):
    folder = write(tmp_path / "theirs", "llama3", chat_template="this one is outdated", **described("llama3"))
    (folder / "chat_template.jinja").write_bytes(TEMPLATE.encode() + b"\r\n{# \xc3\xa9 #}")
    load_tokenizer(folder).save(tmp_path / "ours")
    one, two = same_in_transformers(folder, tmp_path / "ours")
    assert one.chat_template == two.chat_template and "role" in two.chat_template
    assert json.loads((tmp_path / "ours" / "tokenizer_config.json").read_text())["chat_template"] == two.chat_template

    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text(OTHER)
    load_tokenizer(folder).save(tmp_path / "more")
    one, two = same_in_transformers(folder, tmp_path / "more")
    assert one.chat_template == two.chat_template and two.chat_template["tool_use"] == OTHER
    assert load_tokenizer(tmp_path / "more").origin.config["chat_template"][0]["name"] == "tool_use"


def test_special_tokens_that_stand_in_their_map_only(write, tmp_path):
    folder = write(tmp_path / "theirs", "llama2", tokenizer_class="PreTrainedTokenizerFast")
    tokens = {"eos_token": {**DESCRIBED, "content": "</s>"}, "bos_token": "<s>", "pad_token": "</s>"}
    tokens["eos_token"].pop("__type")
    (folder / "special_tokens_map.json").write_text(json.dumps(tokens))
    load_tokenizer(folder).save(tmp_path / "ours")
    _, two = same_in_transformers(folder, tmp_path / "ours")
    assert (two.bos_token, two.eos_token, two.pad_token) == ("<s>", "</s>", "</s>")


def test_a_bare_tokenizer_json_gets_what_transformers_needs(write, tmp_path):
    transformers = pytest.importorskip("transformers")
    for sort, expected in {"gpt2": ("<|endoftext|>",) * 2, "llama3": ("<|begin_of_text|>", "<|end_of_text|>")}.items():
        load_tokenizer(write(tmp_path / sort, sort)).save(tmp_path / sort / "ours")
        opened = transformers.AutoTokenizer.from_pretrained(tmp_path / sort / "ours")
        assert (opened.bos_token, opened.eos_token) == expected


def test_what_transformers_saves_is_read(write, tmp_path, sort, caplog):
    transformers = pytest.importorskip("transformers")
    first = load_tokenizer(write(tmp_path / "theirs", sort, chat_template=TEMPLATE, **described(sort)))
    first.save(tmp_path / "ours")
    transformers.AutoTokenizer.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "again")
    again = load_tokenizer(tmp_path / "again")
    assert (again.kind, names(again)) == (first.kind, names(first))
    assert again.encode("Mira has 12 hens.") == first.encode("Mira has 12 hens.")
    # LlamaTokenizer of transformers writes another pre-tokenizer than it was given.
    assert (again.fingerprint == first.fingerprint) == (sort != "llama2")
    assert ("one of them was changed" in caplog.text) == (sort == "llama2")
    assert again.origin.config["chat_template"] == TEMPLATE
