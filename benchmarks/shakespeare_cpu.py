"""Tiny Shakespeare by characters on a CPU: seconds of training and validation loss, ours and nanoGPT's, in turns on
one machine.

    python benchmarks/shakespeare_cpu.py nanogpt=CLONE text=INPUT_TXT [repeats=3] [iterations=2000]
        [experiment=shakespeare_char_cpu]

CLONE is a work tree of github.com/karpathy/nanoGPT, whose data folder is filled from INPUT_TXT without a network.
nanoGPT runs its own train.py with the command of its README, but evaluates only before the first and after the last
iteration, which are not timed; with fewer iterations its time is extrapolated and it has no loss. Without nanogpt=
only ours is measured. Promise: at most a fifth of nanoGPT's training time, for a loss on the whole validation split
of at most 1.8982, where its recipe ends.
"""

import importlib.util
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reporting import Row, read_arguments, report, stop

from nanolit.runtime.files import read_json

ROOT = Path(__file__).resolve().parent.parent
RECIPE_ITERATIONS = 2000
RECIPE = (
    "config/train_shakespeare_char.py --device=cpu --compile=False --log_interval=1 --block_size=64 --batch_size=12 "
    f"--n_layer=4 --n_head=4 --n_embd=128 --lr_decay_iters={RECIPE_ITERATIONS} --dropout=0.0"
).split()
BLOCK_SIZE = 64


@dataclass(frozen=True)
class Arguments:
    nanogpt: str | None = None
    text: str | None = None
    repeats: int = 3
    iterations: int = RECIPE_ITERATIONS
    experiment: str = "shakespeare_char_cpu"
    overrides: str = ""  # more arguments for our train.py, separated by spaces


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        stop(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    return done.stdout


def prepare_nanogpt(clone: Path, text: str | None) -> None:
    folder = clone / "data" / "shakespeare_char"
    if not (clone / "train.py").exists():
        stop(f"nanogpt: {clone} is not a work tree of nanoGPT; git clone https://github.com/karpathy/nanoGPT")
    if text is not None:
        shutil.copyfile(text, folder / "input.txt")
        run([str(folder / "prepare.py")], clone)
    elif not (folder / "meta.pkl").exists():
        stop("text: missing; give the path of tiny Shakespeare's input.txt")


def train_nanogpt(clone: Path, iterations: int, out: Path) -> tuple[float, float | None]:
    """Training seconds of the whole recipe, and the loss on the whole validation split if it was run to its end."""
    evaluation = [
        f"--max_iters={iterations}",
        f"--eval_interval={iterations}",
        "--eval_iters=1",
        "--always_save_checkpoint=True",
    ]
    printed = run(["train.py", *RECIPE, *evaluation, f"--out_dir={out}"], clone)
    times_ms = [float(time) for time in re.findall(r"^iter \d+: .* time ([\d.]+)ms", printed, re.MULTILINE)][1:-1]
    seconds = statistics.mean(times_ms) * RECIPE_ITERATIONS / 1000
    return seconds, nanogpt_loss(clone, out / "ckpt.pt") if iterations == RECIPE_ITERATIONS else None


def nanogpt_module(clone: Path) -> Any:
    spec = importlib.util.spec_from_file_location("nanogpt_model", clone / "model.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


@torch.no_grad()
def nanogpt_loss(clone: Path, checkpoint_path: Path) -> float:
    """The mean over every token of the split, each predicted once, as our evaluation has it."""
    module = nanogpt_module(clone)
    checkpoint = torch.load(checkpoint_path, map_location="cpu", weights_only=True)
    model = module.GPT(module.GPTConfig(**checkpoint["model_args"]))
    model.load_state_dict(checkpoint["model"])
    model.eval()
    tokens = np.fromfile(clone / "data" / "shakespeare_char" / "val.bin", dtype=np.uint16).astype(np.int64)
    missing = -(len(tokens) - 1) % BLOCK_SIZE
    inputs = torch.from_numpy(np.pad(tokens[:-1], (0, missing))).view(-1, BLOCK_SIZE)  # (N, T)
    targets = torch.from_numpy(np.pad(tokens[1:], (0, missing), constant_values=-1)).view(-1, BLOCK_SIZE)  # (N, T)
    total = 0.0
    for rows, expected in zip(inputs.split(128), targets.split(128), strict=True):
        total += model(rows, expected)[1].item() * int((expected >= 0).sum())
    return total / (len(tokens) - 1)


def train_ours(arguments: Arguments, folder: Path, run_number: int) -> tuple[float, float]:
    run_dir = folder / f"nanolit_{run_number}"
    command = [
        "train.py",
        f"experiment={arguments.experiment}",
        f"run_dir={run_dir}",
        f"paths.data_root={folder / 'data'}",
    ]
    command += [f"data.source={Path(arguments.text).absolute()}"] if arguments.text else []
    run(command + arguments.overrides.split(), ROOT)
    summary = read_json(run_dir / "summary.json")
    return summary["train_seconds"], summary["metrics"]["val/loss"]


def main() -> None:
    arguments = read_arguments(Arguments, __doc__)
    clone = Path(arguments.nanogpt).absolute() if arguments.nanogpt else None
    if clone:
        prepare_nanogpt(clone, arguments.text)
    theirs: list[tuple[float, float | None]] = []
    ours: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for i in range(arguments.repeats):
            if clone:
                theirs.append(train_nanogpt(clone, arguments.iterations, Path(temporary) / f"nanogpt_{i}"))
            ours.append(train_ours(arguments, Path(temporary), i))
            print(f"{i + 1}/{arguments.repeats}: nanolit {ours[-1]}, nanoGPT {theirs[-1:]}", file=sys.stderr)
    rows = [Row("nanolit: training", "s", [seconds for seconds, _ in ours])]
    rows += [Row("nanolit: validation loss, whole split", "nats", [loss for _, loss in ours], "<= 1.8982")]
    if theirs:
        rows += [Row("nanoGPT: training", "s", [seconds for seconds, _ in theirs])]
        rows += [Row("nanolit / nanoGPT", "", [a / b for (a, _), (b, _) in zip(ours, theirs, strict=True)], "<= 0.2")]
    if losses := [loss for _, loss in theirs if loss is not None]:
        rows += [Row("nanoGPT: validation loss, whole split", "nats", losses)]
    report(
        "shakespeare_cpu", rows, asdict(arguments) | {"nanogpt": bool(clone), "text": bool(arguments.text)}
    )  # no paths


if __name__ == "__main__":
    main()
