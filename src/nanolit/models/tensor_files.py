"""Named tensors that are made when they are asked for, and safetensors files of them, read and written one by one.

So a conversion holds one tensor at a time, however large the model. It is not a model and knows no names.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nanolit.runtime.files import atomic_path, read_json, write_json

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}


class Spec(NamedTuple):
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Tensors:
    specs: dict[str, Spec]
    get: Callable[[str], Tensor]

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Tensors":
        return cls({name: Spec(tuple(t.shape), t.dtype) for name, t in tensors.items()}, tensors.__getitem__)

    def as_dtype(self, dtype: torch.dtype | None) -> "Tensors":
        """The same in another precision; None: as they are. What is not a floating number stays."""

        def chosen(spec: Spec) -> torch.dtype:
            return dtype if dtype is not None and spec.dtype.is_floating_point else spec.dtype

        specs = {name: Spec(spec.shape, chosen(spec)) for name, spec in self.specs.items()}
        return Tensors(specs, lambda name: self.get(name).to(specs[name].dtype))


# Reading


def open_tensors(folder: Path) -> Tensors:
    """The weights in a model directory, in one file or in many with an index."""
    if (folder / WEIGHTS).is_file():
        return open_file(folder / WEIGHTS)
    if not (folder / INDEX).is_file():
        raise ValueError(f"{folder}: has neither {WEIGHTS} nor {INDEX}")
    weight_map = read_index(folder / INDEX)
    files = {name: open_file(folder / name) for name in sorted(set(weight_map.values()))}
    specs: dict[str, Spec] = {}
    for tensor, name in weight_map.items():
        if tensor not in files[name].specs:
            raise ValueError(f"{folder / name}: holds no {tensor}, although {INDEX} says so; copy all files again")
        specs[tensor] = files[name].specs[tensor]
    return Tensors(specs, lambda tensor: files[weight_map[tensor]].get(tensor))


def read_index(path: Path) -> dict[str, str]:
    """Which tensor lies in which of the files beside the index, all of which are there."""
    index = read_json(path)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{path}: holds no weight_map; restore it")
    for tensor, name in weight_map.items():
        if not isinstance(name, str):
            raise ValueError(f"{path}: weight_map.{tensor}: got {name!r}, expected the name of a file; restore it")
        if "/" in name or not (path.parent / name).is_file():
            raise ValueError(f"{path.parent / name}: missing, although {path.name} names it; copy all files again")
    return weight_map


def open_file(path: Path) -> Tensors:
    try:
        file = safe_open(path, framework="pt")
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        specs = {name: Spec(tuple(s.get_shape()), _dtype(path, name, s.get_dtype())) for name, s in slices.items()}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error}); copy or save it again") from error
    return Tensors(specs, file.get_tensor)


def _dtype(path: Path, name: str, stored: str) -> torch.dtype:
    if stored not in DTYPES:
        raise ValueError(f"{path}: {name} is stored as {stored}; nanolit reads {', '.join(DTYPES)}")
    return DTYPES[stored]


# Writing


def write_tensors(folder: Path, tensors: Tensors, max_shard_bytes: int | None = None) -> None:
    """One file, or several of at most `max_shard_bytes` each (or one tensor) with an index, as transformers does."""
    shards = _plan_shards(tensors.specs, max_shard_bytes)
    if len(shards) == 1:
        _write_file(folder / WEIGHTS, tensors, shards[0])
        return
    names = [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        _write_file(folder / name, tensors, shard)
    total = sum(spec.n_bytes for spec in tensors.specs.values())
    weight_map = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _plan_shards(specs: Mapping[str, Spec], max_bytes: int | None) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    filled = 0
    for name, spec in specs.items():
        if shards[-1] and max_bytes is not None and filled + spec.n_bytes > max_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += spec.n_bytes
    return shards


def _write_file(path: Path, tensors: Tensors, names: list[str]) -> None:
    """The format is a length, a JSON header with everybody's place, and the bytes; the library's own writer wants all
    tensors at once, here one is in memory at a time.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    # Wider types first, as the library does: then every tensor lies at a multiple of its element's size.
    names = sorted(names, key=lambda name: -tensors.specs[name].dtype.itemsize)
    for name in names:
        spec = tensors.specs[name]
        header[name] = {
            "dtype": DTYPE_NAMES[spec.dtype],
            "shape": list(spec.shape),
            "data_offsets": [end, end + spec.n_bytes],
        }
        end += spec.n_bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            tensor = tensors.get(name).detach().to("cpu", tensors.specs[name].dtype).contiguous()
            assert tuple(tensor.shape) == tensors.specs[name].shape, name
            file.write(tensor.flatten().view(torch.uint8).numpy().data)
