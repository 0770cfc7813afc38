"""How long a command takes to answer, each in a fresh process: help, the import of nanolit, and the first training
step of the quick run on data that is prepared already.

    python benchmarks/startup.py [repeats=5] [data_root=DIR]

Promise, on a warm disk: help within 1 second, the first step within 10 seconds of the command. A first step is done
when metrics.jsonl has its record.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from reporting import Row, read_arguments, report, stop

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 300
FAST = {
    "nanolit --help": ["-m", "nanolit", "--help"],
    "python train.py --help": ["train.py", "--help"],
    "nanolit generate --help": ["-m", "nanolit", "generate", "--help"],
    "import nanolit": ["-c", "import nanolit"],
    "for comparison: import torch": ["-c", "import torch"],
    "for comparison: import lightning": ["-c", "import lightning.pytorch"],
}


@dataclass(frozen=True)
class Arguments:
    repeats: int = 5
    data_root: str | None = (
        None  # where the village is prepared already; None: it is prepared first, in a temporary folder
    )


def seconds_to_end(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def seconds_to_first_step(run_dir: Path, data_root: Path) -> float:
    """The process is ended as soon as the first record is there."""
    overrides = [f"run_dir={run_dir}", f"paths.data_root={data_root}", "callbacks.metrics.every_steps=1"]
    records, log = run_dir / "metrics.jsonl", run_dir.with_suffix(".log")
    with log.open("w") as output:
        started = time.perf_counter()
        process = subprocess.Popen([sys.executable, "train.py", *overrides], cwd=ROOT, stdout=output, stderr=output)
        try:
            while not (records.exists() and records.stat().st_size):
                if process.poll() is not None or time.perf_counter() - started > TIMEOUT_S:
                    stop(f"the quick run came to no first step (exit code {process.poll()}): {log.read_text()[-1000:]}")
                time.sleep(0.005)
            return time.perf_counter() - started
        finally:
            process.kill()
            process.wait()


def main() -> None:
    arguments = read_arguments(Arguments, __doc__)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data_root = Path(arguments.data_root) if arguments.data_root else folder / "data"
        seconds_to_first_step(folder / "warmup", data_root.absolute())  # prepares the data and reads the packages once
        times: dict[str, list[float]] = {name: [] for name in [*FAST, "first step of the quick run"]}
        for i in range(arguments.repeats):
            for name, command in FAST.items():
                times[name].append(seconds_to_end(command))
            times["first step of the quick run"].append(seconds_to_first_step(folder / str(i), data_root.absolute()))
    limits = {"first step of the quick run": "<= 10"} | {name: "<= 1" for name in FAST if "--help" in name}
    rows = [Row(name, "s", values, limits.get(name, "")) for name, values in times.items()]
    report("startup", rows, {"load average": os.getloadavg()[0]} if hasattr(os, "getloadavg") else {})


if __name__ == "__main__":
    main()
