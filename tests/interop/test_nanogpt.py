"""nanoGPT's checkpoints, made here as its train.py saves them, against its formulas written down once more."""

import math

import pytest
import torch
import torch.nn.functional as F

from nanolit.interop import nanogpt
from nanolit.interop.pickles import open_pickle
from nanolit.interop.sources import open_source
from nanolit.models.directory import load_model, write_model

SWITCHES = {
    "as-it-is": {},
    "compiled": {"prefix": "_orig_mod."},
    "compiled-in-ddp": {"prefix": "module._orig_mod."},
    "no-bias": {"bias": False},
    "no-bias-one-layer": {"bias": False, "n_layer": 1, "n_head": 2, "prefix": "_orig_mod."},
    "untied": {"tied": False},
    "no-optimizer": {"optimizer": False},
}


def formulas(checkpoint, ids, exact_gelu=True):
    """Logits (B,T,V) from the checkpoint alone: no class of ours or of nanoGPT."""
    w = {name.replace("_orig_mod.", "").replace("module.", ""): t for name, t in checkpoint["model"].items()}
    args, T = checkpoint["model_args"], ids.size(1)
    H, C = args["n_head"], args["n_embd"]

    def norm(x, name):
        return F.layer_norm(x, (C,), w[f"{name}.weight"], w.get(f"{name}.bias"), 1e-5)

    def linear(x, name):
        return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

    x = w["transformer.wte.weight"][ids] + w["transformer.wpe.weight"][:T]
    for i in range(args["n_layer"]):
        block = f"transformer.h.{i}"
        q, k, v = linear(norm(x, f"{block}.ln_1"), f"{block}.attn.c_attn").split(C, dim=2)
        q, k, v = (t.view(*ids.shape, H, C // H).transpose(1, 2) for t in (q, k, v))
        scores = q @ k.transpose(-2, -1) / math.sqrt(C // H)
        scores = scores.masked_fill(torch.ones(T, T).tril() == 0, float("-inf"))
        mixed = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(x.shape)
        x = x + linear(mixed, f"{block}.attn.c_proj")
        h = linear(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")
        h = 0.5 * h * (1 + torch.erf(h / math.sqrt(2))) if exact_gelu else F.gelu(h, approximate="tanh")
        x = x + linear(h, f"{block}.mlp.c_proj")
    return norm(x, "transformer.ln_f") @ w["lm_head.weight"].t()


def imported(checkpoint, tmp_path, **options):
    torch.save(checkpoint, tmp_path / "some.file", **options)
    source = open_source(tmp_path / "some.file")
    write_model(tmp_path / "model", source.config, source.tensors)
    return source, load_model(tmp_path / "model")


@torch.no_grad()
@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES)
def test_logits_are_those_of_the_formulas(nanogpt_checkpoint, tmp_path, switches):
    torch.manual_seed(0)
    checkpoint = nanogpt_checkpoint(**switches)
    source, model = imported(checkpoint, tmp_path)
    assert (source.kind, source.about) == (
        "nanoGPT checkpoint",
        {"file": "some.file", "step": 250, "val/loss": 1.25},
    )
    assert (model.head is None) == switches.get("tied", True)
    ids = torch.randint(0, 61, (3, 24))
    for length in (1, 2, 7, 24):
        expected = formulas(checkpoint, ids[:, :length])
        torch.testing.assert_close(model(ids[:, :length]), expected, rtol=0, atol=1e-4)
        assert expected.std() > 0.5, "logits this flat would hide a mistake"


@torch.no_grad()
def test_checkpoints_of_before_may_2023_compute_gelu_by_tanh(nanogpt_checkpoint, tmp_path):
    ids = torch.randint(0, 61, (3, 24))
    without_word = nanogpt_checkpoint(optimizer=False)
    del without_word["model_args"]["bias"]  # the setting is younger than these
    few_decayed = nanogpt_checkpoint()
    few_decayed["optimizer"]["param_groups"][0]["params"] = list(range(8))
    for old in (without_word, few_decayed):
        _, model = imported(old, tmp_path)
        assert model.config.bias and model.config.mlp == "gelu_tanh"
        torch.testing.assert_close(model(ids), formulas(old, ids, exact_gelu=False), rtol=0, atol=1e-5)
        assert (model(ids) - formulas(old, ids)).abs().max() > 1e-4, "the two gelus are told apart here"


def test_old_files_buffers_and_half_precision(nanogpt_checkpoint, tmp_path):
    checkpoint = nanogpt_checkpoint()
    mask = torch.ones(1, 1, 24, 24).tril()
    checkpoint["model"] |= {f"transformer.h.{i}.attn.bias": mask for i in range(2)}
    ids = torch.randint(0, 61, (1, 9))
    _, model = imported(checkpoint, tmp_path, _use_new_zipfile_serialization=False)  # as torch saved before 1.6
    torch.testing.assert_close(model(ids), formulas(checkpoint, ids), rtol=0, atol=1e-4)
    checkpoint["model"] = {name: tensor.bfloat16() for name, tensor in checkpoint["model"].items()}
    _, model = imported(checkpoint, tmp_path)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


MISTAKES = {
    "missing": (lambda c: c["model"].pop("transformer.h.1.mlp.c_fc.bias"), "h.1.mlp.c_fc.bias is missing, [128]"),
    "extra": (lambda c: c["model"].update(surprise=torch.zeros(2, 3)), "surprise [2, 3] is unknown"),
    "shape": (lambda c: c["model_args"].update(block_size=25), "transformer.wpe.weight is [24, 32], [25, 32] expected"),
    "layers": (lambda c: c["model_args"].update(n_layer=3), "transformer.h.2.ln_1.weight is missing, [32] expected"),
    "no-size": (lambda c: c["model_args"].pop("n_head"), "n_head is missing"),
    "no-sizes": (lambda c: c.update(model_args=[1]), "model_args does not say what the model is"),
    "wrong-size": (lambda c: c["model_args"].update(n_head=5), "model.n_embd: got 32"),
    "wrong-type": (lambda c: c["model_args"].update(n_head="4"), "model_args.n_head: got '4' (str), expected int"),
    "no-tensor": (lambda c: c["model"].update(a=3), "a is no tensor (int)"),
    "all-layers": (lambda c: c["model_args"].update(n_layer=10**9), "has 1000000000 layers, and there are only 2"),
    "tensor-size": (lambda c: c["model_args"].update(n_head=torch.ones(90)), "model_args.n_head: got tensor"),
    "optimizer": (lambda c: c.update(optimizer="Adam"), "optimizer: is none of PyTorch's states"),
    "groups": (lambda c: c.update(optimizer={"param_groups": [1, 2]}), "optimizer: is none of PyTorch's states"),
    "step-tensor": (lambda c: c.update(iter_num=torch.ones(1)), "iter_num: got a Tensor, expected an integer"),
    "step-set": (lambda c: c.update(iter_num={1}), "iter_num: got a set"),
    "loss-text": (lambda c: c.update(best_val_loss="good"), "best_val_loss: got a str, expected one number"),
    "loss-vector": (lambda c: c.update(best_val_loss=torch.ones(2)), "best_val_loss: got a Tensor"),
    "complex": (
        lambda c: c["model"].update(a=torch.ones(2, dtype=torch.complex64)),
        "a is no plain tensor (strided, c",
    ),
    "sparse": (lambda c: c["model"].update(a=torch.eye(2).to_sparse()), "a is no plain tensor (sparse_coo"),
    "meta": (
        lambda c: c["model"].update(a=torch.ones(2, device="meta")),
        "a is no plain tensor (strided, float32, meta",
    ),
    "quantized": (
        lambda c: c["model"].update(a=torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)),
        "a is no plain tensor (strided, qint8",
    ),
    "int64": (lambda c: c["model"].update({"transformer.ln_f.weight": torch.arange(32)}), "is int64, a floating type"),
    "twice": (lambda c: c["model"].update({"_orig_mod.transformer.ln_f.weight": torch.ones(32)}), "are the same name"),
    "no-tensors": (lambda c: c.update(model={}), "holds no tensors by name"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_one_line_with_the_file(nanogpt_checkpoint, tmp_path, name):
    spoil, told = MISTAKES[name]
    checkpoint = nanogpt_checkpoint()
    spoil(checkpoint)
    torch.save(checkpoint, tmp_path / "ckpt.pt")
    with pytest.raises(ValueError) as error:
        open_source(tmp_path / "ckpt.pt")
    assert told in str(error.value) and "\n" not in str(error.value) and str(tmp_path / "ckpt.pt") in str(error.value)


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_file_cut_short_anywhere_is_one_line(nanogpt_checkpoint, tmp_path, is_zip):
    path = tmp_path / "ckpt.pt"
    torch.save(nanogpt_checkpoint(), path, _use_new_zipfile_serialization=is_zip)
    whole = path.read_bytes()
    for i in range(20):
        path.write_bytes(whole[: 5 + i * (len(whole) - 6) // 19])
        with pytest.raises(ValueError, match="not a whole PyTorch file") as error:
            open_source(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_checkpoint_saved_on_a_gpu_is_read_without_one(nanogpt_checkpoint, tmp_path):
    import zipfile

    checkpoint = nanogpt_checkpoint()
    torch.save(checkpoint, tmp_path / "cpu.pt")
    name, cuda = b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"  # where a tensor lives, as a pickle spells it
    with zipfile.ZipFile(tmp_path / "cpu.pt") as file, zipfile.ZipFile(tmp_path / "cuda.pt", "w") as other:
        for entry in file.infolist():
            content = file.read(entry)
            assert name in content or not entry.filename.endswith("data.pkl")
            other.writestr(entry.filename, content.replace(name, cuda))
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(tmp_path / "cuda.pt")
    config, tensors = nanogpt.read_checkpoint(open_pickle(tmp_path / "cuda.pt"), "cuda.pt")
    assert config.n_layer == 2
    assert torch.equal(tensors.get("blocks.1.mlp.up.weight"), checkpoint["model"]["transformer.h.1.mlp.c_fc.weight"])
