"""What all tests share: no network, one thread, and where real data lies if it is there."""

import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture
def tiny_shakespeare() -> Path:
    path = SHARED_DATA / "tinyshakespeare" / "input.txt"
    if not path.exists():
        pytest.skip(f"needs tiny Shakespeare at {path}")
    return path


@pytest.fixture(scope="session")
def village_root(tmp_path_factory) -> Path:
    """A DATA_ROOT shared by the tests of this process, so that the small village is prepared once."""
    return tmp_path_factory.mktemp("data_root")


@pytest.fixture
def tiktoken_cache(tmp_path, monkeypatch) -> Path:
    """Copies of tiktoken's files: tiktoken deletes a file that it finds wrong."""
    origin = SHARED_DATA / "tiktoken_cache"
    if not origin.exists():
        pytest.skip(f"needs tiktoken's files at {origin}")
    cache = tmp_path / "tiktoken_cache"
    cache.mkdir()
    for file in origin.iterdir():
        (cache / file.name).write_bytes(file.read_bytes())
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
    return cache


def _nanogpt_checkpoint(
    n_layer=2, n_head=4, n_embd=32, block_size=24, vocab_size=61, bias=True, prefix="", tied=True, optimizer=True
) -> dict[str, Any]:
    """What nanoGPT's train.py saves, at random: the keys, names and shapes of its model.py and train.py."""
    import torch

    C = n_embd
    shapes = {"wte.weight": (vocab_size, C), "wpe.weight": (block_size, C), "ln_f": (C,)}
    for i in range(n_layer):
        shapes |= {f"h.{i}.ln_1": (C,), f"h.{i}.attn.c_attn": (3 * C, C), f"h.{i}.attn.c_proj": (C, C)}
        shapes |= {f"h.{i}.ln_2": (C,), f"h.{i}.mlp.c_fc": (4 * C, C), f"h.{i}.mlp.c_proj": (C, 4 * C)}
    state = {}
    for name, shape in shapes.items():
        weight = torch.randn(shape) * 0.2 if len(shape) > 1 else 1 + 0.2 * torch.randn(shape)
        state[name if name.endswith("weight") else f"{name}.weight"] = weight
        if bias and not name.endswith("weight"):
            state[f"{name}.bias"] = torch.randn(shape[0]) * 0.2
    state = {f"{prefix}transformer.{name}": tensor for name, tensor in state.items()}
    embedding = state[f"{prefix}transformer.wte.weight"]
    state[f"{prefix}lm_head.weight"] = embedding if tied else torch.randn(vocab_size, C) * 0.2
    args = {"n_layer": n_layer, "n_head": n_head, "n_embd": n_embd, "block_size": block_size}
    checkpoint = {
        "model": state,
        "model_args": {**args, "bias": bias, "vocab_size": vocab_size, "dropout": 0.0},
        "iter_num": 250,
        "best_val_loss": torch.tensor(1.25),
        "config": {"out_dir": "out", "learning_rate": 1e-3, "compile": True, "dataset": "shakespeare_char"},
    }
    if optimizer:  # the second group are vectors; moments are as large as the weights
        n_vectors = sum(tensor.dim() < 2 for tensor in state.values())
        groups = [list(range(4 * n_layer + 2)), list(range(4 * n_layer + 2, 4 * n_layer + 2 + n_vectors))]
        moments = {0: {"step": torch.tensor(250.0), "exp_avg": torch.zeros_like(embedding)}}
        checkpoint["optimizer"] = {"state": moments, "param_groups": [{"lr": 1e-3, "params": g} for g in groups]}
    return checkpoint


@pytest.fixture
def nanogpt_checkpoint():
    return _nanogpt_checkpoint


@pytest.fixture(scope="session")
def small_run(village_root) -> list[str]:
    """Settings of a run that takes a second: a little of the village in bytes, and four steps. It names no model."""
    return [
        *("data=village", "data.documents=60", "data.val_documents=6", f"paths.data_root={village_root}"),
        *("batch_size=4", "trainer.max_steps=4", "trainer.accelerator=cpu", "schedule.warmup_steps=0", "logger=none"),
        *("callbacks.evaluate.every_steps=2", "callbacks.checkpoint.every_steps=2", "callbacks.metrics.every_steps=1"),
        *("callbacks.samples.every_steps=4", "callbacks.samples.max_new_tokens=6"),
    ]
