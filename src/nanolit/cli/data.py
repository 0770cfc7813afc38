"""`nanolit data inspect` and `nanolit data stats`: what a preparation made, to look at. It changes no data."""

import io
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nanolit.cli.arguments import data_settings, run_composed
from nanolit.cli.errors import guarded
from nanolit.runtime.suggest import suggest

if TYPE_CHECKING:
    from nanolit.data.documents import Documents
    from nanolit.data.prepared import Prepared

HELP = """usage: nanolit data inspect|stats data=NAME [tokenizer=NAME] [key=value …]
       nanolit data inspect|stats folder=PATH [key=value …]

  nanolit data inspect data=shakespeare_char document=0 tokens=50
  nanolit data inspect data=conversations data.source=answers.jsonl tokenizer=byte
  nanolit data stats folder=data/village-0123456789ab out=village_stats

Data that is not prepared yet will be. folder= is the folder that nanolit prepare names at its end.

inspect shows documents: their length, and the text of their tokens. What is learnt is green, the rest grey; neighbours
differ in shade, special tokens are bold. Without a terminal, or with NO_COLOR, a line stands between two tokens, and
what is learnt is in [ ] where not everything is. Then it tells what each way of packing rows wastes.

  split=        train (default), val or test
  documents=    default 0:3, the first three
  document=     one, by its number
  tokens=       shown of each document; default 200; null: all
  block_size=   of the rows that are packed; default 1024 tokens

stats tells how many documents, tokens and bytes there are, how long the documents are, and which ids never occur.

  split=        train, val or test; default null: all there are
  count_ids=    default true; false: read no token, which is quick for any size
  out=          a folder for stats.json and lengths.png

The settings of data= and tokenizer= are explained in conf/; debug=true shows the traceback of an error."""


@dataclass(frozen=True)
class InspectConfig:
    """The settings that belong to no group."""

    folder: Path | None = None
    split: Literal["train", "val", "test"] = "train"
    documents: str | int = "0:3"
    document: int | None = None
    tokens: int | None = 200
    block_size: int = 1024

    def __post_init__(self) -> None:
        for name, otherwise in (("tokens", ", or null for all"), ("block_size", "")):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: got {value}, must be at least 1{otherwise}")
        if not re.fullmatch(r"\d*:\d*", str(self.documents)):
            raise ValueError(f"documents: got {self.documents}, allowed: two numbers, as 0:3; for one give document=17")

    def numbers(self, n_documents: int, where: str) -> range:
        """The documents to show."""
        if self.document is not None:
            if not 0 <= self.document < n_documents:
                raise ValueError(f"document: got {self.document}, allowed: 0 to {n_documents - 1}, as in {where}")
            return range(self.document, self.document + 1)
        low, _, high = str(self.documents).partition(":")
        found = range(int(low or 0), min(int(high or n_documents), n_documents))
        if not found:
            raise ValueError(
                f"documents: got {self.documents}, allowed: from:to, of 0 to {n_documents - 1}, as in {where}; "
                "to is not shown, so it must be greater than from"
            )
        return found


@dataclass(frozen=True)
class StatsConfig:
    """The settings that belong to no group."""

    folder: Path | None = None
    split: Literal["train", "val", "test"] | None = None
    count_ids: bool = True
    out: Path | None = None

    def __post_init__(self) -> None:
        if self.out is not None and self.out.exists() and not self.out.is_dir():
            raise ValueError(f"out: {self.out} is a file; give a folder")


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    commands = {"inspect": inspect, "stats": stats}
    name = next((argument for argument in argv if "=" not in argument and not argument.startswith("-")), None)
    if name in commands:
        return run_composed([a for a in argv if a != name], HELP, f"data_{name}", commands[name])
    if {"-h", "--help"} & set(argv):
        print(HELP)
        return 0
    return guarded(lambda: _refuse(name, list(commands)), "debug=true" in argv)


def _refuse(name: str | None, allowed: list[str]) -> int:
    if name is None:
        raise ValueError(f"data: which command is missing; give one of {', '.join(allowed)}, as nanolit data inspect")
    raise ValueError(f"data: no command {name!r}; {suggest(name, allowed)}")


def inspect(config: dict[str, Any]) -> int:
    settings, prepared = _open(InspectConfig, config)
    from nanolit.data.documents import Documents

    documents = Documents(prepared.shards(settings.split))
    where = f"{settings.split} of {prepared.folder}"
    numbers = settings.numbers(len(documents), where)
    if not documents.are_known:
        print(f"{where} does not say where its documents begin; all of it is shown as one\n")
    for number in numbers:
        print(shown(prepared, documents, number, settings))
        print()
    print(f"{where}, {len(documents):,} documents, in rows of block_size={settings.block_size}:")
    for line in packing(prepared, settings):
        print(f"  {line}")
    return 0


def shown(prepared: "Prepared", documents: "Documents", number: int, settings: InspectConfig) -> str:
    """A line of figures, then the tokens."""
    from nanolit.tokenizers.borders import coloured, pieces, plain

    byte_lengths, is_supervised = prepared.tokenizer.byte_lengths(), prepared.is_supervised
    n_tokens = n_bytes = n_learnt = 0
    for ids, mask in documents.parts(number):
        n_tokens, n_bytes = n_tokens + len(ids), n_bytes + int(byte_lengths[ids].sum())
        n_learnt += len(ids) if mask is None else int(mask.sum())
    learnt = f", {n_learnt:,} of them learnt" if is_supervised else ""
    told = f"document {number} of {settings.split}: {n_tokens:,} tokens{learnt}, {n_bytes:,} bytes"
    found = list(pieces(*documents.head(number, settings.tokens), prepared.tokenizer))
    has_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    text = coloured(found) if has_colour else plain(found, brackets=is_supervised)
    left = n_tokens - (settings.tokens or n_tokens)
    return f"{told}\n{text}" + (f"\n… and {left:,} more tokens" if left > 0 else "")


def packing(prepared: "Prepared", settings: InspectConfig) -> list[str]:
    """What each way of making rows wastes, or why it cannot be used."""
    from typing import get_args

    from nanolit.data.serving.packing import PLANS, PackedRows, Packing
    from nanolit.data.serving.windows import TokenWindows

    shards, size, name = prepared.shards(settings.split), settings.block_size, f"the split {settings.split}"
    marks, lines = prepared.delimiter, []
    for mode in get_args(Packing):
        try:
            if mode == "stream":
                rows: Any = TokenWindows(shards, size, delimiter=marks, name=name)
            else:
                rows = PackedRows(shards, size, mode, delimiter=marks, cache=prepared.folder / PLANS, name=name)
            lines.append(rows.waste())
        except ValueError as error:
            lines.append(f"packing {mode}: cannot be; {error}")
    return lines


def stats(config: dict[str, Any]) -> int:
    settings, prepared = _open(StatsConfig, config)
    from nanolit.cli.data_stats import tell

    return tell(prepared, settings)


def _open(cls: type[Any], config: dict[str, Any]) -> "tuple[Any, Prepared]":
    """The settings, and the data that they mean, prepared if it is not there."""
    from nanolit.cli.hydra_app import job_overrides
    from nanolit.data.preparation.prepare import prepare
    from nanolit.data.prepared import Prepared
    from nanolit.runtime import log
    from nanolit.runtime.typed import build

    log.setup()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a text may have characters that the terminal has not
        sys.stdout.reconfigure(errors="backslashreplace")
    groups = ("paths", "data", "tokenizer")
    settings = build(cls, {key: value for key, value in config.items() if key not in groups}, "")
    if settings.folder is not None:
        for override in job_overrides():
            if (key := override.lstrip("+").partition("=")[0]).split(".")[0] in groups:
                raise ValueError(f"{key}: folder= is data that is prepared already; leave out one of the two")
        return settings, Prepared.open(settings.folder)
    return settings, Prepared.open(prepare(*data_settings(config)))
