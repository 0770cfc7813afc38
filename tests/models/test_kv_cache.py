"""The cache by itself; that it changes no logits is tested with the model."""

import pytest
import torch

from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT
from nanolit.models.kv_cache import KVCache

CONFIG = GPTConfig(vocab_size=11, block_size=16, n_layer=2, n_head=4, n_kv_head=2, n_embd=16, bigram_rows=121)


def test_a_repeated_cache_goes_on_like_equal_rows():
    model, prompt = GPT(CONFIG).eval(), torch.tensor([[3, 1, 4]])
    one, many = KVCache(CONFIG, 1, 8), KVCache(CONFIG, 3, 8)
    with torch.no_grad():
        model(prompt, cache=one)
        model(prompt.repeat(3, 1), cache=many)
        new = torch.tensor([[1], [5], [9]])
        torch.testing.assert_close(model(new, cache=one.repeat(3)), model(new, cache=many))
    assert one.length == 3 and many.length == 4  # the original is left as it was


def test_its_size_is_fixed():
    cache = KVCache(CONFIG, batch=2, max_len=5, dtype=torch.bfloat16)
    assert cache.keys.shape == cache.values.shape == (2, 2, 2, 5, 4) and cache.keys.dtype == torch.bfloat16
    cache.advance(torch.tensor([[1, 2, 3], [4, 5, 6]]))
    assert cache.positions(2) == slice(3, 5) and cache.last_ids.tolist() == [[3], [6]]
    with pytest.raises(ValueError, match="holds 3 of 5 tokens; 3 more do not fit"):
        cache.positions(3)
    with pytest.raises(ValueError, match="cache of 17 tokens: the model sees at most block_size=16"):
        KVCache(CONFIG, 1, 17)
