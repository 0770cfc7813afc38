"""Model directories: round trips, and one line for everything that can be wrong with one."""

import dataclasses
import errno
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from nanolit.models.config import GPTConfig, RopeScaling
from nanolit.models.directory import load_model, save_model
from nanolit.models.gpt import GPT

GPT2 = GPTConfig(vocab_size=31, block_size=16, n_layer=2, n_head=4, n_embd=32)
TINY = dataclasses.replace(GPT2, bigram_rows=9)  # of no family: in our own layout
MODERN = dataclasses.replace(
    TINY, norm="rmsnorm_noweight", position="rope", mlp="swiglu", n_kv_head=2, tie_embeddings=False
)
EVERYTHING = dataclasses.replace(
    *(MODERN,),
    **dict.fromkeys(
        ("layer_scalars", "value_embeddings", "smear", "backout", "head_bias", "scale_attention_branch"), True
    ),
    window_pattern="SL",
    window=5,
    attention_scale=0.3,
    norm_placement="post",
    rope_scaling=RopeScaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_block_size=8),
)


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path / "model", GPT(TINY))
    return tmp_path / "model"


@pytest.mark.parametrize("config", [GPT2, TINY, MODERN, EVERYTHING], ids=["gpt2", "tied", "modern", "everything"])
def test_round_trip_is_bit_equal_and_trains_on(tmp_path, config):
    model = GPT(config)
    save_model(tmp_path / "a", model, extra={"nanolit": {"step": 7}})
    loaded = load_model(tmp_path / "a")
    assert loaded.config == config and not loaded.training
    torch.testing.assert_close(dict(loaded.state_dict()), dict(model.state_dict()), rtol=0, atol=0)
    ids = torch.randint(0, 31, (2, 16))
    assert torch.equal(loaded(ids), model.eval()(ids))
    loaded(ids, ids).mean().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())
    save_model(tmp_path / "b", loaded, extra={"nanolit": {"step": 7}})
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_tied_weights_are_stored_once_and_stay_tied(folder):
    stored = load_file(folder / "model.safetensors")
    assert sum(31 in tensor.shape for tensor in stored.values()) == 1
    model = load_model(folder)
    ids = torch.randint(0, 31, (2, 8))
    before = model(ids)
    with torch.no_grad():
        model.token_embedding.weight[3] += torch.randn(32)  # not one number: layernorm takes its mean out
    assert ((model(ids) - before)[..., 3] != 0).all()


def test_a_dtype_can_be_asked_for(folder):
    assert {p.dtype for p in load_model(folder, dtype=torch.bfloat16).parameters()} == {torch.bfloat16}


def test_extra_is_kept_beside_the_config(tmp_path):
    save_model(tmp_path, GPT(TINY), extra={"bos_token_id": 3, "nanolit": {"step": 7}})
    about = json.loads((tmp_path / "config.json").read_text())
    assert about["nanolit"]["step"] == 7 and about["bos_token_id"] == 3
    assert about["model_type"] == "nanolit_gpt" and about["config"]["n_embd"] == 32


def change_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def change_config(folder, change):
    about = json.loads((folder / "config.json").read_text())
    change(about)
    (folder / "config.json").write_text(json.dumps(about))


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


MISTAKES = {
    "missing_tensor": (
        lambda f: change_weights(f, lambda t: t.pop("blocks.1.mlp.up.bias")),
        "blocks.1.mlp.up.bias is missing, [128] expected",
    ),
    "extra_tensor": (
        lambda f: change_weights(f, lambda t: t.update(surprise=torch.zeros(2, 3))),
        "surprise [2, 3] is unknown",
    ),
    "wrong_shape": (
        lambda f: change_weights(f, lambda t: t.update({"final_norm.weight": torch.zeros(33)})),
        "final_norm.weight is [33], [32] expected",
    ),
    "many": (  # 3 embeddings, 12 tensors in each block, 2 of the final norm; three are named
        lambda f: change_weights(f, lambda t: [t.pop(name) for name in list(t)[2:]]),
        "(and 24 more)",
    ),
    "none": (
        lambda f: change_weights(f, lambda t: t.clear()),
        "its configuration has 2 layers, and there are only 0 tensors",
    ),
    "truncated": (truncate, "model.safetensors: not a whole safetensors file"),
    "empty_file": (lambda f: (f / "model.safetensors").write_bytes(b""), "not a whole safetensors file"),
    "no_weights": (lambda f: (f / "model.safetensors").unlink(), "it has no model.safetensors; found: config.json"),
    "no_config": (lambda f: (f / "config.json").unlink(), "it has no config.json; found: model.safetensors"),
    "no_json": (lambda f: (f / "config.json").write_text("{"), "config.json: not a readable JSON file"),
    "other_family": (
        lambda f: change_config(f, lambda a: a.update(model_type="gpt3")),
        "model_type is 'gpt3'; nanolit's own are gpt2, llama, nanochat, nanolit_gpt",
    ),
    "unknown_key": (lambda f: change_config(f, lambda a: a["config"].update(n_embed=3)), "did you mean model.n_embd?"),
    "bad_value": (lambda f: change_config(f, lambda a: a["config"].update(n_embd=30)), "model.n_embd: got 30"),
    "contradiction": (
        lambda f: change_config(f, lambda a: a["config"].update(vocab_size=32)),
        "token_embedding.weight is [31, 32], [32, 32] expected",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_one_line(folder, name):
    spoil, message = MISTAKES[name]
    spoil(folder)
    with pytest.raises(ValueError) as error:
        load_model(folder)
    assert message in str(error.value) and "\n" not in str(error.value) and str(folder) in str(error.value)


TOO_LARGE = """
import resource, sys
from nanolit.models.directory import save_model
from nanolit.models.config import GPTConfig
from nanolit.models.gpt import GPT
model = GPT(GPTConfig(vocab_size=31, block_size=16, n_layer=2, n_head=4, n_embd=32))
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    save_model(sys.argv[1], model)
except OSError as error:
    print(error.errno, error.filename)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are POSIX")
def test_what_the_disk_refuses_is_an_error_of_the_system_with_the_path(tmp_path):
    done = subprocess.run([sys.executable, "-c", TOO_LARGE, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{errno.EFBIG} {tmp_path / 'model.safetensors'}"
    assert list(tmp_path.iterdir()) == []


def test_no_folder(tmp_path):
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        load_model(tmp_path / "nowhere")
