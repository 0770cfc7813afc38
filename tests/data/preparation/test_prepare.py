import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanolit.data.config import DataConfig
from nanolit.data.preparation.prepare import Build, merge, prepare, prepare_piece
from nanolit.data.prepared import Prepared
from nanolit.runtime.files import read_json, write_json
from nanolit.tokenizers.bpe import train_bpe
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.char import CharTokenizer
from nanolit.tokenizers.directory import TokenizerConfig
from nanolit.tokenizers.vocabulary import CHAT_SPECIALS
from nanolit.tokenizers.vocabulary import END_OF_TEXT as EOT
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


def test_bytes_do_not_depend_on_workers(tmp_path, monkeypatch):
    monkeypatch.setattr("nanolit.data.preparation.workers.WORTH_A_PROCESS_BYTES", 0)
    data = dataclasses.replace(VILLAGE, shard_bytes=8000)
    folders = [prepare(data, BPE, tmp_path / str(n), n_workers=n) for n in (1, 3)]
    assert content(folders[0]) == content(folders[1])
    assert len(list(folders[0].glob("train-*.bin"))) == 5


@pytest.fixture
def small_batches(monkeypatch):
    """A shard is closed between two batches, so small ones need small batches."""
    monkeypatch.setattr("nanolit.data.preparation.jobs.BATCH_CHARS", 1000)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shard_bytes=st.integers(500, 40_000), tokens_per_shard=st.integers(300, 40_000), n_pieces=st.integers(1, 7))
def test_the_tokens_do_not_depend_on_how_they_are_cut_or_by_whom(
    small_batches, shard_bytes, tokens_per_shard, n_pieces
):
    data = dataclasses.replace(VILLAGE, shard_bytes=shard_bytes, tokens_per_shard=tokens_per_shard)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        whole, one = prepare(data, BYTE, root / "whole"), Prepared.open(prepare(VILLAGE, BYTE, root / "one"))
        for piece in reversed(range(n_pieces)):
            prepare_piece(data, BYTE, root / "pieces", piece, n_pieces, 1)
        assert content(merge(data, BYTE, root / "pieces")) == content(whole)
        for split in ("train", "val"):
            assert np.array_equal(tokens(Prepared.open(whole), split), tokens(one, split))
            assert all(s.header.n_tokens <= tokens_per_shard + 3000 for s in Prepared.open(whole).shards(split))


def test_merge_refuses_what_is_not_whole(tmp_path):
    data = dataclasses.replace(VILLAGE, shard_bytes=8000)
    prepare_piece(data, BYTE, tmp_path, 0, 3, 1)
    prepare_piece(data, BYTE, tmp_path, 2, 3, 1)
    with pytest.raises(
        ValueError, match=r"prepare\.merge: \d of \d jobs of village-.* are done, number \d is not; run the missing"
    ):
        merge(data, BYTE, tmp_path)
    with pytest.raises(ValueError, match=r"prepare\.piece=3: must be 0 to 2"):
        prepare_piece(data, BYTE, tmp_path, 3, 3, 1)


def rows_file(folder, n=300, words=7):
    folder.mkdir(exist_ok=True)
    draw = random.Random(n)
    path = folder / "rows.jsonl"
    rows = [{"prompt": f"row {i}", "completion": " ".join(draw.choices("abcde", k=words))} for i in range(n)]
    path.write_text(
        "".join(json.dumps({**row, "text": f"{row['prompt']}: {row['completion']}"}) + "\n" for row in rows)
    )
    return path


@pytest.mark.parametrize("n_pieces", [1, 2, 5])
@pytest.mark.parametrize("split", ["document", "named"])
@pytest.mark.parametrize("change", [{"max_tokens": 1500}, {"on_the_fly": True}, {"deduplicate": True}])
def test_pieces_of_a_part_of_the_text_can_be_merged(tmp_path, n_pieces, split, change):
    """What is not needed in the end is not asked for by the merge."""
    source = rows_file(tmp_path / "text")
    if split == "named":
        rows_file(tmp_path / "text", n=40).rename(tmp_path / "text" / "validation.jsonl")
        rows_file(tmp_path / "text").rename(tmp_path / "text" / "train.jsonl")
        source = source.parent
    data = DataConfig(name="rows", kind="text", source=str(source), shard_bytes=900, split=split, **change)
    for piece in range(n_pieces):
        prepare_piece(data, BYTE, tmp_path / "pieces", piece, n_pieces, 1)
    assert content(merge(data, BYTE, tmp_path / "pieces")) == content(prepare(data, BYTE, tmp_path / "whole"))


def test_a_kill_before_the_last_rename_is_nothing_lost(tmp_path):
    data = dataclasses.replace(VILLAGE, shard_bytes=8000, max_tokens=9000)
    whole = prepare(data, BYTE, tmp_path / "whole")
    for do in (prepare, merge):
        root = tmp_path / do.__name__
        build = Build(data, BYTE, root)
        shutil.copytree(whole, build.partial)  # the manifest is there, jobs/ is gone, the name is still to come
        assert content(do(data, BYTE, root)) == content(whole)


def test_a_cap_cuts_no_example(tmp_path):
    source = rows_file(tmp_path / "text")
    data = DataConfig(name="rows", kind="conversations", source=str(source), ignore_keys=("text",), max_tokens=1000)
    prepared = Prepared.open(prepare(data, BYTE, tmp_path))
    (shard,) = prepared.shards("train")
    assert 950 < len(shard.tokens) <= 1000 and shard.tokens[-1] == prepared.tokenizer.eot_id
    assert shard.supervised_slice(0, len(shard.tokens))[-1]


def test_a_cap_that_was_reached_asks_for_no_other_job(tmp_path, monkeypatch):
    data = dataclasses.replace(VILLAGE, shard_bytes=2000, max_tokens=3000)
    monkeypatch.setattr(Build, "finish", lambda build: None)  # as if killed before
    done = []
    for _ in range(3):
        prepare(data, BYTE, tmp_path, n_workers=1)
        done.append(len(list(tmp_path.glob("*.partial/jobs/*.json"))))
    assert done[0] == done[1] == done[2] < 10


@pytest.mark.parametrize("max_tokens", [1, 1000, 12_345, 10**9])
def test_max_tokens_are_the_first_ones(tmp_path, max_tokens):
    data = dataclasses.replace(VILLAGE, shard_bytes=8000, max_tokens=max_tokens)
    whole = Prepared.open(prepare(VILLAGE, BPE, tmp_path))
    capped = Prepared.open(prepare(data, BPE, tmp_path, n_workers=2))
    ids = tokens(whole, "train")[:max_tokens]
    assert np.array_equal(tokens(capped, "train"), ids)
    assert np.array_equal(tokens(capped, "val"), tokens(whole, "val"))  # the village has its own
    facts = capped.manifest["splits"]["train"]
    assert facts["tokens"] == len(ids) and facts["bytes"] == capped.tokenizer.byte_lengths()[ids].sum()
    assert facts["documents"] == sum(len(shard.starts) for shard in capped.shards("train"))
    kept = {shard["file"] for split in capped.manifest["splits"].values() for shard in split["shards"]}
    assert {path.name for path in capped.folder.glob("*.bin")} == kept
    capped.verify()


@pytest.mark.parametrize(("append_eot", "prepend_bos"), [(True, True), (True, False), (False, True), (False, False)])
def test_marks_stand_where_the_settings_say(tmp_path, append_eot, prepend_bos):
    folder = tmp_path / "tokenizer"
    train_bpe(["a b c"] * 9, 300, specials=CHAT_SPECIALS).save(folder)
    data = dataclasses.replace(VILLAGE, append_eot=append_eot, prepend_bos=prepend_bos)
    prepared = Prepared.open(prepare(data, TokenizerConfig("folder", path=str(folder)), tmp_path))
    bos, texts = prepared.tokenizer.bos_id, list(village_documents(0, "val", 0, 9))
    expected = []
    for text in texts:  # <|bos|> is both marks of this tokenizer, so it stands between two documents once
        marks = ([bos] if prepend_bos else []), ([bos] if append_eot and not prepend_bos else [])
        expected += [*marks[0], *prepared.tokenizer.encode(text), *marks[1]]
    assert tokens(prepared, "val").tolist() == expected


def test_duplicates_are_left_out_whoever_finds_them(tmp_path, monkeypatch):
    monkeypatch.setattr("nanolit.data.preparation.workers.WORTH_A_PROCESS_BYTES", 0)
    draw = random.Random(3)
    texts = [f"document {draw.randrange(40)} " * draw.randrange(1, 9) for _ in range(400)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    data = DataConfig(
        name="rows",
        kind="text",
        source=str(tmp_path / "rows.jsonl"),
        deduplicate=True,
        shard_bytes=3000,
        split="document",
    )
    folders = [prepare(data, BYTE, tmp_path / str(n), n_workers=n) for n in (1, 3)]
    assert content(folders[0]) == content(folders[1])
    prepared = Prepared.open(folders[0])
    found = [
        text
        for split in ("train", "val")
        for text in prepared.tokenizer.decode(tokens(prepared, split)).split(EOT)[:-1]
    ]
    assert sorted(found) == sorted(set(texts))
    assert prepared.manifest["left_out"] == {"duplicates": len(texts) - len(set(texts))}


def test_two_files_of_the_same_text_are_one(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.txt").write_text("the same text. " * 50 if name != "b" else "another text. " * 50)
    data = DataConfig(name="mine", kind="text", source=str(tmp_path), deduplicate=True)
    prepared = Prepared.open(prepare(data, BYTE, tmp_path / "root"))
    text = prepared.tokenizer.decode([*tokens(prepared, "train"), *tokens(prepared, "val")])
    assert text.count("the same text. ") == text.count("another text. ") == 50


def test_small_shards_are_the_same_stream(small_batches, tmp_path):
    whole = Prepared.open(prepare(VILLAGE, BYTE, tmp_path))
    pieces = Prepared.open(prepare(dataclasses.replace(VILLAGE, tokens_per_shard=5000), BYTE, tmp_path))
    assert len(pieces.shards("train")) > 3
    assert np.array_equal(tokens(pieces, "train"), tokens(whole, "train"))


def hash_of(data, tokenizer, root):
    return Build(data, tokenizer, root).folder.name.rpartition("-")[2]


def test_the_hash_covers_what_changes_the_bytes(text_config, tmp_path):
    changes = [
        {},
        {"append_eot": False},
        {"val_fraction": 0.2},
        {"split": "document"},
        {"encoding": "latin-1"},
        {"tokens_per_shard": 9},
        {"shard_bytes": 9},
        {"max_tokens": 9},
        {"deduplicate": True},
        {"prepend_bos": False},
        {"on_the_fly": True},
        {"separator": "Line 3"},
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
        {"dataset": "a/b", "split_seed": 1},
    ]
    configs = [text_config, *(dataclasses.replace(text_config, **change) for change in same)]
    assert len({hash_of(config, BYTE, tmp_path) for config in configs}) == 1
    explicit = dataclasses.replace(BPE, train_chars=400_000)
    assert hash_of(VILLAGE, BPE, tmp_path) == hash_of(VILLAGE, explicit, tmp_path)


KILLED = """
import os, signal, sys
from nanolit.data.preparation import jobs as module
from nanolit.data.config import DataConfig
from nanolit.data.preparation.prepare import prepare
from nanolit.tokenizers.directory import TokenizerConfig
countdown = int(sys.argv[2])
append = module._Shards.append
def append_and_die(*arguments):
    global countdown
    countdown -= 1
    if countdown == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    append(*arguments)
module._Shards.append = append_and_die
module.BATCH_CHARS = 3000
prepare(DataConfig(documents=60, val_documents=9, shard_bytes=9000), TokenizerConfig("byte"), sys.argv[1], n_workers=1)
"""


@pytest.mark.parametrize("countdown", [1, 4, 11])
def test_a_killed_preparation_goes_on_and_ends_with_the_same_bytes(tmp_path, caplog, countdown):
    caplog.set_level("INFO")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed"), str(countdown)]
    killed = subprocess.run(command, env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert [path.suffix for path in (tmp_path / "killed").glob("village-*")] == [".partial"]
    data = dataclasses.replace(VILLAGE, shard_bytes=9000)
    folder = prepare(data, BYTE, tmp_path / "killed")
    assert ("jobs were done before" in caplog.text) == (countdown > 1)
    assert content(folder) == content(prepare(data, BYTE, tmp_path / "whole"))


def test_an_error_keeps_what_is_good(tmp_path):
    (tmp_path / "text").mkdir()
    for i in range(6):
        (tmp_path / "text" / f"{i}.txt").write_text(f"text number {i}. " * 40)
    broken = tmp_path / "text" / "4.txt"
    good = broken.read_bytes()
    broken.write_bytes(b"\xff" + good[1:])
    data = DataConfig(name="mine", kind="text", source=str(tmp_path / "text"), shard_bytes=400, split="document")
    data = dataclasses.replace(data, val_fraction=0.4)
    with pytest.raises(ValueError, match=r"4\.txt: byte 0 \(0xff\) is not utf-8"):
        prepare(data, BYTE, tmp_path / "root", n_workers=1)
    (partial,) = (tmp_path / "root").glob("mine-*.partial")
    assert len(list(partial.glob("jobs/*.json"))) == 4  # the files before it
    assert not list(partial.glob("*.tmp"))


SMALL_DISK = """
import resource, signal, sys
from nanolit.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
sys.exit(main(sys.argv[1:]))
"""


def test_a_full_disk_is_one_line_and_what_was_good_stays(tmp_path):
    """A limit on the size of files, which a write meets in the same way; the village's validation split is smaller."""
    settings = ["prepare", "data=village", "data.documents=400", "data.val_documents=30", "tokenizer=byte"]
    command = [sys.executable, "-c", SMALL_DISK, *settings, f"paths.data_root={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "error:" in done.stderr.splitlines()[-1] and "train-00000.bin" in done.stderr and "Trace" not in done.stderr
    (partial,) = tmp_path.glob("village-*.partial")
    assert [path.name for path in partial.glob("*.bin")] == ["val-00001.bin"]
    assert not list(partial.glob(".*.tmp"))


def test_two_at_once_end_with_one_valid_folder(tmp_path):
    with ThreadPoolExecutor(3) as pool:
        folders = list(pool.map(lambda _: prepare(VILLAGE, BYTE, tmp_path), range(3)))
    assert len(set(folders)) == 1
    assert [path for path in tmp_path.iterdir() if path.name != ".locks"] == [folders[0]]
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
        ValueError,
        match=r"the (train|val) split came out empty, of 1 job\(s\) with text; give more of it, another data\.val_fr",
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
    shutil.copy(other / "val-00001.bin", folder / "val-00001.bin")
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
    with pytest.raises(ValueError, match="format 99, this nanolit reads 2"):
        Prepared.open(tmp_path)


def test_keys_that_are_passed_over_decide_the_tokens(tmp_path):
    source = rows_file(tmp_path / "text")
    data = DataConfig(name="rows", kind="conversations", source=str(source), ignore_keys=("text",))
    assert hash_of(data, BYTE, tmp_path) != hash_of(
        dataclasses.replace(data, ignore_keys=("text", "x")), BYTE, tmp_path
    )


@pytest.mark.parametrize("damage", ["cut short", "changed", "gone"])
def test_a_shard_that_was_damaged_before_the_end_is_made_again(tmp_path, damage):
    data = dataclasses.replace(VILLAGE, shard_bytes=8000)
    whole = content(prepare(data, BYTE, tmp_path / "whole"))
    for n in range(3):
        prepare_piece(data, BYTE, tmp_path / "pieces", n, 3, 1)
    (path,) = (tmp_path / "pieces").glob("*.partial/train-00001.bin")
    raw = bytearray(path.read_bytes())
    raw[1000] ^= 1
    path.unlink() if damage == "gone" else path.write_bytes(raw if damage == "changed" else raw[:-9])
    with pytest.raises(ValueError, match=r"prepare\.merge: the shards of job\(s\) 1 are damaged; run the pieces again"):
        merge(data, BYTE, tmp_path / "pieces")
    for n in range(3):
        prepare_piece(data, BYTE, tmp_path / "pieces", n, 3, 1)
    assert content(merge(data, BYTE, tmp_path / "pieces")) == whole


def test_text_to_be_encoded_on_the_fly_may_move(tmp_path):
    first = rows_file(tmp_path / "here")
    data = DataConfig(name="rows", kind="text", source=str(first), split="document", on_the_fly=True)
    folder = prepare(data, BYTE, tmp_path)
    (tmp_path / "there").mkdir()
    moved = first.rename(tmp_path / "there" / first.name)
    assert prepare(dataclasses.replace(data, source=str(moved)), BYTE, tmp_path) == folder
    work = Prepared.open(folder).text_work(1 << 20)
    assert sum(1 for job in work.plan.jobs for _ in work.plan.items(job)) == 300
    moved.write_text('{"text": "another"}\n' * 9)
    with pytest.raises(ValueError, match=r"is no longer what it was when the folder was prepared"):
        Prepared.open(folder).text_work(1 << 20)


def test_what_cannot_be_encoded_is_told_with_its_beginning(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in ["abc", "abd", "a?b", "aab"] * 9))
    data = DataConfig(name="rows", kind="text", source=str(tmp_path / "a.jsonl"), append_eot=False)
    with pytest.raises(ValueError, match=r"character '\?' .* \(in the text that begins 'a\?b'\)"):
        prepare(data, TokenizerConfig("char", characters="abcd"), tmp_path)
