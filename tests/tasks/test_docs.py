"""docs/tasks.md is followed to the letter: its task is written down, found, asked, learnt from and rewarded."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tasks.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def followed(tmp_path) -> Path:
    """A folder with the two files of the page."""
    (python,), (yaml,) = blocks("python"), blocks("yaml")
    assert len((python + yaml).splitlines()) <= 40
    (tmp_path / "capitals.py").write_text(python)
    (tmp_path / "my_conf" / "task").mkdir(parents=True)
    (tmp_path / "my_conf" / "task" / "capitals.yaml").write_text(yaml)
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    import os

    env = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "nanolit", *arguments], cwd=folder, env=env, capture_output=True, text=True
    )


def test_the_page_works(followed, chat_model):
    evaluate, train = blocks("bash")[-1].strip().splitlines()
    command = evaluate.replace("runs/mine", str(chat_model)).split()[1:]
    done = run(followed, *command, "out=eval.json", "out_items=items.jsonl")
    assert done.returncode == 0, done.stderr
    (score,) = json.loads((followed / "eval.json").read_text())["scores"]
    assert score["task"] == "capitals" and score["n"] == 2 and score["extractor"] == "the name, wherever it stands"
    assert "please" in (followed / "items.jsonl").read_text() or done.stdout
    more = ["trainer=cpu", "logger=none", "trainer.max_steps=2", "batch_size=32", "run_dir=rl"]
    done = run(followed, "train", *train.replace("runs/mine", str(chat_model)).split()[2:], *more)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in (followed / "rl" / "metrics.jsonl").read_text().splitlines()]
    assert all(line["rl/reward"] <= 1 for line in told) and len(told) == 2


def test_a_name_that_is_no_task_is_one_line(followed, chat_model):
    done = run(followed, "eval", f"model={chat_model}", "tasks=[capitls]", "--config-dir", "my_conf")
    assert done.returncode == 2 and done.stderr.count("error:") == 1 and "Traceback" not in done.stderr


def test_every_task_of_conf_is_told_of():
    names = {path.stem for path in (PAGE.parents[1] / "conf" / "task").glob("*.yaml")}
    assert names <= set(re.findall(r"`(\w+)`", PAGE.read_text()))
