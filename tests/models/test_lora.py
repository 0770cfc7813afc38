"""LoRA: nothing at the start, thin matrices afterwards, the same numbers once it is merged. Its files: test_adapter."""

import pytest
import torch
from torch import nn

from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT
from nanolit.models.lora import LoRAConfig, LoRALinear, add_lora, lora_layers, merged, without_lora
from nanolit.optim.build import AdamWConfig, build_optimizer


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
    n_before = sum(p.numel() for p in model.parameters())
    told = add_lora(model, LoRAConfig(rank=3))
    n, n_now = (5 if model.config.mlp == "swiglu" else 4), sum(p.numel() for p in model.parameters())
    assert told.startswith(f"lora: {2 * n} matrices of rank 3, {n_now - n_before:,} of {n_now:,} parameters")
    assert torch.equal(model(IDS), before)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 4 * n and all(name.endswith(("lora_a", "lora_b")) for name in trained)
    groups = build_optimizer(model.named_parameters(), AdamWConfig()).param_groups
    assert sum(p.numel() for group in groups for p in group["params"]) == n_now - n_before
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
    kept = {name: p.detach().clone() for name, p in model.named_parameters()}
    plain = merged(model)
    assert not any(isinstance(module, LoRALinear) for module in plain.modules())
    assert torch.allclose(plain(IDS), model(IDS), atol=1e-12)
    assert {name for name, _ in plain.named_parameters()} == {
        name for name, _ in model.named_parameters() if "lora" not in name
    }
    assert (plain.head is None) == (model.head is None)
    assert plain.token_embedding.weight is model.token_embedding.weight, "what LoRA leaves alone takes no memory twice"
    assert all(torch.equal(p, kept[name]) for name, p in model.named_parameters()), "it goes on learning as it was"


def test_the_product_is_the_papers(model):
    add_lora(model, LoRAConfig(rank=3, alpha=6.0, targets=("up",)))
    layer = model.blocks[0].mlp.up
    nn.init.normal_(layer.lora_b)
    layer.double()
    x = torch.randn(4, 16, dtype=torch.float64)
    weight = layer.weight + 6.0 / 3 * layer.lora_b @ layer.lora_a
    assert torch.allclose(layer(x), x @ weight.T + (0 if layer.bias is None else layer.bias))
    assert len(lora_layers(model)) == 2


@pytest.mark.parametrize("values", [{"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"targets": ("head",)}])
def test_what_makes_no_sense_is_refused(values):
    with pytest.raises(ValueError, match=r"^lora\."):
        LoRAConfig(**values)


def test_networks_without_such_matrices_are_refused(model):
    if model.config.mlp != "swiglu":
        with pytest.raises(ValueError, match=r"^lora\.targets: got gate, this network has down, out, qkv, up; "):
            add_lora(model, LoRAConfig(targets=("gate",)))
    with pytest.raises(ValueError, match=r"^lora: got a network that nanolit does not compute itself \(Sequential\)"):
        add_lora(nn.Sequential(nn.Linear(2, 2)), LoRAConfig())
