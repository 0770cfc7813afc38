import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from nanolit.data.prepare import Prepared, preparation_hash, prepare
from nanolit.data.sources import DataConfig, open_source
from nanolit.runtime.files import read_json, write_json
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.char import CharTokenizer
from nanolit.tokenizers.directory import TokenizerConfig
from nanolit.village import documents as village_documents

BYTE = TokenizerConfig("byte")
BPE = TokenizerConfig("bpe", vocab_size=400)
VILLAGE = DataConfig(documents=60, val_documents=9)


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tokens(prepared, split):
    return np.concatenate([shard.tokens for shard in prepared.shards(split)])


@pytest.fixture
def text_config(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"Line {i} of this text.\n" for i in range(400)))
    return DataConfig(name="mine", kind="text", source=str(path))


@pytest.mark.parametrize("config", [BYTE, BPE], ids=lambda config: config.kind)
def test_the_village_as_tokens(config, tmp_path):
    folder = prepare(VILLAGE, config, tmp_path)
    prepared = Prepared.open(folder)
    tokenizer = prepared.tokenizer
    for split, n in (("train", 60), ("val", 9)):
        texts = list(village_documents(0, split, 0, n))
        ids = tokens(prepared, split)
        assert tokenizer.decode(ids) == "".join(text + "<|endoftext|>" for text in texts)
        (shard,) = prepared.shards(split)
        assert (ids[shard.starts[1:] - np.uint64(1)] == tokenizer.eot_id).all() and ids[-1] == tokenizer.eot_id
        n_bytes = len("".join(texts).encode())
        facts = prepared.manifest["splits"][split]
        assert (facts["documents"], facts["tokens"], facts["bytes"]) == (n, len(ids), n_bytes)
        assert tokenizer.byte_lengths()[ids].sum() == n_bytes
    prepared.verify()


def shakespeare(tiny_shakespeare, tmp_path, tokenizer):
    data = DataConfig(name="shakespeare", kind="text", source=str(tiny_shakespeare), val_fraction=0.1, append_eot=False)
    prepared = Prepared.open(prepare(data, tokenizer, tmp_path / "root"))
    text = tiny_shakespeare.read_text(encoding="utf-8")
    n = int(len(text) * 0.9)
    assert prepared.tokenizer.decode(tokens(prepared, "train")) == text[:n]
    assert prepared.tokenizer.decode(tokens(prepared, "val")) == text[n:]
    return prepared


def test_nanogpts_character_recipe(tiny_shakespeare, tmp_path):
    prepared = shakespeare(tiny_shakespeare, tmp_path, TokenizerConfig("char"))
    assert [len(tokens(prepared, split)) for split in ("train", "val")] == [1_003_854, 111_540]
    assert prepared.tokenizer.vocab_size == 65


def test_nanogpts_gpt2_recipe(tiny_shakespeare, tiktoken_cache, tmp_path):
    prepared = shakespeare(tiny_shakespeare, tmp_path, TokenizerConfig("tiktoken", name="gpt2"))
    assert [len(tokens(prepared, split)) for split in ("train", "val")] == [301_966, 36_059]


def test_preparing_again_finds_what_is_there(text_config, tmp_path):
    folder = prepare(text_config, BYTE, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert prepare(text_config, BYTE, tmp_path) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_changed_source_is_prepared_anew_and_the_old_one_stays(text_config, tmp_path):
    old = prepare(text_config, BYTE, tmp_path)
    before = content(old)
    with Path(text_config.source).open("a") as file:
        file.write("One more line.\n")
    new = prepare(text_config, BYTE, tmp_path)
    assert new != old and content(old) == before
    assert Prepared.open(new).tokenizer.decode(tokens(Prepared.open(new), "val")).endswith("more line.\n<|endoftext|>")


def test_bytes_do_not_depend_on_threads(tmp_path):
    folders = [prepare(VILLAGE, BPE, tmp_path / str(n), n_threads=n) for n in (1, 3)]
    assert content(folders[0]) == content(folders[1])


def test_small_shards_are_the_same_stream(tmp_path):
    whole = Prepared.open(prepare(VILLAGE, BYTE, tmp_path))
    pieces = Prepared.open(prepare(dataclasses.replace(VILLAGE, tokens_per_shard=5000), BYTE, tmp_path))
    assert len(pieces.shards("train")) > 3
    assert np.array_equal(tokens(pieces, "train"), tokens(whole, "train"))
    assert all(shard.starts[0] == 0 for shard in pieces.shards("train"))  # a shard begins with a document


def hash_of(data, tokenizer, root):
    return preparation_hash(open_source(data, root), data, tokenizer)


def test_the_hash_covers_what_changes_the_bytes(text_config, tmp_path):
    changes = [
        {},
        {"append_eot": False},
        {"val_fraction": 0.2},
        {"split": "document"},
        {"encoding": "latin-1"},
        {"tokens_per_shard": 9},
    ]
    text = [dataclasses.replace(text_config, **change) for change in changes]
    village = [
        dataclasses.replace(VILLAGE, **change) for change in ({}, {"seed": 1}, {"documents": 5}, {"val_documents": 5})
    ]
    tokenizers = [BYTE, TokenizerConfig("tiktoken", name="gpt2"), BPE, TokenizerConfig("bpe", vocab_size=401)]
    tokenizers.append(dataclasses.replace(BPE, train_chars=9))
    hashes = [hash_of(data, BYTE, tmp_path) for data in (*text, *village)]
    hashes += [hash_of(text_config, tokenizer, tmp_path) for tokenizer in tokenizers[1:]]
    assert len(set(hashes)) == len(hashes)


def test_the_hash_covers_nothing_else(text_config, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.copy(text_config.source, moved)
    same = [
        {"name": "other"},
        {"text_field": "body"},
        {"split": "contiguous"},
        {"source": str(moved / "text.txt")},
        {"url": "http://127.0.0.1:1/x", "sha256": "0"},
    ]
    configs = [text_config, *(dataclasses.replace(text_config, **change) for change in same)]
    assert len({hash_of(config, BYTE, tmp_path) for config in configs}) == 1
    explicit = dataclasses.replace(BPE, train_chars=400_000)
    assert hash_of(VILLAGE, BPE, tmp_path) == hash_of(VILLAGE, explicit, tmp_path)


KILLED = """
import os, signal, sys
from nanolit.data import prepare as module
from nanolit.data.sources import DataConfig
from nanolit.tokenizers.directory import TokenizerConfig
countdown = int(sys.argv[2])
append = module._SplitWriter.append
def append_and_die(*arguments):
    global countdown
    countdown -= 1
    if countdown == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    append(*arguments)
module._SplitWriter.append = append_and_die
module.prepare(DataConfig(documents=60, val_documents=9), TokenizerConfig("byte"), sys.argv[1])
"""


def test_a_killed_preparation_is_never_taken_for_a_whole_one(tmp_path, caplog):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed"), "40"]
    killed = subprocess.run(command, env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert not list((tmp_path / "killed").glob("village-*")) and list((tmp_path / "killed").glob(".village-*"))
    folder = prepare(VILLAGE, BYTE, tmp_path / "killed")
    assert "left over from a preparation that was killed" in caplog.text
    assert content(folder) == content(prepare(VILLAGE, BYTE, tmp_path / "whole"))


def test_an_error_leaves_nothing(text_config, tmp_path):
    with Path(text_config.source).open("ab") as file:
        file.write(b"\xff")
    with pytest.raises(ValueError, match="is not utf-8"):
        prepare(text_config, BYTE, tmp_path / "root")
    assert list((tmp_path / "root").glob("*mine*")) == []


def test_two_at_once_end_with_one_valid_folder(tmp_path):
    with ThreadPoolExecutor(3) as pool:
        folders = list(pool.map(lambda _: prepare(VILLAGE, BYTE, tmp_path), range(3)))
    assert len(set(folders)) == 1
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [folders[0]]
    Prepared.open(folders[0]).verify()


def test_char_has_no_end_of_text_to_append(tmp_path):
    with pytest.raises(ValueError, match=r"data\.append_eot=true: the char tokenizer has no end-of-text token"):
        prepare(VILLAGE, TokenizerConfig("char"), tmp_path)


def test_char_counts_the_characters_of_both_splits(tmp_path):
    (tmp_path / "a.txt").write_text("a" * 90 + "b" * 10)
    data = DataConfig(name="mine", kind="text", source=str(tmp_path / "a.txt"), append_eot=False)
    assert Prepared.open(prepare(data, TokenizerConfig("char"), tmp_path)).tokenizer.vocab_size == 2


def test_an_empty_split_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("one document")
    data = DataConfig(name="mine", kind="text", source=str(tmp_path / "a.txt"), split="document")
    with pytest.raises(
        ValueError, match=r"the (train|val) split came out empty; give more text, data\.split=contiguous"
    ):
        prepare(data, BYTE, tmp_path)


def test_progress_ends_at_the_whole(text_config, tmp_path):
    for data in (VILLAGE, text_config):
        reports = []
        prepare(data, BYTE, tmp_path, progress=lambda part, done, reports=reports: reports.append((part, done)))
        assert reports[-1][0] == 1.0 and "tokens" in reports[-1][1]


def test_opening_reads_headers_only(tmp_path):
    folder = prepare(VILLAGE, BYTE, tmp_path)
    path = folder / "train-00000.bin"
    damaged = bytearray(path.read_bytes())
    damaged[1000] ^= 1
    path.write_bytes(damaged)
    t0 = time.perf_counter()
    prepared = Prepared.open(folder)
    assert time.perf_counter() - t0 < 0.5
    with pytest.raises(ValueError, match="the file is damaged"):
        prepared.verify()


def test_a_shard_of_other_data_is_refused(tmp_path):
    folder, other = prepare(VILLAGE, BYTE, tmp_path), prepare(VILLAGE, BPE, tmp_path)
    shutil.copy(other / "val-00000.bin", folder / "val-00000.bin")
    fingerprints = [read_json(f / "manifest.json")["tokenizer"]["fingerprint"] for f in (folder, other)]
    with pytest.raises(ValueError, match="has tokenizer fingerprint") as error:
        Prepared.open(folder)
    assert all(fingerprint in str(error.value) for fingerprint in fingerprints)


def test_another_tokenizer_is_refused_with_both_fingerprints(tmp_path):
    prepared = Prepared.open(prepare(VILLAGE, BYTE, tmp_path))
    prepared.require(ByteTokenizer())
    with pytest.raises(ValueError, match="made by a tokenizer with fingerprint") as error:
        prepared.require(CharTokenizer("abc"))
    assert ByteTokenizer().fingerprint in str(error.value) and CharTokenizer("abc").fingerprint in str(error.value)


def test_a_folder_that_is_not_prepared_data(tmp_path):
    with pytest.raises(ValueError, match=r"no manifest\.json in it, so it is no prepared data"):
        Prepared.open(tmp_path)
    write_json(tmp_path / "manifest.json", {"format": 99})
    with pytest.raises(ValueError, match="format 99, this nanolit reads 1"):
        Prepared.open(tmp_path)
