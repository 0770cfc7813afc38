"""The pipeline: parts in order, each left out where its result is there, a report at the end, and dry runs of all."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from nanolit.cli import hydra_app
from nanolit.cli.main import main
from nanolit.cli.pipeline import as_hydra_reads

SMALL = [
    "callbacks.metrics.every_steps=1",
    *("trainer=cpu", "logger=none", "callbacks.samples.n_samples=0", "batch_size=4", "model.block_size=256"),
    *("data.documents=60", "data.val_documents=5"),
]
CHATS = ["data.tasks.village_chat.size=40", "data.tasks.village_quiz.size=40", "data.tasks.village_math.size=40"]
CHATS += ["data.tasks.spelling.size=40", *(f"data.val_tasks.{n}.size=8" for n in ("village_chat", "village_quiz"))]
CHATS += [f"data.val_tasks.{n}.size=8" for n in ("village_math", "spelling")]
LATER = ["trainer=cpu", "logger=none", "batch_size=4", "trainer.max_steps=3"]
ANSWERS = ["schedule.warmup_steps=0", "rl.n_samples=2", "rl.max_new_tokens=8"]
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
        f"{{name: rl, train: {listed(['experiment=village_rl', *LATER, *ANSWERS])}}}",
    ]
    tokenizer = ["data=village_mid", *CHATS, "tokenizer.vocab_size=300", "tokenizer.specials=chat"]
    return [
        *("pipeline", "experiment=village", f"run_dir={root}/run", f"paths.data_root={root}/data"),
        f"pipeline.tokenizer={listed(tokenizer)}",
        f"pipeline.stages=[{','.join(stages)}]",
    ]


PARTS = ["tokenizer", "tokenizer_eval", "base", "mid", "mid: tasks", "sft", "rl"]


def ended_parts(root: Path) -> list[str]:
    lines = [json.loads(line) for line in (root / "run" / "seconds.jsonl").read_text().splitlines()]
    return [line["part"] for line in lines if line.get("code") == 0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("pipeline")
    assert main(command(root)) == 0
    return root


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A finished pipeline, moved elsewhere, to be spoilt."""
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def test_from_nothing_to_a_report(finished, capfd):
    run = finished / "run"
    lineage = json.loads((run / "rl" / "environment.json").read_text())["lineage"]
    assert [ancestor["stage"] for ancestor in lineage] == ["pretrain", "midtrain", "sft"]
    report = (run / "report.md").read_text()
    for title in (
        "Tokenizer training",
        "Tokenizer evaluation",
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
    assert main(command(finished)) == 0
    assert (run / "seconds.jsonl").read_text() == before
    told = capfd.readouterr()
    assert told.err.count("done already") == len(PARTS)
    assert "| village_quiz |" in told.out and f"nanolit chat model={run / 'rl'}" in told.out


def test_moved_elsewhere_it_is_still_done(copied, capfd):
    assert main(command(copied)) == 0
    assert capfd.readouterr().err.count("done already") == len(PARTS)


def changed(arguments: list[str], old: str, new: str) -> list[str]:
    assert any(old in argument for argument in arguments)
    return [argument.replace(old, new) for argument in arguments]


def test_a_score_with_other_settings_is_made_anew(copied, capfd):
    assert main(changed(command(copied), "task.spelling.size=4", "task.spelling.size=3")) == 0
    assert ended_parts(copied) == [*PARTS, "mid: tasks"]
    scores = json.loads((copied / "run" / "mid" / "eval_tasks.json").read_text())["scores"]
    assert next(score["n"] for score in scores if score["task"] == "spelling") == 3


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("model.n_embd=32", "model.n_embd=64", "base is done, with other settings: model.n_embd was 32, now 64"),
        ("trainer.max_steps=3", "trainer.max_steps=4", "trainer.max_steps was 3, now 4"),
        ("rl.n_samples=2", "rl.n_samples=4", "rl is done, with other settings: rl.n_samples was 2, now 4"),
        ("tokenizer.vocab_size=300", "tokenizer.vocab_size=310", "tokenizer is done, with other settings: tokenizer"),
    ],
)
def test_runs_of_other_settings_are_not_taken_for_these(copied, capfd, old, new, told):
    before = (copied / "run" / "seconds.jsonl").read_text()
    assert main(changed(command(copied), old, new)) == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert told in error and "another run_dir" in error
    assert (copied / "run" / "seconds.jsonl").read_text() == before, "and nothing was begun"


def test_what_came_from_an_unfinished_stage_is_not_kept(copied, capfd):
    (copied / "run" / "mid" / "summary.json").unlink()
    assert main(command(copied)) == 2
    assert "sft is there, but mid, from which it came, is not finished; remove" in capfd.readouterr().err


def test_what_a_later_part_will_miss_is_told_first(tmp_path, capfd):
    arguments = changed(command(tmp_path), "max_new_tokens=8", "max_new_token=8")
    assert main(arguments) == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert "max_new_token: no such setting; did you mean max_new_tokens?" in error
    quiz = (
        "data.tasks.village_quiz._target_=nanolit.tasks.custom_json.CustomJSON', '+data.tasks.village_quiz.path=a.jsonl"
    )
    arguments = changed(command(tmp_path), "data.tasks.village_math.size=40", quiz)
    assert main(arguments) == 2
    assert "data.tasks.village_quiz.path: there is no a.jsonl; put it there" in capfd.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run" / "seconds.jsonl").exists()


class Begun:
    """The pipeline in a process and session of its own. It tells a file, which no death of ours takes away from it."""

    def __init__(self, root: Path, base_steps: int = 3) -> None:
        self.log = root / f"log_{len(list(root.glob('log_*')))}.txt"
        arguments = [sys.executable, "-m", "nanolit", *command(root, base_steps)]
        with self.log.open("w") as file:
            self.process = subprocess.Popen(arguments, start_new_session=True, stdout=file, stderr=file)

    def wait_for(self, pattern: str) -> None:
        while not re.search(pattern, self.log.read_text()):
            assert self.process.poll() is None, f"it ended without saying {pattern}: {self.log.read_text()}"
            time.sleep(0.05)

    def kill(self, stop: signal.Signals, is_whole_group: bool = True) -> None:
        if self.process.poll() is None:
            (os.killpg if is_whole_group else os.kill)(self.process.pid, stop)
            assert self.process.wait(60) not in (0, None)


def weights(root: Path, stage: str) -> dict[str, torch.Tensor]:
    newest = sorted((root / "run" / stage / "checkpoints").glob("*.ckpt"))[-1]
    return torch.load(newest, weights_only=True)["state_dict"]


@pytest.mark.slow
def test_killed_anywhere_it_goes_on(finished, tmp_path):
    """Killed as each part begins and once more a moment later, it ends with the very weights and scores of the
    pipeline that was left alone.
    """
    for part in PARTS:
        for seconds in (0, 3):
            begun = Begun(tmp_path)
            begun.wait_for(rf"\] {part}: (nanolit|done)")  # done, if the moment before was enough
            time.sleep(seconds)
            begun.kill(signal.SIGKILL)
    assert subprocess.run([sys.executable, "-m", "nanolit", *command(tmp_path)]).returncode == 0
    for stage in ("base", "mid", "sft", "rl"):
        ours, theirs = weights(tmp_path, stage), weights(finished, stage)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs), stage
    ours, theirs = (json.loads((root / "run/mid/eval_tasks.json").read_text()) for root in (tmp_path, finished))
    assert ours["scores"] == theirs["scores"]


@pytest.mark.slow
def test_of_a_killed_pipeline_nothing_goes_on_alone(tmp_path):
    """Only the pipeline is killed: its stage saves and ends, and the same command, given at once, waits for it."""
    for stop, is_whole_group in ((signal.SIGINT, True), (signal.SIGKILL, False)):
        begun = Begun(tmp_path, base_steps=400)
        begun.wait_for(r"step \d+/400")
        begun.kill(stop, is_whole_group)
    begun = Begun(tmp_path, base_steps=400)
    begun.wait_for("resuming at step")
    begun.kill(signal.SIGTERM, is_whole_group=False)
    summary = json.loads((tmp_path / "run" / "base" / "summary.json").read_text())
    assert summary["status"] != "finished"
    records = [json.loads(line) for line in (tmp_path / "run/base/metrics.jsonl").read_text().splitlines()]
    steps = [record["step"] for record in records if "train/loss" in record]
    assert steps == sorted(set(steps)), "two of them would have written the same steps"


@pytest.mark.parametrize("name", hydra_app.option_names("pipeline"))
def test_a_dry_run_composes_every_stage(name, tmp_path, capsys):
    arguments = [f"experiment={name}", "pipeline.dry_run=true", f"run_dir={tmp_path / 'run'}"]
    assert main(["pipeline", *arguments]) == 0
    out = capsys.readouterr().out
    assert "FLOPs" in out and "about" in out and out.count("nanolit train") >= 3
    assert not (tmp_path / "run").exists(), "nothing is made"


def planned(name: str, root: Path, capsys, *more: str) -> str:
    assert main(["pipeline", f"experiment={name}", "pipeline.dry_run=true", f"run_dir={root / 'run'}", *more]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("name", "n_steps"), [("speedrun_d20", 21_400), ("run1000_d32", 71_680)])
def test_the_horizon_is_nanochats(name, n_steps, tmp_path, capsys):
    """Twenty tokens for each parameter, in steps of 524,288."""
    out = planned(name, tmp_path, capsys)
    assert f"stage pretrain, {n_steps:,} steps, {n_steps * 524_288:,} tokens" in out
    assert "missing: base: core: task.core.path: there is no eval_bundle; give pipeline.core_bundle=FOLDER" in out
    assert "missing: mid: data.tasks.identity.path: there is no identity_conversations.jsonl; put it there" in out


def test_a_plan_adds_up(tmp_path, capsys):
    """Six operations for each parameter that is multiplied and token, and attention's; half the time on two GPUs."""
    out = planned("village", tmp_path, capsys, "pipeline.machine=1xH100", "pipeline.until=base")
    told = re.search(r"150 steps, ([\d,]+) tokens, ([\d.e+]+) FLOPs", out)
    tokens, flops = int(told[1].replace(",", "")), float(told[2])
    assert tokens == 150 * 16 * 256
    matrices = 4 * 12 * 128**2 + 2048 * 128
    assert 6 * matrices * tokens < flops < 1.4 * 6 * matrices * tokens
    long = ["pipeline.training=[trainer.max_steps=10000000]", "pipeline.until=base"]
    one, two = (planned("village", tmp_path, capsys, f"pipeline.machine={n}xH100", *long) for n in (1, 2))
    seconds = [
        sum(int(n) * u for n, u in zip(re.search(r"about (\d+) min (\d+) s", out).groups(), (60, 1), strict=True))
        for out in (one, two)
    ]
    assert seconds[0] == pytest.approx(2 * seconds[1], abs=2)
    assert seconds[0] == pytest.approx(flops / 150 * 1e7 / (0.4 * 989e12), rel=0.02)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["experiment=villag"], "did you mean village?"),
        (["pipeline.until=sfft"], "pipeline.until: got sfft, allowed: base, mid, choices, sft, rl"),
        (["pipeline.machine=fast"], "pipeline.machine: got fast"),
        (["pipeline.stages=[]"], "pipeline.stages: got []"),
        (["trainer.max_steps=5"], "is no setting of a pipeline; for all its training stages give pipeline.training=["),
        (["model.n_layer=2"], "model.n_layer: is no setting of a pipeline"),
        (["pipeline.trainin=[]"], "did you mean pipeline.training?"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_faults_are_one_line(more, told, tmp_path, capsys):
    assert main(["pipeline", "experiment=village", *more, f"run_dir={tmp_path / 'run'}"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and told in error


def test_settings_in_a_list_need_no_quotes():
    given = "pipeline.training=[trainer=ddp, trainer.devices=8,data.tasks.x.names=[a,b]]"
    wanted = "pipeline.training=['trainer=ddp','trainer.devices=8','data.tasks.x.names=[a,b]']"
    assert as_hydra_reads(["experiment=village", given]) == ["pipeline=village", wanted]
    for untouched in ("pipeline.training=[]", "pipeline.training=['a=1']", "pipeline.until=sft", "run_dir=[x]"):
        assert as_hydra_reads([untouched]) == [untouched]
