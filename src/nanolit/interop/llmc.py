"""A model of llm.c (`.bin`): 256 integers that say what it is, then GPT-2's tensors, each kind for all layers at once.

Read by its own description, not by a library; tensors are read one by one. llm.c computes gelu by tanh, as OpenAI does.
"""

import math
import struct
from pathlib import Path

import torch
from torch import Tensor

from nanolit.models.config import GPTConfig
from nanolit.models.directory import fit
from nanolit.models.families import gpt2_links
from nanolit.models.tensor_files import Spec, Tensors
from nanolit.runtime.typed import build

HEADER_BYTES = 256 * 4
MODEL, LLAMA3 = 20240326, 20240803
OTHERS = {20240327: "states of one training step", 20240328: "a tokenizer", 20240520: "tokens", 20240801: "tokens"}
VERSIONS = {3: torch.float32, 5: torch.bfloat16}
# In the order in which they lie there; sizes in units of C, the channels.
IN_EACH_LAYER = (
    *(("ln_1.weight", (1,)), ("ln_1.bias", (1,)), ("attn.c_attn.weight", (3, 1)), ("attn.c_attn.bias", (3,))),
    *(("attn.c_proj.weight", (1, 1)), ("attn.c_proj.bias", (1,)), ("ln_2.weight", (1,)), ("ln_2.bias", (1,))),
    *(("mlp.c_fc.weight", (4, 1)), ("mlp.c_fc.bias", (4,)), ("mlp.c_proj.weight", (1, 4)), ("mlp.c_proj.bias", (1,))),
)


def magic_number(path: Path) -> int | None:
    """The first integer of a file, if it is one of llm.c's."""
    with path.open("rb") as file:
        first = file.read(4)
    number = int.from_bytes(first, "little")
    return number if number in (MODEL, LLAMA3, *OTHERS) else None


def read_model(path: Path) -> tuple[GPTConfig, Tensors]:
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        raise ValueError(f"{path}: has {len(header)} bytes, llm.c's header alone {HEADER_BYTES}; copy the file again")
    magic, version, block_size, vocab_size, n_layer, n_head, n_embd, n_rows = struct.unpack("<8i", header[:32])
    if magic == LLAMA3:
        raise ValueError(
            f"{path}: is a Llama of llm.c, whose header rounds the norm's epsilon to 0 and omits how wide the MLP "
            "is or how positions are stretched; import the model that llm.c made it from, source=ORG/NAME"
        )
    if magic != MODEL:
        raise ValueError(f"{path}: holds {OTHERS.get(magic, 'something else')}, not a model of llm.c")
    if version not in VERSIONS:
        raise ValueError(
            f"{path}: is version {version} of llm.c's format; nanolit reads 3 (float32) and 5 (bfloat16), which its "
            "present train_gpt2.py writes"
        )
    sizes = {
        **{"vocab_size": vocab_size, "block_size": block_size},
        **{"n_layer": n_layer, "n_head": n_head, "n_embd": n_embd},
    }
    try:
        config = build(
            GPTConfig, {**sizes, "vocab_multiple": multiple_of(vocab_size, n_rows), "mlp": "gelu_tanh"}, "header"
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    found = _open(path, config, VERSIONS[version])
    return config, fit(str(path), config, found, lambda config: gpt2_links(config, is_conv1d=False))


def multiple_of(n_ids: int, n_rows: int) -> int:
    """What `n_ids` was rounded up to a multiple of, to become `n_rows`."""
    usual = (multiple for multiple in (1, 128, 64) if -(-n_ids // multiple) * multiple == n_rows)
    return next(usual, max(n_rows, 1))


def _open(path: Path, config: GPTConfig, dtype: torch.dtype) -> Tensors:
    C = config.n_embd
    in_layers = config.n_layer * sum(math.prod(unit * C for unit in units) for _, units in IN_EACH_LAYER)
    asked = HEADER_BYTES + dtype.itemsize * (C * (config.padded_vocab + config.block_size + 2) + in_layers)
    if (size := path.stat().st_size) != asked:  # before a damaged number of layers is listed
        raise ValueError(f"{path}: has {size:,} bytes, its header asks for {asked:,}; copy the file again")
    layout: dict[str, tuple[int, ...]] = {}
    layout |= {"transformer.wte.weight": (config.padded_vocab, C), "transformer.wpe.weight": (config.block_size, C)}
    for name, units in IN_EACH_LAYER:
        for i in range(config.n_layer):
            layout[f"transformer.h.{i}.{name}"] = tuple(unit * C for unit in units)
    layout |= {"transformer.ln_f.weight": (C,), "transformer.ln_f.bias": (C,)}

    specs = {name: Spec(shape, dtype) for name, shape in layout.items()}
    starts, end = {}, HEADER_BYTES
    for name, spec in specs.items():
        starts[name], end = end, end + spec.n_bytes
    assert end == size, path

    def get(name: str) -> Tensor:
        data = bytearray(specs[name].n_bytes)
        with path.open("rb") as file:
            file.seek(starts[name])
            n_read = file.readinto(data)
        assert n_read == len(data) == math.prod(specs[name].shape) * dtype.itemsize, name
        return torch.frombuffer(data, dtype=dtype).view(specs[name].shape)

    return Tensors(specs, get)
