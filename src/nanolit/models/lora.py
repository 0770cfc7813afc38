"""LoRA (Hu et al. 2021, arXiv 2106.09685): beside each chosen matrix a product of two thin ones learns, and all else
is frozen. It begins as nothing, can be switched off, and can be added to the matrix. Of our own networks only; how it
is trained is not its business, nor how it is kept (adapter.py).

R rank   I inputs   O outputs
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from nanolit.models.gpt import GPT

ALL = ("qkv", "out", "up", "down", "gate")  # a block's matrices, by the last part of their names


@dataclass(frozen=True)
class LoRAConfig:
    rank: int = 8
    alpha: float = 16.0  # the product counts alpha / rank
    dropout: float = 0.0  # of its inputs
    targets: tuple[str, ...] = ALL  # those of these names that the network has

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"lora.rank: got {self.rank}, must be at least 1")
        if self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"lora.alpha, lora.dropout: got {self.alpha} and {self.dropout}, must be positive, and from 0 to "
                "below 1"
            )
        for name in self.targets:
            if name not in ALL:
                raise ValueError(f"lora.targets: got {name!r}, allowed: {', '.join(ALL)}")


class LoRALinear(nn.Linear):
    """Holds the very parameters of the linear that it takes the place of, under their names."""

    def __init__(self, linear: nn.Linear, config: LoRAConfig) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.lora_a = nn.Parameter(linear.weight.new_empty(config.rank, linear.in_features))  # (R, I)
        self.lora_b = nn.Parameter(linear.weight.new_zeros(linear.out_features, config.rank))  # (O, R)
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))
        self.scale, self.dropout, self.is_on = config.alpha / config.rank, config.dropout, True

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight, self.bias)
        if not self.is_on:
            return y
        return y + self.scale * F.linear(F.linear(F.dropout(x, self.dropout, self.training), self.lora_a), self.lora_b)

    def merged(self) -> nn.Linear:
        linear = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        linear.weight = nn.Parameter(self.weight.detach() + self.scale * self.lora_b.detach() @ self.lora_a.detach())
        if self.bias is not None:
            linear.bias = nn.Parameter(self.bias.detach().clone())
        return linear


def add_lora(network: Any, config: LoRAConfig) -> str:
    """In place; what was done, in words. Only what was added can be trained from then on."""
    if not isinstance(network, GPT):
        raise ValueError(
            f"lora: got a network that nanolit does not compute itself ({type(network).__name__}), allowed: those of "
            "the families gpt2, llama and nanochat, and our own; leave lora out"
        )
    chosen = [
        (module, name)
        for module in network.modules()
        for name, child in module.named_children()
        if name in config.targets and type(child) is nn.Linear
    ]
    if not chosen:
        has = sorted({name for module in network.modules() for name, _ in module.named_children() if name in ALL})
        raise ValueError(
            f"lora.targets: got {', '.join(config.targets)}, this network has {', '.join(has)}; take these"
        )
    network.requires_grad_(False)
    for module, name in chosen:
        setattr(module, name, LoRALinear(getattr(module, name), config))
    n, trained = (sum(p.numel() for p in network.parameters() if p.requires_grad >= only) for only in (False, True))
    return f"lora: {len(chosen)} matrices of rank {config.rank}, {trained:,} of {n:,} parameters; all others are frozen"


def lora_layers(network: Any) -> dict[str, LoRALinear]:
    return {name: module for name, module in network.named_modules() if isinstance(module, LoRALinear)}


@contextmanager
def without_lora(network: Any) -> Iterator[None]:
    """The network as it was before."""
    layers = lora_layers(network).values()
    for layer in layers:
        layer.is_on = False
    try:
        yield
    finally:
        for layer in layers:
            layer.is_on = True


def merged(network: Any) -> Any:
    """A network without LoRA that computes the same, to be saved: what LoRA leaves alone is shared with the given one,
    which stays as it is.
    """
    if not lora_layers(network):
        return network
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    plain = copy.deepcopy(network, shared)
    for name, layer in lora_layers(plain).items():
        parent, _, child = name.rpartition(".")
        setattr(plain.get_submodule(parent), child, layer.merged())
    return plain
