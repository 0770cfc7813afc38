"""Token files as nanoGPT and llm.c write them, used through a prepared folder."""

import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from torch.utils.data import DataLoader

from nanolit.data.config import DataConfig
from nanolit.data.preparation.prepare import Build, prepare
from nanolit.data.prepared import Prepared
from nanolit.data.serving.batches import BatchPlan, MicroBatches
from nanolit.data.serving.packing import PackedRows
from nanolit.data.serving.windows import TokenWindows
from nanolit.runtime.files import read_json, sha256_file
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.directory import TokenizerConfig

BYTE = TokenizerConfig("byte")
EOT = ByteTokenizer().eot_id
CHARACTERS = "\n !abcdefghij"


def nanogpt(path, ids, dtype=np.uint16):
    """As nanoGPT's data/*/prepare.py."""
    np.array(ids, dtype=dtype).tofile(path)
    return path


def llmc(path, ids):
    """As llm.c's dev/data/data_common.py."""
    header = np.zeros(256, dtype=np.int32)
    header[:3] = 20240520, 1, len(ids)
    path.write_bytes(header.tobytes() + np.array(ids, dtype=np.uint16).tobytes())
    return path


def documents_of(n, seed=0):
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, random.integers(1, 40)) for _ in range(n)]


def ending(documents):
    return np.concatenate([ids for document in documents for ids in (document, [EOT])])


def beginning(documents):
    return np.concatenate([ids for document in documents for ids in ([EOT], document)])


def config(train, val, **more):
    return DataConfig(name="foreign", kind="tokens", train=str(train), val=str(val), **more)


def adopted(data, root, tokenizer=BYTE):
    return Prepared.open(prepare(data, tokenizer, root))


@pytest.fixture
def raw(tmp_path):
    documents = documents_of(60)
    train = nanogpt(tmp_path / "train.bin", ending(documents))
    return config(train, nanogpt(tmp_path / "val.bin", ending(documents_of(9, 1)))), documents


def test_windows_are_what_numpy_reads(raw, tmp_path):
    data, _ = raw
    prepared = adopted(data, tmp_path / "root")
    for split in ("train", "val"):
        ids = np.fromfile(getattr(data, split), np.uint16)
        windows = TokenWindows(prepared.shards(split), 16, 1)
        assert len(windows) == len(ids) - 16  # nanoGPT draws from range(len(data) - block_size)
        batch = windows.take(range(len(windows)))
        expected = np.lib.stride_tricks.sliding_window_view(ids, 17)
        assert np.array_equal(batch["inputs"], expected[:, :-1]) and np.array_equal(batch["targets"], expected[:, 1:])
    prepared.verify()


def test_the_manifest_and_what_is_on_the_disk(raw, tmp_path):
    data, documents = raw
    prepared = adopted(data, tmp_path / "root")
    manifest = prepared.manifest
    train = tmp_path / "train.bin"
    told = manifest["splits"]["train"]
    assert (told["documents"], told["tokens"]) == (60, train.stat().st_size // 2)
    assert [told["shards"][0][key] for key in ("file", "sha256")] == [str(train), sha256_file(train)]
    assert manifest["source"]["files"]["train"] == [[str(train), sha256_file(train)]]
    assert manifest["tokenizer"]["fingerprint"] == ByteTokenizer().fingerprint and manifest["on_the_fly"] is None
    assert manifest["marks"] == {"append_eot": True, "prepend_bos": False} and prepared.delimiter == "after"
    lengths = [len(document) + 1 for document in documents]
    (shard,) = prepared.shards("train")
    assert shard.starts.tolist() == [0, *np.cumsum(lengths)[:-1]] and shard.header.n_documents == 60
    files = {path.name: path.stat().st_size for path in prepared.folder.iterdir() if path.is_file()}
    assert set(files) == {"manifest.json", "train-00000.starts.npy", "val-00000.starts.npy"}
    assert sum(files.values()) < 4000 + 8 * 69  # the tokens are not copied
    assert prepared.folder == prepare(data, BYTE, tmp_path / "root")


@pytest.mark.parametrize("in_order", [CHARACTERS, "bad cafe\nghij!"])
def test_nanogpts_characters(in_order, tmp_path):
    text = "a bad cab\ngaff a jig!\n" * 20
    itos = sorted(set(in_order)) if in_order == CHARACTERS else list(dict.fromkeys(in_order))
    stoi = {character: i for i, character in enumerate(itos)}
    for name, part in (("train", text), ("val", text[:100])):
        nanogpt(tmp_path / f"{name}.bin", [stoi[c] for c in part])
    tokenizer = TokenizerConfig("char", characters="".join(itos))
    prepared = adopted(config(tmp_path / "train.bin", tmp_path / "val.bin"), tmp_path / "root", tokenizer)
    assert prepared.tokenizer.decode(prepared.shards("train")[0].tokens) == text
    assert prepared.manifest["marks"] == {"append_eot": False, "prepend_bos": False} and prepared.delimiter is None
    with pytest.raises(ValueError, match="does not say where its documents begin"):
        PackedRows(prepared.shards("train"), 8, "document")


def test_a_tokenizer_that_would_be_learnt_is_refused(raw, tmp_path):
    for tokenizer in (TokenizerConfig("char"), TokenizerConfig("bpe", vocab_size=300)):
        with pytest.raises(ValueError, match="hold no text to learn one from; name the one that made them") as error:
            prepare(raw[0], tokenizer, tmp_path / "root")
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="no pieces to prepare"):
        Build(raw[0], BYTE, tmp_path / "root")


@pytest.mark.parametrize("pattern", ["{}/fineweb_train_*.bin", "{}/**/fineweb_train_00000?.bin"])
def test_shards_of_llmc_by_a_pattern(pattern, tmp_path):
    """Documents go on from file to file."""
    (tmp_path / "sub").mkdir()
    documents = documents_of(50)
    ids = beginning(documents)
    for number, part in enumerate(np.array_split(ids, 3), start=1):
        llmc(tmp_path / f"fineweb_train_{number:06d}.bin", part)
    llmc(tmp_path / "fineweb_val_000000.bin", beginning(documents_of(5, 1)))
    data = config(pattern.format(tmp_path), tmp_path / "fineweb_val_000000.bin")
    prepared = adopted(data, tmp_path / "root")
    shards = prepared.shards("train")
    assert len(shards) == 3 and prepared.delimiter == "before"
    assert prepared.manifest["splits"]["train"]["documents"] == 50
    offsets = np.cumsum([0, *(len(shard.tokens) for shard in shards)])
    starts = [int(start + offset) for shard, offset in zip(shards, offsets, strict=False) for start in shard.starts]
    assert starts == [0, *np.cumsum([len(document) + 1 for document in documents])[:-1].tolist()]
    windows = TokenWindows(shards, 20)
    batch = windows.take(range(len(windows)))
    assert np.array_equal(batch["inputs"].flatten(), ids[: len(windows) * 20])
    prepared.verify()


def test_relative_paths_and_a_home(raw, tmp_path, monkeypatch):
    data, _ = raw
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    folders = {
        prepare(config(*names), BYTE, tmp_path / "root")
        for names in ((data.train, data.val), ("train.bin", "val.bin"), ("tr*.bin", "~/val.bin"))
    }
    assert len(folders) == 1
    monkeypatch.chdir("/")
    Prepared.open(folders.pop()).verify()
    with pytest.raises(ValueError, match=r"^data\.val=no\*\.bin: no such file, and no file fits it as a pattern"):
        prepare(config(data.train, "no*.bin"), BYTE, tmp_path / "root")


def test_whole_documents_are_packed(raw, tmp_path):
    data, documents = raw
    prepared = adopted(data, tmp_path / "root")
    rows = PackedRows(
        prepared.shards("train"), 48, "best_fit_padded", mask_documents=True, delimiter="after", cache=tmp_path / "p"
    )
    batch, found = rows.take(range(len(rows))), []
    for inputs, targets, numbers in zip(*(batch[k] for k in ("inputs", "targets", "documents")), strict=True):
        for number in set(numbers[targets != -1].tolist()):
            piece = inputs[(numbers == number) & (targets != -1)].tolist()
            found.append(tuple(token for token in piece if token != EOT))
    assert sorted(found) == sorted(tuple(document.tolist()) for document in documents)


def test_it_travels_to_other_processes(raw, tmp_path):
    prepared = adopted(raw[0], tmp_path / "root")
    assert prepared.tokenizer.vocab_size == 257
    again = pickle.loads(pickle.dumps(prepared))
    assert again.manifest == prepared.manifest and again.folder == prepared.folder
    for split in ("train", "val"):
        (here,), (there,) = prepared.shards(split), again.shards(split)
        assert np.array_equal(here.tokens, there.tokens) and np.array_equal(here.starts, there.starts)
    batches = MicroBatches(TokenWindows(prepared.shards("train"), 16), BatchPlan(4, 4), seed=0)
    loader = DataLoader(batches, sampler=range(6), batch_size=None, num_workers=1, multiprocessing_context="spawn")
    assert all((batches[i]["inputs"] == batch["inputs"]).all() for i, batch in enumerate(loader))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: ids[:-5], r"train\.bin: has number of tokens \d+, manifest\.json says \d+"),
        (lambda ids: np.append(ids, 7), r"train\.bin: has number of tokens \d+, manifest\.json says \d+"),
        (lambda ids: np.append(ids, 60_000), "holds token id 60000, but the vocabulary has 257 ids"),
    ],
)
def test_a_file_of_another_size_is_not_opened(change, message, raw, tmp_path):
    data, _ = raw
    folder = adopted(data, tmp_path / "root").folder
    nanogpt(tmp_path / "train.bin", change(np.fromfile(data.train, np.uint16)))
    with pytest.raises(ValueError, match=message) as error:
        Prepared.open(folder)
    assert "\n" not in str(error.value)


def test_a_file_that_is_gone_or_odd_is_not_opened(raw, tmp_path):
    folder = adopted(raw[0], tmp_path / "root").folder
    with (tmp_path / "train.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="are not a whole number of uint16 tokens"):
        Prepared.open(folder)
    (tmp_path / "train.bin").unlink()
    with pytest.raises(ValueError, match=r"train\.bin: no such file"):
        Prepared.open(folder)


def test_other_content_of_the_same_size_is_found_by_verify(raw, tmp_path):
    data, _ = raw
    folder = adopted(data, tmp_path / "root").folder
    ids = np.fromfile(data.train, np.uint16)
    ids[len(ids) // 2] ^= 1
    nanogpt(tmp_path / "train.bin", ids)
    with pytest.raises(ValueError, match=r"train\.bin: its content has sha256 \w+, it had \w+ when") as error:
        Prepared.open(folder).verify()
    assert "\n" not in str(error.value)
    assert prepare(data, BYTE, tmp_path / "root") != folder  # other tokens are other data


def test_ids_that_the_tokenizer_does_not_have(tmp_path):
    train, val = nanogpt(tmp_path / "train.bin", [1, 2, 257]), nanogpt(tmp_path / "val.bin", [1, 2])
    with pytest.raises(ValueError, match="holds token id 257, but the vocabulary has 257 ids; name the tokenizer"):
        prepare(config(train, val), BYTE, tmp_path / "root")
    assert not list((tmp_path / "root").glob("foreign-*"))


def test_uint32_of_a_small_vocabulary(tmp_path):
    ids = ending(documents_of(20))
    train, val = (nanogpt(tmp_path / f"{name}.bin", ids, np.uint32) for name in ("train", "val"))
    with pytest.raises(ValueError, match=r"give data\.dtype=uint32"):
        prepare(config(train, val), BYTE, tmp_path / "root")
    prepared = adopted(config(train, val, dtype="uint32"), tmp_path / "root")
    assert np.array_equal(prepared.shards("train")[0].tokens, ids)


def test_files_of_two_kinds_are_refused(tmp_path):
    documents = documents_of(4)
    train, val = llmc(tmp_path / "train.bin", beginning(documents)), nanogpt(tmp_path / "val.bin", ending(documents))
    with pytest.raises(ValueError, match=r"^data\.train, data\.val: .*train\.bin has a header of llm\.c, others"):
        prepare(config(train, val), BYTE, tmp_path / "root")


def test_two_processes_at_once_make_one_folder(raw, tmp_path):
    data, _ = raw
    script = textwrap.dedent(f"""
        from nanolit.data.config import DataConfig
        from nanolit.data.preparation.prepare import prepare
        from nanolit.data.prepared import Prepared
        from nanolit.tokenizers.directory import TokenizerConfig
        data = DataConfig(name="foreign", kind="tokens", train={data.train!r}, val={data.val!r})
        folder = prepare(data, TokenizerConfig("byte"), {str(tmp_path / "root")!r})
        Prepared.open(folder).verify()
        print(folder.name)
    """)
    running = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    names = {process.communicate(timeout=60)[0] for process in running}
    assert len(names) == 1 and all(process.returncode == 0 for process in running)
    (folder,) = (tmp_path / "root").glob("foreign-*")
    assert read_json(folder / "manifest.json")["splits"]["val"]["documents"] == 9
