"""What the machine is and how fast it could be; it chooses a device by name, and sets nothing."""

from __future__ import annotations

import functools
import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# Dense tensor-core peaks from the vendors' data sheets, in TFLOP/s: (bfloat16 / float16, float32 as TF32 if any).
# The first name contained in the device's name counts, so longer names come first. GeForce: with float32 accumulation.
PEAK_TFLOPS = {
    "GB200": (2500, 1250), "B200": (2250, 1125), "B100": (1750, 875),
    "GH200": (989, 494), "H200": (989, 494), "H100 PCIe": (756, 378), "H100 NVL": (835, 417), "H100": (989, 494),
    "H20": (148, 74), "A100": (312, 156), "A800": (312, 156), "A10G": (70, 35), "A10": (125, 62.5),
    "A40": (149.7, 74.8), "A30": (165, 82), "L40S": (362, 183), "L40": (181, 90.5), "L4": (121, 60),
    "RTX 6000 Ada": (364, 182), "RTX A6000": (154.8, 77.4),
    "RTX 5090": (209.5, 104.8), "RTX 4090": (165.2, 82.6), "RTX 3090": (71, 35.6),
    "V100": (125, 15.7), "T4": (65, 8.1),
}  # fmt: skip


def n_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" is the first of cuda, mps and cpu that is there."""
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, is_there in present.items() if is_there))
    kind, _, index = name.partition(":")
    if kind not in present or (index and not index.isdecimal()):
        raise ValueError(f"device: got {name!r}, expected auto, cpu, cuda, cuda:N or mps")
    if not present[kind] or (kind == "cuda" and int(index or 0) >= torch.cuda.device_count()):
        there = ", ".join(kind for kind, is_there in present.items() if is_there)
        raise ValueError(f"device: {name} is not available here ({there} is); use device=auto")
    return torch.device(name)


def describe() -> dict[str, Any]:
    """The machine and the versions, as JSON-able values for `environment.json`."""
    import torch

    gpus = (
        [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        if torch.cuda.is_available()
        else []
    )
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cpu": _cpu_name(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "memory_bytes": _memory_bytes(),
        "gpus": [{"name": gpu.name, "memory_bytes": gpu.total_memory} for gpu in gpus],
        "mps": torch.backends.mps.is_available(),
    }


def peak_flops(device: torch.device | str, dtype: torch.dtype) -> float:
    """FLOP/s that a perfect program could reach: a known GPU's data sheet, otherwise what a matrix product reaches."""
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for known, (half, full) in PEAK_TFLOPS.items():
            if known in name and dtype in (torch.bfloat16, torch.float16, torch.float32):
                return 1e12 * (full if dtype == torch.float32 else half)
    return _measured_flops(device, dtype, torch.get_num_threads())


def available_cores() -> int:
    """Cores that this process may use, which in a container are often fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _measured_flops(device: torch.device, dtype: torch.dtype, threads: int) -> float:
    """The best of a few products of square matrices; `threads` only tells cached measurements apart."""
    import torch

    n = 1024 if device.type == "cpu" else 4096
    a = torch.randn(n, n, device=device).to(dtype)
    synchronize = getattr(torch, device.type).synchronize
    best_s = float("inf")
    for _ in range(5):
        synchronize()
        start = time.perf_counter()
        a @ a
        synchronize()
        best_s = min(best_s, time.perf_counter() - start)
    return 2 * n**3 / best_s


def _cpu_name() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith(("model name", "Hardware")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
