"""The loss of a step does not depend on how its batch is split."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nanolit.training.losses import step_loss


def gradient_of_step(
    splits: list[torch.Tensor], world_size: int, weight: torch.Tensor, targets: torch.Tensor, x: torch.Tensor
):
    """As the Trainer does it: each process averages its micro-batches, data parallelism averages the processes."""
    n_targets = int((targets != -1).sum())
    per_process = len(splits) // world_size
    gradients = []
    for rank in range(world_size):
        w = weight.clone().requires_grad_()
        for rows in splits[rank * per_process : (rank + 1) * per_process]:
            nll = F.cross_entropy(
                (x[rows] @ w).flatten(0, 1), targets[rows].flatten(), ignore_index=-1, reduction="none"
            )
            (step_loss(nll, n_targets, per_process, world_size) / per_process).backward()
        gradients.append(w.grad)
    return torch.stack(gradients).mean(0)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from([(1, 1), (2, 1), (4, 1), (8, 1), (2, 2), (4, 2), (8, 4)]), st.floats(0, 1)
)
def test_any_split_gives_the_gradient_of_the_whole(seed, split, masked):
    n_splits, world_size = split
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(8, 5, 6, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 9, (8, 5), generator=generator)
    targets[torch.rand(8, 5, generator=generator) < masked] = -1
    targets[:2] = -1  # some micro-batches have no target at all
    weight = torch.randn(6, 9, generator=generator, dtype=torch.float64)
    parts = list(torch.arange(8).chunk(n_splits))
    ours = gradient_of_step(parts, world_size, weight, targets, x)
    w = weight.clone().requires_grad_()
    if (targets != -1).any():
        F.cross_entropy((x @ w).flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="mean").backward()
        torch.testing.assert_close(ours, w.grad)
    else:
        assert ours.abs().max() == 0


def test_no_target_is_zero_not_nan():
    assert step_loss(torch.zeros(2, 3), step_targets=0, accumulation=4, world_size=2).item() == 0.0


def test_plain_mean_without_masks():
    nll = torch.rand(4, 16)
    assert step_loss(nll, nll.numel(), 1, 1).item() == pytest.approx(nll.mean().item())
