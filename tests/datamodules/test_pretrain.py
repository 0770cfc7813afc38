"""The loaders that the Trainer gets: training goes on at its step, evaluation misses no token."""

from itertools import islice, pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nanolit.data.config import DataConfig
from nanolit.data.preparation.prepare import prepare
from nanolit.data.prepared import Prepared
from nanolit.data.serving.rows import IGNORE
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
        list(serve(micro_batch_size=micro_batch_size, world_size=world_size, rank=rank).val_dataloader()[0])
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


# Documents in rows


def test_what_is_masked_follows_the_marks_of_the_data(serve, prepared):
    """An end-of-text token after each document is served as what the next one begins with."""
    eot = prepared.tokenizer.eot_id
    for batch in serve(mask_documents=True).batches_of_step(0):
        ids, documents = batch["inputs"], batch["documents"]
        assert torch.equal(documents[:, 1:] != documents[:, :-1], ids[:, 1:] == eot)
        assert batch["step_targets"] == 8 * BLOCK_SIZE
    assert "documents" not in serve().batches_of_step(0)[0]
    validation = next(iter(serve(mask_documents=True).val_dataloader()[0]))
    assert "documents" in validation


@pytest.mark.parametrize("packing", ["document", "best_fit", "best_fit_padded"])
def test_packed_rows_begin_with_a_document_and_say_what_they_waste(serve, prepared, packing):
    data = serve(packing=packing)
    first = {
        batch["inputs"][row, 0].item() for step in (0, 1) for batch in data.batches_of_step(step) for row in (0, 1)
    }
    tokens, starts = prepared.shards("train")[0].tokens, prepared.shards("train")[0].starts
    assert first <= {prepared.tokenizer.eot_id, int(tokens[starts[0]])}
    assert data.notes()[0].startswith(f"packing {packing}: 30 documents in ")
    assert data.n_tokens == len(tokens)
    targets = torch.cat([batch["targets"].flatten() for batch in data.val_dataloader()[0]])
    assert (targets != IGNORE).sum() == len(prepared.shards("val")[0].tokens) - 1, "validation is the whole stream"


@pytest.mark.parametrize("packing", ["stream", "best_fit"])
def test_the_first_rows_of_the_training_split_can_be_evaluated_too(serve, prepared, packing):
    data = serve(packing=packing, train_eval_rows=3)
    assert list(data.evaluated) == ["val", "train_eval"]
    _, loader = data.val_dataloader()
    targets = torch.cat([batch["targets"].flatten() for batch in loader])
    expected = prepared.shards("train")[0].tokens[1 : 3 * BLOCK_SIZE + 1]
    assert targets[targets != IGNORE].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"packing": "best_fit", "stride": 4}, "stride: got 4, but packing=best_fit has no windows"),
        ({"packing": "document", "mask_documents": True}, "mask_documents: got true, but a row of packing=document"),
        ({"train_eval_rows": 0}, "train_eval_rows: got 0, must be at least 1, or null"),
    ],
)
def test_what_cannot_go_together_is_refused(settings, message):
    with pytest.raises(ValueError, match=rf"^data\.loader\.{message}"):
        LoaderConfig(**settings)
