import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanolit.data.serving.rows import IGNORE
from nanolit.data.serving.windows import TokenWindows
from nanolit.data.shards import open_shard, shard_writer

LENGTHS = st.lists(st.integers(0, 12), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def shards_of(write_shard):
    """Makes shards of consecutive numbers: a token is its own position in the stream."""

    def make(folder, lengths):
        shards, start = [], 0
        for i, length in enumerate(lengths):
            path = folder / f"{i}.bin"
            write_shard(path, [np.arange(start, start + length)], 65_536, "00" * 32)
            shards.append(open_shard(path))
            start += length
        return shards

    return make


@given(lengths=LENGTHS, block_size=st.integers(1, 9), data=st.data())
def test_windows_are_slices_of_the_stream_whatever_the_shards(lengths, block_size, data, tmp_path_factory, shards_of):
    n, stride = sum(lengths), data.draw(st.integers(1, block_size + 2))
    shards = shards_of(tmp_path_factory.mktemp("shards"), lengths)
    if n < block_size + 1:
        with pytest.raises(ValueError, match=f"{n} tokens, but model.block_size={block_size}"):
            TokenWindows(shards, block_size, stride)
        return
    windows = TokenWindows(shards, block_size, stride)
    starts = [k * stride for k in range(n) if k * stride + block_size + 1 <= n]
    assert len(windows) == len(starts)
    inputs, targets = windows.take(range(len(starts))).values()
    assert inputs.dtype == targets.dtype == np.int64 and inputs.flags.c_contiguous and targets.flags.c_contiguous
    assert np.array_equal(inputs, np.array(starts)[:, None] + np.arange(block_size))
    assert np.array_equal(targets, inputs + 1)


@given(lengths=LENGTHS, block_size=st.integers(1, 9))
def test_padded_windows_predict_every_token_once(lengths, block_size, tmp_path_factory, shards_of):
    n = sum(lengths)
    if n < block_size + 1:
        return
    windows = TokenWindows(shards_of(tmp_path_factory.mktemp("shards"), lengths), block_size, pad_last=True)
    inputs, targets = windows.take(range(len(windows))).values()
    counted = targets != IGNORE
    assert targets[counted].tolist() == list(range(1, n))
    assert np.array_equal(inputs[counted] + 1, targets[counted])
    assert counted.any(axis=1).all()  # no window for nothing


def test_stride_one_has_nanogpts_offsets(tmp_path, shards_of):
    windows = TokenWindows(shards_of(tmp_path, [100]), 8, 1)
    assert len(windows) == 100 - 8  # torch.randint(len(data) - block_size)
    assert windows.take([91])["targets"][0].tolist() == list(range(92, 100))


def test_a_split_smaller_than_a_block_says_which_and_how_to_mend_it(tmp_path, shards_of):
    with pytest.raises(ValueError) as error:
        TokenWindows(shards_of(tmp_path, [64]), 64, pad_last=True, name="the validation split")
    assert str(error.value) == (
        "the validation split has 64 tokens, but model.block_size=64 needs at least 65; "
        "give more text or a smaller model.block_size"
    )


def test_a_worker_process_is_sent_paths_and_no_tokens(tmp_path, shards_of):
    windows = TokenWindows(shards_of(tmp_path, [9_000, 20_000]), 8, 5)
    sent = pickle.dumps(windows)
    assert len(sent) < 2000
    assert np.array_equal(pickle.loads(sent).take([1798])["inputs"], windows.take([1798])["inputs"])


def test_batches_can_be_written_to(tmp_path, shards_of):
    shards = shards_of(tmp_path, [20])
    inputs = TokenWindows(shards, 4).take([0])["inputs"]
    inputs[:] = 9
    assert shards[0].tokens[:4].tolist() == [0, 1, 2, 3]


DELIMITERS = ("before", "after", None)


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4),  # of shards
    block_size=st.integers(1, 9),
    delimiter=st.sampled_from(DELIMITERS),
    with_documents=st.booleans(),
    data=st.data(),
)
def test_documents_and_masks_equal_a_walk_over_tokens(
    lengths, block_size, delimiter, with_documents, data, tmp_path_factory
):
    """The windows may cross shards, and a shard may begin in the middle of a document."""
    n, folder = sum(lengths), tmp_path_factory.mktemp("shards")
    begins = data.draw(st.sets(st.integers(0, n - 1), min_size=1))
    supervised = data.draw(st.none() | st.lists(st.booleans(), min_size=n, max_size=n))
    shards, start = [], 0
    for i, length in enumerate(lengths):
        with shard_writer(folder / f"{i}.bin", 65_536, "00" * 32) as writer:
            mask = None if supervised is None else np.array(supervised[start : start + length])
            local = sorted(b - start for b in begins if start <= b < start + length)
            writer.append_many(np.arange(start, start + length), np.array(local, dtype=np.uint64), mask)
        shards.append(open_shard(folder / f"{i}.bin"))
        start += length
    if n < block_size + 1:
        return
    windows = TokenWindows(
        shards, block_size, pad_last=True, mask_documents=with_documents, delimiter=delimiter, name="it"
    )
    batch = windows.take(range(len(windows)))
    assert set(batch) == {"inputs", "targets"} | ({"documents"} if with_documents else set())
    ahead = 1 if delimiter == "after" else 0  # a delimiter belongs to the document that it is followed by
    document_of = [sum(b <= t + ahead for b in begins) for t in range(n)]
    for k in range(len(windows)):
        first = k * block_size
        for at in range(block_size):
            token, target = first + at, batch["targets"][k, at]
            is_new = with_documents and delimiter is None and token + 1 in begins
            is_target = token + 1 < n and not is_new and (supervised is None or supervised[token + 1])
            assert target == (token + 1 if is_target else IGNORE)
            if with_documents and token < n:
                assert batch["documents"][k, at] == document_of[token] - document_of[first]
        assert windows.n_targets([k]) == (batch["targets"][k] != IGNORE).sum()
    if windows.row_targets is not None:
        assert (batch["targets"] != IGNORE).sum() == windows.row_targets * len(windows)


def test_documents_cannot_be_masked_where_none_are_known(tmp_path):
    with shard_writer(tmp_path / "a.bin", 100, "00" * 32) as writer:
        writer.append_many(np.arange(9), np.zeros(0, dtype=np.uint64))
    with pytest.raises(ValueError, match=r"^data\.loader\.mask_documents: got true, but the data does not say where"):
        TokenWindows([open_shard(tmp_path / "a.bin")], 4, mask_documents=True)


@given(n=st.integers(10, 60), block_size=st.integers(1, 9), stride=st.integers(1, 12), pad=st.booleans())
def test_the_waste_is_what_no_window_predicts(n, block_size, stride, pad, tmp_path_factory, shards_of):
    stride = min(stride, block_size) if pad else stride
    windows = TokenWindows(shards_of(tmp_path_factory.mktemp("s"), [n]), block_size, stride, pad_last=pad)
    targets = windows.take(range(len(windows)))["targets"]
    seen = len({int(t) for t in targets.flat} - {IGNORE})
    padding = (targets == IGNORE).mean()
    told = f"{padding:.1%} padding, {1 - seen / (n - 1):.1%} of tokens dropped"
    assert windows.waste() == f"packing stream: {n} tokens in {len(windows)} rows of {block_size}; {told}"
