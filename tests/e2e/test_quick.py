"""The first promise, as its user sees it: one command, and the model writes words and sentences of the village."""

import json
import os
import re
import subprocess
import sys

import pytest

from nanolit.village import documents

pytestmark = pytest.mark.slow


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower())


def test_quick_learns_the_village(root, tmp_path):
    environment = {**os.environ, "DATA_ROOT": str(tmp_path / "data"), "OUT_DIR": str(tmp_path / "runs")}
    environment.pop("OMP_NUM_THREADS", None)
    done = subprocess.run([sys.executable, "train.py"], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-3:]
    assert [line.split()[0] for line in last] == ["run", "validation", "next"]
    run = next((tmp_path / "runs" / "quick").iterdir())
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["metrics"]["val/bpb"] < 0.25

    known = set(words(" ".join(documents(0, "train", 0, 20_000))))
    said = subprocess.run(
        [sys.executable, "-m", "nanolit", "generate", f"model={run}", "prompt=", "n_samples=10", "seed=1"],
        cwd=root, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = words(said.stdout)
    assert len(told) > 300
    assert sum(word in known for word in told) / len(told) > 0.99
    assert (run / "tensorboard").is_dir() and any((run / "samples").iterdir())
