from typing import Any

import pytest
import torch

from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT
from nanolit.optim.build import AdamWConfig, MuonConfig, build_optimizer, optimizer_config

SIZE: dict[str, Any] = {"vocab_size": 17, "block_size": 8, "n_layer": 2, "n_head": 4, "n_embd": 32}


def groups_by_name(model: GPT, config: AdamWConfig | MuonConfig) -> dict[str, list[str]]:
    """Group name -> parameter names; also checks that each parameter is in exactly one group."""
    optimizer = build_optimizer(model.named_parameters(), config)
    names = {id(p): name for name, p in model.named_parameters()}
    found = {group["name"]: [names.pop(id(p)) for p in group["params"]] for group in optimizer.param_groups}
    assert not names
    return found


def test_adamw_decays_matrices_only() -> None:
    model = GPT(GPTConfig(**SIZE))
    optimizer = build_optimizer(model.named_parameters(), AdamWConfig(lr=0.1, weight_decay=0.3, betas=(0.8, 0.9)))
    for group in optimizer.param_groups:
        assert all((p.dim() >= 2) == (group["weight_decay"] == 0.3) for p in group["params"])
        assert (group["kind"], group["lr"], group["betas"]) == ("adamw", 0.1, (0.8, 0.9))
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_muon_takes_the_block_matrices_and_nothing_else() -> None:
    model = GPT(GPTConfig(**SIZE, tie_embeddings=False, bigram_rows=10, mlp="swiglu"))
    found = groups_by_name(model, MuonConfig())
    assert set(found["embeddings"]) == {
        "token_embedding.weight",
        "position_embedding.weight",
        "bigram_embedding.weight",
    }
    assert found["head"] == ["head.weight"]
    in_blocks = {name for name, p in model.blocks.named_parameters("blocks") if p.dim() == 2}
    assert set(found["qkv"]) | set(found["block matrices"]) == in_blocks
    assert set(found["qkv"]) == {name for name in in_blocks if "qkv" in name}
    assert all(dict(model.named_parameters())[name].dim() == 1 for name in found["vectors"])


def test_muon_on_a_model_without_head_and_vectors() -> None:
    config = GPTConfig(**SIZE, norm="rmsnorm_noweight", bias=False, position="rope")
    assert set(groups_by_name(GPT(config), MuonConfig())) == {"embeddings", "qkv", "block matrices"}


def test_the_shortcuts_have_their_groups() -> None:
    late = dict.fromkeys(("layer_scalars", "value_embeddings", "smear", "backout", "head_bias"), True)
    model = GPT(GPTConfig(**SIZE, **late, norm="rmsnorm_noweight", bias=False, tie_embeddings=False))
    found = groups_by_name(model, MuonConfig())
    assert set(found["vectors"]) == {
        *("smear_gate", "smear_scale", "residual_scale", "skip_scale", "backout_scale", "head.bias")
    }
    assert found["value embeddings"] == ["value_embeddings.1.weight"]
    assert "blocks.1.attention.value_gate.weight" in found["block matrices"], "as in nanochat, Muon turns the gates"
    assert all(name.startswith("blocks.") for name in [*found["qkv"], *found["block matrices"]])


def test_value_embeddings_learn_half_as_fast_as_embeddings_unless_told() -> None:
    model = GPT(GPTConfig(**SIZE, value_embeddings=True))
    for config, expected in ((MuonConfig(embedding_lr=0.3), 0.15), (MuonConfig(value_embedding_lr=0.0), 0.0)):
        rates = {g["name"]: g["lr"] for g in build_optimizer(model.named_parameters(), config).param_groups}
        assert rates["value embeddings"] == expected
        assert rates["embeddings"] == config.embedding_lr


@pytest.mark.parametrize(
    "fields", [{}, {"n_kv_head": 2}, {"n_kv_head": 1}, {"head_width": 6}, {"head_width": 20, "n_kv_head": 2}]
)
def test_qkv_is_split_as_the_model_lays_it_out(fields: dict[str, int]) -> None:
    config = GPTConfig(**SIZE, **fields)
    optimizer = build_optimizer(GPT(config).named_parameters(), MuonConfig())
    split = next(group["split"] for group in optimizer.param_groups if group["name"] == "qkv")
    assert split == (config.n_head * config.head_dim, *[config.n_kv_heads * config.head_dim] * 2)


def test_a_matrix_named_so_by_another_network_is_taken_whole() -> None:
    def linear() -> torch.nn.Module:
        return torch.nn.Linear(4, 12, bias=False)

    model = torch.nn.ModuleDict({"embed": torch.nn.Embedding(5, 4), "qkv": linear(), "c_proj": linear()})
    splits = {g["name"]: g.get("split") for g in build_optimizer(model.named_parameters(), MuonConfig()).param_groups}
    assert splits == {"embeddings": None, "qkv": None, "block matrices": None}


def test_both_recipes_learn_a_tiny_sequence() -> None:
    ids = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
    for config in (AdamWConfig(lr=0.01), MuonConfig(embedding_lr=0.01)):
        torch.manual_seed(0)
        model = GPT(GPTConfig(**SIZE))
        optimizer = build_optimizer(model.named_parameters(), config)
        for _ in range(30):
            optimizer.zero_grad()
            loss = model(ids[:, :-1], ids[:, 1:]).mean()
            loss.backward()
            optimizer.step()
        assert loss < 0.2


def test_the_configuration_is_chosen_by_kind() -> None:
    assert optimizer_config({"kind": "adamw", "lr": 1}) == AdamWConfig(lr=1.0)
    assert optimizer_config({"kind": "muon", "betas": [0.9, 0.9]}) == MuonConfig(betas=(0.9, 0.9))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "optimizer.kind: got None, expected one of adamw, muon"),
        ({"kind": "adam"}, "optimizer.kind: got 'adam'"),
        ({"kind": "adamw", "momentum": 0.9}, "optimizer.momentum: no such setting"),
        ({"kind": "muon", "momentun": 0.9}, "did you mean optimizer.momentum?"),
        ({"kind": "adamw", "lr": -1}, "optimizer.lr: got -1.0, must be at least 0"),
        ({"kind": "adamw", "betas": [0.9, 1.0]}, r"optimizer.betas: got \[0.9, 1.0\]"),
        ({"kind": "muon", "momentum": 1.0}, "optimizer.momentum: got 1.0"),
        ({"kind": "muon", "value_embedding_lr": -0.1}, "optimizer.value_embedding_lr: got -0.1"),
        ({"kind": "muon", "ns_steps": 0}, "optimizer.ns_steps: got 0"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        optimizer_config(values)


def test_rates_fall_with_the_width_where_they_hold_at_one() -> None:
    parts = {"token_embedding.weight": (9, 192), "head.weight": (9, 192), "blocks.0.mlp.up.weight": (4, 4)}
    named = [(name, torch.nn.Parameter(torch.zeros(*shape))) for name, shape in parts.items()]
    optimizer = build_optimizer(named, MuonConfig(lr=0.02, embedding_lr=0.2, head_lr=0.004, reference_width=768))
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {"embeddings": pytest.approx(0.4), "head": pytest.approx(0.008), "block matrices": 0.02}
    with pytest.raises(ValueError, match=r"optimizer\.reference_width: got 0"):
        MuonConfig(reference_width=0)
