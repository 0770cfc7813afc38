"""Weights as inference reads them: laid out for the processor, in bfloat16 or in int8. In place, one way, no training.

A matrix product with few rows waits for its weights. On a CPU oneDNN reads them in blocks that it lays out once, which
changes results by rounding only; half the bytes are bfloat16, a quarter int8 (each output channel with a scale of its
own; on a CPU the inputs of each product are rounded too). Foreign networks keep the layers that they have.
"""

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanolit.inference.params import Weights
from nanolit.models.gpt import GPT, MLP
from nanolit.models.network import Network

PRODUCT = "linear_with_input_q_dq_qweight_dq_output_fp32"  # of FBGEMM, its inputs rounded by a scale that is given
MIN_MATRIX = 2**14  # elements; below it a product is all overhead
FUSED = {"gelu": ("gelu", "none"), "gelu_tanh": ("gelu", "tanh"), "swiglu": ("swish", "")}  # as oneDNN calls them


def prepare(model: Network, weights: Weights = "auto") -> Network:
    """`stored`: as they are. `auto`: as they are, laid out for the CPU. The others say in which numbers."""
    if weights in ("float32", "bfloat16"):
        model = model.to(getattr(torch, weights))  # type: ignore[attr-defined]
    if weights == "stored" or not isinstance(model, GPT):
        if weights == "int8":
            raise ValueError("weights: got int8, which only models that nanolit computes itself have; use bfloat16")
        return model
    is_cpu = model.token_embedding.weight.device.type == "cpu"
    if weights == "int8" and is_cpu:
        if not _has_int8_products():
            raise ValueError("weights: got int8, for which this PyTorch has no products on this CPU; use bfloat16")
        model = model.float()  # what its kernels give and take
    kind = Int8Linear if weights == "int8" else PackedLinear if is_cpu and _can_pack(model) else None
    if kind is PackedLinear:
        _fuse_activations(model)
    if kind is not None:
        _replace(model, kind)
    return model


def is_packed(model: GPT) -> bool:
    return any(isinstance(module, PackedLinear | Int8Linear) for module in model.modules())


def _fuse_activations(model: GPT) -> None:
    """oneDNN applies them while a product is still in its registers."""
    for block in model.blocks:
        mlp: MLP = block.mlp  # type: ignore[assignment]
        name = "up" if mlp.gate is None else "gate"
        layer = getattr(mlp, name)
        if model.config.mlp in FUSED and layer.weight.numel() >= MIN_MATRIX:
            setattr(mlp, name, PackedLinear(layer.weight, layer.bias, *FUSED[model.config.mlp]))
            mlp.activate = nn.Identity()


def _replace(model: GPT, kind: "type[PackedLinear | Int8Linear]") -> None:
    for module in list(model.blocks.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear and child.weight.numel() >= MIN_MATRIX:
                setattr(module, name, kind(child.weight, child.bias))
    head = model.head
    weight = model.token_embedding.weight if head is None else head.weight  # a tied one is looked up in, too
    model.head = kind(weight, None if head is None else head.bias)  # type: ignore[assignment]


def _can_pack(model: GPT) -> bool:
    """oneDNN is no part of every PyTorch, and for bfloat16 it wants a processor that has it."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")):
        return False
    dtype = model.token_embedding.weight.dtype
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


class PackedLinear(nn.Module):
    """F.linear over weights that oneDNN has laid out in blocks; a copy, the plain ones may be let go."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str = "none", algorithm: str = "") -> None:
        super().__init__()
        self.bias, self.activation, self.algorithm = None if bias is None else bias.detach(), activation, algorithm
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, self.activation, [], self.algorithm)


class Int8Linear(nn.Module):
    """Weights (out, in) as 8-bit integers times a scale for each output channel. On a CPU inputs are rounded too, each
    row by a scale of its own, so that it does not depend on its neighbours."""

    values: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        weight = weight.detach()
        self.bias = None if bias is None else bias.detach()
        scale = weight.float().abs().amax(dim=1).clamp(min=1e-12) / 127  # (out)
        self.packed = None
        if weight.device.type == "cpu":
            self.packed, self.n_levels = _packed_int8(weight.float(), scale), _input_levels()
        else:
            self.register_buffer("values", (weight.float() / scale[:, None]).round().to(torch.int8), persistent=False)
            self.register_buffer("scale", scale.to(weight.dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.packed is None:
            y = F.linear(x, self.values.to(x.dtype)) * self.scale
        else:
            largest = x.abs().amax(dim=-1, keepdim=True).clamp(min=1e-12)  # (…, 1)
            product = getattr(torch.ops.quantized, PRODUCT)
            y = product(x / largest, 1 / self.n_levels, self.n_levels + 1, self.packed) * largest
        return y if self.bias is None else y + self.bias


def _packed_int8(weight: Tensor, scale: Tensor) -> torch.ScriptObject:
    """For FBGEMM, whose products are the fastest here by a factor of two. They take quantized tensors, which PyTorch
    will give up one day, and warns of."""
    zeros = torch.zeros(len(scale), dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.quantize_per_tensor", category=UserWarning)
        quantized = torch.quantize_per_channel(weight, scale.double(), zeros, 0, torch.qint8)
    return torch.ops.quantized.linear_prepack(quantized, None)


def _has_int8_products() -> bool:
    return "fbgemm" in torch.backends.quantized.supported_engines and hasattr(torch.ops.quantized, PRODUCT)


def _input_levels() -> int:
    """On either side of zero: 8 bits; 7 where the processor, without VNNI, adds products of bytes in 16 bits."""
    return 127 if getattr(torch.cpu, "_is_vnni_supported", bool)() else 63
