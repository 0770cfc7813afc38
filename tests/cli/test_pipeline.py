"""The pipeline: parts in order, each left out where its result is there, a report at the end, and dry runs of all."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nanolit.cli import hydra_app
from nanolit.cli.main import main

SMALL = [
    *("trainer=cpu", "logger=none", "callbacks.samples.n_samples=0", "batch_size=4", "model.block_size=256"),
    *("data.documents=60", "data.val_documents=5"),
]
CHATS = ["data.tasks.village_chat.size=40", "data.tasks.village_quiz.size=40", "data.tasks.village_math.size=40"]
CHATS += ["data.tasks.spelling.size=40", *(f"data.val_tasks.{n}.size=8" for n in ("village_chat", "village_quiz"))]
CHATS += [f"data.val_tasks.{n}.size=8" for n in ("village_math", "spelling")]
LATER = ["trainer=cpu", "logger=none", "batch_size=4", "trainer.max_steps=3"]
ASKED = ["tasks=[village_quiz,spelling]", "task.village_quiz.size=6", "task.spelling.size=4", "max_new_tokens=8"]


def listed(settings: list[str]) -> str:
    return "[" + ",".join(f"'{setting}'" for setting in settings) + "]"


def command(root: Path, base_steps: int = 3) -> list[str]:
    base = ["experiment=village_base", *SMALL, "model.n_layer=1", "model.n_embd=32", f"trainer.max_steps={base_steps}"]
    mid = listed(["experiment=village_mid", *CHATS, *LATER])
    stages = [
        f"{{name: base, train: {listed([*base, 'callbacks.checkpoint.every_steps=2'])}}}",
        f"{{name: mid, train: {mid}, evaluate: {{tasks: {listed(ASKED)}}}}}",
        f"{{name: sft, train: {listed(['experiment=village_sft', *CHATS, *LATER])}}}",
        f"{{name: rl, train: {listed(['experiment=village_rl', *LATER, 'rl.n_samples=2', 'rl.max_new_tokens=8'])}}}",
    ]
    tokenizer = ["data=village_mid", *CHATS, "tokenizer.vocab_size=300", "tokenizer.specials=chat"]
    return [
        *("pipeline", "experiment=village", f"run_dir={root}/run", f"paths.data_root={root}/data"),
        f"pipeline.tokenizer={listed(tokenizer)}",
        f"pipeline.stages=[{','.join(stages)}]",
    ]


def test_from_nothing_to_a_report(tmp_path, capfd):
    assert main(command(tmp_path)) == 0
    out = capfd.readouterr().out
    run = tmp_path / "run"
    assert "| village_quiz |" in out and f"nanolit chat model={run / 'rl'}" in out and "report.html" in out
    lineage = json.loads((run / "rl" / "environment.json").read_text())["lineage"]
    assert [ancestor["stage"] for ancestor in lineage] == ["pretrain", "midtrain", "sft"]
    report = (run / "report.md").read_text()
    for title in (
        "Tokenizer training",
        "Base model training",
        "Midtraining",
        "SFT",
        "Reinforcement learning",
        "Summary",
    ):
        assert f"## {title}" in report
    page = (run / "report.html").read_text()
    assert "<svg" in page and "http" not in page.replace("http-equiv", "")
    # Again: nothing is done twice.
    before = (run / "seconds.jsonl").read_text()
    assert main(command(tmp_path)) == 0
    assert (run / "seconds.jsonl").read_text() == before
    assert capfd.readouterr().err.count("done already") == 6


@pytest.mark.slow
def test_killed_anywhere_it_goes_on(tmp_path):
    """Interrupted in the middle of a stage, killed in the next: the same command ends as if nothing had been."""
    arguments = [sys.executable, "-m", "nanolit", *command(tmp_path, base_steps=400)]
    for stop in (signal.SIGINT, signal.SIGKILL):
        process = subprocess.Popen(arguments, start_new_session=True, stderr=subprocess.PIPE, text=True)
        seen = ""
        while "step 1" not in seen and "step 2" not in seen:
            seen = process.stderr.readline()
        time.sleep(1)
        os.killpg(process.pid, stop)
        process.stderr.close()
        assert process.wait(60) not in (0, None)
    assert not (tmp_path / "run" / "report.md").exists()
    assert subprocess.run(arguments).returncode == 0
    parts = [json.loads(line) for line in (tmp_path / "run" / "seconds.jsonl").read_text().splitlines()]
    assert [part["part"] for part in parts if part["code"] == 0] == [
        "tokenizer",
        "base",
        "mid",
        "mid: tasks",
        "sft",
        "rl",
    ]
    summary = json.loads((tmp_path / "run" / "base" / "summary.json").read_text())
    assert summary["status"] == "finished" and summary["step"] == 400


@pytest.mark.parametrize("name", hydra_app.option_names("pipeline"))
def test_a_dry_run_composes_every_stage(name, tmp_path, capsys):
    arguments = [f"experiment={name}", "pipeline.dry_run=true", f"run_dir={tmp_path / 'run'}"]
    assert main(["pipeline", *arguments]) == 0
    out = capsys.readouterr().out
    assert "FLOPs" in out and "about" in out and out.count("nanolit train") >= 3
    assert not (tmp_path / "run").exists(), "nothing is made"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["experiment=villag"], "did you mean village?"),
        (["pipeline.until=sfft"], "pipeline.until: got sfft, allowed: base, mid, choices, sft, rl"),
        (["pipeline.machine=fast"], "pipeline.machine: got fast"),
        (["pipeline.stages=[]"], "pipeline.stages: got []"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_faults_are_one_line(more, told, tmp_path, capsys):
    assert main(["pipeline", "experiment=village", *more, f"run_dir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and told in error
