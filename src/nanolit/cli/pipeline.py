"""`nanolit pipeline experiment=…`: tokenizer, pretraining, midtraining, fine-tuning, reinforcement learning, a score
after each, and the report. Every part is the command that one could type, in a process of its own, and is left out
where its result is there; so the same command goes on after any interruption. It computes nothing itself.
"""

import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from nanolit.cli.arguments import run_composed

HELP = """usage: nanolit pipeline experiment=NAME [run_dir=DIR] [key=value …]

  nanolit pipeline experiment=village                         an assistant in a quarter of an hour, on a laptop
  nanolit pipeline experiment=village run_dir=runs/mine       again with the same run_dir: goes on where it stopped
  nanolit pipeline experiment=speedrun_d20 pipeline.dry_run=true
  nanolit pipeline experiment=speedrun_d20 pipeline.training=[trainer=ddp,trainer.devices=8]

  experiment=               village, or nanochat's: speedrun_d20, speedrun_d24, run1000_d32, runcpu_d4 (conf/pipeline)
  run_dir=                  a folder for everything: tokenizer/, a run for each stage, report.md, report.html
  pipeline.dry_run=         true: print the command, tokens, FLOPs and estimated time of every part, and run nothing
  pipeline.training=        settings for all training stages
  pipeline.until=           the last stage to be run, as sft
  pipeline.machine=         what a dry run estimates for, as 8xH100; default: this machine
  pipeline.dollars_per_hour=  of the machine, for the report; default: nothing is told of cost

debug=true shows the traceback of an error."""

log = logging.getLogger("nanolit")


@dataclass(frozen=True)
class Stage:
    name: str
    train: list[str]  # settings of `nanolit train`; parent and run_dir are added
    evaluate: dict[str, list[str]] = field(default_factory=dict)  # settings of `nanolit eval`, by name


@dataclass(frozen=True)
class PipelineConfig:
    name: str
    stages: list[Stage]
    tokenizer: list[str] = field(default_factory=list)  # settings of `nanolit tokenizer train`
    training: list[str] = field(default_factory=list)
    until: str | None = None
    dry_run: bool = False
    machine: str | None = None  # what a dry run estimates for, as 8xH100; None: this one
    dollars_per_hour: float | None = None

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) < len(names) or "tokenizer" in names:
            raise ValueError(f"pipeline.stages: got {names}, allowed: different names, none of them tokenizer")
        if self.machine is not None and not re.fullmatch(r"\d+x[\w ]+", self.machine):
            raise ValueError(
                f"pipeline.machine: got {self.machine}, allowed: a number of GPUs and their name, as 8xH100"
            )
        if self.until is not None and self.until not in names:
            raise ValueError(f"pipeline.until: got {self.until}, allowed: {', '.join(names)}")

    @property
    def wanted(self) -> list[Stage]:
        names = [stage.name for stage in self.stages]
        return self.stages if self.until is None else self.stages[: names.index(self.until) + 1]


@dataclass(frozen=True)
class Part:
    """One command, and what is there when it has been done."""

    name: str
    command: list[str]  # after `nanolit`
    is_done: Callable[[], bool]


def main(argv: list[str] | None = None) -> int:
    return run_composed(as_hydra_reads(sys.argv[1:] if argv is None else argv), HELP, "pipeline", run)


def as_hydra_reads(argv: list[str]) -> list[str]:
    """A pipeline's file stands in conf/pipeline: the experiments in conf/experiment are its stages."""
    return [f"pipeline={a.removeprefix('experiment=')}" if a.startswith("experiment=") else a for a in argv]


def run(config: dict[str, Any]) -> int:
    from nanolit.cli.pipeline_report import write_report
    from nanolit.runtime import log as logs
    from nanolit.runtime.typed import build

    logs.setup()
    pipeline = build(PipelineConfig, config["pipeline"], "pipeline")
    folder, paths = Path(config["run_dir"]), config["paths"]
    parts = parts_of(pipeline, folder, paths)
    if pipeline.dry_run:
        from nanolit.cli.pipeline_plan import tell_plan

        with suppress(OSError):
            folder.rmdir()  # Hydra has made it
        return tell_plan(pipeline, parts)
    folder.mkdir(parents=True, exist_ok=True)
    t0 = time.monotonic()
    for number, part in enumerate(parts, start=1):
        if part.is_done():
            log.info("[%d/%d] %s: done already", number, len(parts), part.name)
            continue
        log.info("[%d/%d] %s: nanolit %s", number, len(parts), part.name, shlex.join(part.command))
        code = call(part.command, folder / "seconds.jsonl", part.name)
        if code:
            log.error("%s stopped with exit code %d. To go on: %s", part.name, code, again(config))
            return code
    report = write_report(pipeline, folder)
    print(report.summary)
    print(f"\nreport      {report.html} ({time.monotonic() - t0:.0f} s)")
    last = folder / pipeline.wanted[-1].name
    print(f"next        nanolit chat model={shlex.quote(str(last))}", flush=True)
    return 0


def parts_of(pipeline: PipelineConfig, folder: Path, paths: dict[str, str]) -> list[Part]:
    """All commands, in order."""
    where = [f"paths.data_root={paths['data_root']}", f"paths.out_dir={paths['out_dir']}"]
    parts = []
    tokenizer = folder / "tokenizer"
    if pipeline.tokenizer:
        out = f"out={tokenizer}"
        command = ["tokenizer", "train", *pipeline.tokenizer, out, *where]
        parts.append(Part("tokenizer", command, (tokenizer / "tokenizer.json").exists))
        command = ["tokenizer", "eval", f"model={tokenizer}", f"out={folder / 'tokenizer_eval'}", *where]
        done = (folder / "tokenizer_eval" / "tokenizer_eval.json").exists
        if os.environ.get("TIKTOKEN_CACHE_DIR"):  # GPT-2's and GPT-4's files are fetched once, where that is wanted
            parts.append(Part("tokenizer_eval", command, done))
    parent: Path | None = None
    for stage in pipeline.wanted:
        run_dir = folder / stage.name
        begin = [f"parent={parent}"] if parent else []
        if pipeline.tokenizer and parent is None:
            begin = ["tokenizer=folder", f"tokenizer.path={tokenizer}"]
        command = ["train", *stage.train, *begin, *pipeline.training, f"run_dir={run_dir}", *where]
        parts.append(Part(stage.name, command, partial(is_finished, run_dir)))
        for name, settings in stage.evaluate.items():
            result = run_dir / f"eval_{name}.json"
            asked = ["eval", f"model={run_dir}", *settings, f"out={result}", f"paths.data_root={paths['data_root']}"]
            parts.append(Part(f"{stage.name}: {name}", asked, result.exists))
        parent = run_dir
    return parts


def is_finished(run_dir: Path) -> bool:
    """A run that stopped early has a summary too, which says so."""
    from nanolit.runtime.files import read_json

    summary = run_dir / "summary.json"
    return summary.exists() and read_json(summary).get("status") == "finished"


def call(command: list[str], seconds: Path, name: str) -> int:
    """Runs a part. Ctrl-C reaches it by itself, SIGTERM is handed on; it saves, and we wait for it."""
    import json

    t0 = time.time()
    process = subprocess.Popen([sys.executable, "-m", "nanolit", *command])
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:
            continue
    signal.signal(signal.SIGTERM, before)
    with seconds.open("a") as file:  # also of parts that were interrupted: all of them took time
        file.write(json.dumps({"part": name, "begun": t0, "seconds": time.time() - t0, "code": code}) + "\n")
    return code if code >= 0 else 128 - code


def again(config: dict[str, Any]) -> str:
    from nanolit.cli.hydra_app import job_overrides

    given = [a.replace("pipeline=", "experiment=", 1) if a.startswith("pipeline=") else a for a in job_overrides()]
    given = [a for a in given if not a.startswith("run_dir=")]
    return shlex.join(["nanolit", "pipeline", *given, f"run_dir={config['run_dir']}"])
