"""What a pipeline would do, without doing it: the command of every part, and of training the tokens, operations and the
time that they would take on this machine.
"""

import shlex
from dataclasses import dataclass
from typing import Any

from nanolit.cli.pipeline import PipelineConfig
from nanolit.cli.pipeline_parts import Part, check, missing_files

# Of the peak, which for a GPU is its maker's word and for a CPU what a large product of matrices reaches here; what
# small and large models come to is in docs/benchmarks.md.
GPU_SHARE, CPU_SHARE = 0.4, 0.9


@dataclass(frozen=True)
class Cost:
    stage: str
    tokens: int
    flops: float


@dataclass(frozen=True)
class Machine:
    n_devices: int
    peak_flops: float  # a second, of each: what a perfect program could reach
    share: float  # of it that is assumed

    def seconds(self, flops: float) -> float:
        return flops / (self.n_devices * self.peak_flops * self.share)

    def __str__(self) -> str:
        return f"{self.n_devices} device(s) of {self.peak_flops / 1e12:.3g} TFLOP/s at {self.share:.0%} of that"


def tell_plan(pipeline: PipelineConfig, parts: list[Part]) -> int:
    """Prints it; the exit code of the command."""
    from nanolit.report.sections import duration

    model: Any = None
    total_tokens, total_flops, total_s = 0, 0.0, 0.0
    machine = _machine(pipeline)
    for number, part in enumerate(parts, start=1):
        print(f"[{number}/{len(parts)}] {part.name}\n  nanolit {shlex.join(part.command)}")
        settings = check(part)
        if not part.is_training:
            continue
        model = settings.model if hasattr(settings.model, "n_layer") else model
        cost = _cost(settings, model)
        seconds = machine.seconds(cost.flops)
        total_tokens, total_flops, total_s = total_tokens + cost.tokens, total_flops + cost.flops, total_s + seconds
        told = f"stage {cost.stage}, {settings.max_steps:,} steps, {cost.tokens:,} tokens, {cost.flops:.3g} FLOPs"
        print(f"  {told}, about {duration(seconds)}")
    print(f"\ntraining: {total_tokens:,} tokens, {total_flops:.3g} FLOPs, about {duration(total_s)} on {machine}")
    print("the texts, evaluations and starts of processes are not in it")
    for line in (line for part in parts for line in missing_files(part)):
        print(f"missing: {line}")
    return 0


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


def _machine(pipeline: PipelineConfig) -> Machine:
    """The one that is named, or this one."""
    import torch

    from nanolit.runtime import devices

    if pipeline.machine is not None:
        n, _, name = pipeline.machine.partition("x")
        if name not in devices.PEAK_TFLOPS:
            raise ValueError(f"pipeline.machine: got {name}, allowed: {', '.join(devices.PEAK_TFLOPS)}")
        return Machine(int(n), 1e12 * devices.PEAK_TFLOPS[name][0], GPU_SHARE)
    device = devices.pick_device("auto")
    given = [s.partition("=")[2] for s in pipeline.training if s.startswith("trainer.devices=")]
    n_here = int(given[0]) if given and given[0].isdigit() else max(torch.cuda.device_count(), 1)
    dtype, share = (torch.float32, CPU_SHARE) if device.type == "cpu" else (torch.bfloat16, GPU_SHARE)
    return Machine(n_here, devices.peak_flops(device, dtype), share)
