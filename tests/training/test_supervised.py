"""Training on examples of which a part is to be predicted: what a step learns, and what evaluation says of them."""

from dataclasses import replace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from nanolit.data.prepared import Prepared
from nanolit.data.serving.rows import IGNORE
from nanolit.data.shards import open_shard, shard_writer
from nanolit.datamodules.pretrain import LoaderConfig
from nanolit.evals.loss import evaluate
from nanolit.optim.build import AdamWConfig
from nanolit.optim.schedules import ScheduleConfig
from nanolit.tokenizers.byte import ByteTokenizer

PACKED = LoaderConfig(packing="best_fit_padded", mask_documents=True, train_eval_rows=5)


@pytest.fixture
def supervised(bench, tmp_path):
    """Sums of digits: the answer and the end of text are to be predicted; of every third nothing is."""
    folder, draw, tokenizer = tmp_path / "sums", np.random.default_rng(0), ByteTokenizer()
    tokenizer.save(folder / "tokenizer")
    splits = {}
    for split, n in (("train", 60), ("val", 20)):
        with shard_writer(folder / f"{split}.bin", tokenizer.vocab_size, tokenizer.fingerprint) as writer:
            for i in range(n):
                a, b = draw.integers(0, 10, 2)
                prompt, answer = tokenizer.encode(f"{a}+{b}="), [*tokenizer.encode(str(a + b)), tokenizer.eot_id]
                mask = np.array([False] * len(prompt) + [i % 3 > 0] * len(answer))
                writer.append(np.array([*prompt, *answer]), supervised=mask)
        splits[split] = (open_shard(folder / f"{split}.bin"),)
    manifest = {
        "tokenizer": {"fingerprint": tokenizer.fingerprint},
        "marks": {"append_eot": False, "prepend_bos": False},
        "on_the_fly": None,
    }
    return replace(bench, prepared=Prepared(folder, manifest, splits))


class Gradients(pl.Callback):
    """Of each optimizer step."""

    def __init__(self) -> None:
        self.found: list[list[torch.Tensor]] = []

    def on_before_optimizer_step(self, trainer, module, optimizer) -> None:
        self.found.append([p.grad.clone() for p in module.network.parameters()])


@pytest.mark.parametrize("packing", ["stream", "document", "best_fit_padded"])
def test_the_gradient_of_a_step_does_not_depend_on_how_it_is_split(supervised, make_gpt, packing):
    loader = LoaderConfig(packing=packing, mask_documents=packing != "document")
    empty = 0
    seen: dict[int, list[list[torch.Tensor]]] = {}
    losses = {}
    for micro in (8, 4, 1):
        gradients = Gradients()
        run = supervised.fit(
            make_gpt(),
            micro_batch_size=micro,
            loader=loader,
            callbacks=(gradients,),
            max_steps=3,
            limit_val_batches=0,
            optimizer=AdamWConfig(lr=0.0),
        )
        seen[micro], losses[micro] = gradients.found, run.recorder.losses
        for step in range(3):
            batches = run.trainer.datamodule.batches_of_step(step)
            empty += sum(bool((batch["targets"] == IGNORE).all()) for batch in batches)
            n_targets = sum(int((batch["targets"] != IGNORE).sum()) for batch in batches)
            assert {batch["step_targets"] for batch in batches} == {n_targets}
    assert packing != "document" or empty > 0, "some micro-batches have nothing to learn"
    for micro in (4, 1):
        assert losses[micro] == pytest.approx(losses[8], rel=1e-5)
        for ours, theirs in zip(seen[micro], seen[8], strict=True):
            for a, b in zip(ours, theirs, strict=True):
                assert (a - b).norm() <= 1e-5 * b.norm()


def test_validation_tells_exact_answers_of_both_splits(supervised, make_gpt):
    optimizer, curve = AdamWConfig(lr=1e-2), ScheduleConfig("constant")
    run = supervised.fit(
        make_gpt(), loader=PACKED, max_steps=60, optimizer=optimizer, curve=curve, val_check_interval=60
    )
    found, data = run.module.evaluation, run.trainer.datamodule
    byte_lengths = torch.from_numpy(data.tokenizer.byte_lengths())
    for split, loader in zip(("val", "train_eval"), data.val_dataloader(), strict=True):
        assert isinstance(loader, DataLoader)
        report = evaluate(run.module.network, loader, byte_lengths, torch.device("cpu"))
        for name in ("loss", "ppl", "accuracy", "exact"):
            assert found[f"{split}/{name}"] == pytest.approx(getattr(report, name), rel=1e-5)
    assert 0 < found["train_eval/exact"] < found["train_eval/accuracy"]
    plain = supervised.fit(make_gpt(), loader=LoaderConfig(packing="document"), max_steps=2, val_check_interval=2)
    assert "val/exact" in plain.module.evaluation and "train_eval/loss" not in plain.module.evaluation
