"""docs/tasks.md is followed to the letter: its task is written down, found, asked, learnt from and rewarded."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nanolit.tasks.build import make_task
from nanolit.tasks.task import TaskMixture
from nanolit.tokenizers.messages import check

from .rendering import assert_renders, bpe, said

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tasks.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def followed(tmp_path) -> Path:
    """A folder with the two files of the page."""
    (python,), (section,) = blocks("python"), blocks("yaml")
    assert len((python + section).splitlines()) <= 40
    (tmp_path / "capitals.py").write_text(python)
    (tmp_path / "my_conf" / "task").mkdir(parents=True)
    (tmp_path / "my_conf" / "task" / "capitals.yaml").write_text(section)
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    env = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "nanolit", *arguments], cwd=folder, env=env, capture_output=True, text=True
    )


def test_its_examples_are_rendered_and_judged(followed, monkeypatch):
    monkeypatch.syspath_prepend(str(followed))
    section = yaml.safe_load((followed / "my_conf" / "task" / "capitals.yaml").read_text())
    test, train = make_task("capitals", section), make_task("capitals", section | {"split": "train", "polite": True})
    assert (len(test), len(train)) == (2, 4) and not {e.answer for e in test} & {e.answer for e in train}
    tokenizer = bpe(str(e.messages) for e in train)
    for example in (*test, *train, *TaskMixture([test, train])):
        check(list(example.messages))
        assert_renders(example, tokenizer)
    example = test[0]
    assert test.evaluate(example, said(example)) and not test.evaluate(example, "It is Rome.")
    assert test.reward(example, "Oslo") == 0.99 and test.reward(example, "I do not know") == -0.04
    with pytest.raises(ValueError, match=r"^task\.capitals\.polite: got 'very' \(str\), expected bool"):
        make_task("capitals", section | {"polite": "very"})


def test_the_page_works(followed, chat_model):
    evaluate, train = blocks("bash")[-1].strip().splitlines()
    command = evaluate.replace("runs/mine", str(chat_model)).split()[1:]
    done = run(followed, *command, "out=eval.json", "out_items=items.jsonl")
    assert done.returncode == 0, done.stderr
    (score,) = json.loads((followed / "eval.json").read_text())["scores"]
    assert score["task"] == "capitals" and score["n"] == 2 and score["extractor"] == "the name, wherever it stands"
    items = [json.loads(line) for line in (followed / "items.jsonl").read_text().splitlines()]
    asked = ["What is the capital of Norway, please?", "What is the capital of Peru, please?"]
    assert [item["messages"][0]["content"] for item in items] == asked
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
