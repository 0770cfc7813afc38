"""`nanolit export model=… to=[hf,gguf] out=DIR`: a model as other programs open it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nanolit.cli.arguments import list_settings, read_arguments, run_command
from nanolit.cli.open_model import MODEL_WANTED
from nanolit.cli.out_folder import Precision, check_out, check_shard_size, choose_dtype, refuse_overflow, report

if TYPE_CHECKING:
    import torch

    from nanolit.models.config import GPTConfig
    from nanolit.models.tensor_files import Tensors
    from nanolit.tokenizers.protocol import Tokenizer

FORMATS = ("hf", "gguf")
HELP = """usage: nanolit export model=MODEL out=DIR [to=hf | to=gguf | to=[hf,gguf]] [key=value …]

  nanolit export model=runs/mine to=hf out=exported/mine
  nanolit export model=runs/mine to=[hf,gguf] out=exported/mine dtype=bfloat16 name=mine

MODEL is a run folder, a model directory, or a name on the Hugging Face hub. hf is a folder that transformers opens
unchanged (GPT2LMHeadModel, LlamaForCausalLM or NanoChatForCausalLM) with tokenizer, chat template and
generation_config.json; gguf is one file, NAME.gguf, for llama.cpp and its relatives (GPT-2 and Llama families). A model
that the format cannot say is refused, with the settings that are in the way.

dtype= is float32, bfloat16 or float16; without it the weights stay as they are. Files of hf larger than max_shard_gb=
are split. name= names the gguf file, otherwise DIR does. tokenizer=none leaves the tokenizer out, where gguf cannot say
it. A DIR that holds a model, and nothing else, is replaced with overwrite=true only.
"""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    model: str
    out: str
    to: tuple[str, ...] = ("hf",)
    dtype: Precision | None = None
    max_shard_gb: float = 5.0
    name: str | None = None
    tokenizer: Literal["none"] | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_shard_size(self.max_shard_gb)
        wrong = [word for word in self.to if word not in FORMATS]
        if wrong or not self.to or len(set(self.to)) < len(self.to):
            raise ValueError(f"to: got {', '.join(self.to) or 'nothing'}, allowed are hf, gguf, or both, to=[hf,gguf]")
        if self.name is not None and "gguf" not in self.to:
            raise ValueError("name: names the file of to=gguf, and to=hf writes none; leave it out")
        if self.name is not None and ("/" in self.name or self.name in ("", ".", "..")):
            raise ValueError(f"name: got {self.name!r}, must be usable as the name of a file")


@dataclass(frozen=True)
class Model:
    """What is exported."""

    folder: Path
    config: "GPTConfig"
    tensors: "Tensors"
    tokenizer: "Tokenizer | None"
    dtype: "torch.dtype | None"  # to write in; None: as it is


def main(argv: list[str] | None = None) -> int:
    return run_command(argv, f"{HELP}\n{list_settings(ExportConfig)}", read, run)


def read(argv: list[str]) -> ExportConfig:
    missing = {
        "model": MODEL_WANTED,
        "out": "give a folder for the files, out=exported/NAME",
    }
    return read_arguments(ExportConfig, argv, missing, lists=("to",))


def run(config: ExportConfig) -> int:
    from nanolit.cli.open_model import locate
    from nanolit.runtime.files import atomic_folder

    source = locate(config.model)
    out = check_out(config.out, config.overwrite, source)
    model = open_for_export(source, config)
    name = config.name or out.name
    notes = [] if model.tokenizer is not None else ["without a tokenizer it takes and gives token ids only"]
    architecture = find_architecture(model.config) if "hf" in config.to else ""
    with atomic_folder(out) as folder:
        if "hf" in config.to:
            write_hf(folder, model, int(config.max_shard_gb * 10**9))
        if "gguf" in config.to:
            from nanolit.interop.gguf_file import write_gguf

            precision = str(_precision(model)).removeprefix("torch.")
            path = folder / f"{name}.gguf"
            notes += write_gguf(path, model.config, model.tensors, model.tokenizer, name=name, dtype=precision)  # type: ignore[arg-type]
    n_parameters = sum(spec.n_bytes // spec.dtype.itemsize for spec in model.tensors.specs.values())
    formats = [architecture] * ("hf" in config.to) + ["GGUF"] * ("gguf" in config.to)
    what = f"{config.model} -> {' and '.join(formats)}, {n_parameters:,} parameters"
    report(what, config.out, out, notes, next_lines(config, name))
    return 0


def open_for_export(folder: Path, settings: ExportConfig) -> Model:
    from nanolit.cli.open_model import is_foreign
    from nanolit.inference.load import check_vocabulary
    from nanolit.models.directory import open_model_files
    from nanolit.tokenizers.directory import load_tokenizer

    if is_foreign(folder):
        raise ValueError(
            f"model: {folder} is none of nanolit's families and in the layout of transformers already; "
            f"nanolit import source={folder} writes it in another dtype= or max_shard_gb="
        )
    config, tensors = open_model_files(folder)
    dtype = choose_dtype(settings.dtype, tensors)
    has_tokenizer = settings.tokenizer is None and (folder / "tokenizer.json").is_file()
    tokenizer = load_tokenizer(folder) if has_tokenizer else None
    if tokenizer is not None:
        check_vocabulary(folder, tokenizer, config)
    return Model(folder, config, refuse_overflow(tensors, dtype), tokenizer, dtype)


def find_architecture(config: "GPTConfig") -> str:
    from nanolit.models.families import family_of, why_none

    family = family_of(config)
    if family is None:
        raise ValueError(
            f"to=hf: transformers has no such model: {why_none(config)}; nanolit generate opens it as it is"
        )
    return family.architecture


def write_hf(folder: Path, model: Model, max_shard_bytes: int) -> None:
    from nanolit.inference.model_folder import GENERATION, write_folder
    from nanolit.interop.sources import SPECIAL_IDS
    from nanolit.models.directory import CONFIG, write_model
    from nanolit.runtime.files import read_json

    told = read_json(model.folder / CONFIG)
    about = {name: value for name, value in (told.get("nanolit") or {}).items() if name not in ("version", "fields")}
    ids = {name: told[name] for name in SPECIAL_IDS if told.get(name) is not None}
    path = model.folder / GENERATION

    def write_weights(extra: dict[str, Any]) -> None:
        write_model(folder, model.config, model.tensors, extra, model.dtype, max_shard_bytes)

    generation = read_json(path) if path.is_file() else None
    write_folder(folder, write_weights, model.config.padded_vocab, model.tokenizer, about, ids or None, generation)


def _precision(model: Model) -> "torch.dtype":
    return model.dtype or next(iter(model.tensors.specs.values())).dtype


def next_lines(config: ExportConfig, name: str) -> list[str]:
    lines = []
    if "hf" in config.to:
        lines.append(
            f"python -c \"import transformers as t; print(t.pipeline('text-generation', '{config.out}')('Once'))\""
        )
    if "gguf" in config.to:
        lines.append(f"llama-cli -m {Path(config.out) / (name + '.gguf')} -p Once")
    return lines
