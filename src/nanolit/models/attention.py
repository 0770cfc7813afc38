"""Causal attention behind one function. It knows neither weights nor caches: queries, keys and values in, mixture out.

`visible` says once per pass what each query may look at; every layer hands that to `attend`. Backends:

naive   all matrices written out: what the others are compared with
sdpa    PyTorch's scaled_dot_product_attention; windows and documents are boolean masks
flash   the package flash-attn, in half precision on CUDA; windows cost nothing, documents it cannot
flex    PyTorch's flex_attention, compiled on CUDA; skips what windows and documents hide; no dropout, whole texts only
auto    sdpa; but flex for windows and documents where it can train. It takes only what comes with PyTorch.

B batch   H query heads   K key-value heads (H is a multiple of K)   T queries   S keys (S >= T)   D head width
"""

import functools
import importlib.util
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

Backend = Literal["auto", "sdpa", "flash", "flex", "naive"]
HAS_TRITON = importlib.util.find_spec("triton") is not None
MIN_TRITON_WIDTH = 16  # of a head, in flex's kernels


class Mask(NamedTuple):
    """What the queries of one pass may look at, in the form that its backend reads. Made by `visible`."""

    backend: Backend  # the chosen one, never "auto"
    window: int | None = None  # keys that each query sees, itself included; None: all before it
    allowed: Tensor | None = None  # for naive and sdpa: True where a query may look, broadcastable to (B, H, T, S)
    blocks: BlockMask | None = None  # for flex


def visible(
    T: int,
    S: int,
    device: torch.device,
    window: int | None = None,
    documents: Tensor | None = None,
    *,
    at: Tensor | None = None,
    backend: Backend = "auto",
    dropout_p: float = 0.0,
    has_cache: bool = False,
) -> Mask:
    """The causal rule for T queries that are the last of S positions, and what narrows it.

    window: a query sees that many keys, itself included. documents (B,T): a query sees keys of equal number only, which
    needs the whole text, S = T. at (B,T): the queries stand there, each row's at its own place, and not at the end;
    only sdpa and naive know that. `dropout_p` and `has_cache` are there for the choice of "auto".
    """
    assert 1 <= T <= S and (window is None or window >= 1), f"T={T}, S={S}, window={window}"
    if documents is not None and T < S:
        raise ValueError("documents: attention within documents needs the whole text; give no cache")
    window = None if window is None or window >= S else window
    if at is not None:
        return Mask("naive" if backend == "naive" else "sdpa", allowed=_allowed_at(at, S, window))
    is_plain = window is None and documents is None
    backend = choose_backend(backend, device, is_plain, dropout_p, has_cache or T < S)
    if backend == "flash":
        if documents is not None:
            _refuse("flash", why_not("flash", device, documents=True))
        return Mask("flash", window)
    if backend == "flex":
        return Mask("flex", window, blocks=_block_mask(T, device, window, documents))
    if backend == "sdpa":
        if documents is None and (T == 1 or (window is None and T == S)):
            return Mask("sdpa", window)  # no matrix: plain causal, or one query that sees all keys left to it
        S = S if window is None else min(S, T + window - 1)  # older keys are cut off before the kernel
    return Mask(backend, window, _allowed(T, S, device, window, documents))


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Mask | Tensor | None = None,
    *,
    scale: float | None = None,
    dropout_p: float = 0.0,
    backend: Backend = "auto",
) -> Tensor:
    """Mix `v` by the similarity of `q` and `k`; q (B,H,T,D), k and v (B,K,S,D), result (B,H,T,D).

    A `Mask` brings its backend along; `backend` is for calls without one. No mask: causal, the queries are the last T
    of the S positions. A boolean tensor (True = may look), broadcastable to (B,H,T,S), replaces that rule; only sdpa
    and naive read one, so sdpa stands in for the others. scale: the factor of q.k, None is 1 / sqrt(D).
    """
    if mask is None:
        mask = visible(q.size(2), k.size(2), q.device, backend=backend, dropout_p=dropout_p)
    elif not isinstance(mask, Mask):
        mask = Mask("naive" if backend == "naive" else "sdpa", allowed=mask)
    kernel = {"naive": _naive, "sdpa": _sdpa, "flash": _flash, "flex": _flex}[mask.backend]
    return kernel(q, k, v, mask, scale, dropout_p)


# The choice


def choose_backend(
    requested: Backend, device: torch.device, is_plain: bool, dropout_p: float = 0.0, has_cache: bool = False
) -> Backend:
    """What was asked for. "auto" is sdpa, but flex for windows and documents (not `is_plain`) where it can train.

    With a cache flex is never taken, not even when asked for: it would be compiled for one length after the other.
    """
    if requested == "flex" and has_cache:
        return "sdpa"
    if requested != "auto":
        return requested
    return "sdpa" if is_plain or has_cache or why_not("flex", device, dropout_p=dropout_p) else "flex"


def why_not(
    backend: Backend,
    device: torch.device,
    *,
    documents: bool = False,
    dropout_p: float = 0.0,
    dtype: torch.dtype | None = None,
    trains: bool = True,
) -> str | None:
    """What keeps flash or flex from running here; None if nothing does, and always for sdpa and naive."""
    if backend not in ("flash", "flex"):
        return None
    if backend == "flex":
        if dropout_p > 0:
            return "it has no dropout"
        if device.type != "cuda":  # elsewhere it exists, to be compared with, but its kernels go forward only
            return f"it has no backward pass on {device.type}" if trains else None
        if not HAS_TRITON:
            return "it needs Triton, which is not installed"
    else:
        if device.type != "cuda":
            return f"it runs on CUDA only, not on {device.type}"
        if dtype not in (None, torch.float16, torch.bfloat16):
            return f"it computes in half precision, not in {str(dtype).removeprefix('torch.')}"
        if documents:
            return "it cannot keep documents apart"
    # Not get_device_capability: that one would break a compiled model in two.
    if torch.cuda.get_device_properties(device).major < 8:
        return "it needs a GPU of compute capability 8.0 or more"
    return None


def describe_backend(
    requested: Backend,
    device: torch.device,
    *,
    windows: bool = False,
    documents: bool = False,
    dropout_p: float = 0.0,
    dtype: torch.dtype | None = None,
) -> str:
    """One line for the log of a training run; a ValueError where the backend that was asked for cannot train here.

    `dtype` is the one that attention computes in: bfloat16 in a run of mixed precision.
    """
    if requested != "auto":
        _refuse(requested, why_not(requested, device, documents=documents, dropout_p=dropout_p, dtype=dtype))
        if requested == "flash":
            _flash_function()
        return f"attention: {requested}, as asked"
    if not windows and not documents:
        return "attention: sdpa (PyTorch's own kernels)"
    where = "in all layers, for the documents" if documents else "in the windowed layers"
    rest = "" if documents else ", sdpa in the rest"
    obstacle = why_not("flex", device, dropout_p=dropout_p)
    if obstacle:
        return f"attention: sdpa, with boolean masks {where} (not flex: {obstacle})"
    return f"attention: flex {where}{rest}"


def _refuse(backend: Backend, obstacle: str | None) -> None:
    if obstacle:
        raise ValueError(f"model.attention: got {backend}, but {obstacle}; use model.attention=auto")


# Masks


def causal_mask(T: int, S: int, device: torch.device) -> Tensor:
    """True where query t, which stands at position S - T + t, may look at key s."""
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)  # (T, S)


def _allowed(T: int, S: int, device: torch.device, window: int | None, documents: Tensor | None) -> Tensor:
    allowed = causal_mask(T, S, device)  # (T, S)
    if window is not None:
        allowed = allowed.triu(S - T - window + 1)
    if documents is not None:
        allowed = allowed & (documents[:, None, :, None] == documents[:, None, None, :])  # (B, 1, T, S)
    return allowed


def _allowed_at(at: Tensor, S: int, window: int | None) -> Tensor:
    keys, at = torch.arange(S, device=at.device), at[:, None, :, None]  # (S), (B, 1, T, 1)
    allowed = keys <= at  # (B, 1, T, S)
    return allowed if window is None else allowed & (keys > at - window)


def _block_mask(T: int, device: torch.device, window: int | None, documents: Tensor | None) -> BlockMask:
    def sees(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        allowed = key <= query
        if window is not None:
            allowed = allowed & (query - key < window)
        if documents is not None:
            allowed = allowed & (documents[b, query] == documents[b, key])
        return allowed

    B = None if documents is None else documents.size(0)
    return create_block_mask(sees, B, None, T, T, device=device)


# The backends


def _naive(q: Tensor, k: Tensor, v: Tensor, mask: Mask, scale: float | None, dropout_p: float) -> Tensor:
    assert mask.allowed is not None
    k, v = _for_each_query_head(q, k, v)
    scores = q @ k.transpose(-2, -1) * (scale or 1 / math.sqrt(q.size(-1)))  # (B, H, T, S)
    weights = scores.masked_fill(~mask.allowed, float("-inf")).softmax(dim=-1)
    return F.dropout(weights, dropout_p) @ v  # (B, H, T, D)


def _sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Mask, scale: float | None, dropout_p: float) -> Tensor:
    T = q.size(2)
    if mask.window is not None:
        k, v = k[:, :, -(T + mask.window - 1) :], v[:, :, -(T + mask.window - 1) :]
    # No kernel of CUDA reads a mask and shares heads but the one that writes all scores out (torch's documentation of
    # enable_gqa), and copies of the keys are far smaller than these.
    if mask.allowed is not None and q.device.type == "cuda":
        k, v = _for_each_query_head(q, k, v)
    # One query sees every key, but is_causal would show it the first alone: SDPA aligns its triangle to the first key.
    is_causal = mask.allowed is None and T > 1
    gqa = q.size(1) != k.size(1)
    return F.scaled_dot_product_attention(q, k, v, mask.allowed, dropout_p, is_causal, scale=scale, enable_gqa=gqa)


def _flash(q: Tensor, k: Tensor, v: Tensor, mask: Mask, scale: float | None, dropout_p: float) -> Tensor:
    q, k, v = _in_one_dtype(q, k, v)
    _refuse("flash", why_not("flash", q.device, dtype=q.dtype))
    y = _flash_function()(
        q.transpose(1, 2),  # (B, T, H, D)
        k.transpose(1, 2),  # (B, S, K, D)
        v.transpose(1, 2),
        dropout_p=dropout_p,
        softmax_scale=scale,
        causal=True,  # aligned to the last key
        window_size=(-1, -1) if mask.window is None else (mask.window - 1, 0),  # keys to the left and right of itself
    )
    return y.transpose(1, 2)  # (B, H, T, D)


def _flash_function() -> Callable[..., Tensor]:
    try:
        from flash_attn import flash_attn_func
    except ImportError as error:
        raise ValueError(
            f"model.attention: got flash, which needs the package flash-attn ({error}); use model.attention=auto"
        ) from error
    return flash_attn_func


def _flex(q: Tensor, k: Tensor, v: Tensor, mask: Mask, scale: float | None, dropout_p: float) -> Tensor:
    trains = q.requires_grad or k.requires_grad or v.requires_grad
    _refuse("flex", why_not("flex", q.device, dropout_p=dropout_p, trains=trains))
    q, k, v = _in_one_dtype(q, k, v)
    D = q.size(-1)
    scale = scale or 1 / math.sqrt(D)
    if D < MIN_TRITON_WIDTH:
        q, k, v = (F.pad(x, (0, MIN_TRITON_WIDTH - D)) for x in (q, k, v))
    # Inside a compiled model it is compiled along with it; alone it would write all scores out.
    is_alone = q.device.type == "cuda" and not torch.compiler.is_compiling()
    flex = _compiled_flex() if is_alone else flex_attention
    return flex(q, k, v, block_mask=mask.blocks, scale=scale, enable_gqa=q.size(1) != k.size(1))[..., :D]


@functools.cache
def _compiled_flex() -> Any:
    return torch.compile(flex_attention)


def _in_one_dtype(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As autocast does it for SDPA; norms and rotations may have left some of them in float32."""
    kind = q.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else v.dtype
    return q.to(dtype), k.to(dtype), v.to(dtype)


def _for_each_query_head(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    n_groups = q.size(1) // k.size(1)
    if n_groups == 1:
        return k, v
    return k.repeat_interleave(n_groups, dim=1), v.repeat_interleave(n_groups, dim=1)  # 2 x (B, H, S, D)
