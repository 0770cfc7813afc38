"""The second promise: killed anywhere, the same command goes on, and the loss curve is bit-equal to one never
interrupted.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

MAX_STEPS = 120
OVERRIDES = [
    "experiment=quick",
    "data.documents=300",
    "data.val_documents=20",
    "model.n_layer=2",
    "model.n_embd=64",
    "model.n_head=2",
    "model.block_size=64",
    "model.dropout=0.1",
    "batch_size=12",
    "micro_batch_size=4",
    f"trainer.max_steps={MAX_STEPS}",
    "trainer.accelerator=cpu",
    "callbacks.checkpoint.every_steps=7",
    "callbacks.evaluate.every_steps=20",
    "callbacks.metrics.every_steps=3",
    "callbacks.samples.every_steps=50",
    "callbacks.samples.max_new_tokens=8",
    "callbacks.samples.n_samples=1",
    "logger=csv",
]
TIMES = ("seconds", "perf/tok_per_s", "perf/step_ms", "perf/mfu")


def start(root: Path, run_dir: Path, data_root: Path, *extra: str) -> subprocess.Popen:
    environment = {**os.environ, "DATA_ROOT": str(data_root), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    own_data = any(override.startswith("data=") for override in extra)
    overrides = [override for override in OVERRIDES if not (own_data and override.startswith("data."))]
    command = [sys.executable, "train.py", *overrides, f"run_dir={run_dir}", *extra]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=root, env=environment, start_new_session=True, **streams)


def records(run_dir: Path, keep_times: bool = False) -> list[dict]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if keep_times or k not in TIMES} for line in lines]


def stop_at(process: subprocess.Popen, run_dir: Path, step: int, signum: int) -> str:
    """Send the signal, as a terminal and a scheduler do to the whole group, once the run has recorded `step`; its
    output.
    """
    path = run_dir / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        text = path.read_text() if path.exists() else ""
        steps = [json.loads(line)["step"] for line in text.splitlines() if line.endswith("}")]
        if steps and steps[-1] >= step:
            break
        time.sleep(0.002)
    if process.poll() is None:
        os.killpg(process.pid, signum)
    return process.communicate(timeout=120)[0]


def finish(process: subprocess.Popen) -> str:
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    return output


def model_bytes(run_dir: Path) -> bytes:
    return (run_dir / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(root, tmp_path_factory, village_root) -> Path:
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    finish(start(root, run_dir, village_root))
    return run_dir


def test_killed_terminated_and_interrupted_equals_uninterrupted(root, tmp_path, village_root, uninterrupted):
    chance = random.Random()
    steps = sorted(chance.sample(range(8, MAX_STEPS - 15), 3))
    print("interrupted at", steps)  # shown when the test fails
    run_dir = tmp_path / "run"

    process = start(root, run_dir, village_root)
    stop_at(process, run_dir, steps[0], signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    saved = sorted((run_dir / "checkpoints").glob("*.ckpt"))
    assert saved, "kill -9 after the first cadence loses at most the steps since the last checkpoint"

    process = start(root, run_dir, village_root, "data.loader.num_workers=1")
    output = stop_at(process, run_dir, steps[1], signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert "To go on from the last checkpoint: python train.py" in output and f"run_dir={run_dir}" in output
    assert json.loads((run_dir / "summary.json").read_text())["status"] == "interrupted"

    process = start(root, run_dir, village_root)
    output = stop_at(process, run_dir, steps[2], signal.SIGINT)
    assert process.returncode == 128 + signal.SIGINT, output

    output = finish(start(root, run_dir, village_root))
    assert "resuming at step" in output
    assert records(run_dir) == records(uninterrupted)
    assert model_bytes(run_dir) == model_bytes(uninterrupted)
    csv_rows = (run_dir / "csv" / "metrics.csv").read_text().splitlines()
    assert len(csv_rows) == len((uninterrupted / "csv" / "metrics.csv").read_text().splitlines())
    seconds = [record["seconds"] for record in records(run_dir, keep_times=True)]
    assert seconds == sorted(seconds)

    again = finish(start(root, run_dir, village_root))
    assert "finished already" in again


def test_another_number_of_micro_batches_and_workers_gives_the_same_curve(root, tmp_path, village_root, uninterrupted):
    """Half the run with other micro-batches and loader processes. Data are identical; sums differ by rounding only.

    Dropout masks belong to a micro-batch, so this comparison is made without dropout.
    """
    whole, split = tmp_path / "whole", tmp_path / "split"
    no_dropout = ["model.dropout=0.0", "trainer.max_steps=40", "callbacks.evaluate.every_steps=40"]
    finish(start(root, whole, village_root, *no_dropout))
    process = start(root, split, village_root, *no_dropout, "micro_batch_size=12", "data.loader.num_workers=2")
    stop_at(process, split, 12, signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    finish(start(root, split, village_root, *no_dropout, "micro_batch_size=2"))
    for ours, theirs in zip(records(split), records(whole), strict=True):
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert ours[key] == pytest.approx(theirs[key], rel=2e-3), key  # Muon amplifies rounding


SERVED = {  # the ways in which rows are served, besides windows of the village
    "encoded on the fly": ["data=text", "data.on_the_fly=true", "data.split=document"],
    "packed": ["data=text", "data.split=document", "data.loader.packing=best_fit", "data.loader.mask_documents=true"],
    "conversations": ["data=conversations"],
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    draw = random.Random(5)
    with path.open("w") as file:
        for _ in range(1500):
            a, b = draw.randrange(100), draw.randrange(100)
            question, answer = f"What is {a} and {b}?", f"It is {a + b}, said the miller."
            file.write(json.dumps({"prompt": question, "completion": answer, "text": f"{question} {answer}"}) + "\n")
    return path


@pytest.mark.parametrize(
    "how", [pytest.param(how, marks=[] if how == "encoded on the fly" else pytest.mark.slow) for how in SERVED]
)
def test_other_rows_resume_as_exactly(root, tmp_path, rows, how):
    """Killed, and gone on with as other micro-batches and with loader workers."""
    ignored = ["data.ignore_keys=[text]"] if how == "conversations" else []
    settings = [
        *SERVED[how],
        *ignored,
        f"data.source={rows}",
        "tokenizer=byte",
        "trainer.max_steps=40",
        "model.dropout=0.0",
    ]
    data_root = tmp_path / "data"
    finish(start(root, tmp_path / "whole", data_root, *settings))
    stop_at(start(root, tmp_path / "run", data_root, *settings), tmp_path / "run", 20, signal.SIGKILL)
    finish(start(root, tmp_path / "run", data_root, *settings, "data.loader.num_workers=2"))
    assert records(tmp_path / "run") == records(tmp_path / "whole")
    assert model_bytes(tmp_path / "run") == model_bytes(tmp_path / "whole")


def test_a_run_does_not_go_on_with_other_text(root, tmp_path, rows):
    """What is encoded on the fly has no tokens yet that could differ: the text itself is compared."""
    text = tmp_path / "rows.jsonl"
    text.write_bytes(rows.read_bytes())
    settings = [*SERVED["encoded on the fly"], f"data.source={text}", "tokenizer=byte", "trainer.max_steps=8"]
    finish(start(root, tmp_path / "run", tmp_path / "data", *settings))
    with text.open("a") as file:
        file.write('{"text": "one more"}\n')
    process = start(root, tmp_path / "run", tmp_path / "data", *settings, "trainer.max_steps=12")
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 2 and "differ from those in" in told, told
