"""Published numbers, the built model, torch's own counters."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from nanolit.models.accounting import activation_bytes, flops_per_token, parameter_counts
from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT

CHAR = {"vocab_size": 65, "bias": False}
CONFIGS = st.builds(
    GPTConfig,
    vocab_size=st.integers(1, 70),
    vocab_multiple=st.sampled_from([1, 8, 64]),
    block_size=st.integers(1, 40),
    n_layer=st.integers(1, 4),
    n_head=st.just(4),
    n_kv_head=st.sampled_from([None, 1, 2, 4]),
    n_embd=st.sampled_from([24, 40]),
    head_width=st.sampled_from([None, 8, 14]),
    mlp=st.sampled_from(["gelu", "gelu_tanh", "relu2", "swiglu"]),
    mlp_hidden=st.sampled_from([None, 24]),
    norm=st.sampled_from(["layernorm", "rmsnorm", "rmsnorm_noweight"]),
    norm_placement=st.sampled_from(["pre", "post"]),
    position=st.sampled_from(["learned", "rope"]),
    bias=st.booleans(),
    attention_bias=st.sampled_from([None, True, False]),
    mlp_bias=st.sampled_from([None, True, False]),
    qk_norm=st.booleans(),
    tie_embeddings=st.booleans(),
    embed_norm=st.booleans(),
    bigram_rows=st.sampled_from([0, 50]),
    window_pattern=st.sampled_from([None, "SSSL"]),
    layer_scalars=st.booleans(),
    value_embeddings=st.booleans(),
    smear=st.booleans(),
    backout=st.booleans(),
)


def meta(config: GPTConfig) -> GPT:
    with torch.device("meta"):
        return GPT(config)


def count_parameters(model: GPT) -> dict[str, int]:
    """The same counts taken from a built model."""
    tables = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Embedding)}
    if model.head is None:
        tables.remove("token_embedding")  # it is the head as well
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    total = sum(sizes.values())
    embedding = sum(size for name, size in sizes.items() if name.removesuffix(".weight") in tables)
    return {"total": total, "embedding": embedding, "non_embedding": total - embedding}


@pytest.mark.parametrize(
    ("config", "total"),
    [
        (GPTConfig(), 124_439_808),
        (GPTConfig(n_layer=24, n_head=16, n_embd=1024), 354_823_168),
        (GPTConfig(n_layer=36, n_head=20, n_embd=1280), 774_030_080),
        (GPTConfig(n_layer=48, n_head=25, n_embd=1600), 1_557_611_200),
        # nanoGPT prints 10.65M and 0.80M: without the positions
        (GPTConfig(**CHAR, block_size=256, n_layer=6, n_head=6, n_embd=384), 10_646_784 + 256 * 384),
        (GPTConfig(**CHAR, block_size=64, n_layer=4, n_head=4, n_embd=128), 795_904 + 64 * 128),
    ],
)
def test_published_parameter_counts(config, total):
    assert count_parameters(meta(config)) == parameter_counts(config)
    assert parameter_counts(config)["total"] == total
    assert parameter_counts(config)["non_embedding"] == total - config.block_size * config.n_embd


@settings(max_examples=100, deadline=None)
@given(CONFIGS, st.booleans())
def test_closed_form_equals_the_built_model(config, head_bias):
    config = replace(config, head_bias=head_bias and not config.tie_embeddings)
    assert count_parameters(meta(config)) == parameter_counts(config)


@pytest.mark.parametrize(
    "fields",
    [{}, {"mlp": "swiglu"}, {"head_width": 6, "n_kv_head": 1}, {"value_embeddings": True, "tie_embeddings": False}],
)
def test_without_biases_and_norms_palms_rule_is_what_torch_counts(fields):
    only_matrices = {"bias": False, "norm": "rmsnorm_noweight", "attention": "naive"}
    size = {"vocab_size": 50, "block_size": 16, "n_layer": 2, "n_head": 4, "n_kv_head": 2, "n_embd": 32}
    config = GPTConfig(**size | fields, **only_matrices)
    model, ids = GPT(config), torch.randint(0, 50, (3, 16))
    with FlopCounterMode(display=False) as counter:
        model(ids, ids).sum().backward()
    assert counter.get_total_flops() == flops_per_token(config, 16) * ids.numel()


def test_palms_rule():
    config = GPTConfig(bias=False)
    N = 124_337_664 - 1024 * 768  # nanoGPT's count without positions
    assert flops_per_token(config, 1024) == 6 * N + 12 * 12 * 12 * 64 * 1024


def test_a_window_spares_the_operations_of_the_keys_that_it_hides():
    """Counted key by key: four layers SSSL of which a query sees 4, 4, 4 and all 10 tokens."""
    whole = GPTConfig(n_layer=4, n_head=2, n_embd=32, block_size=10)
    short = replace(whole, window_pattern="SSSL", window=4)
    spared = flops_per_token(whole, 10) - flops_per_token(short, 10)
    assert spared == 3 * (10 - 4) * (2 * 2 * 32) * 3  # per key: two products of 32 channels, backward counts twice
    assert flops_per_token(short, 3) == flops_per_token(whole, 3)
    assert flops_per_token(replace(short, window_pattern="L", window=None), 10) == flops_per_token(whole, 10)


LATE = {"layer_scalars": True, "value_embeddings": True, "smear": True, "backout": True, "embed_norm": True}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"position": "rope", "mlp": "relu2"},
        {"mlp": "swiglu", "attention": "naive"},
        {"norm_placement": "post", "bias": True},
        {"head_width": 64, "n_kv_head": 2},
        {"window_pattern": "SL", "window": 16},
        {"position": "rope", "qk_norm": True, "norm": "rmsnorm_noweight", "tie_embeddings": False, **LATE},
    ],
    ids=lambda fields: "-".join(fields),
)
def test_activation_bytes_are_near_what_autograd_keeps(fields):
    config = GPTConfig(vocab_size=65, block_size=64, n_layer=3, n_head=4, n_embd=128, **{"bias": False} | fields)
    model, kept = GPT(config), {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    ids = torch.randint(0, 65, (4, 64))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(ids, ids)
    measured = sum(size for size, _ in kept.values())
    assert 0.8 * measured < activation_bytes(config, 4, 64) < 1.4 * measured
