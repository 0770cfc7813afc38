"""Which documents of files here are for validation."""

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanolit.data.config import DataConfig
from nanolit.data.preparation.prepare import prepare
from nanolit.data.prepared import Prepared
from nanolit.data.sources.open import open_source
from nanolit.tokenizers.directory import TokenizerConfig

BYTE = TokenizerConfig("byte")


def source_of(path, root=None, **more):
    return open_source(DataConfig(name="mine", kind="text", source=str(path), **more), root or path.parent / "root")


def documents(plan):
    """By split the documents, parts joined, as a reader of all jobs in order finds them."""
    found, inside = {}, set()
    for job in plan.jobs:
        for item in plan.items(job):
            assert job.split in (None, item.split)
            texts = found.setdefault(item.split, [])
            if item.split in inside and not item.begins:
                texts[-1] += item.content
            else:
                texts.append(item.content)
            inside = inside - {item.split} if item.ends else inside | {item.split}
    return found


def write_rows(path, texts, **more):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    else:
        pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), path, **more)
    return path


def folder_of(tmp_path, files):
    folder = tmp_path / "corpus"
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


# named


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train.txt", "val.txt"), "train val"),
        (("train.txt", "validation.txt", "test.txt"), "train val test"),
        (("wiki-train-00001.txt", "wiki-dev-00001.txt"), "train val"),
        (("train.txt", "test.txt"), "train val"),  # only a test split: it is what there is to validate on
        (("train/a.txt", "train/b.txt", "valid/a.txt"), "train train val"),
    ],
)
def test_names_of_files_tell(names, splits, tmp_path):
    folder = folder_of(tmp_path, {name: f"text of {name}" for name in names})
    for asked in ("auto", "named"):
        source = source_of(folder, split=asked)
        expected = {}
        for split, name in sorted(zip(splits.split(), names, strict=True), key=lambda pair: pair[1]):
            expected.setdefault(split, []).append(f"text of {name}")
        assert documents(source.plan()) == expected and source.identity["split"] == "named"
        assert "val_fraction" not in source.identity
        assert all(job.split is not None for job in source.plan().jobs)


def test_a_test_split_is_prepared_too(tmp_path):
    folder = folder_of(tmp_path, {f"{split}.txt": f"{split} text" for split in ("train", "valid", "test")})
    prepared = Prepared.open(prepare(DataConfig(kind="text", source=str(folder)), BYTE, tmp_path / "root"))
    for split, text in (("train", "train text"), ("val", "valid text"), ("test", "test text")):
        assert prepared.tokenizer.decode(prepared.shards(split)[0].tokens[:-1]) == text


@pytest.mark.parametrize("names", [("a.txt", "b.txt"), ("train.txt", "b.txt"), ("train-1.txt", "train-2.txt")])
def test_names_that_do_not_tell_are_refused(names, tmp_path):
    folder = folder_of(tmp_path, dict.fromkeys(names, "text"))
    with pytest.raises(ValueError, match=r"^data\.split=named: needs files for training and for validation") as error:
        source_of(folder, split="named")
    assert "\n" not in str(error.value)
    assert source_of(folder).identity["split"] == "contiguous"


# last_file


def test_the_last_file_is_for_validation(tmp_path):
    texts = {f"shard_{i:05d}.parquet": [f"row {i} {j}" for j in range(4)] for i in range(3)}
    (tmp_path / "corpus").mkdir()
    for name, rows in texts.items():
        write_rows(tmp_path / "corpus" / name, rows, row_group_size=2)
    for job_bytes in (None, 1):
        found = documents(source_of(tmp_path / "corpus", split="last_file").plan(job_bytes))
        assert found == {"train": [*texts["shard_00000.parquet"], *texts["shard_00001.parquet"]],
                         "val": texts["shard_00002.parquet"]}  # fmt: skip
    with pytest.raises(ValueError, match=r"^data\.split=last_file: there is only one file; give two or more"):
        source_of(tmp_path / "corpus" / "shard_00000.parquet", split="last_file")


# document


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.text("abc \n", min_size=1, max_size=30), min_size=1, max_size=30),
    fraction=st.floats(0.05, 0.95),
    job_bytes=st.none() | st.integers(1, 200),
    form=st.sampled_from(["jsonl", "parquet"]),
)
def test_a_hash_decides_of_each_document(texts, fraction, job_bytes, form, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    path = write_rows(folder / f"a.{form}", texts, row_group_size=3) if form == "parquet" else None
    path = path or write_rows(folder / "a.jsonl", texts)
    expected = {}
    for text in texts:
        share = int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) / 2**64
        expected.setdefault("val" if share < fraction else "train", []).append(text)
    assert documents(source_of(path, val_fraction=fraction).plan(job_bytes)) == expected


def test_a_growing_corpus_moves_no_document(tmp_path):
    small, large = (
        documents(
            source_of(write_rows(tmp_path / f"{n}.jsonl", [f"text {i}" for i in range(n)]), val_fraction=0.2).plan()
        )
        for n in (300, 600)
    )
    for split in ("train", "val"):
        assert large[split][: len(small[split])] == small[split]
    assert 90 < len(large["val"]) < 150


def test_many_files_are_split_by_hash_and_few_by_position(tmp_path):
    many = folder_of(tmp_path, {f"{i:03d}.txt": f"text {i}" for i in range(120)})
    found = documents(source_of(many).plan())
    assert source_of(many).identity["split"] == "document"
    assert len(found["train"]) + len(found["val"]) == 120 and 3 < len(found["val"]) < 30


# contiguous


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.text("ab é한\n", min_size=1, max_size=40), min_size=1, max_size=6),
    fraction=st.floats(0.05, 0.95),
    job_bytes=st.none() | st.integers(1, 100),
)
def test_the_tail_of_the_joined_text(texts, fraction, job_bytes, tmp_path_factory):
    folder = folder_of(tmp_path_factory.mktemp("texts"), {f"{i}.txt": text for i, text in enumerate(texts)})
    whole = "".join(texts)
    n = int(len(whole) * (1 - fraction))
    plan = source_of(folder, val_fraction=fraction, split="contiguous").plan(job_bytes)
    items = [item for job in plan.jobs for item in plan.items(job)]
    train, val = ("".join(item.content for item in items if item.split == split) for split in ("train", "val"))
    assert (train, val) == (whole[:n], whole[n:])
    found = documents(plan)
    assert "".join(found.get("train", [])) == train and "".join(found.get("val", [])) == val
    if n < len(whole):
        first = next(item for item in items if item.split == "val")
        assert first.begins
    for job in plan.jobs:  # on_the_fly reads no unit in vain, and max_tokens leaves out no validation text
        assert {item.split for item in plan.items(job)} == {job.split}
    assert [job.number for job in plan.jobs] == list(range(len(plan.jobs)))


def test_conversations_are_not_cut(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    with pytest.raises(ValueError, match=r"^data\.split=contiguous: conversations are no joined text; give"):
        open_source(DataConfig(kind="conversations", source=str(tmp_path), split="contiguous"), tmp_path / "root")


def test_nanogpts_rounding(tmp_path):
    (tmp_path / "input.txt").write_text("x" * 1003)
    found = documents(source_of(tmp_path / "input.txt").plan())
    assert [len(found[split][0]) for split in ("train", "val")] == [int(1003 * 0.9), 1003 - int(1003 * 0.9)]


# rows


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory):
    import datasets

    patch = pytest.MonkeyPatch()
    patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    yield datasets
    patch.undo()


@pytest.mark.parametrize("layout", ["saved", "saved with splits", "parquet", "jsonl", "two files"])
@pytest.mark.parametrize(("n", "fraction", "seed"), [(400, 0.0125, 2357), (401, 0.0005, 2357), (57, 0.3, 5)])
def test_rows_are_drawn_as_datasets_does(layout, n, fraction, seed, hugging_face, tmp_path):
    texts = [f"text {i}" if i % 17 else "" for i in range(n)]  # rows without text are drawn too
    rows = hugging_face.Dataset.from_dict({"text": texts, "id": list(range(n))})
    parts = rows.train_test_split(test_size=fraction, seed=seed, shuffle=True)  # as nanoGPT's prepare.py
    folder = tmp_path / "owt"
    folder.mkdir()
    if layout == "saved":
        rows.save_to_disk(str(folder))
    elif layout == "saved with splits":
        hugging_face.DatasetDict({"train": rows}).save_to_disk(str(folder))
    elif layout == "two files":
        rows.select(range(100 if n > 100 else 20)).to_parquet(str(folder / "a.parquet"))
        rows.select(range(100 if n > 100 else 20, n)).to_json(str(folder / "b.jsonl"))
    else:
        path = str(folder / f"train.{layout}")
        rows.to_parquet(path, batch_size=50) if layout == "parquet" else rows.to_json(path)
    expected = {
        split: [texts[i] for i in sorted(parts[theirs]["id"]) if texts[i]]
        for split, theirs in (("train", "train"), ("val", "test"))
    }
    for job_bytes in (None, 500):
        source = source_of(folder, split="rows", val_fraction=fraction, split_seed=seed)
        assert documents(source.plan(job_bytes)) == {split: found for split, found in expected.items() if found}
    assert source.identity["split_seed"] == seed


def test_plain_text_has_no_rows_to_draw(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ValueError, match="plain text has no rows; give a file that ends in"):
        source_of(tmp_path / "a.txt", split="rows").plan()


# What a source says of itself


def test_the_identity_follows_the_content_and_not_the_place(tmp_path):
    identities = []
    for folder, text in (("one", "same"), ("two", "same"), ("three", "other")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(text)
        identities.append(source_of(tmp_path / folder, tmp_path).identity)
    assert identities[0] == identities[1] != identities[2]
    assert json.loads(json.dumps(identities)) == identities


@pytest.mark.parametrize("setting", [{"max_tokens": 5}, {"deduplicate": True}])
def test_on_the_fly_with_what_needs_all_text_before(setting):
    (name,) = setting
    with pytest.raises(ValueError, match=rf"^data\.{name}=.*: needs all text to be read before training, but"):
        DataConfig(kind="text", source="a.txt", on_the_fly=True, **setting)


def test_a_cap_on_training_tokens_keeps_the_validation_text(tmp_path):
    (tmp_path / "a.txt").write_text("A line of text.\n" * 500)
    for shard_bytes in (500, 3000, None):
        settings = {"max_tokens": 100, "shard_bytes": shard_bytes, "append_eot": False}
        data = DataConfig(kind="text", source=str(tmp_path / "a.txt"), **settings)
        facts = Prepared.open(prepare(data, BYTE, tmp_path / "root")).manifest["splits"]
        assert facts["train"]["tokens"] == 100 and facts["val"]["tokens"] == 800
