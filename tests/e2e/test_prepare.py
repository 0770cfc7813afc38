"""Real preparations in several processes, killed at any moment."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nanolit.data.config import DataConfig
from nanolit.data.preparation.prepare import prepare
from nanolit.tokenizers.directory import TokenizerConfig

WORDS = ["the", "a", "miller", "goat", "river", "counts", "sings", "seven", "old", "and", "then", "12", "345"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """20 MB of rows: enough that several processes are worth it."""
    path = tmp_path_factory.mktemp("corpus") / "rows.jsonl"
    draw = random.Random(1)
    lines = [" ".join(draw.choices(WORDS, k=60)) for _ in range(2000)]
    with path.open("w") as file:
        for i in range(62_000):
            file.write(f'{{"text": "{i} {lines[draw.randrange(2000)]}"}}\n')
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def start(corpus: Path, root: Path) -> subprocess.Popen:
    settings = ["data=text", f"data.source={corpus}", "data.shard_bytes=1000000", "tokenizer=byte", "prepare.workers=2"]
    command = [sys.executable, "-m", "nanolit", "prepare", *settings, f"paths.data_root={root}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def children(pid: int) -> set[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return {int(child) for child in path.read_text().split()} if path.exists() else set()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_killed_again_and_again_it_ends_with_the_same_bytes(corpus, tmp_path):
    killed = 0
    for n_receipts in (1, 6, 13):
        process = start(corpus, tmp_path / "killed")
        workers: set[int] = set()
        while process.poll() is None and len(list((tmp_path / "killed").glob("*.partial/jobs/*.json"))) < n_receipts:
            workers |= children(process.pid)
            time.sleep(0.02)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()], "workers outlived their parent"
    assert killed >= 2, "it was too fast to be killed"
    process = start(corpus, tmp_path / "killed")
    told, _ = process.communicate()
    assert process.returncode == 0 and "jobs were done before" in told, told
    data = DataConfig(name="text", kind="text", source=str(corpus), shard_bytes=1_000_000)
    whole = prepare(data, TokenizerConfig("byte"), tmp_path / "whole", n_workers=1)
    assert content(tmp_path / "killed" / whole.name) == content(whole)


def test_interrupted_it_stops_its_workers_and_says_so(corpus, tmp_path):
    process = start(corpus, tmp_path / "root")
    while process.poll() is None and not list((tmp_path / "root").glob("*.partial/jobs/*.json")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT, told
    assert told.splitlines()[-1].startswith("interrupted") and "Traceback" not in told, told


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_a_killed_worker_is_one_line_and_the_same_command_goes_on(corpus, tmp_path):
    process = start(corpus, tmp_path / "root")
    while process.poll() is None and not list((tmp_path / "root").glob("*.partial/jobs/*.json")):
        time.sleep(0.02)
    for worker in children(process.pid):  # one of them is multiprocessing's own
        os.kill(worker, signal.SIGKILL)
    told, _ = process.communicate(timeout=60)
    errors = [line for line in told.splitlines() if line.startswith("error:")]
    assert process.returncode == 2 and len(errors) == 1 and "a worker process was killed" in errors[0], told
    process = start(corpus, tmp_path / "root")
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "jobs were done before" in told, told


def test_terminated_it_says_how_to_go_on(corpus, tmp_path):
    process = start(corpus, tmp_path / "root")
    while process.poll() is None and not list((tmp_path / "root").glob("*.partial/jobs/*.json")):
        time.sleep(0.02)
    process.terminate()
    told, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM, told
    assert "the same command goes on from there" in told and "Traceback" not in told and "leaked" not in told, told
