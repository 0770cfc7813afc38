"""LoRA: nothing at the start, thin matrices afterwards, and the same numbers once it is merged."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT
from nanolit.models.lora import LoRAConfig, add_lora, lora_layers, merged, save_adapter, without_lora


@pytest.fixture(
    params=[{}, {"bias": True, "norm": "layernorm", "mlp": "gelu"}, {"mlp": "swiglu", "tie_embeddings": True}]
)
def model(request) -> GPT:
    torch.manual_seed(0)
    shape = {
        "vocab_size": 50,
        "block_size": 16,
        "n_layer": 2,
        "n_head": 2,
        "n_embd": 16,
        "zero_init_projections": False,
    }
    return GPT(GPTConfig(**shape, **request.param)).double()


IDS = torch.randint(50, (2, 16), generator=torch.Generator().manual_seed(1))


def learn(model: GPT, n: int = 3) -> None:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    for _ in range(n):
        model(IDS[:, :-1], IDS[:, 1:]).mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_it_begins_as_nothing_and_only_it_learns(model):
    before, plain = model(IDS), {name: p.detach().clone() for name, p in model.named_parameters()}
    n = add_lora(model, LoRAConfig(rank=3))
    assert n == 2 * (5 if model.config.mlp == "swiglu" else 4)
    assert torch.equal(model(IDS), before)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained and all(name.endswith(("lora_a", "lora_b")) for name in trained)
    learn(model.double())
    for name, parameter in model.named_parameters():
        if name in plain:
            assert torch.equal(parameter, plain[name]) and parameter.grad is None
    assert not torch.allclose(model(IDS), before)
    with without_lora(model):
        assert torch.equal(model(IDS), before)


def test_merged_it_computes_the_same(model):
    add_lora(model, LoRAConfig(rank=3, alpha=6.0))
    learn(model.double())
    plain = merged(model)
    assert not lora_layers(plain) and all(type(m) is not type(lora_layers(model)) for m in plain.modules())
    assert torch.allclose(plain(IDS), model(IDS), atol=1e-12)
    assert {name for name, _ in plain.named_parameters()} == {
        name for name, _ in model.named_parameters() if "lora" not in name
    }
    assert (plain.head is None) == (model.head is None) and all(p.requires_grad for p in plain.parameters())


def test_the_product_is_the_papers(model):
    add_lora(model, LoRAConfig(rank=3, alpha=6.0, targets=("up",)))
    layer = model.blocks[0].mlp.up
    nn.init.normal_(layer.lora_b)
    layer.double()
    x = torch.randn(4, 16, dtype=torch.float64)
    weight = layer.weight + 6.0 / 3 * layer.lora_b @ layer.lora_a
    assert torch.allclose(layer(x), x @ weight.T + (0 if layer.bias is None else layer.bias))
    assert len(lora_layers(model)) == 2


def test_what_was_added_is_kept_alone(model, tmp_path):
    add_lora(model, LoRAConfig(rank=3))
    learn(model.double())
    save_adapter(model, LoRAConfig(rank=3), tmp_path / "adapter")
    kept = load_file(tmp_path / "adapter" / "adapter.safetensors")
    assert set(kept) == {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(torch.equal(kept[name], dict(model.named_parameters())[name]) for name in kept)


@pytest.mark.parametrize("values", [{"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"targets": ("head",)}])
def test_what_makes_no_sense_is_refused(values):
    with pytest.raises(ValueError, match=r"^lora\."):
        LoRAConfig(**values)
    with pytest.raises(ValueError, match=r"^lora: this network has no matrices called qkv"):
        add_lora(nn.Sequential(nn.Linear(2, 2)), LoRAConfig())
