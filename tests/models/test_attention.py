"""The two backends against each other, where the model's own tests do not reach: masks and short queries."""

import pytest
import torch

from nanolit.models.attention import attend, causal_mask


@pytest.mark.parametrize(("T", "S"), [(7, 7), (1, 7), (3, 7), (1, 1)])
@pytest.mark.parametrize("n_kv_head", [1, 2, 4])
def test_queries_are_the_last_positions(T, S, n_kv_head):
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, S, 8), torch.randn(2, n_kv_head, S, 8), torch.randn(2, n_kv_head, S, 8)
    whole = attend(q, k, v, backend="naive")[:, :, S - T :]
    for backend in ("auto", "sdpa", "naive"):
        torch.testing.assert_close(attend(q[:, :, S - T :], k, v, backend=backend), whole, rtol=1e-4, atol=1e-5)


def test_a_mask_replaces_the_causal_rule():
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 4, 6, 8) for _ in range(3))
    mask = causal_mask(6, 6, q.device) & ~causal_mask(6, 6, q.device).tril(-2)  # itself and the one before
    results = [attend(q, k, v, mask, backend=backend) for backend in ("sdpa", "naive")]
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
    v[:, :, 0] += 1.0
    changed = (attend(q, k, v, mask) - results[0]).abs().amax(dim=(0, 1, 3)) > 1e-4
    assert changed.tolist() == [True, True, False, False, False, False]


def test_dropout_keeps_the_mean():
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 1, 4, 8), torch.randn(1, 1, 4, 8), torch.rand(1, 1, 4, 8) + 1
    for backend in ("sdpa", "naive"):
        many = torch.stack([attend(q, k, v, dropout_p=0.5, backend=backend) for _ in range(2000)])
        assert many.std(dim=0).min() > 0.01
        torch.testing.assert_close(many.mean(dim=0), attend(q, k, v), rtol=0.1, atol=0.1)
