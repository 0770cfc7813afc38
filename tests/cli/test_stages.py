"""Midtraining and fine-tuning on tasks, from a parent: rates, moments, an interruption, a parent that cannot chat."""

import json
from pathlib import Path

import pytest
import torch

from nanolit.cli.main import main

SMALL = [
    *("model.n_layer=1", "model.n_embd=32", "model.n_head=2", "model.block_size=256", "tokenizer=bpe_chat"),
    *("tokenizer.vocab_size=300", "data.documents=60", "data.val_documents=5"),
]
HOW = ["trainer=cpu", "logger=none", "callbacks.samples.n_samples=0", "batch_size=4", "callbacks.metrics.every_steps=1"]
TASKS = [
    *("data=tasks", "+task@data.tasks.quiz=village_quiz", "data.tasks.quiz.split=train", "data.tasks.quiz.size=60"),
    *("+task@data.tasks.math=village_math", "data.tasks.math.split=train", "data.tasks.math.size=60"),
    *("+task@data.val_tasks.quiz=village_quiz", "data.val_tasks.quiz.size=10"),
]
TIMES = ("seconds", "perf/tok_per_s", "perf/step_ms", "perf/mfu")


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("stages")
    more = [f"run_dir={root}/base", f"paths.data_root={root}/data", "trainer.max_steps=4"]
    assert main(["train", "experiment=village_base", *SMALL, *HOW, *more]) == 0
    return root / "base"


def stage(name: str, parent: Path, run_dir: Path, *more: str, steps: int = 6) -> int:
    where = [f"run_dir={run_dir}", f"parent={parent}", f"paths.data_root={parent.parent}/data"]
    shape = ["schedule=constant", "schedule.warmup_steps=0", "optimizer=muon_small", f"trainer.max_steps={steps}"]
    shape += ["~schedule.cooldown_fraction"] if name == "midtrain" else []  # of its recipe's wsd
    return main(["train", f"stage={name}", *TASKS, *HOW, *shape, *where, "init_lr_frac=0.5", *more])


def newest(run: Path) -> dict:
    return torch.load(sorted((run / "checkpoints").glob("*.ckpt"))[-1], weights_only=True)


def records(run: Path) -> list[dict]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


@pytest.mark.parametrize("name", ["midtrain", "sft"])
def test_a_stage_goes_on_bit_for_bit(parent, tmp_path, name):
    assert stage(name, parent, tmp_path / "whole") == 0
    assert stage(name, parent, tmp_path / "cut", steps=3) == 0
    assert stage(name, parent, tmp_path / "cut") == 0
    losses = [[line for line in records(tmp_path / run) if "train/loss" in line] for run in ("whole", "cut")]
    assert losses[0] == losses[1]
    whole, cut = newest(tmp_path / "whole")["state_dict"], newest(tmp_path / "cut")["state_dict"]
    assert all(torch.equal(whole[key], cut[key]) for key in whole)


def test_a_fraction_of_the_rates(parent, tmp_path):
    """The first step has that fraction of each of the optimizer's rates, whatever they are."""
    rates = []
    for fraction in (1.0, 0.5):
        run = tmp_path / str(fraction)
        assert stage("sft", parent, run, f"init_lr_frac={fraction}", steps=1) == 0
        groups = newest(run)["optimizer_states"][0]["param_groups"]
        rates.append({group["name"]: group["lr"] for group in groups})
    assert rates[0]["block matrices"] == pytest.approx(0.016) and rates[0]["head"] == pytest.approx(0.01)
    assert rates[1] == pytest.approx({name: rate / 2 for name, rate in rates[0].items()})


def test_moments_are_the_parents_or_new(parent, tmp_path):
    """With a rate of nothing, after one step: what Muon's momentum holds is the parent's, faded, plus this gradient."""
    before = newest(parent)["optimizer_states"][0]["state"]
    after = {}
    for state in ("kept", "fresh"):
        assert stage("sft", parent, tmp_path / state, f"optimizer_state={state}", "init_lr_frac=1e-9", steps=1) == 0
        after[state] = newest(tmp_path / state)["optimizer_states"][0]["state"]
    seen = 0
    for key, moments in before.items():
        if "step" in moments:
            assert after["kept"][key]["step"] == moments["step"] + 1 and after["fresh"][key]["step"] == 1
            for name, beta in (("exp_avg", 0.8), ("exp_avg_sq", 0.95)):
                kept, fresh = after["kept"][key][name], after["fresh"][key][name]
                torch.testing.assert_close(kept - fresh, beta * moments[name], rtol=1e-4, atol=1e-6)
                seen += 1
    assert seen >= 4


@pytest.mark.parametrize("name", ["midtrain", "sft"])
def test_a_parent_without_chat_tokens_is_refused(base_model, tmp_path, capsys, name, parent):
    where = [f"run_dir={tmp_path / 'run'}", f"parent={base_model}", f"paths.data_root={parent.parent}/data"]
    assert main(["train", f"stage={name}", *TASKS, *HOW, *where]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "chat tokens" in errors[0]
    assert not (tmp_path / "run" / "checkpoints").exists()
