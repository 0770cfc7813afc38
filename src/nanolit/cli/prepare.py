"""`nanolit prepare data=…`: raw text to token shards. Training does the same when the shards are missing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanolit.cli.arguments import run_composed

HELP = """usage: nanolit prepare data=NAME [data.source=PATH] [tokenizer=NAME] [key=value …]

  nanolit prepare data=shakespeare_char
  nanolit prepare data=text data.source=my_folder tokenizer=byte
  nanolit prepare data=owt

The shards go to DATA_ROOT (default data/). A preparation that is already there is found again and not repeated;
verify=true reads all of it again and compares every hash, which finds damage that leaves the size of a file as it was.
"""


@dataclass(frozen=True)
class PrepareConfig:
    """The settings that belong to no group."""

    verify: bool = False


def main(argv: list[str] | None = None) -> int:
    return run_composed(argv, HELP, "prepare", run)


def run(config: dict[str, Any]) -> int:
    from nanolit.data.prepare import DataConfig, Prepared, prepare
    from nanolit.runtime import log
    from nanolit.runtime.typed import build
    from nanolit.tokenizers.directory import TokenizerConfig

    log.setup()
    command = build(PrepareConfig, {"verify": config["verify"]}, "")
    data = {key: value for key, value in config["data"].items() if key != "loader"}  # how it is served later
    tokenizer = build(TokenizerConfig, config["tokenizer"], "tokenizer")
    folder = prepare(build(DataConfig, data, "data"), tokenizer, Path(config["paths"]["data_root"]))
    prepared = Prepared.open(folder)
    if command.verify:
        prepared.verify()
    for split in ("train", "val"):
        facts = prepared.manifest["splits"][split]
        print(f"{split:<6}{facts['tokens']:>16,} tokens {facts['documents']:>12,} documents")
    print(f"{'verified ' if command.verify else ''}in {folder}")
    return 0
