"""The loaders that the Trainer gets: training goes on at its step, evaluation misses no token."""

from itertools import islice, pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nanolit.data.prepare import DataConfig, Prepared, prepare
from nanolit.data.windows import IGNORE
from nanolit.datamodules.pretrain import LoaderConfig, PretrainData, ResumableLoader, StepSampler
from nanolit.tokenizers.directory import TokenizerConfig

BLOCK_SIZE = 16


@pytest.mark.parametrize(
    ("start", "repeat", "numbers"),
    [(0, None, [0, 1, 2, 3, 4]), (7, None, [7, 8, 9, 10, 11]), (0, 2, [0, 1, 0, 1, 0]), (5, 3, [2, 0, 1, 2, 0])],
)
def test_the_sampler_begins_at_the_start_and_repeats(start, repeat, numbers):
    assert list(islice(StepSampler(start, repeat), 5)) == numbers


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Prepared:
    data = DataConfig(documents=30, val_documents=3)
    return Prepared.open(prepare(data, TokenizerConfig("byte"), tmp_path_factory.mktemp("village")))


@pytest.fixture
def serve(prepared):
    """The data of one process of a run that has done `step` optimizer steps."""

    def make(step=0, micro_batch_size=2, world_size=1, rank=0, **loader) -> PretrainData:
        data = PretrainData(prepared, BLOCK_SIZE, 8, micro_batch_size, seed=3, config=LoaderConfig(**loader))
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(global_step=step, world_size=world_size, global_rank=rank, strategy=strategy)
        return data

    return make


def inputs(data: PretrainData, n: int) -> list[torch.Tensor]:
    return [batch["inputs"] for batch in islice(data.train_dataloader(), n)]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_training_goes_on_at_the_trainers_step(serve, num_workers):
    through = inputs(serve(num_workers=num_workers), 12)  # three steps of four micro-batches
    resumed = inputs(serve(step=2, num_workers=num_workers), 4)
    assert all(torch.equal(a, b) for a, b in zip(through[8:], resumed, strict=True))
    assert not any(torch.equal(a, b) for a, b in pairwise(through))
    assert [batch["inputs"].tolist() for batch in serve().batches_of_step(2)] == [ids.tolist() for ids in resumed]


def test_a_step_has_the_same_sequences_with_another_micro_batch(serve):
    (whole,) = inputs(serve(step=5, micro_batch_size=8), 1)
    assert torch.equal(torch.cat(inputs(serve(step=5), 4)), whole)


def test_overfitting_repeats_the_first_steps(serve):
    data = serve(step=3, overfit_steps=2)
    first, second = (torch.cat(inputs(serve(step=step), 4)) for step in (0, 1))
    seen = inputs(data, 8)
    assert torch.equal(torch.cat(seen[:4]), second) and torch.equal(torch.cat(seen[4:]), first)


def test_the_loader_can_resume_and_has_nothing_to_save(serve):
    loader = serve().train_dataloader()
    assert isinstance(loader, ResumableLoader) and loader.state_dict() == {}


@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize("micro_batch_size", [1, 8])
def test_evaluation_predicts_every_token_once(serve, prepared, micro_batch_size, world_size):
    tokens = np.concatenate([shard.tokens for shard in prepared.shards("val")])
    processes = [
        list(serve(micro_batch_size=micro_batch_size, world_size=world_size, rank=rank).val_dataloader())
        for rank in range(world_size)
    ]
    assert len({len(batches) for batches in processes}) == 1, "a process with fewer would leave the others waiting"
    in_order = [batch for batches in zip(*processes, strict=True) for batch in batches]
    targets = torch.cat([batch["targets"].flatten() for batch in in_order])
    assert targets[targets != IGNORE].tolist() == tokens[1:].tolist()


@pytest.mark.parametrize("key", ["stride", "overfit_steps"])
def test_impossible_numbers_name_the_setting(key):
    with pytest.raises(ValueError, match=rf"^data\.loader\.{key}: got 0, must be at least 1, or null"):
        LoaderConfig(**{key: 0})
