"""Published numbers, the built model, torch's own counters."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from nanolit.models.accounting import activation_bytes, flops_per_token, parameter_counts
from nanolit.models.gpt import GPT, GPTConfig

CHAR = {"vocab_size": 65, "bias": False}
CONFIGS = st.builds(
    GPTConfig,
    vocab_size=st.integers(1, 70),
    vocab_multiple=st.sampled_from([1, 8, 64]),
    block_size=st.integers(1, 40),
    n_layer=st.integers(1, 3),
    n_head=st.just(4),
    n_kv_head=st.sampled_from([None, 1, 2, 4]),
    n_embd=st.sampled_from([16, 40]),
    mlp=st.sampled_from(["gelu", "gelu_tanh", "relu2", "swiglu"]),
    mlp_hidden=st.sampled_from([None, 24]),
    norm=st.sampled_from(["layernorm", "rmsnorm", "rmsnorm_noweight"]),
    position=st.sampled_from(["learned", "rope"]),
    bias=st.booleans(),
    qk_norm=st.booleans(),
    tie_embeddings=st.booleans(),
    embed_norm=st.booleans(),
    bigram_rows=st.sampled_from([0, 50]),
)


def meta(config: GPTConfig) -> GPT:
    with torch.device("meta"):
        return GPT(config)


def count_parameters(model: GPT) -> dict[str, int]:
    """The same counts taken from a built model."""
    looked_up = {"position_embedding.weight", "bigram_embedding.weight"}
    if model.head is not None:
        looked_up.add("token_embedding.weight")
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    total, embedding = sum(sizes.values()), sum(size for name, size in sizes.items() if name in looked_up)
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


@settings(max_examples=60, deadline=None)
@given(CONFIGS)
def test_closed_form_equals_the_built_model(config):
    assert count_parameters(meta(config)) == parameter_counts(config)


@pytest.mark.parametrize("mlp", ["gelu", "swiglu"])
def test_without_biases_and_norms_palms_rule_is_what_torch_counts(mlp):
    only_matrices = {"bias": False, "norm": "rmsnorm_noweight", "attention": "naive"}
    config = GPTConfig(
        vocab_size=50, block_size=16, n_layer=2, n_head=4, n_kv_head=2, n_embd=32, mlp=mlp, **only_matrices
    )
    model, ids = GPT(config), torch.randint(0, 50, (3, 16))
    with FlopCounterMode(display=False) as counter:
        model(ids, ids).sum().backward()
    assert counter.get_total_flops() == flops_per_token(config, 16) * ids.numel()


def test_palms_rule():
    config = GPTConfig(bias=False)
    N = 124_337_664 - 1024 * 768  # nanoGPT's count without positions
    assert flops_per_token(config, 1024) == 6 * N + 12 * 12 * 12 * 64 * 1024


@pytest.mark.parametrize("fields", [{}, {"position": "rope", "mlp": "relu2"}, {"mlp": "swiglu", "attention": "naive"}])
def test_activation_bytes_are_near_what_autograd_keeps(fields):
    config = GPTConfig(vocab_size=65, block_size=64, n_layer=3, n_head=4, n_embd=128, bias=False, **fields)
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
