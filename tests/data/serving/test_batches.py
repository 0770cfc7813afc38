import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from nanolit.data.serving.batches import BatchPlan, EvalBatches, MicroBatches
from nanolit.data.serving.packing import PackedRows
from nanolit.data.serving.rows import IGNORE
from nanolit.data.serving.windows import TokenWindows
from nanolit.data.shards import open_shard, shard_writer

N_TOKENS = 331


@pytest.fixture(scope="module")
def shards(tmp_path_factory, write_shard):
    path = tmp_path_factory.mktemp("batches") / "a.bin"
    write_shard(path, [np.arange(N_TOKENS)], 1000, "00" * 32)
    return [open_shard(path)]


@given(
    batch_size=st.sampled_from([1, 6, 12, 16, 30]),
    seed=st.integers(0, 100),
    shuffle=st.booleans(),
    step=st.integers(0, 20),
    data=st.data(),
)
def test_a_step_takes_the_same_samples_in_the_same_order_however_it_is_split(
    shards, batch_size, seed, shuffle, step, data
):
    windows = TokenWindows(shards, 8, 3)
    world_size = data.draw(st.sampled_from([w for w in range(1, batch_size + 1) if batch_size % w == 0]))
    per_rank = batch_size // world_size
    micro = data.draw(st.sampled_from([m for m in range(1, per_rank + 1) if per_rank % m == 0]))
    whole = MicroBatches(windows, BatchPlan(batch_size, batch_size), seed, shuffle)[step]
    ranks = [
        MicroBatches(windows, BatchPlan(batch_size, micro, world_size, rank), seed, shuffle)
        for rank in range(world_size)
    ]
    n = ranks[0].plan.accumulation
    parts = [rank[step * n + m] for m in range(n) for rank in ranks]
    for key in ("inputs", "targets"):
        assert all(part[key].shape == (micro, 8) and part[key].dtype == torch.int64 for part in parts)
        assert torch.equal(torch.cat([part[key] for part in parts]), whole[key])


def test_an_epoch_takes_every_window_once(shards):
    windows = TokenWindows(shards, 10)
    batches = MicroBatches(windows, BatchPlan(11, 11), seed=1)
    first_tokens = torch.cat([batches[i]["inputs"][:, 0] for i in range(3)])
    assert sorted(first_tokens.tolist()) == list(range(0, 330, 10)) != first_tokens.tolist()


@pytest.fixture(scope="module")
def supervised(tmp_path_factory):
    """Documents of two shards whose last tokens are to be predicted, one of them in no part."""
    folder, draw, shards = tmp_path_factory.mktemp("supervised"), np.random.default_rng(0), []
    for name in "ab":
        with shard_writer(folder / name, 1000, "00" * 32) as writer:
            for length in draw.integers(2, 9, 20):
                begins = length if length == 5 else draw.integers(0, length)
                writer.append(draw.integers(1, 1000, length), supervised=np.arange(length) >= begins)
        shards.append(open_shard(folder / name))
    return shards


def rows_of(kind, shards, supervised):
    if kind == "stream":
        return TokenWindows(shards, 8, 3)
    if kind == "masked stream":
        return TokenWindows(supervised, 8, mask_documents=True)
    return PackedRows(supervised, 8, kind, mask_documents=True)


KINDS = ("stream", "masked stream", "document", "best_fit_padded")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 100), step=st.integers(0, 20), world_size=st.sampled_from([1, 2, 4]), data=st.data())
def test_the_targets_of_a_step_are_those_of_all_its_parts(shards, supervised, kind, seed, step, world_size, data):
    rows = rows_of(kind, shards, supervised)
    micro = data.draw(st.sampled_from([m for m in (1, 2, 3, 4, 6, 12) if 12 // world_size % m == 0]))
    whole = MicroBatches(rows, BatchPlan(12, 12), seed)[step]
    plans = [BatchPlan(12, micro, world_size, rank) for rank in range(world_size)]
    n = plans[0].accumulation
    parts = [MicroBatches(rows, plan, seed)[step * n + m] for m in range(n) for plan in plans]
    for key in whole.keys() - {"step_targets"}:
        assert torch.equal(torch.cat([part[key] for part in parts]), whole[key])
    assert {part["step_targets"] for part in parts} == {int((whole["targets"] != IGNORE).sum())}
    assert "examples" not in whole


@pytest.mark.parametrize("kind", ["stream", "best_fit_padded"])
@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("num_workers", [0, 2, 4])
def test_ranks_and_workers_do_not_change_the_order(shards, supervised, kind, world_size, num_workers):
    rows = rows_of(kind, shards, supervised)
    whole = MicroBatches(rows, BatchPlan(8, 8), seed=5)
    loaders = [
        DataLoader(
            MicroBatches(rows, BatchPlan(8, 2, world_size, rank), seed=5),
            sampler=range(2 * 8 // (2 * world_size), 5 * 8 // (2 * world_size)),  # a run that goes on at step 2
            batch_size=None,
            num_workers=num_workers,
        )
        for rank in range(world_size)
    ]
    served = [batch for batches in zip(*loaders, strict=True) for batch in batches]
    for key in ("inputs", "targets"):
        in_order = torch.cat([batch[key] for batch in served]).split(8)
        assert all(torch.equal(ids, whole[2 + i][key]) for i, ids in enumerate(in_order)) and len(in_order) == 3
    assert [batch["step_targets"] for batch in served] == [
        whole[2 + i]["step_targets"] for i in range(3) for _ in range(4)
    ]


@pytest.mark.parametrize("n_rows", [1, 4, 5, 1000])
def test_evaluation_of_the_first_rows(supervised, n_rows):
    rows = rows_of("best_fit_padded", None, supervised)
    expected = rows.take(range(min(n_rows, len(rows))))
    ranks = [EvalBatches(rows, 3, 2, rank, n_rows) for rank in range(2)]
    batches = [rank[i] for i in range(len(ranks[0])) for rank in ranks]
    for key in ("inputs", "targets", "documents", "examples"):
        found = torch.cat([batch[key] for batch in batches]).numpy()
        assert np.array_equal(found[: len(expected[key])], expected[key])
        if key in ("targets", "examples"):
            assert (found[len(expected[key]) :] == -1).all()


@given(block_size=st.integers(1, 40), batch_size=st.integers(1, 12), world_size=st.integers(1, 5))
def test_evaluation_predicts_every_token_once_over_all_ranks(shards, block_size, batch_size, world_size):
    windows = TokenWindows(shards, block_size, pad_last=True)
    ranks = [EvalBatches(windows, batch_size, world_size, rank) for rank in range(world_size)]
    assert len({len(rank) for rank in ranks}) == 1
    batches = [rank[i] for i in range(len(ranks[0])) for rank in ranks]
    assert all(batch["inputs"].shape == batch["targets"].shape == (batch_size, block_size) for batch in batches)
    targets = torch.cat([batch["targets"] for batch in batches]).flatten()
    assert targets[targets != IGNORE].tolist() == list(range(1, N_TOKENS))
    assert min(int(batch["inputs"].min()) for batch in batches) >= 0


def test_evaluation_ends(shards):
    batches = EvalBatches(TokenWindows(shards, 40, pad_last=True), 4)
    assert [len(batch["inputs"]) for batch in batches] == [4] * 3  # 330 targets: 9 windows
    with pytest.raises(IndexError):
        batches[3]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (
            (10, 4, 1, 0),
            "batch_size=10: must be a multiple of micro_batch_size=4 x 1 processes = 4; "
            "nearest: batch_size=8 or 12, or micro_batch_size=2 or 5",
        ),
        ((3, 4, 1, 0), "nearest: batch_size=4, or micro_batch_size=3"),
        ((10, 1, 4, 0), "nearest: batch_size=8 or 12"),
        ((0, 1, 1, 0), "batch_size=0: must be at least 1"),
        ((8, 0, 1, 0), "micro_batch_size=0: must be at least 1"),
        ((8, 4, 2, 2), "rank 2: must be 0 to 1"),
    ],
)
def test_a_plan_that_does_not_divide_gives_the_nearest_that_do(plan, message):
    with pytest.raises(ValueError) as error:
        BatchPlan(*plan)
    assert str(error.value).endswith(message) or str(error.value).startswith(message)


def test_accumulation():
    assert BatchPlan(480, 12, 4, 3).accumulation == 10
