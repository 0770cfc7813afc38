"""A checkpoint folder of nanochat: `model_NNNNNN.pt` with the weights, `meta_NNNNNN.json` with the sizes.

Which of nanochat's many architectures it is, the names of the tensors tell. Two are known here: the first that was
published, transformers' NanoChatForCausalLM, and the present one. In between, numbers that no file tells (the base of
the rotation, the softcap, gates and windows) changed from week to week, so those are refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nanolit.interop.pickles import open_pickle, tensors_of
from nanolit.models.config import SMEAR_CHANNELS, VALUE_GATE_CHANNELS, GPTConfig
from nanolit.models.directory import fit
from nanolit.models.links import Link, same, split_rows, swap_halves
from nanolit.models.tensor_files import Tensors
from nanolit.runtime.files import read_json
from nanolit.runtime.typed import build

MODEL_FILE = re.compile(r"model_(\d+)\.pt")
# Parts that the first architecture had not got, by the name that a tensor's name has for them.
LATER = ("resid_lambdas", "x0_lambdas", "value_embeds", "ve_gate", "smear_gate", "smear_lambda", "backout_lambda")
RENAMED = {"sequence_len": "block_size"}
SIZES = ("sequence_len", "vocab_size", "n_layer", "n_head", "n_kv_head", "n_embd")


@dataclass(frozen=True)
class Step:
    number: int
    model: Path
    meta: Path


def steps(folder: Path) -> list[Step]:
    """What was saved in `folder`, the newest last; empty if nothing, or without its description."""
    found = []
    for path in folder.glob("model_*.pt"):
        match = MODEL_FILE.fullmatch(path.name)
        meta = path.with_name(f"meta_{match.group(1)}.json") if match else None
        if match and meta is not None and meta.is_file():
            found.append(Step(int(match.group(1)), path, meta))
    return sorted(found, key=lambda step: step.number)


def read_step(step: Step) -> tuple[GPTConfig, Tensors]:
    meta = read_json(step.meta)
    told = meta.get("model_config") if isinstance(meta, dict) else None
    if not isinstance(told, dict):
        raise ValueError(f"{step.meta}: holds no model_config, so it does not say what the model is")
    if missing := [name for name in SIZES if name not in told]:
        raise ValueError(f"{step.meta}: model_config.{missing[0]} is missing")
    pattern = told.get("window_pattern", "L")
    if not isinstance(pattern, str) or not pattern or set(pattern.upper()) - set("SL"):
        raise ValueError(f"{step.meta}: model_config.window_pattern: got {pattern!r}, must be made of S and L, as SSSL")
    unknown = [name for name in told if name not in (*SIZES, "window_pattern")]
    found = tensors_of(open_pickle(step.model), str(step.model))
    is_present = _is_present_layout(step, told, found, unknown)
    embedding = found.specs.get("transformer.wte.weight")
    rows = embedding.shape[0] if embedding is not None and embedding.shape else 0
    try:
        config = _config(told, rows, is_present)
    except ValueError as error:
        raise ValueError(f"{step.meta}: {error}") from error
    return config, fit(f"{step.model}: does not fit its {step.meta.name}", config, found, _links)


def _is_present_layout(step: Step, told: Mapping[str, Any], found: Tensors, unknown: list[str]) -> bool:
    """False: the first one. Whatever is neither is refused."""
    parts = [part for part in LATER if any(part in name for name in found.specs)]
    gates = {width for name, spec in found.specs.items() if "ve_gate" in name for width in spec.shape[-1:]}
    strange = [f"gates of {width} channels" for width in sorted(gates - {VALUE_GATE_CHANNELS})]
    strange += [f"model_config.{name}" for name in unknown]
    if not parts and "S" in _pattern(told):
        strange.append(f"window_pattern {told['window_pattern']}")
    if strange or parts not in ([], list(LATER)):
        raise ValueError(
            f"{step.model}: is a version of nanochat that nanolit does not know, with {', '.join(parts + strange)}; it "
            "knows the first one (October 2025 to early January 2026), which has none of these, and the present one "
            f"(since 14 March 2026), which has {', '.join(LATER)} (gates of {VALUE_GATE_CHANNELS} channels)"
        )
    return bool(parts)


def _pattern(told: Mapping[str, Any]) -> str:
    """Which layers look back only so far; without a word all see everything, as nanochat itself decides."""
    pattern: str = told.get("window_pattern", "L")
    return pattern.upper()


def _config(told: Mapping[str, Any], rows: int, is_present: bool) -> GPTConfig:
    sizes = {RENAMED.get(name, name): told[name] for name in SIZES}
    plain = build(GPTConfig, sizes, "model_config")  # numbers that one can reckon with
    fields = {
        **sizes,
        **{"vocab_multiple": 1 if rows == plain.vocab_size else 64, "tie_embeddings": False, "bias": False},
        **{"norm": "rmsnorm_noweight", "norm_eps": torch.finfo(torch.float32).eps, "embed_norm": True},
        **{"position": "rope", "rope_base": 10000.0, "qk_norm": True, "mlp": "relu2", "softcap": 15.0},
        **{"init": "fan_in", "zero_init_projections": True},
    }
    if is_present:
        fields |= dict.fromkeys(("layer_scalars", "value_embeddings", "smear", "backout"), True)
        fields |= {"rope_base": 100000.0, "attention_scale": 1.2**2 * plain.head_dim**-0.5}
        if "S" in _pattern(told):
            look_back = -(-plain.block_size // 4 // 128) * 128  # tokens before the present one
            fields |= {"window_pattern": _pattern(told), "window": look_back + 1}
    return build(GPTConfig, fields, "model_config")


def _links(config: GPTConfig) -> list[Link]:
    D = config.head_dim
    rows = (config.n_head * D, config.n_kv_heads * D, config.n_kv_heads * D)
    turn = (swap_halves(D), swap_halves(D), lambda t: t)  # nanochat turns rotary positions the other way round
    links = [same("token_embedding.weight", "transformer.wte.weight"), same("head.weight", "lm_head.weight")]
    for i in range(config.n_layer):
        ours, theirs = f"blocks.{i}.", f"transformer.h.{i}."
        names = [f"{theirs}attn.c_{part}.weight" for part in "qkv"]
        links += [
            split_rows(f"{ours}attention.qkv.weight", names, rows, out=turn, back=turn),
            same(f"{ours}attention.out.weight", f"{theirs}attn.c_proj.weight"),
            same(f"{ours}mlp.up.weight", f"{theirs}mlp.c_fc.weight"),
            same(f"{ours}mlp.down.weight", f"{theirs}mlp.c_proj.weight"),
        ]
        if config.has_value_embedding(i):
            links.append(same(f"{ours}attention.value_gate.weight", f"{theirs}attn.ve_gate.weight"))
            links.append(same(f"value_embeddings.{i}.weight", f"value_embeds.{i}.weight"))
    if config.smear:
        links.append(
            Link(
                *("smear_gate", ("smear_gate.weight",)),
                *(lambda t: (t.view(1, SMEAR_CHANNELS),), lambda t: t.view(SMEAR_CHANNELS)),
            )
        )
        links += [same("smear_scale", "smear_lambda"), same("backout_scale", "backout_lambda")]
        links += [same("residual_scale", "resid_lambdas"), same("skip_scale", "x0_lambdas")]
    return links
