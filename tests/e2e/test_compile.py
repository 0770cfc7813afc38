"""torch.compile changes how fast a step is, not what it computes, and leaves no trace in what is saved."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nanolit.cli.main import main
from nanolit.training.callbacks.checkpoint import newest_valid

TINY = [
    "experiment=quick",
    "data.documents=60",
    "data.val_documents=6",
    "tokenizer=byte",
    "model.n_layer=1",
    "model.n_embd=32",
    "model.n_head=2",
    "model.block_size=32",
    "batch_size=4",
    "trainer.max_steps=6",
    "trainer.accelerator=cpu",
    "schedule.warmup_steps=0",
    "callbacks.metrics.every_steps=1",
    "callbacks.samples.max_new_tokens=4",
    "logger=none",
]


def losses(run_dir: Path) -> list[float]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [line[key] for line in lines for key in ("train/loss", "val/loss") if key in line]


@pytest.mark.slow
def test_compiled_equals_eager(tmp_path, village_root):
    places = [f"paths.data_root={village_root}"]
    for name, value in (("eager", "false"), ("compiled", "true")):
        assert main(["train", *TINY, *places, f"compile={value}", f"run_dir={tmp_path / name}"]) == 0
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "eager"), rel=1e-4)
    ours, theirs = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("compiled", "eager"))
    assert ours.keys() == theirs.keys()
    states = [torch.load(newest_valid(tmp_path / name).path, weights_only=True) for name in ("compiled", "eager")]
    assert states[0]["state_dict"].keys() == states[1]["state_dict"].keys()
    assert not any("_orig_mod" in key for key in states[0]["state_dict"])
    # A run that began compiled goes on eagerly.
    assert (
        main(["train", *TINY, *places, "compile=false", "trainer.max_steps=8", f"run_dir={tmp_path / 'compiled'}"]) == 0
    )
