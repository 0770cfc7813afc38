"""A model as a folder: `config.json` and `model.safetensors`. No optimizer state, no tokenizer, and no pickle.

A tied head owns no tensor, so tied weights are stored once by themselves.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

import nanolit
from nanolit.models.gpt import GPT, GPTConfig
from nanolit.models.init import init_buffers
from nanolit.runtime.files import atomic_path, read_json, write_json
from nanolit.runtime.typed import build

MODEL_TYPE = "nanolit_gpt"
WEIGHTS, CONFIG = "model.safetensors", "config.json"


def save_model(folder: Path | str, model: GPT, extra: Mapping[str, Any] | None = None) -> None:
    """Write both files into `folder`, each whole or not at all; `extra` goes into config.json beside the rest."""
    folder = Path(folder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as temporary:
        try:
            save_file(tensors, temporary, metadata={"format": "pt"})
        except SafetensorError as error:  # a full disk, for one: it tells the system's error number only in its text
            number = re.search(r"os error (\d+)", str(error))
            if not number:
                raise OSError(f"{folder / WEIGHTS}: cannot be written ({error})") from error
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(folder / WEIGHTS)) from error
    about = {"model_type": MODEL_TYPE, "nanolit_version": nanolit.__version__, "config": asdict(model.config)}
    assert not about.keys() & (extra or {}).keys(), "extra would overwrite what the model needs"
    write_json(folder / CONFIG, {**about, **(extra or {})})


def load_model(folder: Path | str, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> GPT:
    """The model in `folder`, in evaluation mode; `dtype` None keeps what is stored."""
    folder = Path(folder)
    config = read_config(folder)
    with torch.device("meta"):
        model = GPT(config)
    tensors = _read_weights(folder / WEIGHTS, {name: t.shape for name, t in model.state_dict().items()}, device)
    model.load_state_dict({name: t.to(dtype or t.dtype) for name, t in tensors.items()}, assign=True)
    init_buffers(model, torch.device(device))
    return model.eval()


def read_config(folder: Path | str) -> GPTConfig:
    """The configuration in `folder`; every way in which it is not a model directory is one line."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; give a model directory (it holds {CONFIG} and {WEIGHTS})")
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
            raise ValueError(f"{folder}: not a model directory, it has no {name}; found: {found}")
    about = read_json(folder / CONFIG)
    model_type = about.get("model_type") if isinstance(about, dict) else None
    if model_type != MODEL_TYPE or not isinstance(about.get("config"), dict):
        raise ValueError(f"{folder / CONFIG}: model_type is {model_type!r}, expected {MODEL_TYPE!r} with its config")
    try:
        return build(GPTConfig, about["config"], "model")
    except ValueError as error:
        version = about.get("nanolit_version")
        raise ValueError(
            f"{folder / CONFIG} (written by nanolit {version}, this is {nanolit.__version__}): {error}"
        ) from error


def _read_weights(
    path: Path, expected: Mapping[str, torch.Size], device: torch.device | str
) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors file, which must be those expected and no others."""
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            found = {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            _check_shapes(path, found, expected)
            return {name: file.get_tensor(name) for name in found}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error}); copy or save it again") from error


def _check_shapes(path: Path, found: Mapping[str, torch.Size], expected: Mapping[str, torch.Size]) -> None:
    problems = [f"{name} is missing, {list(shape)} expected" for name, shape in expected.items() if name not in found]
    problems += [f"{name} {list(shape)} is unknown" for name, shape in found.items() if name not in expected]
    problems += [
        f"{name} is {list(shape)}, {list(expected[name])} expected"
        for name, shape in found.items()
        if name in expected and shape != expected[name]
    ]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ValueError(f"{path}: does not fit {CONFIG} beside it: {'; '.join(problems[:3])}{more}")
