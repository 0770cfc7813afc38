"""The loss of an optimizer step: sum over supervised tokens / their number in the whole step, over all micro-batches
and ranks.

Splitting a batch differently therefore changes nothing but rounding, and a micro-batch without any target contributes
zero instead of NaN. It is not a mean of means.
"""

from torch import Tensor


def step_loss(nll: Tensor, step_targets: int, accumulation: int, world_size: int) -> Tensor:
    """The loss to hand to the Trainer for one micro-batch whose token losses are `nll` (B, T).

    The Trainer divides by `accumulation` and data parallelism averages over `world_size`; both are undone here, so
    that what reaches the gradient is exactly sum(nll) / step_targets.
    """
    return nll.sum() * (accumulation * world_size / max(step_targets, 1))
