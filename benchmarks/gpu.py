"""Everything that waits for a GPU, in one command: the tests that need one, speed, MFU and memory of models of 124M
parameters and of the attention backends, and a run of each mixed precision, for the quick model and for all late
features of nanochat, from the first step over evaluation, samples, checkpoint and resume to generated text; of every
stage from base model to assistant in each mixed precision; then how fast the engine writes, as it is, captured and
compiled, and the server. Each is the real command in its own process.

    python benchmarks/gpu.py [steps=60] [batch_size=32] [micro_batch_size=auto]

The data is the embedded village in bytes, so that nothing is downloaded; GPT-2's vocabulary (padded to 50304) is
kept, so that the network and its cost are those of GPT-2.
"""

import json
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from reporting import Row, read_arguments, report, stop

from nanolit.cli.run_folder import last_metrics
from nanolit.runtime.files import read_json

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Arguments:
    steps: int = 60
    batch_size: int = 32  # sequences of 1024 tokens in an optimizer step
    micro_batch_size: int | Literal["auto"] = "auto"


def run(*command: str) -> str:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        stop(f"python {' '.join(command)} failed: {done.stderr[-3000:]}")
    return done.stdout


def metrics(run_dir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


WINDOWS = ("model=modern_124m", "model.window_pattern=SSSL")
PACKED = ("model=modern_124m", "data.loader.packing=best_fit", "data.loader.mask_documents=true")
# Name, settings, compiled. What is only installed on some machines (flash-attn) is left to `model.attention=flash`.
SPEEDS = (
    ("gpt2_124m", ("model=gpt2_124m",), False),
    ("gpt2_124m", ("model=gpt2_124m",), True),
    ("llama_124m", ("model=llama_124m",), True),
    ("modern_124m", ("model=modern_124m",), True),
    ("modern_124m with windows by sdpa", (*WINDOWS, "model.attention=sdpa"), True),
    ("modern_124m with windows by flex", (*WINDOWS, "model.attention=flex"), True),
    ("modern_124m, documents apart by sdpa", (*PACKED, "model.attention=sdpa"), True),
    ("modern_124m, documents apart by flex", (*PACKED, "model.attention=flex"), True),
)
NANOCHAT_2026 = ("model=nanochat_2026", "model.depth=4", "model.block_size=512", "experiment=quick", "batch_size=16")
SMOKES = (
    ("quick", ("experiment=quick",)),
    ("nanochat_2026", NANOCHAT_2026),
    ("packed", ("experiment=quick", "data.loader.packing=best_fit", "data.loader.mask_documents=true")),
    ("on the fly", ("experiment=quick", "data.on_the_fly=true")),
)


def speed(arguments: Arguments, folder: Path, name: str, model: tuple[str, ...], compiled: bool) -> list[Row]:
    run_dir = folder / f"{name} {compiled}".replace(" ", "_")
    run(
        "train.py", *model, "model.vocab_size=50304", "data=village", "tokenizer=byte", "trainer=gpu",
        "trainer.precision=bf16-mixed", f"compile={str(compiled).lower()}", f"run_dir={run_dir}",
        f"paths.data_root={folder / 'data'}", f"batch_size={arguments.batch_size}",
        f"micro_batch_size={arguments.micro_batch_size}", f"trainer.max_steps={arguments.steps}",
        "schedule.warmup_steps=10", "trainer.limit_val_batches=1", "callbacks.metrics.every_steps=5",
        "callbacks.samples.n_samples=0",
    )  # fmt: skip
    records = [r for r in metrics(run_dir) if "perf/tok_per_s" in r][2:]  # the first ones compile
    peak = read_json(run_dir / "summary.json")["peak_memory_bytes"]
    name = f"{name}, bf16-mixed, compile={str(compiled).lower()}"
    return [
        Row(f"{name}: speed", "tokens/s", [record["perf/tok_per_s"] for record in records]),
        Row(f"{name}: MFU", "%", [100 * record["perf/mfu"] for record in records]),
        Row(f"{name}: peak memory", "GiB", [peak / 2**30]),
    ]


def smoke(folder: Path, precision: str, name: str, settings: tuple[str, ...]) -> dict[str, Any]:
    """20 steps and then 20 more of the same run: every part must work, and it must learn."""
    run_dir = folder / f"{name}_{precision}".replace(" ", "_")
    command = ["train.py", *settings, "debug=limit", "trainer=gpu", f"trainer.precision={precision}"]
    command += [f"run_dir={run_dir}", f"paths.data_root={folder / 'data'}"]
    run(*command)
    run(*command, "trainer.max_steps=40")
    records = metrics(run_dir)
    losses = [record["train/loss"] for record in records if "train/loss" in record]
    latest = last_metrics(run_dir / "metrics.jsonl")
    checks = {
        "went on at step 21": [r["step"] for r in records if "train/loss" in r] == list(range(1, 41)),
        "learnt": losses[-1] < losses[0] - 1,
        "evaluated": latest.get("val/loss", float("inf")) < losses[0],
        "samples": len(list((run_dir / "samples").glob("*.txt"))) == 4,
        "checkpoint": (run_dir / "checkpoints" / "step_00000040.ckpt").exists(),
        "generates": bool(
            run("-m", "nanolit", "generate", f"model={run_dir}", "device=cuda", "max_new_tokens=20", "prompt=Once")
        ),
    }
    if failed := [name for name, passed in checks.items() if not passed]:
        stop(f"{name}, {precision}: not so: {', '.join(failed)} ({run_dir / 'metrics.jsonl'})")
    return {"first loss": losses[0], "last loss": losses[-1], "validation loss": latest["val/loss"]}


def stages(folder: Path, precision: str) -> dict[str, Any]:
    """20 steps of every stage, each from the one before, and the scores between: the village's pipeline, and then DPO,
    LoRA and bounded RL, which are not in it. What is learnt in 20 steps is not judged, but nothing may be NaN."""
    pipeline, data_root = folder / f"pipeline_{precision}", f"paths.data_root={folder / 'data'}"
    trainer = ["trainer=gpu", f"trainer.precision={precision}", "trainer.max_steps=20"]
    run("-m", "nanolit", "pipeline", "experiment=village", f"run_dir={pipeline}", data_root,
        f"pipeline.training=[{','.join(['logger=none', *trainer])}]")  # fmt: skip
    pairs = [{"prompt": f"Say {n}.", "chosen": f"{n}.", "rejected": "No."} for n in range(200)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    preferences = ["experiment=dpo", "data=preferences", f"data.source={folder / 'pairs.jsonl'}"]
    more = {
        "dpo": preferences,
        "dpo with lora": [*preferences, "lora.rank=8", "init_lr_frac=1"],
        "sft with lora": ["experiment=village_sft", "optimizer=adamw", "lora.rank=8"],
        "grpo": ["experiment=village_rl", "rl=grpo", "rl.n_samples=8", "rl.updates_per_rollout=2"],
    }
    runs = [pipeline / name for name in ("base", "mid", "choices", "sft", "rl")]
    for name, settings in more.items():
        runs.append(folder / f"{name} {precision}".replace(" ", "_"))
        common = [f"parent={pipeline / 'sft'}", f"run_dir={runs[-1]}", "logger=none", data_root]
        run("train.py", *settings, *trainer, *common)
    told: dict[str, Any] = {}
    for run_dir in runs:
        losses = [record["train/loss"] for record in metrics(run_dir) if "train/loss" in record]
        if not losses or not all(map(math.isfinite, losses)):
            stop(f"{run_dir.name}, {precision}: losses {losses} ({run_dir / 'metrics.jsonl'})")
        told[run_dir.name] = losses[-1]
    if not (pipeline / "report.html").exists():
        stop(f"{precision}: the pipeline wrote no report")
    return told


def main() -> None:
    arguments = read_arguments(Arguments, __doc__)
    if not torch.cuda.is_available():
        stop("no CUDA device here; this benchmark needs one")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        facts: dict[str, Any] = {"tests": run("-m", "pytest", "-q", "-m", "gpu").strip().splitlines()[-1]}
        for name, settings in SMOKES:
            for precision in ("16-mixed", "bf16-mixed"):
                facts[f"{name}, {precision}"] = smoke(folder, precision, name, settings)
        for precision in ("16-mixed", "bf16-mixed"):
            facts[f"stages, {precision}"] = stages(folder, precision)
        rows = [row for name, model, compiled in SPEEDS for row in speed(arguments, folder, name, model, compiled)]
    report("gpu", rows, facts)
    print(run("benchmarks/generation.py", "device=cuda", "parts=[gpt2]"))
    print(run("benchmarks/serving.py", "device=cuda", "parts=[throughput,first_token]"))


if __name__ == "__main__":
    main()
