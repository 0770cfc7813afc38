import json
import random
import subprocess
import sys
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from nanolit.data.config import DataConfig
from nanolit.data.order import window_of
from nanolit.data.preparation.jobs import Work
from nanolit.data.serving import lanes as module
from nanolit.data.serving.batches import BatchPlan
from nanolit.data.serving.lanes import LaneBatches, Lanes
from nanolit.data.serving.windows import TokenWindows
from nanolit.data.shards import open_shard, shard_writer
from nanolit.data.sources.open import open_source
from nanolit.data.sources.plan import Item, Job, Plan
from nanolit.tokenizers.bpe import train_bpe
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.village import documents

BYTE = ByteTokenizer()


@dataclass(frozen=True)
class Told(Plan):
    """Units as they are given."""

    units: tuple[tuple[Item, ...], ...]

    def items(self, job):
        yield from self.units[job.number]


def work_of(plan, append_eot=True, prepend_bos=False):
    return Work(plan, Path(), ("train",), append_eot, prepend_bos, 10**9)


def told(units, **marks):
    return work_of(Told([Job(i, 1, ()) for i in range(len(units))], tuple(map(tuple, units))), **marks)


def naive_stream(work, tokenizer, lane, n_lanes, seed, shuffle, n_tokens):
    """The tokens of a lane's units one after the other, and where documents begin."""
    units = [job for job in work.plan.jobs if job.split in (None, "train")]
    ids, begins, m = [], [], 0
    while len(ids) < n_tokens:
        unit = units[int(window_of(np.array([m * n_lanes + lane]), len(units), seed, shuffle)[0])]
        first = len(ids)
        for item in work.plan.items(unit):
            if item.split == "train":
                if item.begins:
                    begins.append(len(ids))
                ids += [tokenizer.bos_id] if work.prepend_bos and item.begins else []
                ids += tokenizer.encode(item.content)
                ids += [tokenizer.eot_id] if work.append_eot and item.ends else []
        if len(ids) > first:
            begins.append(first)
        m += 1
    return np.array(ids), np.array(sorted(set(begins)))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Several portions in a unit, several readings, several walks."""
    for name, value in (("PORTION_CHARS", 7), ("PART_CHARS", 5), ("READ_CHARS", 20), ("WALKED_UNITS", 3)):
        monkeypatch.setattr(module, name, value)


TEXT = st.text("ab \n", max_size=25)
ITEM = st.builds(Item, st.sampled_from(["train", "train", "val"]), TEXT, st.just(""), st.booleans(), st.booleans())
UNITS = st.lists(st.lists(ITEM, max_size=4), min_size=1, max_size=7)


@settings(max_examples=150, deadline=None)
@given(
    units=UNITS,
    n_lanes=st.integers(1, 4),
    T=st.integers(1, 9),
    seed=st.integers(0, 9),
    shuffle=st.booleans(),
    steps=st.lists(st.integers(0, 30), min_size=1, max_size=6),
    known=st.sets(st.integers(0, 6)),
)
def test_a_row_is_a_window_of_its_lane(units, n_lanes, T, seed, shuffle, steps, known, tmp_path_factory):
    """At any step, in any order of asking: on, back, far ahead; whatever the memory knows."""
    units += [[Item("train", f"unit {i}")] for i in range(n_lanes)]  # every lane finds text
    if not shuffle:
        units = [[*unit, Item("train", "c")] for unit in units]
    work, memory = told(units), tmp_path_factory.mktemp("lanes") / "counts.npy"
    counts = np.array([sum(len(i.content) + i.ends for i in unit if i.split == "train") for unit in units])
    counts[[i for i in range(len(counts)) if i not in known]] = -1
    np.save(memory, counts)
    lanes = Lanes(work, BYTE, T, n_lanes, seed, shuffle, memory)
    streams = [naive_stream(work, BYTE, j, n_lanes, seed, shuffle, 31 * T + 1)[0] for j in range(n_lanes)]
    for step in steps:
        batch = lanes.take(range(step * n_lanes, (step + 1) * n_lanes))
        expected = np.stack([stream[step * T : (step + 1) * T + 1] for stream in streams])
        assert np.array_equal(batch["inputs"], expected[:, :-1]) and np.array_equal(batch["targets"], expected[:, 1:])
    mixed = lanes.take([step * n_lanes + step % n_lanes for step in steps])  # also a lane twice in a batch
    for row, step in zip(mixed["inputs"], steps, strict=True):
        assert np.array_equal(row, streams[step % n_lanes][step * T : (step + 1) * T])


@settings(max_examples=80, deadline=None)
@given(
    units=UNITS,
    n_lanes=st.integers(1, 3),
    T=st.integers(1, 9),
    shuffle=st.booleans(),
    before=st.booleans(),
)
def test_documents_are_numbered_as_in_windows_of_the_same_stream(units, n_lanes, T, shuffle, before, tmp_path_factory):
    units = [[*unit, Item("train", "c")] for unit in units] + [[Item("train", "no end", ends=False)]] * n_lanes
    folder = tmp_path_factory.mktemp("lanes")
    tokenizer = ByteTokenizer()
    tokenizer.bos_id = 256
    work = told(units, append_eot=not before, prepend_bos=before)
    delimiter = "before" if before else "after"
    lanes = Lanes(
        work, tokenizer, T, n_lanes, 3, shuffle, folder / "counts.npy", mask_documents=True, delimiter=delimiter
    )
    for lane in range(n_lanes):
        ids, begins = naive_stream(work, tokenizer, lane, n_lanes, 3, shuffle, 12 * T + 2)
        with shard_writer(folder / f"{lane}.bin", 257, "00" * 32) as writer:
            writer.append_many(ids, begins.astype(np.uint64))
        shards = [open_shard(folder / f"{lane}.bin")]
        windows = TokenWindows(shards, T, mask_documents=True, delimiter=delimiter)
        expected, found = windows.take(range(12)), lanes.take([step * n_lanes + lane for step in range(12)])
        assert set(found) == set(expected) == {"inputs", "targets", "documents"}
        for key, array in expected.items():
            assert np.array_equal(found[key], array), key
        assert lanes.row_targets == windows.row_targets and lanes.n_targets([1, 2]) == windows.n_targets([1, 2])


# Real sources

FORMATS = ("txt", "folder", "jsonl", "parquet")


@pytest.fixture(scope="module")
def texts():
    found = list(documents(0, "train", 0, 160))
    random.Random(0).shuffle(found)
    return [*found[:80], "", *found[80:]]


def source_of(form, texts, root, job_bytes=2000):
    root.mkdir()
    path = root / f"text.{form}"
    if form == "txt":
        path.write_text("".join(f"{text}\n" for text in texts))
    elif form == "folder":
        path.mkdir()
        for i, text in enumerate(texts):
            (path / f"{i:03d}.txt").write_text(text)
    elif form == "jsonl":
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    else:
        pq.write_table(pa.table({"text": texts}), path, row_group_size=7)
    return open_source(DataConfig(kind="text", source=str(path), val_fraction=0.2), root).plan(job_bytes)


@pytest.fixture(scope="module", params=FORMATS)
def work(request, texts, tmp_path_factory):
    return work_of(source_of(request.param, texts, tmp_path_factory.mktemp("source") / "root"))


def test_files_are_served_as_their_units_say(work, tmp_path):
    tokenizer = train_bpe(documents(0, "train", 0, 300), 400)
    T, n_lanes, n_steps = 64, 4, 220
    n_tokens = sum(len(tokenizer.encode(i.content)) + i.ends for u in work.plan.jobs for i in work.plan.items(u))
    assert n_steps * n_lanes * T > 1.1 * n_tokens and len(work.plan.jobs) >= 10  # into the second epoch
    for shuffle in (True, False):
        lanes = Lanes(work, tokenizer, T, n_lanes, 1, shuffle, tmp_path / f"{shuffle}.npy")
        streams = [naive_stream(work, tokenizer, j, n_lanes, 1, shuffle, n_steps * T + 1)[0] for j in range(n_lanes)]
        for step in range(n_steps):
            batch = lanes.take(range(step * n_lanes, (step + 1) * n_lanes))
            expected = np.stack([stream[step * T : (step + 1) * T + 1] for stream in streams])
            assert np.array_equal(batch["inputs"], expected[:, :-1])
            assert np.array_equal(batch["targets"], expected[:, 1:])


def test_no_validation_text_is_trained_on(work, tmp_path):
    items = [item for job in work.plan.jobs for item in work.plan.items(job)]
    train, val = ("".join(i.content for i in items if i.split == split) for split in ("train", "val"))
    assert val
    lanes = Lanes(work, BYTE, 100, 1, 0, False, tmp_path / "counts.npy")
    seen = np.concatenate([lanes.take([i])["inputs"][0] for i in range(len(train) // 100 + 1)])
    assert BYTE.decode(seen).replace("<|endoftext|>", "")[: len(train) // 2] == train[: len(train) // 2]
    assert lanes.counts()[lanes.counts() >= 0].sum() <= len(train.encode()) + sum(i.ends for i in items)


@settings(max_examples=25, deadline=None)
@given(
    world_size=st.sampled_from([1, 2, 4]),
    micro=st.sampled_from([1, 2]),
    first=st.integers(0, 40),
    seed=st.integers(0, 5),
)
def test_ranks_and_micro_batches_serve_the_same_steps(world_size, micro, first, seed, tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("ranks")
    work = work_of(source_of("jsonl", texts, folder / "root"))

    def batches(plan):
        return LaneBatches(Lanes(work, BYTE, 40, 8, seed, True, folder / "counts.npy"), plan, seed)

    whole = batches(BatchPlan(8, 8))
    ranks = [batches(BatchPlan(8, micro, world_size, rank)) for rank in range(world_size)]
    n = ranks[0].plan.accumulation
    for step in range(first, first + 3):  # a resumed run: none of them has been before `first`
        parts = [rank[step * n + m] for m in range(n) for rank in ranks]
        for key in ("inputs", "targets"):
            assert torch.equal(torch.cat([part[key] for part in parts]), whole[step][key])
        assert all(part["step_targets"] == 8 * 40 for part in parts)


def steps_of(loader):
    return [{key: batch[key].clone() for key in ("inputs", "targets")} for batch in loader]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(("context", "num_workers"), [("fork", 2), ("fork", 4), ("spawn", 2)])
def test_workers_do_not_change_the_order(context, num_workers, texts, tmp_path):
    work = work_of(source_of("jsonl", texts, tmp_path / "root", job_bytes=20_000))
    batches = LaneBatches(Lanes(work, BYTE, 50, 4, 0, True, tmp_path / "counts.npy"), BatchPlan(4, 2, 1, 0), 0)
    ours = steps_of(DataLoader(batches, sampler=range(5, 25), batch_size=None))
    batches[5]  # files are open, and threads run, in the process that the workers come from
    assert any(next(lane.unread, None) for lane in batches.rows._lanes.values())
    batches.rows._lanes.clear()
    batches[5]
    options = {"batch_size": None, "num_workers": num_workers, "multiprocessing_context": context}
    theirs = steps_of(DataLoader(batches, sampler=range(5, 25), **options))
    assert len(ours) == len(theirs) == 20
    for here, there in zip(ours, theirs, strict=True):
        assert all(torch.equal(here[key], there[key]) for key in here)


# The memory


def rows(lanes, steps):
    return np.stack([lanes.take(range(step * lanes.n_lanes, (step + 1) * lanes.n_lanes))["inputs"] for step in steps])


def test_the_memory_saves_encoding_and_changes_nothing(texts, tmp_path, monkeypatch):
    work = work_of(source_of("jsonl", texts, tmp_path / "root"))
    encoded = []
    encoded_block = module.encoded_block
    monkeypatch.setattr(
        module, "encoded_block", lambda *a: (encoded.append(sum(len(i.content) for i in a[2])), encoded_block(*a))[1]
    )

    def lanes(name):
        return Lanes(work, BYTE, 100, 4, 0, True, tmp_path / name)

    expected = rows(lanes("a.npy"), range(400))
    read = sum(encoded)
    assert read > 150_000
    for name, at_most in (("a.npy", 0.1), ("b.npy", 1.0)):  # another process with it, and without it
        encoded.clear()
        assert np.array_equal(rows(lanes(name), [390, 391]), expected[390:392])
        assert sum(encoded) < at_most * read
    counts = np.load(tmp_path / "a.npy")
    assert (counts >= 0).all()
    counts[::3] = -1
    np.save(tmp_path / "c.npy", counts)
    encoded.clear()
    assert np.array_equal(rows(lanes("c.npy"), [390, 391]), expected[390:392]) and sum(encoded) < 0.7 * read
    assert np.array_equal(rows(lanes("a.npy"), [0, 1, 0, 1, 399, 0]), expected[[0, 1, 0, 1, 399, 0]])  # overfit_steps


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY cut short", "another number of units"])
def test_a_memory_that_does_not_fit_is_made_anew(content, tmp_path):
    work, path = told([[Item("train", "a text")]] * 3), tmp_path / "counts.npy"
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, np.zeros(5, dtype=np.int64))
    assert BYTE.decode(Lanes(work, BYTE, 4, 1, 0, True, path).take([14])["inputs"][0]) == "a te"
    assert np.load(path).tolist() == [7, 7, 7]


def test_a_memory_that_cannot_be_written_is_done_without(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    lanes = Lanes(told([[Item("train", "a text")]] * 3), BYTE, 4, 1, 0, True, tmp_path / "file" / "counts.npy")
    assert BYTE.decode(lanes.take([7])["inputs"][0]) == "a te"  # 28 tokens on: four texts of 7
    assert len([r for r in caplog.records if "count the tokens of its text anew" in r.message]) == 1


def test_a_memory_of_other_text_is_told(tmp_path):
    np.save(tmp_path / "counts.npy", np.array([5, 5, 5]))
    lanes = Lanes(told([[Item("train", "a text")]] * 3), BYTE, 4, 1, 0, True, tmp_path / "counts.npy")
    with pytest.raises(ValueError, match=r"counts\.npy: says 5 tokens of portion \d, which has 7; .*: delete it") as e:
        lanes.take(range(5))
    assert "\n" not in str(e.value)


# Text that is not there, or too little


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("items", [[], [Item("val", "not for training")], [Item("train", "", ends=False)]])
def test_no_text_for_training_is_one_line(shuffle, items, tmp_path):
    lanes = Lanes(told([items] * 5), BYTE, 4, 2, 0, shuffle, tmp_path / "counts.npy")
    with pytest.raises(ValueError, match=r"^data\.on_the_fly: got true, but row \d of a batch finds no text") as error:
        lanes.take([0, 1])
    assert "\n" not in str(error.value)


def test_a_lane_finds_the_one_unit_with_text(tmp_path):
    units = [[], [], [Item("train", "ab")], []]
    lanes = Lanes(told(units), BYTE, 6, 2, 0, True, tmp_path / "counts.npy")
    assert {BYTE.decode(row).replace("<|endoftext|>", ".") for row in rows(lanes, range(20))[:, 0]} == {"ab.ab."}
    in_order = Lanes(told(units), BYTE, 6, 2, 0, False, tmp_path / "in_order.npy")
    assert in_order.take([0])["inputs"].shape == (1, 6)
    with pytest.raises(ValueError, match="row 1 of a batch finds no text"):
        in_order.take([1])  # it meets units 1 and 3 in all epochs


def test_fewer_units_than_rows_are_refused(tmp_path):
    units = [Item("train", "text")], [Item("train", "text")]
    with pytest.raises(ValueError, match="has 2 portions that can be read alone, too few for the 3 rows of a batch"):
        Lanes(told(units), BYTE, 4, 3, 0, True, tmp_path / "counts.npy")


def test_masked_documents_need_a_delimiter(tmp_path):
    with pytest.raises(ValueError, match=r"^data\.loader\.mask_documents: got true, but no token stands between"):
        Lanes(told([[Item("train", "a")]]), BYTE, 1, 1, 0, True, tmp_path / "c.npy", mask_documents=True)


# Resources


def test_a_jump_far_ahead_holds_little(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PORTION_CHARS", 1 << 15)
    monkeypatch.setattr(module, "PART_CHARS", 1 << 15)
    path = tmp_path / "text.txt"
    path.write_text("a line of a long text\n" * 600_000)  # 13 MB, in one unit: tokens in uint32 are four times as much
    plan = open_source(DataConfig(kind="text", source=str(path), val_fraction=0.01), tmp_path).plan(1 << 30)
    lanes = Lanes(work_of(plan), BYTE, 100, 1, 0, True, tmp_path / "counts.npy")
    lanes.take([0])
    tracemalloc.start()
    try:
        row = lanes.take([120_000])["inputs"][0]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "a line of a long text" in BYTE.decode(row) and peak < 8 << 20


def test_the_next_rows_are_encoded_meanwhile(texts, tmp_path, monkeypatch):
    work = work_of(source_of("jsonl", texts, tmp_path / "root"))
    lanes = Lanes(work, BYTE, 50, 4, 0, True, tmp_path / "counts.npy")
    for step in range(20):
        lanes.take(range(4 * step, 4 * step + 4))
        for lane in lanes._lanes.values():
            lane.settle()
            assert all(lane.holds((step + ahead) * 50) for ahead in (0, 1, 2))
            assert len(lane.ids) < 3 * 50 + 1000  # and not much more: a document
    monkeypatch.setattr(module, "encoded_block", None)
    with pytest.raises(TypeError, match="not callable"):  # what goes wrong there is not lost
        for step in range(20, 40):
            lanes.take(range(4 * step, 4 * step + 4))


def test_its_threads_keep_no_process_alive(tmp_path):
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_lanes as t
lanes = t.Lanes(t.told([[t.Item("train", "text")]] * 4), t.BYTE, 4, 4, 0, True, t.Path({str(tmp_path)!r}) / "c.npy")
lanes.take([0, 1, 2, 3])
assert lanes._pool is not None
raise SystemExit(7)
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 7
