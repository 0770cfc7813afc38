"""Where `nanolit import` and `nanolit export` write, what they write in, and what they say of it afterwards."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

    from nanolit.models.tensor_files import Tensors

# What a model folder is made of, by us or by transformers.
WRITTEN = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json|chat_template\.jinja"
    r"|model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json|.+\.gguf"
)
Precision = Literal["float32", "bfloat16", "float16"]


def check_shard_size(max_shard_gb: float) -> None:
    if not 0 < max_shard_gb < float("inf"):
        raise ValueError(f"max_shard_gb: got {max_shard_gb}, must be positive (5: files of at most 5 GB)")


def check_out(out: str, overwrite: bool, source: Path) -> Path:
    """The folder to write; what lies there already is replaced on request only, and only if it is a model."""
    shown, path = out, Path(out).expanduser().resolve()
    inside = source.resolve()
    if path == inside or path in inside.parents:
        raise ValueError(f"out: {shown} is where the source lies ({source}); choose another folder")
    if path.exists() and not path.is_dir():
        raise ValueError(f"out: {shown} is a file; choose a folder")
    if path.is_dir() and (entries := sorted(path.iterdir())):
        others = [entry.name for entry in entries if not (entry.is_file() and WRITTEN.fullmatch(entry.name))]
        if others:  # replacing the folder would delete them
            raise ValueError(f"out: {shown} holds other things than a model ({', '.join(others[:3])}); choose another")
        if not overwrite:
            raise ValueError(f"out: {shown} holds a model already; choose another folder, or say overwrite=true")
    return path


def choose_dtype(asked: str | None, tensors: "Tensors") -> "torch.dtype | None":
    """The precision to write in: what was asked for; else what is stored, or the widest of it if it is mixed."""
    import torch

    if asked is not None:
        return getattr(torch, asked)
    stored = {spec.dtype for spec in tensors.specs.values() if spec.dtype.is_floating_point}
    if len(stored) < 2:
        return None
    wide = torch.float32
    for dtype in stored:
        wide = torch.promote_types(wide, dtype)
    return wide


def refuse_overflow(tensors: "Tensors", dtype: "torch.dtype | None") -> "Tensors":
    """The same; a number that becomes infinite in float16 is an error when its tensor is made."""
    import torch

    from nanolit.models.tensor_files import Tensors

    if dtype is not torch.float16:
        return tensors

    def get(name: str) -> torch.Tensor:
        tensor = tensors.get(name)
        if tensor.is_floating_point() and tensor.numel() and (largest := tensor.abs().max()) > 65504:
            raise ValueError(f"dtype: {name} holds {largest:.4g}, and float16 ends at 65504; take dtype=bfloat16")
        return tensor

    return Tensors(tensors.specs, get)


def report(what: str, out: str, folder: Path, notes: Sequence[str], next_lines: Sequence[str]) -> None:
    print(what)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    width = max(len(path.name) for path in files)
    for path in files:
        print(f"  {path.name:<{width}}  {size(path.stat().st_size):>10}")
    for note in notes:
        print(f"note: {note}")
    print(f"written to {out}; next:")
    for line in next_lines:
        print(f"  {line}")


def size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.2f} GB"
