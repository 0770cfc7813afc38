"""`nanolit import source=… out=DIR`: somebody else's model becomes a model directory, which every command opens."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanolit.cli.arguments import list_settings, read_arguments, run_command
from nanolit.cli.out_folder import Precision, check_out, check_shard_size, choose_dtype, refuse_overflow, report

if TYPE_CHECKING:
    from nanolit.interop.sources import Source
    from nanolit.tokenizers.protocol import Tokenizer

HELP = """usage: nanolit import source=SOURCE out=DIR [key=value …]

  nanolit import source=gpt2-xl out=models/gpt2-xl dtype=bfloat16
  nanolit import source=out-shakespeare-char/ckpt.pt tokenizer=data/shakespeare_char/input.txt out=models/bard
  nanolit import source=base_checkpoints/d20 step=21400 out=models/d20
  nanolit import source=gpt2_124M_bf16.bin out=models/llmc

SOURCE is a name on the Hugging Face hub (gpt2, gpt2-xl, ORG/NAME), a folder of Hugging Face, a checkpoint of nanoGPT
(ckpt.pt), a checkpoint folder of nanochat, or a model of llm.c (.bin). What it is, its content tells. DIR becomes a
model directory: config.json, weights in safetensors, tokenizer, in the layout of transformers where that has such a
model. Pickles are opened as tensors and plain values only, and refused if they hold more.

dtype= is float32, bfloat16 or float16; without it the weights stay as they are. step= chooses among the checkpoints of
nanochat, otherwise the newest. tokenizer= is a folder with tokenizer.json, gpt2, a .txt file whose characters are the
vocabulary (nanoGPT's character models), or none; without it, what the source brings. Files larger than max_shard_gb=
are split. A DIR that holds a model is replaced with overwrite=true only.
"""
CHOICES = (
    "give tokenizer=FOLDER with a tokenizer.json, tokenizer=gpt2, tokenizer=input.txt (a text whose characters are the "
    "vocabulary), or tokenizer=none"
)


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    source: str
    out: str
    dtype: Precision | None = None
    tokenizer: str | None = None
    step: int | None = None
    max_shard_gb: float = 5.0
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_shard_size(self.max_shard_gb)


def main(argv: list[str] | None = None) -> int:
    return run_command(argv, f"{HELP}\n{list_settings(ImportConfig)}", read, run)


def read(argv: list[str]) -> ImportConfig:
    missing = {
        "source": "give what to import, source=gpt2 or the path of a model",
        "out": "give a folder for the model, out=models/NAME",
    }
    return read_arguments(ImportConfig, argv, missing)


def run(config: ImportConfig) -> int:
    from nanolit.cli.open_model import locate
    from nanolit.interop.foreign import check_type
    from nanolit.interop.sources import open_source

    path = Path(config.source).expanduser()
    path = path if path.exists() else locate(config.source, "source")
    if (path / "config.yaml").is_file() and (path / "model").is_dir():
        path = path / "model"  # of a run
    out = check_out(config.out, config.overwrite, path)
    source = open_source(path, config.step)
    architecture = check_type(source.path) if source.config is None else None
    tokenizer = find_tokenizer(config.tokenizer, source)
    source = with_vocabulary(source, tokenizer)
    write(config, source, tokenizer, out)
    tell(config, source, tokenizer, out, architecture)
    return 0


# Tokenizers


def find_tokenizer(asked: str | None, source: "Source") -> "Tokenizer | None":
    from nanolit.tokenizers.directory import load_tokenizer
    from nanolit.tokenizers.tiktoken_bpe import FILES

    if asked == "none":
        return None
    if asked is None:
        for place in source.tokenizers:
            if isinstance(place, str):
                return _tiktoken(place)
            if (place / "tokenizer.json").is_file():
                return load_tokenizer(place)
        raise ValueError(f"tokenizer: {_why_no_tokenizer(source)}; {CHOICES}")
    if asked in FILES:
        return _tiktoken(asked)
    path = Path(asked).expanduser()
    if path.is_dir() or path.name == "tokenizer.json":
        return load_tokenizer(path if path.is_dir() else path.parent)
    if not path.is_file():
        raise ValueError(f"tokenizer: {asked} does not exist; {CHOICES}")
    return _characters(path, source)


def _tiktoken(name: str) -> "Tokenizer":
    from nanolit.tokenizers.tiktoken_bpe import TiktokenTokenizer

    try:
        return TiktokenTokenizer.from_name(name)
    except ValueError as error:
        told = str(error).removesuffix(", or choose tokenizer=byte")
        raise ValueError(f"{told}, or give tokenizer=FOLDER with a tokenizer.json, or tokenizer=none") from error


def _characters(path: Path, source: "Source") -> "Tokenizer":
    from nanolit.tokenizers.char import CharTokenizer

    try:
        tokenizer = CharTokenizer.from_texts([path.read_text(encoding="utf-8")])
    except UnicodeDecodeError as error:
        raise ValueError(f"tokenizer: {path} is not UTF-8 text; {CHOICES}") from error
    if source.config is not None and tokenizer.vocab_size != source.config.vocab_size:
        raise ValueError(
            f"tokenizer: {path} has {tokenizer.vocab_size} different characters, the model's vocabulary has "
            f"{source.config.vocab_size}; give the text that it was trained on"
        )
    return tokenizer


def _why_no_tokenizer(source: "Source") -> str:
    from nanolit.tokenizers.directory import load_tokenizer

    for place in source.tokenizers:
        if isinstance(place, Path) and (place / "tokenizer.pkl").is_file():
            return f"{place / 'tokenizer.pkl'} is a pickle that needs code to be opened (docs/models.md converts it)"
    if source.path in source.tokenizers:
        try:
            load_tokenizer(source.path)
        except ValueError as error:
            return str(error)
    size = 0 if source.config is None else source.config.vocab_size
    return f"a {source.kind} brings none, and a vocabulary of {size} is not GPT-2's"


def with_vocabulary(source: "Source", tokenizer: "Tokenizer | None") -> "Source":
    """Refuses a tokenizer that does not fit. nanoGPT does not say how many of its rows only pad: the tokenizer does."""
    from nanolit.inference.load import check_vocabulary
    from nanolit.interop.foreign import check_foreign_vocabulary
    from nanolit.interop.llmc import multiple_of

    if tokenizer is None:
        return source
    if source.config is None:
        check_foreign_vocabulary(source.path, tokenizer.vocab_size)
        return source
    check_vocabulary(source.path, tokenizer, source.config)
    n_ids, rows = tokenizer.vocab_size, source.config.vocab_size
    multiple = multiple_of(n_ids, rows)
    if source.kind != "nanoGPT checkpoint" or multiple not in (64, 128):
        return source
    return replace(source, config=replace(source.config, vocab_size=n_ids, vocab_multiple=multiple))


# The folder


def write(config: ImportConfig, source: "Source", tokenizer: "Tokenizer | None", out: Path) -> None:
    from nanolit.inference.model_folder import special_ids, write_folder
    from nanolit.interop.foreign import write_foreign
    from nanolit.models.directory import write_model
    from nanolit.runtime.files import atomic_folder

    dtype = choose_dtype(config.dtype, source.tensors)
    tensors, shard_bytes = refuse_overflow(source.tensors, dtype), int(config.max_shard_gb * 10**9)
    ids, generation, model = source.special_ids, source.generation, source.config
    if config.tokenizer is not None and generation is not None:
        generation = {**generation, **special_ids(tokenizer)}
    if config.tokenizer is not None or not ids:
        ids = special_ids(tokenizer)
    with atomic_folder(out) as folder:

        def write_weights(extra: dict[str, Any]) -> None:
            if model is None:
                write_foreign(source.path, folder, tensors, extra, dtype, shard_bytes)
            else:
                write_model(folder, model, tensors, extra, dtype, shard_bytes)

        n_ids = 0 if tokenizer is None else tokenizer.vocab_size
        n_rows = n_ids if model is None else model.padded_vocab
        write_folder(folder, write_weights, n_rows, tokenizer, _origin(config, source), ids, generation)


def _origin(config: ImportConfig, source: "Source") -> dict[str, Any]:
    """Where it comes from, for its config.json; a model that nanolit wrote keeps what was said of it."""
    if source.kind == "nanolit model":
        return {name: value for name, value in source.about.items() if name not in ("version", "fields")}
    is_name = not Path(config.source).expanduser().exists()
    name = config.source if is_name else source.path.resolve().name
    return {"imported": {"kind": source.kind, "name": name, **source.about}}


def tell(
    config: ImportConfig, source: "Source", tokenizer: "Tokenizer | None", out: Path, architecture: str | None
) -> None:
    from nanolit.models.families import family_of, why_none

    n_parameters = sum(spec.n_bytes // spec.dtype.itemsize for spec in source.tensors.specs.values())
    notes = []
    if source.config is None:
        notes.append("none of nanolit's families, so transformers computes it")
    elif (family := family_of(source.config)) is not None:
        architecture = family.architecture
    else:
        architecture = "nanolit's own layout"
        notes.append(f"transformers has no such model ({why_none(source.config)})")
    if source.kind == "nanoGPT checkpoint" and source.config is not None and source.config.mlp == "gelu_tanh":
        notes.append("written before nanoGPT took the exact gelu (May 2023), so model.mlp=gelu_tanh")
    step = f" of step {source.about['step']}" if "step" in source.about and source.kind != "nanolit model" else ""
    what = f"{source.kind}{step} -> {architecture}, {n_parameters:,} parameters"
    training = f"python train.py init_from={config.out} data=text data.source=FOLDER"
    if tokenizer is not None and tokenizer.eot_id is None:
        training += " data.append_eot=false"
    if tokenizer is not None and source.config is not None and tokenizer.vocab_size < source.config.vocab_size:
        idle = source.config.vocab_size - tokenizer.vocab_size
        notes.append(f"{idle:,} of its {source.config.vocab_size:,} ids stand for no token of this tokenizer")
    if tokenizer is None:
        notes.append("without a tokenizer it takes and gives token ids only")
        following = [f"{training} tokenizer=NAME"]
    else:
        following = [f'nanolit generate model={config.out} prompt="Once"', training]
    report(what, config.out, out, notes, following)
