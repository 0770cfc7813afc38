"""First values of every parameter and buffer, drawn from torch's global generator.

Nothing else initialises a model: `GPT` may be built on the meta device, moved with `to_empty`, and filled here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nanolit.models.config import RopeScaling

if TYPE_CHECKING:
    from nanolit.models.gpt import GPT

# Learned scalars with nanochat's first values: the embedding comes back into early layers most.
SCALARS: dict[str, Callable[[int], Tensor]] = {
    "residual_scale": lambda n: torch.linspace(1.15, 1.05, n),
    "skip_scale": lambda n: torch.linspace(0.20, 0.05, n),
    "smear_scale": torch.zeros,
    "smear_gate": lambda n: torch.rand(n) * 0.02,
    "backout_scale": lambda n: torch.full((n,), 0.2),
}


@torch.no_grad()
def init_weights(model: GPT) -> None:
    """Zero, or by `config.init`; biases zero and norms the identity, unless PyTorch's defaults are wanted."""
    config = model.config
    for name, parameter in model.named_parameters():
        if name in SCALARS:
            parameter.copy_(SCALARS[name](len(parameter)))
        elif name.endswith("value_gate.weight"):
            nn.init.uniform_(parameter, 0.0, 0.02)  # the gates begin half open, slightly different from each other
        elif starts_at_zero(name, config.zero_init_projections):
            nn.init.zeros_(parameter)
        elif config.init == "torch":
            _like_torch(model, name, parameter)
        elif parameter.dim() < 2:
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.ones_(parameter)
        elif config.init == "fan_in":
            _by_fan_in(model, name, parameter)
        elif config.scaled_residual_init and is_residual_projection(name):
            # Each of the 2 n_layer branches adds to the stream; this keeps its variance at depth (GPT-2, section 2.3).
            nn.init.normal_(parameter, std=config.init_std / math.sqrt(2 * config.n_layer))
        else:
            nn.init.normal_(parameter, std=config.init_std)
    init_buffers(model, model.token_embedding.weight.device)


def _by_fan_in(model: GPT, name: str, parameter: Tensor) -> None:
    """nanochat's: embeddings N(0, 1), matrices N(0, 1/fan_in), less where they widen little (arXiv 2310.17813)."""
    config = model.config
    if "embedding" in name:
        nn.init.normal_(parameter, std=1.0 if name.startswith("token") else config.n_embd**-0.5)
        return
    kv_rows = config.n_kv_heads * config.head_dim
    rows = (config.n_head * config.head_dim, kv_rows, kv_rows) if "qkv" in name else (len(parameter),)
    for matrix in parameter.split(rows):  # query, key and value are matrices of their own
        fan_out, fan_in = matrix.shape
        nn.init.normal_(matrix, std=fan_in**-0.5 * min(1.0, math.sqrt(fan_out / fan_in)))


def _like_torch(model: GPT, name: str, parameter: Tensor) -> None:
    """What nn.Linear, nn.Embedding and norms begin with: U(+-1/sqrt(fan_in)), N(0, 1), the identity."""
    module = model.get_submodule(name.rpartition(".")[0])
    if isinstance(module, nn.Linear):
        bound = module.in_features**-0.5
        nn.init.uniform_(parameter, -bound, bound)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(parameter)
    else:
        nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.ones_(parameter)


def init_buffers(model: GPT, device: torch.device) -> None:
    """What a model directory does not hold because it follows from the configuration: the rotary table."""
    config = model.config
    if config.position == "rope":
        inverse = rope_frequencies(config.head_dim, config.rope_base, config.rope_scaling, device)
        model.rope = rope_table(config.block_size, inverse)


def is_residual_projection(name: str) -> bool:
    return name.endswith(("attention.out.weight", "mlp.down.weight"))


def starts_at_zero(name: str, zero_init_projections: bool) -> bool:
    # The bigram table adds to the token embedding; from zero it begins as the model without it.
    if name == "bigram_embedding.weight":
        return True
    return zero_init_projections and (is_residual_projection(name) or name == "head.weight")


def rope_frequencies(head_dim: int, base: float, scaling: RopeScaling | None, device: torch.device) -> Tensor:
    """Radians per position of each rotated pair, (D/2,)."""
    inverse = base ** -(torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim)  # (D/2,)
    if scaling is None:
        return inverse
    # Between the two limits (turns within the original block) the stretch sets in gradually: Llama 3.1.
    turns = scaling.original_block_size * inverse / (2 * math.pi)
    span = scaling.high_freq_factor - scaling.low_freq_factor
    keep = ((turns - scaling.low_freq_factor) / span).clamp(0, 1)
    return keep * inverse + (1 - keep) * inverse / scaling.factor


def rope_table(n_positions: int, inverse: Tensor) -> Tensor:
    """Cosines and signed sines (2, n_positions, 1, D) of rotary positions (RoFormer) in the half-split order of Llama.

    The sine of the first half is negated, so that a rotation is x * cos + roll(x, D/2) * sin.
    """
    positions = torch.arange(n_positions, device=inverse.device, dtype=torch.float32)
    angle = torch.outer(positions, inverse)  # (n_positions, D/2)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack((torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)))[:, :, None]
