"""First values of every parameter and buffer, drawn from torch's global generator.

Nothing else initialises a model: `GPT` may be built on the meta device, moved with `to_empty`, and filled here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from nanolit.models.gpt import GPT


@torch.no_grad()
def init_weights(model: GPT) -> None:
    """GPT-2's rule: N(0, init_std), zero biases; projections into the residual stream are scaled down, or zero."""
    config = model.config
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:  # norms start as the identity
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.ones_(parameter)
        elif starts_at_zero(name, config.zero_init_projections):
            nn.init.zeros_(parameter)
        elif config.scaled_residual_init and is_residual_projection(name):
            # Each of the 2 n_layer branches adds to the stream; this keeps its variance at depth (GPT-2, section 2.3).
            nn.init.normal_(parameter, std=config.init_std / math.sqrt(2 * config.n_layer))
        else:
            nn.init.normal_(parameter, std=config.init_std)
    init_buffers(model, model.token_embedding.weight.device)


def init_buffers(model: GPT, device: torch.device) -> None:
    """What a model directory does not hold because it follows from the configuration: the rotary table."""
    config = model.config
    if config.position == "rope":
        model.rope = rope_table(config.block_size, config.head_dim, config.rope_base, device)


def is_residual_projection(name: str) -> bool:
    return name.endswith(("attention.out.weight", "mlp.down.weight"))


def starts_at_zero(name: str, zero_init_projections: bool) -> bool:
    # The bigram table adds to the token embedding; from zero it begins as the model without it.
    if name == "bigram_embedding.weight":
        return True
    return zero_init_projections and (is_residual_projection(name) or name == "head.weight")


def rope_table(n_positions: int, head_dim: int, base: float, device: torch.device) -> torch.Tensor:
    """Cosines and signed sines (2, n_positions, 1, D) of rotary positions (RoFormer) in the half-split order of Llama.

    The sine of the first half is negated, so that a rotation is x * cos + roll(x, D/2) * sin.
    """
    inverse = base ** -(torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim)  # (D/2,)
    angle = torch.outer(torch.arange(n_positions, device=device, dtype=torch.float32), inverse)  # (n_positions, D/2)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack((torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)))[:, :, None]
