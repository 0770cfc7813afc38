"""Legacy PyTorch files (`.pt`, `.bin`), which are pickles: the one place that opens them, and only as tensors and plain
values. A file that holds more is refused; nothing in it is ever run.
"""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nanolit.models.tensor_files import DTYPE_NAMES, DTYPES, Tensors, read_index

BIN, BIN_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
ZIP, OLD_PICKLE = b"PK\x03\x04", b"\x80"  # how torch.save begins a file, since 2020 and before
# What torch.compile and data parallelism put before every name.
WRAPPERS = re.compile(r"^(_orig_mod\.|module\.)+")


def is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4).startswith((ZIP, OLD_PICKLE))


def open_pickle(path: Path) -> Any:
    """The content, its tensors mapped from the file and not read yet (files of before 2020 are read at once)."""
    with path.open("rb") as file:
        is_zip = file.read(4) == ZIP
    try:
        with warnings.catch_warnings(action="ignore"):  # of protocols; what cannot be read is an error below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # a broken pickle can raise anything
        if isinstance(error, OSError) and error.filename is not None:
            raise
        told = " ".join(str(error).split())
        if "weights_only" not in told:
            raise ValueError(f"{path}: not a whole PyTorch file ({told[:100]}); copy it again") from error
        wanted = re.search(r"GLOBAL ([\w.]+)", told)
        raise ValueError(
            f"{path}: is a pickle that needs code to be opened ({wanted.group(1) if wanted else 'its own'}), and no "
            "file runs code here; save it again, where it comes from, with tensors, numbers and strings only"
        ) from error


def tensors_of(state: Any, where: str) -> Tensors:
    """A state dict, without the prefixes that wrappers leave."""
    if not isinstance(state, Mapping) or not state:
        raise ValueError(f"{where}: holds no tensors by name")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{where}: {name} is no tensor ({type(value).__name__})")
        is_plain = value.layout is torch.strided and value.device.type == "cpu" and not value.is_nested
        if not is_plain or value.dtype not in DTYPE_NAMES:
            kind = f"{value.layout}, {value.dtype}, {value.device}".replace("torch.", "")
            raise ValueError(f"{where}: {name} is no plain tensor ({kind}); nanolit reads {', '.join(DTYPES)}, dense")
    origin: dict[str, str] = {}
    for name in state:
        if (short := WRAPPERS.sub("", name)) in origin:
            raise ValueError(f"{where}: {origin[short]} and {name} are the same name; save it again with one of them")
        origin[short] = name
    return Tensors.of({short: state[name] for short, name in origin.items()})


def has_bins(folder: Path) -> bool:
    return (folder / BIN).is_file() or (folder / BIN_INDEX).is_file()


def open_bins(folder: Path) -> Tensors:
    """The weights of a Hugging Face folder of before safetensors, in one file or in many with an index."""
    if (folder / BIN).is_file():
        return tensors_of(open_pickle(folder / BIN), str(folder / BIN))
    weight_map = read_index(folder / BIN_INDEX)
    state: dict[str, Tensor] = {}
    for name in sorted(set(weight_map.values())):
        content = open_pickle(folder / name)
        tensors_of(content, str(folder / name))
        state |= content
    if missing := [tensor for tensor in weight_map if tensor not in state]:
        raise ValueError(f"{folder}: no file holds {missing[0]}, although {BIN_INDEX} says so; copy all files again")
    return tensors_of(state, str(folder))
