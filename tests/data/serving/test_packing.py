"""Packed rows against the naive loader and against what they say of themselves. A token is its own place in the file,
counted from 1, so that rows tell where they come from.
"""

import pickle
import re
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanolit.data.serving import packing
from nanolit.data.serving.packing import PackedRows, best_fit, evaluation_rows, make_plan
from nanolit.data.serving.rows import IGNORE
from nanolit.data.serving.windows import TokenWindows
from nanolit.data.shards import open_shard, shard_writer

MODES = ("document", "best_fit", "best_fit_padded")
DELIMITERS = ("before", "after", None)
CORPUS = st.lists(st.lists(st.integers(0, 14), max_size=12), min_size=1, max_size=3).filter(
    lambda shards: any(length > 3 for lengths in shards for length in lengths)
)  # the lengths of the documents of each shard


def write(folder, corpus, mask=None):
    """Shards with documents of these lengths; `mask` says of each length which of its tokens are to be predicted."""
    shards, token = [], 1
    for i, lengths in enumerate(corpus):
        with shard_writer(folder / f"{i}.bin", 65_536, "00" * 32) as writer:
            for length in lengths:
                supervised = None if mask is None else mask(length)
                writer.append(np.arange(token, token + length), supervised=supervised)
                token += length
        shards.append(open_shard(folder / f"{i}.bin"))
    return shards


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return lambda: tmp_path_factory.mktemp("packed")


def naive_best_fit(lengths, capacity, crops, buffer):
    """What nanochat does, with a scan of the buffer for each piece; a document is never longer than a row."""
    coming, waiting, rows = list(enumerate(lengths)), [], []
    while coming or waiting:
        row, room = [], capacity
        while room:
            while coming and len(waiting) < buffer:
                waiting.append(coming.pop(0))
            best = max((d for d in waiting if d[1] <= room), key=lambda d: (d[1], -d[0]), default=None)
            if best is not None:
                waiting.remove(best)
                row.append(best)
                room -= best[1]
            elif crops and waiting:
                shortest = min(waiting, key=lambda d: (d[1], -d[0]))
                waiting.remove(shortest)
                row.append((shortest[0], room))
                room = 0
            else:
                break
        rows.append(row)
    return rows


@given(lengths=st.lists(st.integers(1, 9), max_size=40), crops=st.booleans(), buffer=st.integers(1, 8), room=st.just(9))
def test_the_best_fit_is_what_a_scan_of_the_buffer_finds(lengths, crops, buffer, room):
    documents, taken, firsts = best_fit(np.array(lengths, dtype=np.int64), room, crops, buffer)
    pieces = list(zip(documents.tolist(), taken.tolist(), strict=True))
    rows = [pieces[a:b] for a, b in pairwise(firsts)]
    assert rows == naive_best_fit(lengths, room, crops, buffer)


def spans(corpus, delimiter):
    """Of every document that has something to predict: its first input, and its inputs; written out naively."""
    found, before = [], 0
    for lengths in corpus:
        tokens = list(range(before + 1, before + sum(lengths) + 1))
        starts = [before + sum(lengths[:i]) for i in range(len(lengths))]
        for i, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            inputs = list(range(start + 1, start + length))  # the last token has nothing after it
            if delimiter == "before" and length and i + 1 < len(lengths):
                inputs.append(start + length)
            if delimiter == "after" and length and start > before:
                inputs.insert(0, start)
            inputs = [token for token in inputs if token + 1 in tokens]
            if inputs:
                found.append(inputs)
        before += sum(lengths)
    return found


@settings(max_examples=200, deadline=None)
@given(corpus=CORPUS, T=st.integers(1, 12), mode=st.sampled_from(MODES), delimiter=st.sampled_from(DELIMITERS))
def test_rows_are_beginnings_of_documents_and_tell_what_they_waste(corpus, T, mode, delimiter, folder):
    expected = {inputs[0]: inputs for inputs in spans(corpus, delimiter)}
    rows = PackedRows(write(folder(), corpus), T, mode, mask_documents=mode != "document", delimiter=delimiter)
    taken = rows.take(range(len(rows)))
    used = []
    for i, (inputs, targets) in enumerate(zip(taken["inputs"], taken["targets"], strict=True)):
        n_inputs = int((targets != IGNORE).sum())
        assert (targets[:n_inputs] == inputs[:n_inputs] + 1).all() and (targets[n_inputs:] == IGNORE).all()
        assert (inputs[n_inputs:] == 0).all()
        documents = taken["documents"][i] if "documents" in taken else np.where(targets == IGNORE, T, 0)
        assert (documents[n_inputs:] == T).all()
        for number in range(documents[:n_inputs].max(initial=-1) + 1):
            piece = inputs[documents == number].tolist()
            assert piece == expected[piece[0]][: len(piece)]
            assert mode == "best_fit" or len(piece) == min(len(expected[piece[0]]), T)
            used += piece
        assert rows.n_targets([i]) == n_inputs > 0
    assert len(used) == len(set(used)) == rows.n_targets(range(len(rows)))
    if mode != "best_fit":
        assert len(used) == sum(min(len(inputs), T) for inputs in expected.values())
    n_tokens = sum(map(len, expected.values()))
    padding, dropped = 1 - len(used) / (len(rows) * T), 1 - len(used) / n_tokens
    assert rows.waste() == (
        f"packing {mode}: {len(expected):,} documents in {len(rows):,} rows of {T}; {padding:.1%} padding, "
        f"{dropped:.1%} of tokens dropped"
    )


@settings(max_examples=100, deadline=None)
@given(corpus=CORPUS, T=st.integers(3, 12), mode=st.sampled_from(["document", "best_fit_padded"]), data=st.data())
def test_examples_stay_whole_and_only_their_answers_are_targets(corpus, T, mode, data, folder):
    def mask(length):
        """A prompt, then an answer that ends the document."""
        n_prompt = data.draw(st.integers(0, max(length - 1, 0)))
        flags.append(np.arange(length) >= n_prompt)
        return flags[-1]

    flags: list[np.ndarray] = []
    shards = write(folder(), corpus, mask)
    supervised = np.concatenate([np.zeros(1, dtype=bool), *flags])  # by token, which counts from 1
    lengths = [length for of_shard in corpus for length in of_shard]
    ends = np.cumsum(lengths)
    fitting = {int(end) for end, length in zip(ends, lengths, strict=True) if 2 <= length <= T + 1}
    if not fitting:
        with pytest.raises(ValueError, match=f"fits into model.block_size={T}"):
            PackedRows(shards, T, mode)
        return
    rows = PackedRows(shards, T, mode)
    batch = rows.take(range(len(rows)))
    targets, examples = batch["targets"], batch["examples"]
    kept = targets != IGNORE
    assert supervised[targets[kept]].all() and (examples[~kept] == -1).all()
    assert fitting <= set(targets[kept].tolist()), "the token that ends each example is learnt"
    inside = {t for end, n in zip(ends, lengths, strict=True) if end in fitting for t in range(end - n + 2, end + 1)}
    assert sorted(targets[kept].tolist()) == sorted(t for t in inside if supervised[t])
    of_document = np.searchsorted(ends, targets, side="left")
    for row in range(len(rows)):
        pairs = {(e, d) for e, d in zip(examples[row][kept[row]], of_document[row][kept[row]], strict=True)}
        assert len(pairs) == len({e for e, _ in pairs}) == len({d for _, d in pairs}), "a number for each example"
        assert rows.n_targets([row]) == kept[row].sum()
    left_out = sum(length > T + 1 for length in lengths)
    told = re.search(r", (\d+) longer than a row left out", rows.waste())
    assert (int(told[1]) if told else 0) == left_out


def test_examples_are_never_cropped(folder):
    shards = write(folder(), [[4, 5]], lambda length: np.ones(length, dtype=bool))
    with pytest.raises(ValueError, match=r"^data\.loader\.packing: got best_fit, which crops .* use best_fit_padded$"):
        PackedRows(shards, 8, "best_fit")


def test_without_documents_nothing_can_be_packed(folder):
    path = folder() / "a.bin"
    with shard_writer(path, 100, "00" * 32) as writer:
        writer.append_many(np.arange(9), np.zeros(0, dtype=np.uint64))
    with pytest.raises(ValueError, match="the training split does not say where its documents begin"):
        PackedRows([open_shard(path)], 4, "best_fit", name="the training split")


def test_what_goes_on_from_another_shard_is_dropped(folder):
    path = folder() / "a.bin"
    with shard_writer(path, 100, "00" * 32) as writer:
        writer.append_many(np.arange(10), np.array([4], dtype=np.uint64))
    rows = PackedRows([open_shard(path)], 4, "best_fit")
    assert rows.take([0])["inputs"].tolist() == [[4, 5, 6, 7]]
    assert rows.waste().endswith("0.0% padding, 50.0% of tokens dropped")  # 3 + 1 of 8 inputs


@pytest.mark.parametrize("mode", MODES)
def test_a_plan_is_made_once_and_travels_as_a_path(folder, mode, monkeypatch):
    draw = np.random.default_rng(0)
    shards = write(folder(), draw.integers(0, 40, (2, 50)).tolist())
    cache = folder() / "plans"
    fresh = PackedRows(shards, 16, mode).take(range(20))
    first = PackedRows(shards, 16, mode, cache=cache)
    other = PackedRows(shards, 17, mode, cache=cache)
    monkeypatch.setattr(packing, "make_plan", None)
    again = PackedRows(shards, 16, mode, cache=cache)
    assert len(other.take([0])["inputs"][0]) == 17
    with pytest.raises(TypeError):
        PackedRows(shards, 18, mode, cache=cache)
    travelled = pickle.loads(pickle.dumps(again))
    assert len(pickle.dumps(again)) < 3000
    for rows in (first, again, travelled):
        taken = rows.take(range(20))
        assert all(np.array_equal(fresh[key], taken[key]) for key in fresh)
    assert not [path for path in cache.iterdir() if path.suffix != ".npy"]


def test_a_folder_that_cannot_be_written_costs_time_only(folder, monkeypatch, caplog):
    def full(path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(packing, "atomic_path", full)
    rows = PackedRows(write(folder(), [[5, 6, 7]]), 8, "best_fit_padded", cache=folder() / "plans")
    assert len(rows) == 3 and "is planned anew in every run: [Errno 28] No space left" in caplog.text


def test_evaluation_takes_the_stream_unless_examples_must_stay_whole(folder):
    plain = write(folder(), [[9, 9], [9]])
    for mode in ("stream", *MODES):
        rows = evaluation_rows(plain, 8, mode)
        assert isinstance(rows, TokenWindows)
        targets = rows.take(range(len(rows)))["targets"]
        assert targets[targets != IGNORE].tolist() == list(range(2, 28))
    supervised = write(folder(), [[9, 9], [9]], lambda length: np.arange(length) > 3)
    for mode, expected in (("stream", "best_fit_padded"), ("document", "document")):
        rows = evaluation_rows(supervised, 8, mode)
        assert isinstance(rows, PackedRows) and rows.mode == expected and len(rows) == 3


def test_documents_are_planned_by_the_hundred_thousand():
    lengths = np.random.default_rng(0).lognormal(6, 1, 200_000).astype(np.int64).clip(2, 1024)
    started = time.perf_counter()
    _, taken, firsts = best_fit(lengths, 1024, crops=True)
    assert time.perf_counter() - started < 4  # 0.15 s on the machine of docs/benchmarks.md
    assert taken.sum() > 0.99 * 1024 * (len(firsts) - 2)


def test_a_plan_is_deterministic_and_small(folder):
    shards = write(folder(), [np.random.default_rng(1).integers(2, 60, 500).tolist()])
    a, b = (make_plan(shards[0], "best_fit", 32, None) for _ in range(2))
    assert np.array_equal(a.pieces, b.pieces) and np.array_equal(a.rows, b.rows)
    assert a.pieces.itemsize == 12 and a.rows.itemsize == 8
