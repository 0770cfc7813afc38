"""Models of transformers that are of none of our families: carried from folder to folder, tensor by tensor, under their
own names. They are computed by transformers (causal_lm.py); what their tensors mean is not asked here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nanolit.interop.packages import need, plain_words
from nanolit.models.directory import CONFIG
from nanolit.models.tensor_files import Tensors, write_tensors
from nanolit.runtime.files import read_json, write_json


def check_type(folder: Path) -> str:
    """The architecture, if transformers can write text with it and needs no code from the folder for that."""
    told = read_json(folder / CONFIG)
    model_type = told["model_type"]
    transformers = need("transformers", f"{folder} (model_type {model_type})")
    known = transformers.models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if model_type not in known:
        brings = "; it brings code of its own (auto_map), which nanolit does not run" if "auto_map" in told else ""
        raise ValueError(
            f"{folder / CONFIG}: model_type is {model_type!r}, which is none of nanolit's families, and no causal "
            f"language model that transformers {transformers.__version__} knows{brings}"
        )
    return str((told.get("architectures") or [known[model_type]])[0])


def check_foreign_vocabulary(folder: Path, n_ids: int) -> None:
    told = read_json(folder / CONFIG)
    rows = told.get("vocab_size", (told.get("text_config") or {}).get("vocab_size"))
    if isinstance(rows, int) and n_ids > rows:
        raise ValueError(f"{folder}: the tokenizer has {n_ids} ids, the model only {rows}; they do not belong together")


def write_foreign(
    source: Path,
    folder: Path,
    tensors: Tensors,
    extra: Mapping[str, Any],
    dtype: torch.dtype | None,
    max_shard_bytes: int,
) -> None:
    """`source` once more, in safetensors; `extra` goes into config.json as in models/directory.py."""
    _check_tensors(source, tensors)
    told = {name: value for name, value in read_json(source / CONFIG).items() if name != "auto_map"}
    about = {**(told.pop("nanolit", None) or {}), **extra["nanolit"]}
    if dtype is not None:
        key = "torch_dtype" if "torch_dtype" in told else "dtype"
        told[key] = str(dtype).removeprefix("torch.")
    write_tensors(folder, tensors.as_dtype(dtype), max_shard_bytes)
    write_json(folder / CONFIG, {**told, **extra, "nanolit": about})


def _check_tensors(source: Path, tensors: Tensors) -> None:
    """All that transformers asks for, and no more, by its own account of which stored name is what. One number stands
    for every tensor, repeated by a stride of 0, so nothing is read and nothing as large as the model is made.
    """

    transformers = need("transformers", str(source))
    config = transformers.AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    number = torch.zeros(())
    state = {name: number.expand(spec.shape) for name, spec in tensors.specs.items()}
    with plain_words():
        _, report = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].from_pretrained(
            None,
            config=config,
            state_dict=state,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are in the report
        )
    problems = [f"{kind.removesuffix('_keys')}: {report[kind]}" for kind in sorted(report) if report[kind]]
    if problems:
        told = " ".join("; ".join(problems).split())[:300]
        raise ValueError(f"{source}: its weights do not fit its {CONFIG}: {told}; copy all files again")
