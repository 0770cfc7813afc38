"""Two processes on the CPU (gloo) do what one does: the same losses, one run folder, one order of the data."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TINY = [
    "experiment=quick",
    "data.documents=120",
    "data.val_documents=10",
    "tokenizer=byte",
    "model.n_layer=1",
    "model.n_embd=32",
    "model.n_head=2",
    "model.block_size=32",
    "batch_size=8",
    "micro_batch_size=2",
    "trainer.max_steps=40",
    "trainer.accelerator=cpu",
    "schedule.warmup_steps=0",
    "callbacks.evaluate.every_steps=10",
    "callbacks.checkpoint.every_steps=8",
    "callbacks.metrics.every_steps=1",
    "callbacks.samples.every_steps=20",
    "callbacks.samples.max_new_tokens=4",
    "logger=csv",
]
TWO = ["trainer.strategy=ddp", "trainer.devices=2"]
TIMES = ("seconds", "perf/tok_per_s", "perf/step_ms", "perf/mfu")


COMMAND = ("train.py",)
INSTALLED_COMMAND = ("-m", "nanolit", "train")


def start(
    root: Path, data_root: Path, *overrides: str, by: tuple[str, ...] = COMMAND, **environment: str
) -> subprocess.Popen:
    variables = {**os.environ, "DATA_ROOT": str(data_root), "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, *by, *TINY, *overrides]
    return subprocess.Popen(
        command, cwd=root, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen, code: int = 0) -> str:
    output = process.communicate(timeout=180)[0]
    assert process.returncode == code, output
    return output


def records(run_dir: Path) -> list[dict]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in TIMES} for line in lines]


def assert_same_curve(ours: Path, theirs: Path) -> None:
    for mine, other in zip(records(ours), records(theirs), strict=True):
        assert mine.keys() == other.keys()
        assert mine == pytest.approx(other, rel=1e-3, abs=1e-5), mine["step"]  # Muon amplifies rounding
        for key in ("train/loss", "val/loss"):
            if key in mine:
                assert mine[key] == pytest.approx(other[key], abs=1e-5), mine["step"]


@pytest.fixture(scope="module")
def one_process(root, tmp_path_factory, village_root) -> Path:
    run_dir = tmp_path_factory.mktemp("one") / "run"
    finish(start(root, village_root, f"run_dir={run_dir}"))
    return run_dir


@pytest.mark.parametrize("by", [COMMAND, INSTALLED_COMMAND])
def test_two_processes_equal_one(root, tmp_path, village_root, one_process, by):
    output = finish(start(root, village_root, *TWO, f"run_dir={tmp_path / 'run'}", by=by))
    assert "2 process(es) x 2 micro-batch(es) x 2" in output
    assert_same_curve(tmp_path / "run", one_process)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(
        path.name for path in one_process.iterdir()
    )
    assert output.count("next  ") == 1, "only the main process talks"
    assert len((tmp_path / "run" / "command.txt").read_text().splitlines()) == 1


def process_is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split(") ")[1].startswith("Z") if Path("/proc").is_dir() else False


def children(pid: int) -> list[int]:
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(line) for line in done.stdout.split()]


def test_terminated_stops_both_saves_and_goes_on_with_one(root, tmp_path, village_root, one_process):
    run_dir = tmp_path / "run"
    slower = ["callbacks.samples.every_steps=2", "callbacks.samples.max_new_tokens=30"]  # time to be interrupted in
    process = start(root, village_root, *TWO, *slower, f"run_dir={run_dir}")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (run_dir / "metrics.jsonl").exists() and len((run_dir / "metrics.jsonl").read_text().splitlines()) >= 3:
            break
        time.sleep(0.005)
    started = children(process.pid)
    process.send_signal(signal.SIGTERM)
    output = finish(process, 128 + signal.SIGTERM)
    assert "To go on from the last checkpoint: python train.py" in output
    assert started and all(process_is_gone(pid) for pid in started)
    assert json.loads((run_dir / "summary.json").read_text())["status"] == "interrupted"
    assert list((run_dir / "checkpoints").glob("*.ckpt"))
    output = finish(start(root, village_root, f"run_dir={run_dir}"))
    assert "resuming at step" in output and "1 process(es) x 4 micro-batch(es) x 2" in output
    assert_same_curve(run_dir, one_process)


def test_a_sweep_makes_a_folder_for_each_job(root, tmp_path, village_root):
    arguments = [*TWO, "trainer.max_steps=4", "seed=1,2", "--multirun"]
    finish(start(root, village_root, *arguments, OUT_DIR=str(tmp_path / "runs")))
    folders = sorted(path.parent for path in (tmp_path / "runs").rglob("config.yaml"))
    assert [folder.name for folder in folders] == ["0_seed=1", "1_seed=2"]
    assert sorted(path for path in folders[0].parent.iterdir() if path.is_dir()) == folders
    assert len(list((tmp_path / "runs").rglob("metrics.jsonl"))) == 2
    assert records(folders[0]) != records(folders[1])
