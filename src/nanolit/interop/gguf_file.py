"""A model as one GGUF file, which llama.cpp and its relatives run: GPT-2 and Llama families, nothing quantized.

Names, keys and the order of rotary rows are those of llama.cpp's own converter (convert_hf_to_gguf.py). One tensor is
in memory at a time. The file is not read back: `llama-quantize` and others go on from it.

V rows of the vocabulary   D head width
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nanolit.interop.gguf_tokenizer import add_tokenizer
from nanolit.interop.packages import need
from nanolit.models.config import GPTConfig
from nanolit.models.families import FAMILIES, differences, family_of, gpt2_links
from nanolit.models.init import rope_frequencies
from nanolit.models.links import Link, deinterleave, interleave, outward
from nanolit.models.tensor_files import Spec, Tensors
from nanolit.runtime.files import atomic_path
from nanolit.tokenizers.protocol import Tokenizer

Precision = Literal["float32", "float16", "bfloat16"]
# torch's name, GGUF's type of one tensor, GGUF's name of a file whose matrices have it.
PRECISIONS = {
    "float32": (torch.float32, "F32", "ALL_F32"),
    "float16": (torch.float16, "F16", "MOSTLY_F16"),
    "bfloat16": (torch.bfloat16, "BF16", "MOSTLY_BF16"),
}
ROPE_FACTORS = "rope_freqs.weight"
EXACT = "position_embd.weight"  # llama.cpp adds it to what is float32; vectors are exact for the same reason
GELU = {  # measured in llama.cpp: logits of size 7 move by 0.004 in either case
    "gelu": "model.mlp=gelu: llama.cpp computes its tanh approximation, and that on a CPU in half precision",
    "gelu_tanh": "model.mlp=gelu_tanh: llama.cpp computes it in half precision on a CPU",
}


def write_gguf(
    path: Path | str,
    config: GPTConfig,
    tensors: Tensors,
    tokenizer: Tokenizer | None = None,
    *,
    name: str,
    dtype: Precision = "float32",
) -> list[str]:
    """Write `tensors` (in our names) and the tokenizer to `path`; what llama.cpp will compute otherwise, in sentences.

    Without a tokenizer the file takes and gives token ids only.
    """
    if dtype not in PRECISIONS:
        raise ValueError(f"dtype: got {dtype!r}, to=gguf writes {', '.join(PRECISIONS)}")
    gguf = need("gguf", "to=gguf")
    model_type = family_for(config)
    theirs = _stored(outward(tensors, gguf_links(gguf, config, model_type)), PRECISIONS[dtype][0])
    if config.rope_scaling is not None:
        theirs = _with_rope_factors(theirs, config)
    with atomic_path(path) as temporary:
        writer = gguf.GGUFWriter(temporary, model_type)
        try:
            _list_tensors(gguf, writer, theirs)
            _add_settings(gguf, writer, config, model_type, name, dtype)
            notes = add_tokenizer(gguf, writer, tokenizer, config.vocab_size, config.padded_vocab)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for tensor in map(theirs.get, theirs.specs):
                writer.write_tensor_data(tensor.contiguous().flatten().view(torch.uint8).numpy())
        finally:
            writer.close()
    if config.mlp in GELU:
        notes.insert(0, f"{GELU[config.mlp]}; logits moved by 0.05 % in a test")
    return notes


def family_for(config: GPTConfig) -> str:
    """Which of gpt2 and llama, the two that llama.cpp and we both compute; if neither, what is in the way."""
    found = {name: differences(FAMILIES[name], config) for name in ("gpt2", "llama")}
    if config.mlp == "relu2":  # transformers' GPT-2 knows it, llama.cpp's does not
        found["gpt2"].append("mlp=relu2")
    nearest = min(found, key=lambda name: len(found[name]))
    if found[nearest]:
        remedy = "; to=hf can write it" if family_of(config) is not None else ""
        raise ValueError(
            f"to=gguf: llama.cpp computes GPT-2 and Llama, and this is neither; nearest is {nearest}, "
            f"but for model.{', model.'.join(found[nearest])}{remedy}"
        )
    return nearest


# Tensors


def gguf_links(gguf: Any, config: GPTConfig, model_type: str) -> list[Link]:
    """Our tensors and GGUF's: the family's table with other names, Conv1D undone, rotary pairs as neighbours."""
    is_gpt2 = model_type == "gpt2"
    links = gpt2_links(config, is_conv1d=False) if is_gpt2 else FAMILIES[model_type].links(config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2 if is_gpt2 else gguf.MODEL_ARCH.LLAMA, config.n_layer)
    return [_renamed(link, lambda name: names.get_name(name, (".weight", ".bias")), config.head_dim) for link in links]


def _renamed(link: Link, new_name: Callable[[str], str], head_dim: int) -> Link:
    is_turned = [re.search(r"\.[qk]_proj\.", name) is not None for name in link.theirs]
    out, back = interleave(head_dim), deinterleave(head_dim)
    return Link(
        link.ours,
        tuple(new_name(name) for name in link.theirs),
        lambda t: [out(part) if turned else part for turned, part in zip(is_turned, link.out(t), strict=True)],
        lambda *parts: link.back(*[back(p) if turned else p for turned, p in zip(is_turned, parts, strict=True)]),
        link.shape,
    )


def _stored(tensors: Tensors, dtype: torch.dtype) -> Tensors:
    """The same in the precision of the file."""

    def precision(name: str, spec: Spec) -> torch.dtype:
        return torch.float32 if len(spec.shape) == 1 or name == EXACT else dtype

    specs = {name: Spec(spec.shape, precision(name, spec)) for name, spec in tensors.specs.items()}

    def get(name: str) -> Tensor:
        tensor = tensors.get(name).detach()
        stored = tensor.to("cpu", specs[name].dtype)
        if dtype == torch.float16 and stored.isinf().any() and not tensor.isinf().any():
            raise ValueError(f"to=gguf: {name} holds {tensor.abs().max():.3g}, beyond float16; give dtype=bfloat16")
        return stored

    return Tensors(specs, get)


def _with_rope_factors(tensors: Tensors, config: GPTConfig) -> Tensors:
    """llama.cpp divides each frequency of rope.freq_base by its factor."""
    plain, scaled = (
        rope_frequencies(config.head_dim, config.rope_base, scaling, torch.device("cpu"))
        for scaling in (None, config.rope_scaling)
    )
    factors = plain / scaled  # (D/2,)
    specs = {ROPE_FACTORS: Spec(tuple(factors.shape), factors.dtype), **tensors.specs}
    return Tensors(specs, lambda name: factors if name == ROPE_FACTORS else tensors.get(name))


def _list_tensors(gguf: Any, writer: Any, tensors: Tensors) -> None:
    types = {dtype: gguf.GGMLQuantizationType[kind] for dtype, kind, _ in PRECISIONS.values()}
    for name, spec in tensors.specs.items():
        # The last argument is what counts; the third is a type of numpy's, which has no bfloat16.
        writer.add_tensor_info(name, spec.shape, np.dtype(np.float32), spec.n_bytes, types[spec.dtype])


# Settings


def _add_settings(gguf: Any, writer: Any, config: GPTConfig, model_type: str, name: str, dtype: Precision) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_size_label(gguf.size_label(*writer.get_total_parameter_count()))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(gguf.LlamaFileType[PRECISIONS[dtype][2]])
    writer.add_vocab_size(config.padded_vocab)
    writer.add_context_length(config.block_size)
    writer.add_embedding_length(config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_feed_forward_length(config.hidden)
    writer.add_head_count(config.n_head)
    if model_type == "gpt2":
        writer.add_layer_norm_eps(config.norm_eps)
        return
    writer.add_head_count_kv(config.n_kv_heads)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_base)
    if config.head_width is not None:
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
