"""The gradient of fine-tuning does not depend on how conversations are packed into rows and rows into micro-batches."""

import numpy as np
import pytest
import torch

from nanolit.data.serving.batches import BatchPlan, MicroBatches
from nanolit.data.serving.packing import PackedRows
from nanolit.data.shards import open_shard, shard_writer
from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT
from nanolit.models.network import documents_of
from nanolit.tasks.village_chat import VillageChat
from nanolit.tasks.village_math import VillageMath
from nanolit.tokenizers.bpe import train_bpe
from nanolit.tokenizers.chat import render
from nanolit.tokenizers.messages import texts_of
from nanolit.tokenizers.vocabulary import CHAT_SPECIALS
from nanolit.training.losses import step_loss

BLOCK = 320


@pytest.fixture(scope="module")
def rendered():
    examples = [*VillageChat("train", 30), *VillageMath("train", 10)]
    tokenizer = train_bpe(
        ["\n".join(t for m in e.messages for t in texts_of(m)) for e in examples], 400, specials=CHAT_SPECIALS
    )
    return tokenizer, [render(e.messages, tokenizer) for e in examples]


@pytest.fixture(scope="module")
def shard(rendered, tmp_path_factory):
    tokenizer, rows = rendered
    path = tmp_path_factory.mktemp("shard") / "train.bin"
    with shard_writer(path, tokenizer.vocab_size, tokenizer.fingerprint) as writer:
        for row in rows:
            writer.append(row.ids, supervised=row.supervised)
    return open_shard(path)


@pytest.fixture(scope="module")
def network(rendered):
    torch.manual_seed(0)
    shape = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": BLOCK, "zero_init_projections": False}
    return GPT(GPTConfig(vocab_size=rendered[0].vocab_size, **shape)).double()


def gradient(network, batches, n_targets: int, n_empty: int = 0) -> torch.Tensor:
    """Of one optimizer step over all batches, as the module computes it; `n_empty`: batches without any target."""
    network.zero_grad()
    accumulation = len(batches) + n_empty
    for batch in batches + [batches[0] | {"targets": torch.full_like(batches[0]["targets"], -1)}] * n_empty:
        nll = network(batch["inputs"], batch["targets"], **documents_of(batch))
        (step_loss(nll, n_targets, accumulation, 1) / accumulation).backward()  # which the Trainer divides by
    return torch.cat([p.grad.flatten() for p in network.parameters()])


def by_hand(network, rows) -> torch.Tensor:
    """Each conversation alone, its loss summed over what is supervised, by torch's cross entropy."""
    network.zero_grad()
    n = sum(int(row.supervised.sum()) for row in rows)
    for row in rows:
        ids = torch.from_numpy(row.ids.astype(np.int64))
        logits = network(ids[None, :-1])[0]
        loss = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")
        (loss[torch.from_numpy(row.supervised[1:])].sum() / n).backward()
    return torch.cat([p.grad.flatten() for p in network.parameters()])


def all_rows(shard, mode: str, micro: int, **more) -> list[dict]:
    rows = PackedRows([shard], BLOCK, mode, **more)
    assert rows.n_targets(range(len(rows))) == int(shard.supervised_at(np.arange(len(shard.tokens))).sum())
    batches = MicroBatches(rows, BatchPlan(len(rows), micro if len(rows) % micro == 0 else 1), seed=0)
    return [batches[i] for i in range(batches.plan.accumulation)]


@pytest.mark.parametrize("mode", ["document", "best_fit_padded"])
@pytest.mark.parametrize("micro", [1, 2, 8])
@pytest.mark.parametrize("n_empty", [0, 2])
def test_packing_and_splitting_change_nothing(network, shard, rendered, mode, micro, n_empty):
    expected = by_hand(network, rendered[1])
    batches = all_rows(shard, mode, micro, mask_documents=mode != "document")
    assert len({len(b["inputs"]) for b in batches}) == 1
    found = gradient(network, batches, batches[0]["step_targets"], n_empty)
    assert torch.isfinite(found).all() and torch.allclose(found, expected, atol=1e-12, rtol=1e-5)


def test_without_the_mask_conversations_would_see_each_other(network, shard, rendered):
    """So the equality above is no accident of the test."""
    batches = all_rows(shard, "best_fit_padded", 1, mask_documents=False)
    assert not torch.allclose(
        gradient(network, batches, batches[0]["step_targets"]), by_hand(network, rendered[1]), rtol=1e-3
    )
