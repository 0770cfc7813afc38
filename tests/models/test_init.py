"""First values: their statistics, and that a seed decides them."""

import math

import pytest
import torch

from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT, Context

CONFIG = {"vocab_size": 256, "block_size": 32, "n_layer": 3, "n_head": 4, "n_embd": 128}


def test_gpt2s_statistics():
    for name, parameter in GPT(GPTConfig(**CONFIG)).named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif parameter.dim() == 1:
            assert (parameter == 1).all(), name
        else:
            scaled = name.endswith(("attention.out.weight", "mlp.down.weight"))
            std = 0.02 / math.sqrt(6) if scaled else 0.02
            assert parameter.std().item() == pytest.approx(std, rel=0.05), name
            assert abs(parameter.mean().item()) < 0.1 * std, name


def test_without_scaling_all_matrices_are_alike():
    model = GPT(GPTConfig(**CONFIG, scaled_residual_init=False, init_std=0.1))
    assert model.blocks[0].mlp.down.weight.std().item() == pytest.approx(0.1, rel=0.05)


def test_zero_init_starts_every_block_as_the_identity_and_guesses_uniformly():
    model = GPT(GPTConfig(**CONFIG, zero_init_projections=True, tie_embeddings=False, bigram_rows=64, position="rope"))
    x, ids = torch.randn(2, 5, 128), torch.zeros(2, 5, dtype=torch.long)
    context = Context(ids, model.rope[:, :5], {None: None}, None, model.value_embeddings)
    assert torch.equal(model.blocks[0](x, context), x)
    ids = torch.randint(0, 256, (2, 8))
    torch.testing.assert_close(model(ids, ids), torch.full((2, 8), math.log(256)))
    assert not model.bigram_embedding.weight.any()


def test_the_global_seed_decides():
    def weights(seed):
        torch.manual_seed(seed)
        return torch.cat([parameter.flatten() for parameter in GPT(GPTConfig(**CONFIG)).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
