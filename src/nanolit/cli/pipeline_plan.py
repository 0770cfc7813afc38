"""What a pipeline would do, without doing it: the command of every part, and of training the tokens, operations and the
time that they would take on this machine.
"""

import shlex
from dataclasses import dataclass
from typing import Any

from nanolit.cli.pipeline import Part, PipelineConfig

# Of what the device could do; what small and large models reach here is in docs/benchmarks.md.
ASSUMED_MFU = 0.4


@dataclass(frozen=True)
class Cost:
    stage: str
    tokens: int
    flops: float

    def seconds(self, flops_per_s: float) -> float:
        return self.flops / (ASSUMED_MFU * flops_per_s)


def tell_plan(pipeline: PipelineConfig, parts: list[Part]) -> int:
    """Prints it; the exit code of the command."""
    from nanolit.report.sections import duration

    model: Any = None
    total_tokens, total_flops, total_s = 0, 0.0, 0.0
    n_devices, speed = _devices(pipeline)
    for number, part in enumerate(parts, start=1):
        print(f"[{number}/{len(parts)}] {part.name}\n  nanolit {shlex.join(part.command)}")
        if part.command[0] != "train":
            continue
        settings = _composed(part.command[1:], pipeline)
        model = settings.model if hasattr(settings.model, "n_layer") else model
        cost = _cost(settings, model)
        seconds = cost.seconds(n_devices * speed)
        total_tokens, total_flops, total_s = total_tokens + cost.tokens, total_flops + cost.flops, total_s + seconds
        told = f"stage {cost.stage}, {settings.max_steps:,} steps, {cost.tokens:,} tokens, {cost.flops:.3g} FLOPs"
        print(f"  {told}, about {duration(seconds)}")
    where = f"{n_devices} device(s) of {speed / 1e12:.3g} TFLOP/s at {ASSUMED_MFU:.0%} of that"
    print(f"\ntraining: {total_tokens:,} tokens, {total_flops:.3g} FLOPs, about {duration(total_s)} on {where}")
    print("the texts, evaluations and starts of processes are not in it")
    return 0


def _composed(overrides: list[str], pipeline: PipelineConfig) -> Any:
    """The settings of a training stage. There is no tokenizer yet; how many ids it will have is known."""
    from nanolit.cli import hydra_app
    from nanolit.cli.settings import read_settings, with_parent

    has_tokenizer = "tokenizer=folder" in overrides
    known = []
    if has_tokenizer and pipeline.tokenizer:
        n_ids = hydra_app.composed("tokenizer_train", pipeline.tokenizer)["tokenizer"]["vocab_size"]
        known = [f"++model.vocab_size={n_ids}"]
    return read_settings(with_parent(hydra_app.composed("train", [*overrides, *known])))


def _cost(settings: Any, model: Any) -> Cost:
    """Of reinforcement learning: every answer as long as it may be, written once and learnt once."""
    from nanolit.models.accounting import flops_per_token

    run, rl = settings.run, settings.rl
    if model is None:
        raise ValueError("pipeline: its first stage begins with weights, whose size is not known; leave dry_run out")
    per_token = flops_per_token(model, model.block_size)
    if rl is not None:
        tokens = settings.max_steps * run.batch_size * rl.max_new_tokens
        return Cost(run.stage, tokens, tokens * per_token * (1 + 1 / 3))  # a pass forwards is a third of a step
    tokens = settings.max_steps * run.batch_size * model.block_size
    return Cost(run.stage, tokens, tokens * per_token)


def _devices(pipeline: PipelineConfig) -> tuple[int, float]:
    """How many, and the FLOP/s that a perfect program could reach on each."""
    import torch

    from nanolit.runtime import devices

    if pipeline.machine is not None:
        n, _, name = pipeline.machine.partition("x")
        if name not in devices.PEAK_TFLOPS:
            raise ValueError(f"pipeline.machine: got {name}, allowed: {', '.join(devices.PEAK_TFLOPS)}")
        return int(n), 1e12 * devices.PEAK_TFLOPS[name][0]
    device = devices.pick_device("auto")
    given = [s.partition("=")[2] for s in pipeline.training if s.startswith("trainer.devices=")]
    n_here = int(given[0]) if given and given[0].isdigit() else max(torch.cuda.device_count(), 1)
    return n_here, devices.peak_flops(device, torch.float32 if device.type == "cpu" else torch.bfloat16)
