"""Data in the tokens of a tokenizer that came as a folder."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from nanolit.data.config import DataConfig
from nanolit.data.preparation.prepare import prepare
from nanolit.data.prepared import Prepared
from nanolit.tokenizers.bpe import train_bpe
from nanolit.tokenizers.directory import TokenizerConfig, load_tokenizer
from nanolit.village import documents

VILLAGE = DataConfig(documents=30, val_documents=5)


def words(folder, **config):
    """Words of the village, cut at spaces: one of those that the `tokenizers` library itself has to encode."""
    seen = sorted({word for text in documents(0, "train", 0, 30) for word in text.split()})
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["?", "</s>", *seen])}, unk_token="?"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.WhitespaceSplit(), decoders.Fuse()
    tokenizer.add_special_tokens(["</s>"][: config.pop("has_end", 1)])
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return TokenizerConfig("folder", path=str(folder))


def test_the_tokens_are_those_of_the_folder(tmp_path):
    config = words(tmp_path / "theirs", chat_template="x")
    prepared = Prepared.open(prepare(VILLAGE, config, tmp_path / "root"))
    tokenizer = load_tokenizer(config.path)
    expected = [i for text in documents(0, "train", 0, 30) for i in [*tokenizer.encode(text), tokenizer.eot_id]]
    assert np.array_equal(prepared.shards("train")[0].tokens, expected)
    assert (prepared.tokenizer.kind, prepared.tokenizer.fingerprint) == ("hugging_face", tokenizer.fingerprint)
    assert prepared.tokenizer.origin.config["chat_template"] == "x"
    prepared.verify()


def test_the_content_of_the_folder_decides_not_its_path(tmp_path):
    train_bpe(documents(0, "train", 0, 30), 300).save(tmp_path / "one")
    train_bpe(documents(0, "train", 0, 30), 300).save(tmp_path / "two")
    configs = [TokenizerConfig("folder", path=str(tmp_path / name)) for name in ("one", "two")]
    first, second = (prepare(VILLAGE, config, tmp_path / "root") for config in configs)
    assert first == second
    train_bpe(documents(0, "train", 0, 30), 301).save(tmp_path / "two")
    third = prepare(VILLAGE, configs[1], tmp_path / "root")
    assert third != first and Prepared.open(third).tokenizer.vocab_size == 301


def test_documents_cannot_end_where_the_tokenizer_has_no_end(tmp_path):
    config = words(tmp_path / "theirs", has_end=0)
    with pytest.raises(ValueError, match=r"data\.append_eot=true: the tokenizer in .*theirs has no end-of-text token"):
        prepare(VILLAGE, config, tmp_path / "root")
    assert not list((tmp_path / "root").glob("village*"))
    assert prepare(DataConfig(documents=30, val_documents=5, append_eot=False), config, tmp_path / "root").is_dir()
