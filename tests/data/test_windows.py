import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanolit.data.shards import open_shard
from nanolit.data.windows import IGNORE, TokenWindows

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
    inputs, targets = windows.take(range(len(starts)))
    assert inputs.dtype == targets.dtype == np.int64 and inputs.flags.c_contiguous and targets.flags.c_contiguous
    assert np.array_equal(inputs, np.array(starts)[:, None] + np.arange(block_size))
    assert np.array_equal(targets, inputs + 1)


@given(lengths=LENGTHS, block_size=st.integers(1, 9))
def test_padded_windows_predict_every_token_once(lengths, block_size, tmp_path_factory, shards_of):
    n = sum(lengths)
    if n < block_size + 1:
        return
    windows = TokenWindows(shards_of(tmp_path_factory.mktemp("shards"), lengths), block_size, pad_last=True)
    inputs, targets = windows.take(range(len(windows)))
    counted = targets != IGNORE
    assert targets[counted].tolist() == list(range(1, n))
    assert np.array_equal(inputs[counted] + 1, targets[counted])
    assert counted.any(axis=1).all()  # no window for nothing


def test_stride_one_has_nanogpts_offsets(tmp_path, shards_of):
    windows = TokenWindows(shards_of(tmp_path, [100]), 8, 1)
    assert len(windows) == 100 - 8  # torch.randint(len(data) - block_size)
    assert windows.take([91])[1][0].tolist() == list(range(92, 100))


def test_a_split_smaller_than_a_block_says_which_and_how_to_mend_it(tmp_path, shards_of):
    with pytest.raises(ValueError) as error:
        TokenWindows(shards_of(tmp_path, [64]), 64, pad_last=True, name="the validation split")
    assert str(error.value) == (
        "the validation split has 64 tokens, but model.block_size=64 needs at least 65; "
        "give more text or a smaller model.block_size"
    )


def test_batches_can_be_written_to(tmp_path, shards_of):
    shards = shards_of(tmp_path, [20])
    inputs, _ = TokenWindows(shards, 4).take([0])
    inputs[:] = 9
    assert shards[0].tokens[:4].tolist() == [0, 1, 2, 3]
