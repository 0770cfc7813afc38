"""A model as a folder: `config.json` and weights in safetensors. No optimizer state, no tokenizer, and no pickle.

A model of a family that `transformers` knows is written in the layout that it opens (families.py), any other in our own
names. A tied head owns no tensor, so tied weights are stored once by themselves.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

import nanolit
from nanolit.models.config import GPTConfig
from nanolit.models.families import FAMILIES, Family, NotOurs, beside, family_of, read_fields
from nanolit.models.gpt import GPT
from nanolit.models.init import init_buffers
from nanolit.models.links import Link, check, check_zeros, inward, outward
from nanolit.models.tensor_files import INDEX, WEIGHTS, Tensors, open_tensors, write_tensors
from nanolit.runtime.files import read_json, write_json
from nanolit.runtime.typed import build

CONFIG = "config.json"
OWN_TYPE = "nanolit_gpt"  # the model_type of our own layout
SHARD_BYTES = 5 * 10**9


def save_model(
    folder: Path | str,
    model: GPT,
    extra: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write configuration and weights into `folder`, each file whole or not at all; `extra` goes into config.json."""
    write_model(folder, model.config, Tensors.of(model.state_dict()), extra, dtype, max_shard_bytes)


def write_model(
    folder: Path | str,
    config: GPTConfig,
    tensors: Tensors,
    extra: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = SHARD_BYTES,
) -> None:
    """The same from tensors that are made one by one. `extra`: keys of transformers, and our section `nanolit`."""
    folder, extra = Path(folder), dict(extra or {})
    config = replace(config, attention="auto")  # the backend is a choice of the machine, not of the model
    family = family_of(config)
    about: dict[str, Any] = {"version": nanolit.__version__, **extra.pop("nanolit", {})}
    tensors = tensors.as_dtype(dtype)
    content: dict[str, Any] = {"model_type": OWN_TYPE, "config": asdict(config)}
    if family is not None:
        tensors = outward(tensors, family.links(config))
        stored = str(next(iter(tensors.specs.values())).dtype).removeprefix("torch.")
        content = {"model_type": family.model_type, "architectures": [family.architecture]}
        content |= {"torch_dtype": stored, **NO_SPECIAL_TOKENS, **family.write(config)}
        about["fields"] = beside(family, config)
    assert not extra.keys() & (content.keys() - NO_SPECIAL_TOKENS.keys()), "extra would overwrite what the model needs"
    write_tensors(folder, tensors, max_shard_bytes)
    write_json(folder / CONFIG, {**content, **extra, "nanolit": about})


# Said by the tokenizer if at all; left out, transformers would put ids of its own here.
NO_SPECIAL_TOKENS: dict[str, int | None] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def load_model(folder: Path | str, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> GPT:
    """The model in `folder`, in evaluation mode; `dtype` None keeps what is stored."""
    config, tensors = open_model_files(folder)
    with torch.device("meta"):
        model = GPT(config)
    tensors = tensors.as_dtype(dtype)
    model.load_state_dict({name: tensors.get(name).to(device).contiguous() for name in tensors.specs}, assign=True)
    init_buffers(model, torch.device(device))
    return model.eval()


def read_config(folder: Path | str) -> GPTConfig:
    """The configuration in `folder`; every way in which it is not a model directory is one line."""
    return _read_config(Path(folder))[0]


def open_model_files(folder: Path | str, found: Tensors | None = None) -> tuple[GPTConfig, Tensors]:
    """What is in `folder`, in our names, whatever its layout; every tensor checked, none read yet. `found`: its
    weights, if they lie in other files than safetensors (interop/pickles.py).
    """
    folder = Path(folder)
    config, family = _read_config(folder, needs_weights=found is None)
    found = open_tensors(folder) if found is None else found
    _check_depth(str(folder), config, found)
    if family is None:
        check(f"{folder}: does not fit its {CONFIG}", found.specs, expected_tensors(config).specs)
        return config, found
    where = f"{folder}: is no {family.architecture} of its {CONFIG}"
    if not any(name.startswith(family.prefix) for name in found.specs):  # saved from the bare model
        full = {(name if name.startswith("lm_head.") else family.prefix + name): name for name in found.specs}
        bare = found
        found = Tensors({name: bare.specs[old] for name, old in full.items()}, lambda name: bare.get(full[name]))
    return config, fit(where, config, found, family.links, family.buffers, family.head)


def fit(
    where: str,
    config: GPTConfig,
    found: Tensors,
    links_of: Callable[[GPTConfig], Sequence[Link]],
    buffers: tuple[str, ...] = (),
    head: str = "lm_head.weight",
) -> Tensors:
    """Tensors of another layout in our names, if they are exactly what `config` asks for. `buffers`: endings of names
    that may be there beside them, `head`: likewise, as a copy of a tied embedding. `where` begins the error.
    """
    _check_depth(where, config, found)
    links = links_of(config)
    may_have = [name for name in found.specs if name.endswith(buffers)] if buffers else []
    has_copy = config.tie_embeddings and head in found.specs
    may_have += [head] if has_copy else []
    check(where, found.specs, outward(expected_tensors(config), links).specs, may_have)
    check_zeros(where, found, links)
    if has_copy and not torch.equal(found.get(head), found.get(embedding := links[0].theirs[0])):
        raise ValueError(f"{where}: tie_word_embeddings is true, but {head} differs from {embedding}")
    return inward(found, links)


def _check_depth(where: str, config: GPTConfig, found: Tensors) -> None:
    """Before anything is listed layer by layer: a damaged number of layers would keep us busy for hours."""
    if config.n_layer > len(found.specs):
        raise ValueError(
            f"{where}: its configuration has {config.n_layer} layers, and there are only {len(found.specs)} tensors; "
            "copy all files again"
        )


def expected_tensors(config: GPTConfig) -> Tensors:
    """Names and shapes of all that a model of `config` has, without values."""
    with torch.device("meta"):
        return Tensors.of(GPT(config).state_dict())


def _read_config(folder: Path, needs_weights: bool = True) -> tuple[GPTConfig, Family | None]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; give a model directory (it holds {CONFIG} and {WEIGHTS})")
    for names in ((CONFIG,), (WEIGHTS, INDEX)) if needs_weights else ((CONFIG,),):
        if not any((folder / name).is_file() for name in names):
            found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
            raise ValueError(f"{folder}: not a model directory, it has no {names[0]}; found: {found}")
    path = folder / CONFIG
    told = read_json(path)
    told = told if isinstance(told, dict) else {}
    model_type, about = told.get("model_type"), _section(told, "nanolit", str(path))
    fields = _section(about, "fields", f"{path}: nanolit")
    written_by = (
        f" (written by nanolit {about['version']}, this is {nanolit.__version__})" if about.get("version") else ""
    )
    if not isinstance(model_type, str | None):
        raise ValueError(f"{path}: model_type: got {model_type!r}, expected a name, as gpt2; restore the file")
    try:
        if model_type == OWN_TYPE and isinstance(told.get("config"), dict):
            return build(GPTConfig, told["config"], "model"), None
        if model_type in FAMILIES:
            family = FAMILIES[model_type]
            return read_fields(family, told, fields), family
    except NotOurs as error:
        raise UnknownFamily(f"{path}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}{written_by}: {error}") from error
    raise UnknownFamily(f"{path}: model_type is {model_type!r}; nanolit's own are {', '.join((*FAMILIES, OWN_TYPE))}")


def _section(told: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    section = told.get(name)
    if section is not None and not isinstance(section, dict):
        raise ValueError(f"{where}: {name}: got {section!r}, expected settings (key: value); remove it")
    return section or {}


class UnknownFamily(ValueError):
    """A folder that may be a model, but none that we compute; transformers may (interop/causal_lm.py)."""
