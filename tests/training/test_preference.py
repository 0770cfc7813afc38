"""DPO against its formula, each answer alone and in float64; neither split nor processes nor dropout shift it."""

import copy
import itertools
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nanolit.data.sources.preferences import Pair, parse
from nanolit.datamodules.preferences import PreferenceData
from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT
from nanolit.models.lora import LoRAConfig, add_lora, lora_layers
from nanolit.tokenizers.bpe import train_bpe
from nanolit.tokenizers.chat import render
from nanolit.tokenizers.vocabulary import CHAT_SPECIALS
from nanolit.training.preference import DPOConfig, Preference

BLOCK, BATCH, SEED = 96, 8, 3
WORDS = ["red", "blue", "three", "four", "house", "mill", "goat", "baker", "sells", "bread"]


class Exact(GPT):
    """A GPT whose logits stay in float64, so that an error in a formula cannot hide in rounding."""

    def logits(self, x: Tensor) -> Tensor:
        return F.linear(x, self.token_embedding.weight if self.head is None else self.head.weight)


def drawn_pairs(n: int, seed: int = 0) -> list[Pair]:
    """Some with two turns, some whose better answer calls the calculator."""
    draw = random.Random(seed)
    say = lambda: " ".join(draw.choices(WORDS, k=draw.randint(1, 5)))  # noqa: E731
    rows = []
    for i in range(n):
        prompt = [{"role": "user", "content": say()}]
        if i % 3 == 0:
            prompt += [{"role": "assistant", "content": say()}, {"role": "user", "content": say()}]
        call = [{"type": "python", "text": "6*7"}, {"type": "python_output", "text": "42"}]
        chosen = [{"role": "assistant", "content": [*call, {"type": "text", "text": say()}] if i % 4 == 0 else say()}]
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": say() + " no"})
    return [parse(row, f"row {i}") for i, row in enumerate(rows)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe([" ".join(WORDS) + " no 6*7 42 = + -"] * 3, 280, specials=CHAT_SPECIALS)


def data_of(tokenizer, pairs: list[Pair], micro: int = BATCH, world: int = 1, rank: int = 0, step: int = 0, val=None):
    split = {"train": pairs, "val": pairs[:2] if val is None else val}
    data = PreferenceData(split, tokenizer, BLOCK, BATCH, micro, SEED)
    data.trainer = SimpleNamespace(world_size=world, global_rank=rank, global_step=step)
    return data


def networks(tokenizer, lora: LoRAConfig | None, dropout: float = 0.0) -> tuple[GPT, GPT, GPT | None]:
    """The one that learns, has learnt already, its parent, and what the module is given as reference."""
    torch.manual_seed(0)
    shape = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": BLOCK, "zero_init_projections": False}
    parent = Exact(GPTConfig(vocab_size=tokenizer.vocab_size, dropout=dropout, **shape)).double().eval()
    network = copy.deepcopy(parent).train()
    if lora is None:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        return network, parent, copy.deepcopy(parent).requires_grad_(False)
    add_lora(network, lora)
    for layer in lora_layers(network).values():
        torch.nn.init.normal_(layer.lora_b, std=0.1)
    return network, parent, None


def module_of(network, reference, dpo: DPOConfig, accumulation: int = 1, world: int = 1, rank: int = 0) -> Preference:
    module = Preference(
        network,
        dpo=dpo,
        reference=reference,
        optimizer=lambda named: torch.optim.SGD([p for _, p in named]),
        schedule=lambda step: 1.0,
        byte_lengths=torch.zeros(1),
        tokens_per_step=1,
        uses_dropout=True,
    )
    strategy = SimpleNamespace(reduce=lambda sums, reduce_op: sums)
    module._trainer = SimpleNamespace(
        accumulate_grad_batches=accumulation, world_size=world, global_rank=rank, strategy=strategy
    )
    module.log_dict = lambda *args, **kwargs: None
    return module


def gradient(network) -> Tensor:
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.requires_grad])


def logprob(network, conversation, tokenizer) -> Tensor:
    """Of the last answer alone, by log_softmax; what is learnt of it is found by the special tokens, not the mask."""
    ids = [int(i) for i in render(conversation, tokenizer).ids]
    special = tokenizer.specials
    first = len(ids) - ids[::-1].index(special["<|assistant_start|>"])
    said, is_ours = [], True
    for at in range(first, len(ids)):
        is_ours = is_ours and ids[at] != special["<|output_start|>"]
        if is_ours:
            said.append(at)
        is_ours = is_ours or ids[at] == special["<|output_end|>"]
    found = torch.log_softmax(network(torch.tensor([ids[:-1]]))[0], dim=-1)  # (T, V)
    assert ids[said[-1]] == special["<|assistant_end|>"] and found.dtype == torch.float64
    return torch.stack([found[at - 1, ids[at]] for at in said]).sum()


def by_formula(network, parent, pairs: list[Pair], tokenizer, dpo: DPOConfig) -> tuple[Tensor, Tensor]:
    """The paper's equation 7, with TRL's label smoothing; losses and margins (N,), each pair by itself."""
    losses, margins = [], []
    for pair in pairs:
        pi = [logprob(network, answer, tokenizer) for answer in pair]
        with torch.no_grad():
            ref = [logprob(parent, answer, tokenizer) for answer in pair]
        logits = (pi[0] - pi[1]) - (ref[0] - ref[1])
        right, wrong = F.logsigmoid(dpo.beta * logits), F.logsigmoid(-dpo.beta * logits)
        losses.append(-right * (1 - dpo.label_smoothing) - wrong * dpo.label_smoothing)
        margins.append(logits.detach())
    return torch.stack(losses), torch.stack(margins)


LORAS = pytest.mark.parametrize("lora", [None, LoRAConfig(rank=2)], ids=["whole", "lora"])


@LORAS
@pytest.mark.parametrize("dpo", [DPOConfig(), DPOConfig(beta=0.7, label_smoothing=0.2)], ids=str)
@pytest.mark.parametrize("micro", [1, 2, 8])
def test_loss_and_gradient_are_the_formulas_however_a_batch_is_split(tokenizer, lora, dpo, micro):
    pairs = drawn_pairs(BATCH)  # one step is the whole file
    network, parent, reference = networks(tokenizer, lora)
    losses, margins = by_formula(network, parent, pairs, tokenizer, dpo)
    losses.mean().backward()
    expected = gradient(network)
    network.zero_grad()
    accumulation = BATCH // micro
    module = module_of(network, reference, dpo, accumulation)
    total = 0.0
    for i, batch in enumerate(itertools.islice(data_of(tokenizer, pairs, micro).train_dataloader(), accumulation)):
        loss = module.training_step(batch, i) / accumulation  # which the Trainer divides by
        loss.backward()
        total += loss.item()
    assert total == pytest.approx(losses.mean().item(), rel=1e-12)
    assert (gradient(network) - expected).norm() < 1e-12 * expected.norm() and expected.norm() > 1e-3
    told = {key: np.mean([float(each[key]) for each in module.more_metrics]) for key in module.more_metrics[0]}
    assert told["dpo/margin"] == pytest.approx(margins.mean().item(), rel=1e-10)
    assert told["dpo/margin"] == pytest.approx(told["dpo/chosen_gain"] - told["dpo/rejected_gain"], rel=1e-10)
    assert told["dpo/accuracy"] == pytest.approx((margins > 0).double().mean().item())
    assert told["dpo/chosen_logprob"] < 0
    frozen = [p for p in network.parameters() if not p.requires_grad]
    assert all(p.grad is None for p in frozen) and bool(frozen) == (lora is not None)


@LORAS
def test_processes_together_have_the_gradient_of_one(tokenizer, lora):
    pairs, found = drawn_pairs(21), []
    for world in (1, 2):
        network, _, reference = networks(tokenizer, lora)
        for rank in range(world):
            module = module_of(network, reference, DPOConfig(), 2, world, rank)
            data = data_of(tokenizer, pairs, BATCH // 2 // world, world, rank, step=1)
            for i, batch in enumerate(itertools.islice(data.train_dataloader(), 2)):
                (module.training_step(batch, i) / 2 / world).backward()  # data parallelism averages
        found.append(gradient(network))
    assert (found[0] - found[1]).norm() < 1e-12 * found[0].norm()


def test_dropout_does_not_touch_the_parent(tokenizer):
    pairs = drawn_pairs(BATCH)
    network, parent, _ = networks(tokenizer, LoRAConfig(rank=2, dropout=0.5), dropout=0.3)
    module = module_of(network, None, DPOConfig())
    (batch,) = itertools.islice(data_of(tokenizer, pairs).train_dataloader(), 1)
    now, before = module._logprobs(batch)  # (2, B)
    alone = -parent(batch["inputs"], batch["targets"]).sum(dim=1).view(-1, 2).T
    assert torch.allclose(before, alone, rtol=1e-12) and not torch.allclose(now, alone, rtol=1e-3)
    assert network.training and all(layer.is_on for layer in lora_layers(network).values())


def test_a_run_begins_at_the_parent(tokenizer):
    network, _, _ = networks(tokenizer, LoRAConfig(rank=2, dropout=0.5))
    for layer in lora_layers(network).values():
        torch.nn.init.zeros_(layer.lora_b)
    module = module_of(network, None, DPOConfig())
    (batch,) = itertools.islice(data_of(tokenizer, drawn_pairs(BATCH)).train_dataloader(), 1)
    assert module.training_step(batch, 0).item() == pytest.approx(np.log(2), rel=1e-15)
    assert float(module.more_metrics[0]["dpo/margin"]) == 0.0


@pytest.mark.parametrize("micro", [1, 4, 8])
@pytest.mark.parametrize("world", [1, 2])
@torch.no_grad()
def test_validation_is_the_mean_over_pairs(tokenizer, micro, world):
    pairs, dpo = drawn_pairs(13), DPOConfig(beta=0.4)
    network, parent, reference = networks(tokenizer, None)
    losses, margins = by_formula(network.eval(), parent, pairs, tokenizer, dpo)
    modules = [module_of(network, reference, dpo, world=world, rank=rank) for rank in range(world)]
    lengths = []
    for rank, module in enumerate(modules):
        module.on_validation_epoch_start()
        batches = list(data_of(tokenizer, pairs, micro, world, rank, val=pairs).val_dataloader())
        lengths.append(len(batches))
        for i, batch in enumerate(batches):
            module.validation_step(batch, i)
    assert len(set(lengths)) == 1, "a process with fewer batches would leave the others waiting"
    modules[0]._sums[0] = sum(module._sums[0] for module in modules)
    modules[0].on_validation_epoch_end()
    told = modules[0].evaluation
    assert told["val/loss"] == pytest.approx(losses.mean().item(), rel=1e-12)
    assert told["val/margin"] == pytest.approx(margins.mean().item(), rel=1e-10)
    assert told["val/accuracy"] == pytest.approx((margins > 0).double().mean().item())
    chosen = torch.stack([logprob(network, pair.chosen, tokenizer) for pair in pairs]).mean().item()
    assert told["val/chosen_logprob"] == pytest.approx(chosen, rel=1e-12)


def keys(batches) -> list[bytes]:
    """What names each pair, without the padding that its neighbours ask for."""
    rows = [zip(batch["inputs"], batch["targets"], strict=True) for batch in batches]
    flat = [x[: int((y != -1).nonzero().max()) + 1].numpy().tobytes() for batch in rows for x, y in batch]
    return [a + b for a, b in zip(flat[::2], flat[1::2], strict=True)]


def test_the_pairs_of_a_step_are_arithmetic(tokenizer):
    pairs = drawn_pairs(3 * BATCH)
    whole = keys(itertools.islice(data_of(tokenizer, pairs).train_dataloader(), 9))
    epochs = [whole[i * 24 : (i + 1) * 24] for i in range(3)]
    assert all(len(set(epoch)) == 24 for epoch in epochs) and epochs[0] != epochs[1] != epochs[2]
    assert set(epochs[0]) == set(epochs[1]) == set(epochs[2])
    resumed = data_of(tokenizer, pairs, micro=2, step=4)
    assert keys(itertools.islice(resumed.train_dataloader(), 4)) == whole[4 * BATCH : 5 * BATCH]
    ranks = [data_of(tokenizer, pairs, 2, 2, rank, step=4).train_dataloader() for rank in range(2)]
    shared = [keys(itertools.islice(loader, 2)) for loader in ranks]
    assert sorted(shared[0] + shared[1]) == sorted(whole[4 * BATCH : 5 * BATCH])


def test_long_pairs_are_left_out_and_counted(tokenizer):
    pairs = drawn_pairs(4)
    long = parse({"prompt": "red", "chosen": "red " * BLOCK, "rejected": "no"}, "row")
    data = data_of(tokenizer, [*pairs, long, long])
    assert len(data.rows["train"]) == 4 and data.n_left_out == 2
    assert data.notes() == ["pairs: 4 to learn from, 2 for validation; 2 are longer than model.block_size and left out"]
    with pytest.raises(ValueError, match=r"^data\.source: none of the 1 pairs of the split train fits into model\.blo"):
        data_of(tokenizer, [long], val=pairs)
    with pytest.raises(ValueError, match=r"^data\.source: of 4 pairs none is in the split val, which a hash of each"):
        data_of(tokenizer, pairs, val=[])
