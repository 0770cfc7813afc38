"""`nanolit tokenizer train|eval`: learns a vocabulary from the text of a data recipe, and compares how well one
compresses. Preparing data with a tokenizer is `nanolit prepare`.
"""

import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanolit.cli.arguments import data_settings, run_composed
from nanolit.runtime.files import is_temporary
from nanolit.runtime.suggest import suggest

if TYPE_CHECKING:
    from nanolit.data.sources.plan import Source
    from nanolit.tokenizers.compression import Compression
    from nanolit.tokenizers.protocol import Tokenizer

HELP = """usage: nanolit tokenizer train data=NAME out=DIR [key=value …]
       nanolit tokenizer eval model=PATH [key=value …]

  train   learn a byte-level BPE from the training text of a data recipe
  eval    bytes per token of a tokenizer, against GPT-2's and GPT-4's

nanolit tokenizer train --help and nanolit tokenizer eval --help tell more."""

TRAIN_HELP = """usage: nanolit tokenizer train data=NAME out=DIR [tokenizer.vocab_size=N] [key=value …]

  nanolit tokenizer train data=text data.source=my_folder tokenizer.vocab_size=4096 out=tokenizers/mine
  nanolit tokenizer train data=fineweb_edu tokenizer=bpe_65k tokenizer.specials=chat out=tokenizers/chat

DIR becomes a folder that tokenizer=folder tokenizer.path=DIR, model=DIR and transformers' AutoTokenizer open.

  tokenizer.vocab_size=          ids in all, special tokens included; default 2048
  tokenizer.specials=            end_of_text (default): <|endoftext|>; chat: nanochat's nine. They have the last ids
  tokenizer.pattern=             what cuts text before merging: null (default, numbers by two digits), gpt2, gpt4,
                                 gpt4o, or a regular expression
  tokenizer.train_chars=         learn from so many characters; default 1000 for each id
  tokenizer.max_document_chars=  and from no more of one document
  overwrite=                     true replaces the tokenizer in DIR

The settings of data= are explained in conf/data; debug=true shows the traceback of an error."""

EVAL_HELP = """usage: nanolit tokenizer eval model=PATH [data=NAME] [against=[gpt2,cl100k_base]] [out=DIR] [key=value …]

  nanolit tokenizer eval model=tokenizers/mine out=tokenizers/mine_eval
  nanolit tokenizer eval model=runs/mine data=village
  nanolit tokenizer eval tokenizer=gpt2 against=[o200k_base]

PATH is a folder with a tokenizer: its own, a model's, a run's, or prepared data. Texts are news, Korean, code, maths
and science, written for this command, and the beginnings of a data recipe's training and validation text. "fewer" says
by how much ours needs fewer tokens than the other: +10 % is a tenth.

  against=   encodings of tiktoken's; default gpt2 (GPT-2) and cl100k_base (GPT-4); also o200k_base (GPT-4o)
  out=       a folder for tokenizer_eval.json and tokenizer_eval.png

The settings of data= are explained in conf/data; debug=true shows the traceback of an error."""

OWN_CHARS = 1_000_000  # of a recipe's text that are compared on
REPORT_EVERY_S = 2.0
WRITTEN = {"tokenizer.json", "tokenizer_config.json"}


@dataclass(frozen=True)
class TrainConfig:
    out: Path | None = None
    overwrite: bool = False

    def folder(self) -> Path:
        """Where to write; what lies there already is replaced on request only, and only if it is a tokenizer."""
        if self.out is None:
            raise ValueError("out: not given; say which folder the tokenizer goes to, for example out=tokenizers/mine")
        path = self.out.expanduser()
        if path.exists() and not path.is_dir():
            raise ValueError(f"out: {self.out} is a file; choose a folder")
        names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
        if "tokenizer.json" not in names:  # the last that is written: what else is there was left by a kill
            names = {name for name in names - WRITTEN if not is_temporary(name)}
        if others := sorted(names - WRITTEN):
            raise ValueError(
                f"out: {self.out} holds other things than a tokenizer ({', '.join(others[:3])}); choose another"
            )
        if names and not self.overwrite:
            raise ValueError(f"out: {self.out} holds a tokenizer already; choose another folder, or say overwrite=true")
        return path


@dataclass(frozen=True)
class EvalConfig:
    against: tuple[str, ...] = ()
    out: Path | None = None

    def __post_init__(self) -> None:
        if self.out is not None and self.out.exists() and not self.out.is_dir():
            raise ValueError(f"out: {self.out} is a file; choose a folder")


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    command, rest = (argv[0], argv[1:]) if argv else ("--help", [])
    if command in ("-h", "--help", "help"):
        print(HELP)
        return 0
    if command == "train":
        # Some recipes bring another tokenizer along; what is trained is a BPE.
        chosen = any(argument.startswith("tokenizer=") for argument in rest)
        return run_composed([*([] if chosen else ["tokenizer=bpe"]), *rest], TRAIN_HELP, "tokenizer_train", train)
    if command == "eval":
        return run_composed(as_hydra_reads(rest), EVAL_HELP, "tokenizer_eval", evaluate)
    print(
        f"error: nanolit tokenizer {command}: no such command; {suggest(command, ('train', 'eval'))}", file=sys.stderr
    )
    return 2


def as_hydra_reads(argv: list[str]) -> list[str]:
    """`model=PATH` is short for the folder's tokenizer, whatever the data recipe brings along."""
    found = [argument for argument in argv if argument.startswith("model=")]
    chosen = found or any(argument.startswith("tokenizer=") for argument in argv)
    rest = [argument for argument in argv if argument not in found]
    named = [f"tokenizer.path={argument.removeprefix('model=')}" for argument in found]
    return [*(["tokenizer=folder"] if found or not chosen else []), *named, *rest]


# --- train -----------------------------------------------------------------------------------------------------------


def train(config: dict[str, Any]) -> int:
    from nanolit.cli.hydra_app import job_overrides
    from nanolit.runtime import log
    from nanolit.runtime.typed import build
    from nanolit.tokenizers.directory import SPECIALS, TokenizerConfig, build_tokenizer, learnt

    log.setup()
    command = build(TrainConfig, {key: config[key] for key in ("out", "overwrite")}, "")
    wanted = build(TokenizerConfig, config["tokenizer"], "tokenizer")
    if wanted.kind != "bpe":
        raise ValueError(f"tokenizer.kind={wanted.kind}: is not trained; only bpe is, tokenizer=bpe")
    folder = command.folder()
    source = _open_text(config)
    read = _Counted()
    started = time.perf_counter()
    texts = source.learning_texts(wanted)
    tokenizer = build_tokenizer(wanted, lambda: read.texts(learnt(texts, wanted)))
    seconds = time.perf_counter() - started
    if read.n_chars == 0:
        raise ValueError(f"data.name={config['data']['name']}: has no training text; give some")
    held_out = _held_out(source, tokenizer)
    tokenizer.save(folder)
    print(f"{read.n_chars:,} characters in {seconds:.1f} s, {read.n_bytes / seconds / 1e6:.1f} MB/s")
    specials = SPECIALS[wanted.specials]
    n_merges = tokenizer.vocab_size - 256 - len(specials)
    print(f"{tokenizer.vocab_size:,} ids: 256 bytes, {n_merges:,} merges, {' '.join(specials)}")
    if wanted.vocab_size is not None and tokenizer.vocab_size < wanted.vocab_size:
        print(f"note: {wanted.vocab_size:,} were asked for, but no other pair of tokens comes twice in this text")
    print(held_out)
    given = [shlex.quote(override) for override in job_overrides() if override.startswith(("data=", "data."))]
    data = " ".join(given) or f"data={config['data']['name']}"
    print(f"written to {command.out}; next:")
    print(f"  nanolit tokenizer eval model={command.out} {data}")
    print(f"  nanolit prepare {data} tokenizer=folder tokenizer.path={command.out}")
    return 0


def _open_text(config: dict[str, Any]) -> "Source":
    from nanolit.data.sources.open import open_source

    data, _, root = data_settings(config)
    if data.kind in ("tokens", "grokking", "arithmetic"):
        raise ValueError(f"data.kind={data.kind}: has no text; choose a recipe of text, for example data=village")
    return open_source(data, root)


class _Counted:
    """Texts on their way to the trainer: how much it was, and a word now and then."""

    n_chars = n_bytes = 0

    def texts(self, texts: Iterable[str]) -> Iterator[str]:
        import logging

        reported_at = time.monotonic()
        for text in texts:
            self.n_chars += len(text)
            self.n_bytes += len(text) if text.isascii() else len(text.encode(errors="replace"))
            yield text
            if time.monotonic() - reported_at >= REPORT_EVERY_S:
                reported_at = time.monotonic()
                logging.getLogger("nanolit").info("read %s characters", f"{self.n_chars:,}")


def _held_out(source: "Source", tokenizer: "Tokenizer") -> str:
    from nanolit.tokenizers.compression import OURS, beginning, compress

    text = beginning(source.texts("val"), OWN_CHARS)
    if not text:
        return "no validation text to measure compression on"
    found = compress("validation", text, tokenizer, {})
    assert found.round_trip, "decoding did not give back the validation text"
    return (
        f"{found.bytes_per_token[OURS]:.3f} bytes per token on {found.n_bytes:,} bytes of validation text, "
        "which decoding gives back exactly"
    )


# --- eval ------------------------------------------------------------------------------------------------------------


def evaluate(config: dict[str, Any]) -> int:
    from nanolit.runtime import log
    from nanolit.runtime.typed import build
    from nanolit.tokenizers.compression import beginning, compress
    from nanolit.tokenizers.directory import TokenizerConfig, build_tokenizer
    from nanolit.tokenizers.sample_texts import SAMPLE_TEXTS

    log.setup()
    command = build(EvalConfig, {key: config[key] for key in ("against", "out")}, "")
    wanted = build(TokenizerConfig, config["tokenizer"], "tokenizer")
    source = _open_text(config) if config.get("data") else None
    if source is None and wanted.kind in ("bpe", "char") and not wanted.characters:
        raise ValueError(f"tokenizer.kind={wanted.kind}: is made from text; give data=NAME, or a folder: model=PATH")
    ours = build_tokenizer(wanted, lambda: source.learning_texts(wanted) if source else [])
    others = dict(_baselines(command.against))
    texts = dict(SAMPLE_TEXTS)
    if source is not None:
        for name, split in (("own train", "train"), ("own val", "val")):
            if text := beginning(source.texts(split), OWN_CHARS):  # type: ignore[arg-type]
                texts[name] = text
    rows = []
    for name, text in texts.items():
        try:
            rows.append(compress(name, text, ours, others))
        except ValueError as error:
            print(f"note: {name} is left out: {error}")
    if not rows:
        raise ValueError("tokenizer: it can encode none of the texts; give data=NAME, whose text it knows")
    print(table(rows))
    for row in rows:
        if not row.round_trip:
            print(f"note: {row.text} is another text after encoding and decoding")
    if command.out is not None:
        _write(command.out.expanduser(), ours, rows)
        print(f"written to {command.out}: tokenizer_eval.json, tokenizer_eval.png")
    return 0


def _baselines(names: Iterable[str]) -> Iterator[tuple[str, "Tokenizer"]]:
    from nanolit.tokenizers.tiktoken_bpe import FILES, TiktokenTokenizer

    for name in names:
        if name not in FILES:
            raise ValueError(f"against: no encoding {name!r}; {suggest(name, FILES)}")
    for name in names:
        try:
            yield name, TiktokenTokenizer.from_name(name)
        except ValueError as error:  # no network
            print(f"note: {name} is left out: {error}")


def table(rows: list["Compression"]) -> str:
    """Tokens and bytes per token of each tokenizer; for the others, how many tokens fewer ours are."""
    from nanolit.tokenizers.compression import OURS

    others = [name for name in rows[0].n_tokens if name != OURS]
    head = f"{'text':<10}{'bytes':>11} {'tokens':>10}{'bytes/token':>13}"
    lines = [head + "".join(f"  | {name:>11}{'bytes/token':>13}{'fewer':>9}" for name in others)]
    for row in rows:
        ratio, fewer = row.bytes_per_token, row.difference_percent
        line = f"{row.text:<10}{row.n_bytes:>11,} {row.n_tokens[OURS]:>10,}{ratio[OURS]:>13.2f}"
        lines.append(
            line
            + "".join(f"  | {row.n_tokens[name]:>11,}{ratio[name]:>13.2f}{fewer[name]:>+7.1f} %" for name in others)
        )
    return "\n".join(lines)


def _write(folder: Path, ours: "Tokenizer", rows: list["Compression"]) -> None:
    from dataclasses import asdict

    from nanolit.report.plots import grouped_bars
    from nanolit.runtime.files import write_json

    about = {"kind": ours.kind, "vocab_size": ours.vocab_size, "fingerprint": ours.fingerprint}
    texts = [
        {**asdict(row), "bytes_per_token": row.bytes_per_token, "difference_percent": row.difference_percent}
        for row in rows
    ]
    write_json(folder / "tokenizer_eval.json", {"tokenizer": about, "texts": texts})
    series = {name: [row.bytes_per_token[name] for row in rows] for name in rows[0].n_tokens}
    grouped_bars(
        folder / "tokenizer_eval.png",
        [row.text for row in rows],
        {
            f"{name} ({ours.vocab_size:,} ids)" if i == 0 else name: values
            for i, (name, values) in enumerate(series.items())
        },
        "bytes per token (higher: fewer tokens)",
        "How much text one token stands for",
    )
