"""What kind of model a file or a folder is, found by its content, and the model in our names whatever the kind.

Names and places on disk are for the commands; this opens what it is given and writes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nanolit.interop import llmc, nanochat, nanogpt, pickles
from nanolit.models.config import GPTConfig
from nanolit.models.directory import CONFIG, INDEX, WEIGHTS, UnknownFamily, open_model_files
from nanolit.models.tensor_files import Tensors, open_tensors
from nanolit.runtime.files import read_json

GENERATION = "generation_config.json"
SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
GPT2_TOKENIZER, GPT2_IDS = "gpt2", 50257  # of nanoGPT and llm.c, unless they are told another
READS = (
    "a folder of Hugging Face (config.json and weights), a checkpoint of nanoGPT (ckpt.pt), a checkpoint folder of "
    "nanochat (model_NNNNNN.pt and meta_NNNNNN.json), or a model of llm.c (.bin)"
)


@dataclass(frozen=True)
class Source:
    """A model that was found. `config` None: of none of our families; its tensors keep their names."""

    kind: str
    path: Path  # the file, or the folder
    config: GPTConfig | None
    tensors: Tensors
    tokenizers: tuple[
        Path | str, ...
    ] = ()  # where its tokenizer may lie, the likeliest first; a str is tiktoken's name
    about: dict[str, Any] = field(default_factory=dict)  # where it comes from
    special_ids: dict[str, Any] = field(default_factory=dict)  # as its config.json has them
    generation: dict[str, Any] | None = None  # its generation_config.json


def open_source(path: Path, step: int | None = None) -> Source:
    """The model in `path`; `step` chooses among the checkpoints of a nanochat folder."""
    if path.is_dir():
        if nanochat.steps(path):
            return _open_nanochat(path, step)
        _refuse_step(step)
        if (path / CONFIG).is_file():
            return open_folder(path)
        found = ", ".join(sorted(entry.name for entry in path.iterdir())) or "nothing"
        if len(found) > 200:
            found = f"{found[:200]} …"
        raise ValueError(f"source: {path} holds no model that nanolit can import; found: {found}; it reads {READS}")
    _refuse_step(step)
    if llmc.magic_number(path) is not None:
        config, tensors = llmc.read_model(path)
        return Source("llm.c model", path, config, tensors, _gpt2(config.vocab_size), {"file": path.name})
    if pickles.is_pickle(path):
        return _open_nanogpt(path)
    raise ValueError(f"source: {path} is {_other_kind(path)}; nanolit reads {READS}")


def _open_nanochat(folder: Path, number: int | None) -> Source:
    saved = nanochat.steps(folder)
    chosen = saved[-1] if number is None else next((step for step in saved if step.number == number), None)
    if chosen is None:
        raise ValueError(f"step: got {number}, {folder} has {', '.join(str(step.number) for step in saved)}")
    config, tensors = nanochat.read_step(chosen)
    # nanochat keeps its tokenizer beside the folder of all checkpoints: base/tokenizer, base/base_checkpoints/d20.
    places = (folder / "tokenizer", folder.resolve().parent.parent / "tokenizer")
    return Source(
        "nanochat checkpoint", folder, config, tensors, places, {"file": chosen.model.name, "step": chosen.number}
    )


def _open_nanogpt(path: Path) -> Source:
    content = pickles.open_pickle(path)
    if not nanogpt.is_checkpoint(content):
        raise ValueError(f"source: {path} {_why_not_nanogpt(path, content)}")
    config, tensors = nanogpt.read_checkpoint(content, str(path))
    about = {"file": path.name, **nanogpt.facts(content, str(path))}
    return Source("nanoGPT checkpoint", path, config, tensors, _gpt2(config.vocab_size), about)


def _why_not_nanogpt(path: Path, content: Any) -> str:
    if nanochat.steps(path.parent):
        return f"is the weights of nanochat alone; give their folder, source={path.parent}"
    if not isinstance(content, Mapping):
        return f"holds a {type(content).__name__}, no checkpoint; nanolit reads {READS}"
    if (path.parent / CONFIG).is_file():
        return f"is the weights of Hugging Face alone; give their folder, source={path.parent}"
    names = ", ".join(map(str, list(content)[:5]))
    return f"holds {names}, and not model and model_args, as a checkpoint of nanoGPT has; nanolit reads {READS}"


def _gpt2(n_ids: int) -> tuple[str, ...]:
    """GPT-2's tokenizer where the vocabulary has its size, or that size rounded up to a multiple of 64 or 128."""
    return (GPT2_TOKENIZER,) if n_ids in (GPT2_IDS, 50304) else ()


def _other_kind(path: Path) -> str:
    with path.open("rb") as file:
        first = file.read(1024)
    if not first:
        return "an empty file"
    if first.startswith(b"GGUF"):
        return "a GGUF file, which is for the way out only; import the model that it was made from"
    if first[8:9] == b"{" and int.from_bytes(first[:8], "little") < path.stat().st_size:
        return f"one file of weights; give the folder that it and config.json lie in, {path.parent}"
    try:
        first[:1000].decode()
    except UnicodeDecodeError as error:
        if error.start < 990:
            return f"no model that is known (its first bytes are {first[:8].hex(' ')})"
    return "a text file"


def _refuse_step(step: int | None) -> None:
    if step is not None:
        raise ValueError(f"step: got {step}, but only a checkpoint folder of nanochat has several; leave it out")


# Folders of Hugging Face, and ours


def open_folder(folder: Path) -> Source:
    """A folder with config.json and weights in safetensors or, of old, in pickles."""
    bins = pickles.open_bins(folder) if pickles.has_bins(folder) and not has_safetensors(folder) else None
    told = read_json(folder / CONFIG)
    try:
        config, tensors = open_model_files(folder, bins)
    except UnknownFamily:
        if not isinstance(told, dict) or not told.get("model_type"):
            raise
        config, tensors = None, open_tensors(folder) if bins is None else bins
    ids = {name: told[name] for name in SPECIAL_IDS if told.get(name) is not None}
    generation = _read_generation(folder / GENERATION) if (folder / GENERATION).is_file() else ids
    kind, about = ("nanolit model", told["nanolit"]) if told.get("nanolit") else ("Hugging Face model", {})
    return Source(kind, folder, config, tensors, (folder,), about, ids, generation)


def _read_generation(path: Path) -> dict[str, Any]:
    told = read_json(path)
    if not isinstance(told, dict):
        raise ValueError(f"{path}: holds a {type(told).__name__}, expected settings (key: value); restore or remove it")
    idle = told.get("suppress_tokens")
    if idle is not None and not (isinstance(idle, list) and all(type(token_id) is int for token_id in idle)):
        raise ValueError(f"{path}: suppress_tokens: got {idle!r}, expected a list of ids; leave it out")
    return told


def has_safetensors(folder: Path) -> bool:
    return (folder / WEIGHTS).is_file() or (folder / INDEX).is_file()
