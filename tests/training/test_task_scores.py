"""Scores of tasks in training: those that `nanolit eval` gives, and training does not notice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nanolit.cli.main import main
from nanolit.evals.asking import AskConfig
from nanolit.evals.core import evaluate_core
from nanolit.evals.core_bundle import open_core
from nanolit.evals.score_task import score_task
from nanolit.inference.load import load
from nanolit.tasks.build import make_task

TINY = ["model.n_layer=1", "model.n_embd=32", "model.n_head=2", "model.block_size=96", "trainer=cpu"]
ASKED = [
    *("callbacks=task_scores", "+task@callbacks.task_scores.tasks.quiz=village_quiz"),
    *("+task@callbacks.task_scores.tasks.math=village_math", "callbacks.task_scores.every_steps=3"),
    *("callbacks.task_scores.n_items=7", "callbacks.task_scores.max_new_tokens=6"),
]
TIMES = ("seconds", "perf/tok_per_s", "perf/step_ms", "perf/mfu")


def train(small_run: list[str], run_dir: Path, *more: str, steps: int = 4) -> int:
    settings = ["experiment=quick", "tokenizer=byte", *TINY, *small_run, f"trainer.max_steps={steps}", *more]
    return main(["train", f"run_dir={run_dir}", *settings])


def records(run: Path) -> list[dict]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def weights(run: Path) -> dict[str, torch.Tensor]:
    newest = sorted((run / "checkpoints").glob("*.ckpt"))[-1]
    return torch.load(newest, weights_only=True)["state_dict"]


def is_score(record: dict) -> bool:
    return any(key.startswith("task/") for key in record)


@pytest.fixture(scope="module")
def asked(tmp_path_factory, small_run) -> Path:
    run = tmp_path_factory.mktemp("asked") / "run"
    assert train(small_run, run, *ASKED, "model.dropout=0.1") == 0
    return run


def test_training_does_not_notice(asked, small_run, tmp_path):
    assert train(small_run, tmp_path / "plain", "model.dropout=0.1") == 0
    assert [line for line in records(asked) if not is_score(line)] == records(tmp_path / "plain")
    ours, theirs = weights(asked), weights(tmp_path / "plain")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_scores_are_those_of_an_evaluation(asked):
    """At the cadence, and after the last step, whose weights are the run's."""
    told = [line for line in records(asked) if is_score(line)]
    assert [line["step"] for line in told] == [3, 4]
    network, tokenizer = load(asked, "cpu")
    network.load_state_dict({key.removeprefix("network."): v for key, v in weights(asked).items() if "network." in key})
    wanted = {}
    for name in ("quiz", "math"):
        task = make_task(name, {"_target_": f"nanolit.tasks.village_{name}.Village{name.title()}", "split": "test"})
        result = score_task(network, tokenizer, name, task, AskConfig(max_new_tokens=6), indices=range(7))
        wanted |= {f"task/{name}/{score.metric}": score.value for score in result.scores}
    assert {key: value for key, value in told[-1].items() if key.startswith("task/")} == wanted
    assert set(wanted) == {"task/quiz/accuracy", "task/math/strict", "task/math/lenient"}


def test_it_goes_on_as_if_nothing_had_been(asked, small_run, tmp_path):
    assert train(small_run, tmp_path / "cut", *ASKED, "model.dropout=0.1", steps=3) == 0
    assert train(small_run, tmp_path / "cut", *ASKED, "model.dropout=0.1") == 0
    steps = [(line["step"], sorted(line)) for line in records(tmp_path / "cut") if is_score(line)]
    assert [step for step, _ in steps] == [3, 4]


def test_core_and_samples_are_asked_as_an_evaluation_asks_them(small_run, tmp_path):
    asked = [
        *(
            "callbacks=task_scores",
            "+task@callbacks.task_scores.tasks.core=village_core",
            "callbacks.task_scores.n_items=3",
        ),
        *("+task@callbacks.task_scores.tasks.math=village_math", "callbacks.task_scores.at_start=true"),
        *("callbacks.task_scores.n_samples=2", "callbacks.task_scores.temperature=1", "callbacks.task_scores.seed=5"),
        "callbacks.task_scores.max_new_tokens=6",
    ]
    assert train(small_run, tmp_path / "run", *asked, "model.block_size=256", steps=2) == 0
    told = [line for line in records(tmp_path / "run") if is_score(line)]
    assert [line["step"] for line in told] == [0, 2]
    core = open_core("core", {"_target_": "nanolit.evals.core_config.CoreConfig", "bundle": "village"})
    network, tokenizer = load(tmp_path / "run", "cpu")
    stored = weights(tmp_path / "run").items()
    network.load_state_dict({key.removeprefix("network."): v for key, v in stored if "network." in key})
    found = evaluate_core(network, tokenizer, core.bundle, max_per_task=3)
    assert told[-1]["task/core/mean"] == pytest.approx(found.mean.value)
    for score in found.scores:
        assert told[-1][f"task/{score.task}/{score.metric}"] == score.value
    assert {"task/math/strict pass@1", "task/math/strict pass@2"} <= told[-1].keys()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([*ASKED, "callbacks.task_scores.n_samples=2"], "callbacks.task_scores.n_samples: got 2, at temperature=0 all"),
        (["callbacks=task_scores"], "callbacks.task_scores.tasks: names none"),
        ([*ASKED, "callbacks.task_scores.n_items=0"], "callbacks.task_scores.n_items: got 0, must be at least 1"),
        ([*ASKED, "callbacks.task_scores.every_steps=-1"], "callbacks.task_scores.every_steps: got -1"),
        ([*ASKED, "callbacks.task_scores.template=chat"], "template: got chat, but the model's tokenizer has no chat"),
        ([*ASKED, "callbacks.task_scores.tasks.quiz.splt=x"], "splt"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_cannot_be_is_one_line_before_training(small_run, tmp_path, capfd, more, told):
    assert train(small_run, tmp_path / "run", *more) == 2
    captured = capfd.readouterr().err
    lines = [line for line in captured.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and told in lines[0], captured
    assert not list((tmp_path / "run").glob("checkpoints/*.ckpt"))


@pytest.mark.slow
def test_two_processes_share_the_items(small_run, tmp_path, root):
    told = []
    for name, more in (("one", []), ("two", ["trainer.strategy=ddp", "trainer.devices=2"])):
        settings = ["experiment=quick", "tokenizer=byte", *TINY, *small_run, *ASKED, *more]
        command = [
            sys.executable,
            "train.py",
            *settings,
            f"run_dir={tmp_path / name}",
            "micro_batch_size=2",
            "trainer.max_steps=3",
        ]
        variables = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr
        told.append([line for line in records(tmp_path / name) if is_score(line)])
    assert told[0] == told[1] and len(told[0]) == 1
