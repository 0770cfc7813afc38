"""`nanolit prepare data=…`: raw text to token shards. Training does the same when the shards are missing."""

import re
import shlex
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanolit.cli.arguments import data_settings, run_composed

HELP = """usage: nanolit prepare data=NAME [data.source=PATH] [tokenizer=NAME] [key=value …]

  nanolit prepare data=shakespeare_char
  nanolit prepare data=text data.source=my_folder tokenizer=byte
  nanolit prepare data=owt
  nanolit prepare --multirun data=owt 'prepare.piece=range(0,64)' hydra/launcher=joblib
  nanolit prepare data=owt prepare.merge=true

The shards go to DATA_ROOT (default data/). A preparation that is already there is found again and not repeated; one
that was interrupted goes on after its last finished shard.

  verify=true                  reads all of it again and compares every hash, which finds damage that leaves sizes alone
  prepare.workers=             so many at once; default: one for each core. The result does not depend on it
  prepare.piece= .pieces=      one of several independent parts, on any machine that sees DATA_ROOT; merge joins them
  prepare.merge=true           joins them, and refuses if something is missing
  prepare.contamination=[…]    files of evaluation items (.jsonl, .txt): reports which of them the text contains

nanolit data inspect and nanolit data stats show what came out. The settings of data= and tokenizer= are explained in
conf/; debug=true shows the traceback of an error."""


@dataclass(frozen=True)
class WorkConfig:
    """How the work is done, and what is reported on the way; the tokens do not depend on it."""

    workers: int | None = None
    piece: int | None = None
    pieces: int | None = None
    merge: bool = False
    contamination: list[str] | str | None = None

    def __post_init__(self) -> None:
        for name in ("workers", "pieces"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"prepare.{name}={value}: must be at least 1, or null")
        if self.piece is not None and self.pieces is None:
            raise ValueError("prepare.pieces: not given; say how many there are, as prepare.piece=0 prepare.pieces=64")
        if self.pieces is not None and self.piece is None:
            raise ValueError("prepare.pieces: only says how many there are beside prepare.piece; leave it out")
        if self.piece is not None and self.merge:
            raise ValueError("prepare.merge: joins all pieces; leave out prepare.piece")


@dataclass(frozen=True)
class PrepareConfig:
    """The settings that belong to no group."""

    prepare: WorkConfig
    verify: bool = False

    def __post_init__(self) -> None:
        for name, given in (("verify", self.verify), ("prepare.contamination", self.prepare.contamination)):
            if given and self.prepare.piece is not None:
                raise ValueError(f"{name}: looks at all of it; give it to the command that merges the pieces")


def main(argv: list[str] | None = None) -> int:
    return run_composed(with_number_of_pieces(sys.argv[1:] if argv is None else argv), HELP, "prepare", run)


def with_number_of_pieces(argv: list[str]) -> list[str]:
    """`prepare.piece=range(0,64)` says how many there are."""
    given = dict(argument.partition("=")[::2] for argument in argv)
    found = re.fullmatch(r"range\((?:0,)?(\d+)\)", given.get("prepare.piece", "").replace(" ", ""))
    if found is None or "prepare.pieces" in given:
        return argv
    return [*argv, f"prepare.pieces={found[1]}"]


def run(config: dict[str, Any]) -> int:
    from nanolit.data.preparation.contamination import report
    from nanolit.data.preparation.prepare import merge, prepare, prepare_piece
    from nanolit.data.prepared import Prepared
    from nanolit.runtime import log
    from nanolit.runtime.typed import build

    log.setup()
    if threading.current_thread() is threading.main_thread():  # a launcher may run jobs in threads
        signal.signal(signal.SIGTERM, stop_in_order)
    command = build(PrepareConfig, {"verify": config["verify"], "prepare": config["prepare"]}, "")
    how = command.prepare
    data, tokenizer, root = data_settings(config)
    grams = read_items(how.contamination, data.kind)
    if how.piece is not None:
        assert how.pieces is not None
        folder = prepare_piece(data, tokenizer, root, how.piece, how.pieces, how.workers)
        print(f"piece {how.piece} of {how.pieces} is ready; prepare.merge=true makes {folder} of all")
        return 0
    folder = merge(data, tokenizer, root) if how.merge else prepare(data, tokenizer, root, n_workers=how.workers)
    prepared = Prepared.open(folder)
    if command.verify:
        prepared.verify()
    for split, facts in prepared.manifest["splits"].items():
        print(f"{split:<6}{facts['tokens']:>16,} tokens {facts['documents']:>12,} documents")
    if prepared.manifest["on_the_fly"]:
        print("train stays as it is; it is encoded while training goes on")
    if grams is not None:
        for line in report(data, root, folder, grams, how.workers):
            print(line)
    print(f"{'verified ' if command.verify else ''}in {folder}")
    print(f"next  nanolit data inspect folder={shlex.quote(str(folder))}")
    return 0


def stop_in_order(signum: int, frame: Any) -> None:
    """A scheduler's signal: workers are ended by those who started them, on the way out."""
    print("stopped; what was finished is kept, and the same command goes on from there", file=sys.stderr)
    raise SystemExit(128 + signum)


def read_items(given: list[str] | str | None, kind: str) -> Any:
    """What to look for, read before the work: a misspelt path should not be told after it."""
    paths = [Path(path) for path in ([given] if isinstance(given, str) else given or [])]
    if not paths:
        return None
    from nanolit.data.preparation.eval_grams import EvalGrams

    if kind == "tokens":
        raise ValueError("prepare.contamination: data.kind=tokens has no text to look into; leave it out")
    if missing := [path for path in paths if not path.is_file()]:
        raise ValueError(f"prepare.contamination: no such file as {missing[0]}; check the path")
    return EvalGrams.read(paths)
