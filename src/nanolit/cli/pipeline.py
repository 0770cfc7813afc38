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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanolit.cli.arguments import run_composed

if TYPE_CHECKING:
    from nanolit.cli.pipeline_parts import Part

HELP = """usage: nanolit pipeline experiment=NAME [run_dir=DIR] [key=value …]

  nanolit pipeline experiment=village                         an assistant in a quarter of an hour, on a laptop
  nanolit pipeline experiment=village run_dir=runs/mine       again with the same run_dir: goes on where it stopped
  nanolit pipeline experiment=speedrun_d20 pipeline.dry_run=true
  nanolit pipeline experiment=speedrun_d20 pipeline.training=[trainer=ddp,trainer.devices=8]

  experiment=               village, or nanochat's: speedrun_d20, speedrun_d24, run1000_d32, runcpu_d4 (conf/pipeline)
  run_dir=                  a folder for everything: tokenizer/, a run for each stage, report.md, report.html
  pipeline.dry_run=         true: print the command, tokens, FLOPs and estimated time of every part, and run nothing
  pipeline.training=        settings for all training stages, as [trainer.precision=bf16-mixed]
  pipeline.core_bundle=     the folder of CORE's texts, where CORE is asked
  pipeline.until=           the last stage to be run, as sft
  pipeline.machine=         what a dry run estimates for, as 8xH100; default: this machine
  pipeline.dollars_per_hour=  of the machine, for the report; default: nothing is told of cost

debug=true shows the traceback of an error."""

LISTS = ("pipeline.tokenizer", "pipeline.tokenizer_evaluation", "pipeline.training")
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
    tokenizer_evaluation: list[str] = field(default_factory=list)  # settings of `nanolit tokenizer eval`
    training: list[str] = field(default_factory=list)
    core_bundle: Path | None = None  # of CORE's texts; conf/pipeline hands it to the evaluations that want it
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


def main(argv: list[str] | None = None) -> int:
    return run_composed(as_hydra_reads(sys.argv[1:] if argv is None else argv), HELP, "pipeline", run)


def as_hydra_reads(argv: list[str]) -> list[str]:
    """A pipeline's file stands in conf/pipeline: the experiments in conf/experiment are its stages. Settings within a
    list are texts there: pipeline.training=[trainer=ddp] becomes pipeline.training=['trainer=ddp'].
    """
    found = []
    for argument in argv:
        key, _, value = argument.partition("=")
        if key == "experiment":
            argument = f"pipeline={value}"
        elif key in LISTS and value[:1] + value[-1:] == "[]" and not {"'", '"'} & set(value):
            items = re.split(r",(?![^\[]*\])", value[1:-1])  # not at commas within the list of one of them
            argument = f"{key}=[{','.join(repr(item.strip()) for item in items if item.strip())}]"
        found.append(argument)
    return found


def run(config: dict[str, Any]) -> int:
    from nanolit.runtime import log as logs

    logs.setup()
    try:
        return run_or_plan(config, Path(config["run_dir"]))
    finally:
        with suppress(OSError):
            Path(config["run_dir"]).rmdir()  # Hydra has made it; of a plan, or what was refused, nothing is left


def run_or_plan(config: dict[str, Any], folder: Path) -> int:
    from nanolit.cli.pipeline_parts import parts_of
    from nanolit.runtime.files import in_use
    from nanolit.runtime.typed import build

    pipeline = build(PipelineConfig, config["pipeline"], "pipeline")
    parts = parts_of(pipeline, folder, config["paths"])
    if pipeline.dry_run:
        from nanolit.cli.pipeline_plan import tell_plan

        return tell_plan(pipeline, parts)
    folder.mkdir(parents=True, exist_ok=True)
    with in_use(folder, "run_dir"):
        return run_parts(pipeline, parts, folder, again(config))


def run_parts(pipeline: PipelineConfig, parts: "list[Part]", folder: Path, command: str) -> int:
    """The exit code of the first part that fails. `command`: to go on then."""
    from nanolit.cli.pipeline_parts import note, still_to_do
    from nanolit.cli.pipeline_report import write_report

    begun = time.monotonic()
    to_do = still_to_do(parts, folder)
    refuse_faults(to_do)
    for number, part in enumerate(parts, start=1):
        if part not in to_do:
            log.info("[%d/%d] %s: done already", number, len(parts), part.name)
            continue
        log.info("[%d/%d] %s: nanolit %s", number, len(parts), part.name, shlex.join(part.command))
        code = call(part.command, folder / "seconds.jsonl", part.name)
        if code:
            log.error("%s stopped with exit code %d. To go on: %s", part.name, code, command)
            return code
        note(part, folder)
    report = write_report(pipeline, folder)
    print(report.summary)
    print(f"\nreport      {report.html} ({time.monotonic() - begun:.0f} s)")
    last = folder / pipeline.wanted[-1].name
    print(f"next        nanolit chat model={shlex.quote(str(last))}", flush=True)
    return 0


def refuse_faults(parts: "list[Part]") -> None:
    """Whatever can be known to fail is told now, and not after hours of training."""
    from nanolit.cli.pipeline_parts import check, missing_files

    missing = [line for part in parts for line in missing_files(part)]
    if missing:
        raise ValueError("; ".join(missing))
    for part in parts:
        try:
            check(part)
        except ValueError as error:
            raise ValueError(f"{part.name}: {error}") from error


def call(command: list[str], seconds: Path, name: str) -> int:
    """Runs a part. Ctrl-C reaches it by itself, SIGTERM is handed on; it saves, and we wait for it."""
    t0 = time.time()
    note_seconds(seconds, {"part": name, "begun": t0})  # if we are killed, that much is known
    process = subprocess.Popen([sys.executable, "-m", "nanolit", *command], preexec_fn=ended_with_this_process())
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:
            continue
    signal.signal(signal.SIGTERM, before)
    note_seconds(seconds, {"part": name, "begun": t0, "seconds": time.time() - t0, "code": code})
    return code if code >= 0 else 128 - code


def note_seconds(path: Path, told: dict[str, Any]) -> None:
    """Of parts that were interrupted too: all of them took time."""
    import json

    with path.open("a") as file:
        file.write(json.dumps(told) + "\n")


def ended_with_this_process() -> Callable[[], None] | None:
    """For a child: if this process is killed it is told to stop, and saves; nobody waits for it any more. On Linux."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    libc, set_parent_death_signal, ours = ctypes.CDLL(None), 1, os.getpid()

    def prepare() -> None:
        libc.prctl(set_parent_death_signal, signal.SIGTERM)
        if os.getppid() != ours:  # killed between fork and here
            os._exit(128 + signal.SIGTERM)

    return prepare


def again(config: dict[str, Any]) -> str:
    from nanolit.cli.hydra_app import job_overrides

    given = [a.replace("pipeline=", "experiment=", 1) if a.startswith("pipeline=") else a for a in job_overrides()]
    given = [a for a in given if not a.startswith("run_dir=")]
    return shlex.join(["nanolit", "pipeline", *given, f"run_dir={config['run_dir']}"])
