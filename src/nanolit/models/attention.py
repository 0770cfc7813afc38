"""Causal attention behind one function. It knows neither weights nor caches: queries, keys and values in, mixture out.

B batch   H query heads   K key-value heads (H is a multiple of K)   T queries   S keys (S >= T)   D head width
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Backend = Literal["auto", "sdpa", "flash", "flex", "naive"]
Mask = Tensor | None


def visible(T: int, S: int, device: torch.device, window: int | None = None, backend: Backend = "auto") -> Mask:
    """Interim, until the file is whole."""
    return None if window is None else causal_mask(T, S, device).triu(S - T - window + 1)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Mask = None,
    dropout_p: float = 0.0,
    backend: Backend = "auto",
    scale: float | None = None,
) -> Tensor:
    """Mix `v` by the similarity of `q` and `k`; q (B,H,T,D), k and v (B,K,S,D), result (B,H,T,D).

    Without a mask attention is causal and the queries are the last T of the S positions, which is what a cache needs.
    A boolean mask (True = may look), broadcastable to (B,H,T,S), replaces that rule. "auto" is PyTorch's SDPA, which
    picks flash kernels itself; "naive" writes the matrices out and exists to be compared with.
    """
    T, S = q.size(2), k.size(2)
    if backend == "naive":
        return _naive(q, k, v, causal_mask(T, S, q.device) if mask is None else mask, dropout_p)
    if mask is None and 1 < T < S:
        mask = causal_mask(T, S, q.device)
    # One query sees every key, but is_causal would show it the first alone: SDPA aligns its triangle to the first key.
    is_causal = mask is None and T > 1
    return F.scaled_dot_product_attention(
        q, k, v, mask, dropout_p, is_causal, scale=scale, enable_gqa=q.size(1) != k.size(1)
    )


def causal_mask(T: int, S: int, device: torch.device) -> Tensor:
    """True where query t, which stands at position S - T + t, may look at key s."""
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)  # (T, S)


def _naive(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, dropout_p: float) -> Tensor:
    n_groups = q.size(1) // k.size(1)
    k, v = k.repeat_interleave(n_groups, dim=1), v.repeat_interleave(n_groups, dim=1)  # (B, H, S, D)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (B, H, T, S)
    weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1)
    return F.dropout(weights, dropout_p) @ v  # (B, H, T, D)
