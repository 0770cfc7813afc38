from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nanolit.optim.mixed import MixedOptimizer
from nanolit.optim.muon import NS_COEFFICIENTS, momentum_at, newton_schulz, update_scale


def quintic_on_singular_values(matrix: Tensor, steps: int) -> Tensor:
    """What the iteration means: the same odd polynomial applied to each singular value, in float64."""
    u, s, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    s, (a, b, c) = s / s.norm(), NS_COEFFICIENTS
    for _ in range(steps):
        s = a * s + b * s**3 + c * s**5
    return u @ torch.diag(s) @ vh


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 40), n=st.integers(1, 3), steps=st.integers(1, 6))
def test_newton_schulz_is_the_polynomial_of_the_singular_values(rows: int, columns: int, n: int, steps: int) -> None:
    matrices = torch.randn(n, rows, columns, generator=torch.Generator().manual_seed(rows * 41 + columns))
    out = newton_schulz(matrices, steps)
    assert out.shape == matrices.shape and out.dtype == matrices.dtype
    for matrix, orthogonal in zip(matrices, out, strict=True):
        torch.testing.assert_close(orthogonal.double(), quintic_on_singular_values(matrix, steps), atol=2e-5, rtol=0)


@pytest.mark.parametrize("shape", [(16, 64), (64, 16), (32, 32), (128, 512)])
def test_singular_values_come_near_one_and_rank_deficiency_is_harmless(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    full = torch.randn(shape)
    singular = torch.linalg.svdvals(newton_schulz(full[None])[0])
    assert singular.max() < 1.25 and singular.median() > 0.6
    low_rank = torch.randn(shape[0], 3) @ torch.randn(3, shape[1])
    singular = torch.linalg.svdvals(newton_schulz(low_rank[None] * 1e-6)[0])
    assert singular[0] < 1.25 and singular[2] > 0.6 and singular[3] < 1e-2
    assert torch.equal(newton_schulz(torch.zeros(1, *shape)), torch.zeros(1, *shape))


@pytest.mark.parametrize("shape", [(64, 256), (64, 64), (200, 50)])
@pytest.mark.parametrize("steps", [5, 8])
def test_ill_conditioned_matrices_keep_their_digits(shape: tuple[int, int], steps: int) -> None:
    torch.manual_seed(0)
    u, _, vh = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    matrix = u @ torch.diag(10.0 ** -torch.linspace(0, 7, min(shape))) @ vh
    error = newton_schulz(matrix[None], steps)[0] - quintic_on_singular_values(matrix, steps)
    assert torch.linalg.matrix_norm(error, 2) < 2e-3


@pytest.mark.parametrize("shape", [(24, 8), (8, 24), (16, 16)])
@pytest.mark.parametrize("adjust_lr", ["original", "match_rms_adamw"])
def test_agrees_with_torch_to_the_precision_of_its_bfloat16(shape: tuple[int, int], adjust_lr: str) -> None:
    torch.manual_seed(1)
    start, grads, lr = torch.randn(shape), torch.randn(10, *shape), 0.02
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    common: dict[str, Any] = {"lr": lr, "weight_decay": 0.1, "momentum": 0.9}
    group = {"params": [ours], "kind": "muon", "adjust_lr": adjust_lr, "momentum_start": 0.9, **common}
    optimizers = [MixedOptimizer([group]), torch.optim.Muon([theirs], adjust_lr_fn=adjust_lr, **common)]
    for grad in grads:
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = grad.clone()
            optimizer.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.02 * moved
    buffers = [optimizer.state[p]["momentum_buffer"] for optimizer, p in zip(optimizers, (ours, theirs), strict=True)]
    torch.testing.assert_close(*buffers, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("split", [None, (12, 6, 6)])
def test_steps_equal_the_rule_written_out_in_float64(nesterov: bool, split: tuple[int, ...] | None) -> None:
    torch.manual_seed(2)
    shapes, lr, decay = [(24, 12), (24, 12), (24, 10)], 0.05, 0.2
    params = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    expected = [p.detach().double().clone() for p in params]
    average = [torch.zeros_like(p) for p in expected]
    optimizer = MixedOptimizer([{
        "params": params, "kind": "muon", "lr": lr, "weight_decay": decay, "nesterov": nesterov, "split": split,
        "momentum": 0.95, "momentum_start": 0.8, "momentum_warmup_steps": 4,
    }])  # fmt: skip
    for step in range(8):
        momentum = 0.8 + 0.15 * min(1.0, step / 4)
        for i, p in enumerate(params):
            p.grad = torch.randn(p.shape)
            grad = p.grad.double()
            average[i] = momentum * average[i] + (1 - momentum) * grad
            update = momentum * average[i] + (1 - momentum) * grad if nesterov else average[i]
            expected[i] *= 1 - lr * decay
            done = 0
            for rows in split or (24,):
                part = update[done : done + rows]
                scale = max(1, rows / part.size(1)) ** 0.5
                expected[i][done : done + rows] -= lr * scale * quintic_on_singular_values(part, 5)
                done += rows
        optimizer.step()
    for p, e in zip(params, expected, strict=True):
        torch.testing.assert_close(p.detach().double(), e, atol=1e-4, rtol=0)


def test_scale_and_momentum_warmup() -> None:
    assert update_scale(64, 16, "original") == 2.0 and update_scale(16, 64, "original") == 1.0
    assert update_scale(16, 64, "match_rms_adamw") == pytest.approx(1.6)
    values = [momentum_at(step, end=0.95, start=0.85, warmup_steps=10) for step in (0, 5, 10, 1000)]
    assert values == pytest.approx([0.85, 0.9, 0.95, 0.95])
    assert momentum_at(0, end=0.9, start=0.1, warmup_steps=0) == 0.9


def test_matrices_without_gradient_stay() -> None:
    params = [nn.Parameter(torch.ones(4, 4)) for _ in range(2)]
    optimizer = MixedOptimizer([{"params": params, "kind": "muon", "weight_decay": 0.5}])
    optimizer.step()
    assert all(torch.equal(p, torch.ones(4, 4)) for p in params) and optimizer.param_groups[0]["step"] == 0
    params[0].grad = torch.eye(4)
    optimizer.step()
    assert torch.equal(params[1], torch.ones(4, 4)) and not torch.equal(params[0], torch.ones(4, 4))
