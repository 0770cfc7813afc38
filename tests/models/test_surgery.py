"""A model that was cut or grown computes what it did on what both know."""

from dataclasses import replace

import pytest
import torch

from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT
from nanolit.models.surgery import crop_block_size, extend_block_size, reconfigured, resize_vocabulary

TINY = GPTConfig(vocab_size=31, block_size=24, n_layer=3, n_head=2, n_embd=32)
FAMILIES = {
    "gpt2": {},
    "llama": {"norm": "rmsnorm", "position": "rope", "mlp": "swiglu", "bias": False, "tie_embeddings": False},
    "head_bias": {"tie_embeddings": False, "head_bias": True, "vocab_multiple": 8},
    "nanochat": {
        **{"norm": "rmsnorm_noweight", "position": "rope", "mlp": "relu2", "qk_norm": True, "tie_embeddings": False},
        **{"value_embeddings": True, "smear": True, "window_pattern": "SL", "window": 5, "softcap": 15.0},
    },
}


@pytest.fixture(params=FAMILIES)
def model(request) -> GPT:
    torch.manual_seed(0)
    model = GPT(replace(TINY, **FAMILIES[request.param])).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def ids(length: int, high: int = 31) -> torch.Tensor:
    return torch.randint(0, high, (2, length), generator=torch.Generator().manual_seed(length))


def frozen(model: GPT) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("length", [1, 5, 10])
def test_a_cropped_model_gives_equal_logits_on_what_fits(model, length):
    before = frozen(model)
    cropped = crop_block_size(model, 10)
    assert torch.equal(cropped(ids(length)), model(ids(length)))
    assert cropped.config == replace(model.config, block_size=10)
    with pytest.raises(ValueError, match="11 tokens do not fit into block_size=10"):
        cropped(ids(11))
    assert model.config.block_size == 24 and all(torch.equal(before[n], t) for n, t in model.state_dict().items())


def test_a_cropped_model_learns_apart_from_the_whole(model):
    cropped = crop_block_size(model, 10).train()
    cropped(ids(8), ids(8)).sum().backward()
    assert all(parameter.grad is not None for parameter in cropped.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_short_windows_stay_as_long_when_positions_are_cut():
    """Their length would else follow block_size: a quarter of it."""
    model = GPT(replace(TINY, position="rope", block_size=600, window_pattern="S")).eval()
    cropped = crop_block_size(model, 300)
    assert [cropped.config.layer_window(layer) for layer in range(3)] == [257, 257, None]
    assert torch.equal(cropped(ids(300)), model(ids(300)))


@pytest.mark.parametrize("block_size", [0, 25])
def test_crop_does_not_grow(model, block_size):
    with pytest.raises(ValueError, match=rf"model.block_size: got {block_size}, must be from 1 to the 24"):
        crop_block_size(model, block_size)


def test_only_rotary_positions_can_be_extended(model):
    if model.position_embedding is not None:
        with pytest.raises(ValueError, match="have learned 24 positions and no more"):
            extend_block_size(model, 40)
        return
    longer = extend_block_size(model, 40)
    assert torch.equal(longer(ids(24)), model(ids(24)))
    assert longer(ids(40)).shape == (2, 40, 31)


@pytest.mark.parametrize("n", [32, 40, 57])
def test_new_ids_are_the_mean_and_old_ones_as_they_were(model, n):
    grown = resize_vocabulary(model, n)
    assert grown.config == replace(model.config, vocab_size=n)
    tokens = ids(12)
    assert torch.equal(grown(tokens)[..., :31], model(tokens))
    names = [name for name in grown.state_dict() if name.startswith(("token_embedding", "head", "value_embeddings"))]
    for name in names:
        old, new = model.state_dict()[name], grown.state_dict()[name]
        assert len(new) == grown.config.padded_vocab
        assert torch.equal(new[:31], old[:31])
        torch.testing.assert_close(new[31:], old[:31].mean(dim=0).expand_as(new[31:]))
    assert grown(ids(12, n)).isfinite().all()


def test_a_smaller_vocabulary_keeps_all_rows(model):
    assert resize_vocabulary(model, 20) is model


def test_rows_of_pairs_of_ids_cannot_be_resized():
    with pytest.raises(ValueError, match="resize_vocabulary: got 40 ids for 31"):
        resize_vocabulary(GPT(replace(TINY, bigram_rows=961)), 40)


def test_other_dropout_and_attention_over_the_same_tensors(model):
    other = reconfigured(model, dropout=0.5, attention="naive")
    assert other.blocks[0].dropout.p == 0.5 and not other.training
    torch.testing.assert_close(other(ids(20)), model(ids(20)))
    shared = zip(other.parameters(), model.parameters(), strict=True)
    assert all(ours.data_ptr() == theirs.data_ptr() for ours, theirs in shared)
