"""Every backend against sums written out row by row, and against each other; what only a GPU can show waits for one."""

import math
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nanolit.models import attention
from nanolit.models.attention import attend, causal_mask, choose_backend, describe_backend, visible

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")  # on a CPU it must be
WIDTHS = [None, 1, 3, 9, 14]  # windows: none, itself, some, all 9, more than there are


def inputs(T: int, S: int, n_head: int = 4, n_kv_head: int = 2, D: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, n_head, T, D), torch.randn(2, n_kv_head, S, D), torch.randn(2, n_kv_head, S, D)


def row_by_row(q, k, v, window=None, documents=None, scale=None) -> Tensor:
    """The definition, one query at a time: a softmax over the keys that it may see."""
    (B, H, T, D), (K, S) = q.shape, k.shape[1:3]
    scale = 1 / math.sqrt(D) if scale is None else scale
    y = torch.empty_like(q)
    for b in range(B):
        for h in range(H):
            for t in range(T):
                last = S - T + t
                first = 0 if window is None else max(0, last - window + 1)
                seen = [s for s in range(first, last + 1) if documents is None or documents[b, s] == documents[b, last]]
                weights = (k[b, h * K // H, seen] @ q[b, h, t] * scale).softmax(dim=0)
                y[b, h, t] = weights @ v[b, h * K // H, seen]
    return y


def flash_attn_func(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1)):
    """The contract in the package's documentation, in loops: (batch, seqlen, heads, width), half precision; query i
    sees keys [i + S - T - left, i + S - T + right], and with `causal` none after i + S - T; -1 is without limit.
    """
    assert q.dtype == k.dtype == v.dtype and q.dtype in (torch.float16, torch.bfloat16)
    assert k.shape == v.shape and k.size(0) == q.size(0) and q.size(2) % k.size(2) == 0 and dropout_p == 0
    (_, T, H, D), (S, K), (left, right) = q.shape, k.shape[1:3], window_size
    scale = D**-0.5 if softmax_scale is None else softmax_scale
    y = torch.zeros_like(q)
    for i in range(T):
        last = S - 1 if right < 0 else i + S - T + right
        last = min(last, i + S - T) if causal else last
        first = 0 if left < 0 else max(0, i + S - T - left)
        for h in range(H):
            keys, values = (x[:, first : last + 1, h // (H // K)].float() for x in (k, v))  # (B, seen, D)
            weights = torch.einsum("bd,bsd->bs", q[:, i, h].float(), keys).mul(scale).softmax(dim=-1)
            y[:, i, h] = torch.einsum("bs,bsd->bd", weights, values).to(y.dtype)
    return y


@pytest.fixture
def flash_package(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("flash_attn")
    package.flash_attn_func = flash_attn_func
    monkeypatch.setitem(sys.modules, "flash_attn", package)


@pytest.fixture
def flash(flash_package, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which flash-attn runs."""
    monkeypatch.setattr(attention, "why_not", lambda *args, **kwargs: None)


@pytest.fixture
def ampere(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine with such a GPU and Triton."""
    gpu = SimpleNamespace(major=8, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    monkeypatch.setattr(attention, "HAS_TRITON", True)
    return gpu


# All backends give the same


@pytest.mark.parametrize("window", WIDTHS)
@pytest.mark.parametrize(("T", "S"), [(9, 9), (1, 9), (4, 9), (1, 1)])
@pytest.mark.parametrize("n_kv_head", [1, 2, 4])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_the_rows_are_the_definition(T, S, n_kv_head, window, scale):
    q, k, v = inputs(T, S, n_kv_head=n_kv_head)
    expected = row_by_row(q, k, v, window, scale=scale)
    for backend in ("naive", "sdpa", "auto"):
        mask = visible(T, S, CPU, window, backend=backend)
        torch.testing.assert_close(attend(q, k, v, mask, scale=scale), expected, rtol=1e-4, atol=1e-5)
        if window is None:
            torch.testing.assert_close(attend(q, k, v, scale=scale, backend=backend), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("backend", ["naive", "sdpa", "auto", "flex"])
def test_documents_do_not_see_each_other(backend, window):
    q, k, v = inputs(9, 9)
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2, 2], [5, 4, 4, 4, 5, 5, 5, 5, 9]])
    y = attend(q, k, v, visible(9, 9, CPU, window, documents, backend=backend))
    torch.testing.assert_close(y, row_by_row(q, k, v, window, documents), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("T", "n_kv_head", "window", "D"), [(9, 1, 3, 8), (150, 2, None, 16), (150, 4, 130, 16)])
def test_flex_agrees_forwards_on_a_cpu(T, n_kv_head, window, D):
    q, k, v = inputs(T, T, n_kv_head=n_kv_head, D=D)
    y, expected = (
        attend(q, k, v, visible(T, T, CPU, window, backend=backend), scale=0.3) for backend in ("flex", "naive")
    )
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", WIDTHS)
@pytest.mark.parametrize(("T", "S"), [(9, 9), (1, 9), (4, 9)])
@pytest.mark.parametrize("n_kv_head", [1, 2, 4])
def test_flash_is_called_as_its_documentation_says(flash, T, S, n_kv_head, window):
    q, k, v = (x.bfloat16() for x in inputs(T, S, n_kv_head=n_kv_head))
    y = attend(q, k, v, visible(T, S, CPU, window, backend="flash"), scale=0.7)
    assert y.dtype == torch.bfloat16 and y.shape == q.shape
    expected = row_by_row(q.float(), k.float(), v.float(), window, scale=0.7)
    torch.testing.assert_close(y.float(), expected, rtol=2e-2, atol=2e-2)


def test_flash_and_flex_follow_autocast(flash):
    """SDPA does so by itself. Rotations and norms leave queries and keys in float32 beside values in half precision."""
    q, k, v = inputs(9, 9)
    expected = row_by_row(q, k, v)
    with torch.autocast("cpu", torch.bfloat16):
        for backend in ("flash", "flex", "sdpa"):
            y = attend(q, k, v.bfloat16(), visible(9, 9, CPU, backend=backend))
            assert y.dtype == torch.bfloat16
            torch.testing.assert_close(y.float(), expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("window", [None, 3])
def test_types_are_kept(dtype, window):
    q, k, v = inputs(9, 9)
    for backend in ("naive", "sdpa"):
        y = attend(q.to(dtype), k.to(dtype), v.to(dtype), visible(9, 9, CPU, window, backend=backend))
        assert y.dtype == dtype
        torch.testing.assert_close(y.float(), row_by_row(q, k, v, window), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize(("T", "with_documents"), [(9, False), (9, True), (4, False)])
def test_gradients_agree(window, T, with_documents):
    S = 9
    documents = torch.arange(S).div(4, rounding_mode="floor").expand(2, S) if with_documents else None
    gradients = []
    for backend in ("naive", "sdpa"):
        qkv = [x.double().requires_grad_() for x in inputs(T, S)]
        y = attend(*qkv, visible(T, S, CPU, window, documents, backend=backend), scale=0.5)
        gradients.append(torch.autograd.grad((y * torch.arange(8.0)).sum(), qkv))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("window", WIDTHS)
@pytest.mark.parametrize("backend", ["auto", "sdpa", "naive"])
def test_any_split_of_a_text_gives_the_same_rows(backend, window):
    q, k, v = inputs(12, 12)
    whole = attend(q, k, v, visible(12, 12, CPU, window, backend=backend))
    for lengths in ([1] * 12, [5, 1, 6], [3, 4, 4, 1]):
        rows, end = [], 0
        for T in lengths:
            end += T
            mask = visible(T, end, CPU, window, backend=backend, has_cache=True)
            rows.append(attend(q[:, :, end - T : end], k[:, :, :end], v[:, :, :end], mask))
        torch.testing.assert_close(torch.cat(rows, dim=2), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ["naive", "sdpa", "flex"])
def test_a_query_that_sees_only_itself_is_its_value(backend):
    q, k, v = inputs(9, 9, n_kv_head=4)
    alone = torch.arange(9).expand(2, 9)
    for mask in (visible(9, 9, CPU, 1, backend=backend), visible(9, 9, CPU, None, alone, backend=backend)):
        torch.testing.assert_close(attend(q * 1e4, k, v, mask), v)  # never NaN, whatever the scores


@pytest.mark.parametrize("window", [None, 2])
def test_dropout_keeps_the_mean(window):
    q, k, v = inputs(4, 4)
    v = v.abs() + 1
    for backend in ("sdpa", "naive"):
        mask = visible(4, 4, CPU, window, backend=backend)
        many = torch.stack([attend(q, k, v, mask, dropout_p=0.5) for _ in range(2000)])
        assert many.std(dim=0).min() > 0.01
        torch.testing.assert_close(many.mean(dim=0), attend(q, k, v, mask), rtol=0.1, atol=0.1)


def test_a_boolean_mask_replaces_the_causal_rule():
    q, k, v = inputs(6, 6)
    own_and_the_one_before = causal_mask(6, 6, CPU).triu(-1)
    for backend in ("auto", "sdpa", "naive", "flex", "flash"):
        y = attend(q, k, v, own_and_the_one_before, backend=backend)
        torch.testing.assert_close(y, row_by_row(q, k, v, window=2), rtol=1e-4, atol=1e-5)


def test_rows_of_one_batch_may_begin_at_different_keys():
    q, k, v = inputs(1, 9)
    starts = torch.tensor([0, 5])
    mask = (torch.arange(9) >= starts[:, None])[:, None, None]  # (B, 1, 1, S)
    expected = [attend(q[b : b + 1], k[b : b + 1, :, start:], v[b : b + 1, :, start:]) for b, start in ((0, 0), (1, 5))]
    torch.testing.assert_close(attend(q, k, v, mask), torch.cat(expected), rtol=1e-4, atol=1e-5)


# Nothing is computed that nobody needs


def test_plain_attention_and_single_queries_have_no_matrix():
    for T, S, window in ((9, 9, None), (9, 9, 9), (1, 9, None), (1, 9, 3), (1, 1, 1)):
        assert visible(T, S, CPU, window).allowed is None
    assert visible(4, 900, CPU, 10).allowed.shape == (4, 13)  # older keys are out of sight for all four
    assert visible(9, 9, CPU, 3).allowed.shape == (9, 9)


def test_one_query_reads_only_its_window(monkeypatch):
    q, k, v = inputs(1, 900)
    seen = []
    real = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda q, k, *a, **b: seen.append(k) or real(q, k, *a, **b))
    attend(q, k, v, visible(1, 900, CPU, 10, has_cache=True))
    assert seen[0].shape == (2, 2, 10, 8) and seen[0].data_ptr() == k[:, :, 890:].data_ptr()  # no copy either


def test_a_compiler_takes_masks_and_attention_as_one_graph():
    def layers(q, k, v, documents, backend):
        masks = {window: visible(9, 9, q.device, window, documents, backend=backend) for window in (3, None)}
        for window in (3, None, 3):
            q = attend(q, k, v, masks[window], scale=0.5)
        return q

    q, k, v = inputs(9, 9)
    documents = torch.arange(9).div(4, rounding_mode="floor").expand(2, 9)
    compiled = torch.compile(layers, backend="eager", dynamic=False, fullgraph=True)
    for backend in ("auto", "flex"):
        y = compiled(q, k, v, documents, backend)
        torch.testing.assert_close(y, layers(q, k, v, documents, "naive"), rtol=1e-4, atol=1e-5)


# The choice, and what is refused


def test_auto_takes_flex_only_where_it_pays_and_trains(ampere):
    assert choose_backend("auto", CUDA, is_plain=False) == "flex"
    assert choose_backend("auto", CUDA, is_plain=True) == "sdpa"
    assert choose_backend("auto", CUDA, is_plain=False, dropout_p=0.1) == "sdpa"
    assert choose_backend("auto", CUDA, is_plain=False, has_cache=True) == "sdpa"
    assert choose_backend("auto", CPU, is_plain=False) == "sdpa"
    ampere.major = 7
    assert choose_backend("auto", CUDA, is_plain=False) == "sdpa"


def test_what_is_asked_for_is_taken():
    for backend in ("naive", "sdpa", "flash", "flex"):
        assert choose_backend(backend, CPU, is_plain=True) == backend
        assert choose_backend(backend, CUDA, is_plain=False, has_cache=True) == backend.replace("flex", "sdpa")


def test_the_choice_is_told_in_one_line(ampere, flash_package, monkeypatch):
    half = {"dtype": torch.bfloat16}
    assert describe_backend("auto", CPU) == "attention: sdpa (PyTorch's own kernels)"
    assert describe_backend("auto", CUDA, windows=True) == "attention: flex in the windowed layers, sdpa in the rest"
    assert describe_backend("auto", CUDA, documents=True) == "attention: flex in all layers, for the documents"
    line = describe_backend("auto", CPU, windows=True)
    assert (
        line == "attention: sdpa, with boolean masks in the windowed layers (not flex: it has no backward pass on cpu)"
    )
    assert "it has no dropout" in describe_backend("auto", CUDA, windows=True, dropout_p=0.1)
    assert describe_backend("flash", CUDA, windows=True, dropout_p=0.1, **half) == "attention: flash, as asked"
    for backend in ("sdpa", "naive"):
        assert describe_backend(backend, CPU, windows=True) == f"attention: {backend}, as asked"
    monkeypatch.setattr(attention, "HAS_TRITON", False)
    assert "it needs Triton" in describe_backend("auto", CUDA, windows=True)


@pytest.mark.parametrize(
    ("backend", "device", "facts", "reason"),
    [
        ("flex", CPU, {}, "it has no backward pass on cpu"),
        ("flex", torch.device("mps"), {}, "it has no backward pass on mps"),
        ("flex", CUDA, {"dropout_p": 0.1}, "it has no dropout"),
        ("flash", CPU, {}, "it runs on CUDA only, not on cpu"),
        ("flash", CUDA, {"dtype": torch.float32}, "it computes in half precision, not in float32"),
        ("flash", CUDA, {"documents": True}, "it cannot keep documents apart"),
    ],
)
def test_what_cannot_train_is_refused_at_the_start(ampere, backend, device, facts, reason):
    with pytest.raises(ValueError) as error:
        describe_backend(backend, device, **facts)
    assert str(error.value) == f"model.attention: got {backend}, but {reason}; use model.attention=auto"


def test_an_old_gpu_is_refused(ampere):
    ampere.major = 7
    for backend in ("flash", "flex"):
        with pytest.raises(ValueError, match=rf"got {backend}, but it needs a GPU of compute capability 8\.0 or more"):
            describe_backend(backend, CUDA)


def test_without_the_package_flash_says_so(ampere, monkeypatch):
    monkeypatch.setitem(sys.modules, "flash_attn", None)  # as if it were not there
    with pytest.raises(
        ValueError, match=r"got flash, which needs the package flash-attn .*; use model\.attention=auto"
    ):
        describe_backend("flash", CUDA, dtype=torch.bfloat16)


def test_a_call_refuses_too():
    q, k, v = inputs(9, 9)
    with pytest.raises(ValueError, match="got flash, but it runs on CUDA only, not on cpu"):
        attend(q, k, v, backend="flash")
    with pytest.raises(ValueError, match="got flex, but it has no dropout"):
        attend(q, k, v, backend="flex", dropout_p=0.1)
    with pytest.raises(ValueError, match="got flex, but it has no backward pass on cpu"):
        attend(q.requires_grad_(), k, v, backend="flex")
    with torch.no_grad():
        assert attend(q * 1, k, v, backend="flex").shape == q.shape
    documents = torch.zeros(2, 9, dtype=torch.long)
    with pytest.raises(ValueError, match="documents: attention within documents needs the whole text"):
        visible(4, 9, CPU, documents=documents)


def test_pytorchs_flex_still_has_no_backward_on_a_cpu():
    """If this fails, `why_not` is out of date: PyTorch has learnt it."""
    q, k, v = inputs(9, 9, n_kv_head=4)
    with pytest.raises(NotImplementedError, match="backward on CPU"):
        attention.flex_attention(q.requires_grad_(), k, v)


# On a GPU

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("n_kv_head", [1, 4])
@pytest.mark.parametrize("window", [None, 100])
@pytest.mark.parametrize(
    ("backend", "D", "dtype"),
    [
        ("sdpa", 64, torch.bfloat16),
        ("flex", 8, torch.bfloat16),
        ("flex", 64, torch.bfloat16),
        ("flex", 48, torch.float32),
        ("flash", 64, torch.bfloat16),
    ],
)
def test_gradients_agree_on_a_gpu(backend, D, dtype, window, n_kv_head):
    if backend == "flash":
        pytest.importorskip("flash_attn")
    torch.compiler.reset()  # past eight variants of one function the compiler gives up
    T = 300
    results = []
    for kind, kept in (("naive", torch.float32), (backend, dtype)):
        qkv = [x.to(CUDA, kept).requires_grad_() for x in inputs(T, T, n_kv_head=n_kv_head, D=D)]
        y = attend(*qkv, visible(T, T, CUDA, window, backend=kind))
        results.append([y.float(), *(x.float() for x in torch.autograd.grad(y.float().square().sum(), qkv))])
    for ours, expected in zip(results[1], results[0], strict=True):
        assert (ours - expected).norm() / expected.norm() < (0.02 if dtype == torch.bfloat16 else 1e-3)


@pytest.mark.gpu
@needs_cuda
def test_documents_agree_on_a_gpu_inside_a_compiled_graph():
    def loss(q, k, v, documents, backend):
        return attend(q, k, v, visible(300, 300, q.device, 100, documents, backend=backend)).square().sum()

    documents = torch.arange(300, device=CUDA).div(70, rounding_mode="floor").expand(2, 300)
    compiled = torch.compile(loss, dynamic=False, fullgraph=True)
    gradients = []
    for function, backend in ((loss, "naive"), (compiled, "auto")):
        qkv = [x.to(CUDA).requires_grad_() for x in inputs(300, 300, D=32)]
        gradients.append(torch.autograd.grad(function(*qkv, documents, backend), qkv))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-3)
