"""llm.c's model files, written here by their description from a GPT-2 of transformers, whose logits are the measure."""

import struct

import pytest
import torch

from nanolit.interop.llmc import multiple_of
from nanolit.interop.sources import open_source
from nanolit.models.directory import load_model, write_model

transformers = pytest.importorskip("transformers")

SIZES = {"vocab_size": 61, "n_positions": 24, "n_layer": 3, "n_head": 4, "n_embd": 32}
KINDS = ("ln_1.weight", "ln_1.bias", "attn.c_attn.weight", "attn.c_attn.bias", "attn.c_proj.weight", "attn.c_proj.bias")
KINDS += ("ln_2.weight", "ln_2.bias", "mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight", "mlp.c_proj.bias")


def gpt2(seed=0):
    torch.manual_seed(seed)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**SIZES)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.2 if parameter.dim() > 1 else 0.05))
    return model


def write_llmc(path, model, version=3, n_rows=128, magic=20240326):
    """train_gpt2.py's write_model: 256 int32, then each kind of tensor for all layers; matrices outputs x inputs."""
    w, dtype = model.transformer.state_dict(), {3: torch.float32, 5: torch.bfloat16}[version]
    V, C = w["wte.weight"].shape
    padding = torch.full((n_rows - V, C), 1e4)  # nothing may depend on it
    tensors = [torch.cat((w["wte.weight"], padding)), w["wpe.weight"]]
    for kind in KINDS:
        for i in range(SIZES["n_layer"]):
            tensor = w[f"h.{i}.{kind}"]
            tensors.append(tensor.t() if kind.startswith(("attn", "mlp")) and kind.endswith("weight") else tensor)
    tensors += [w["ln_f.weight"], w["ln_f.bias"]]
    header = [magic, version, SIZES["n_positions"], V, SIZES["n_layer"], SIZES["n_head"], C, n_rows]
    data = [t.to(dtype).contiguous().view(torch.uint8).numpy().tobytes() for t in tensors]
    path.write_bytes(struct.pack("<256i", *header, *[0] * 248) + b"".join(data))


@torch.no_grad()
@pytest.mark.parametrize(("version", "n_rows"), [(3, 128), (3, 61), (3, 64), (5, 128), (5, 64)])
def test_logits_are_those_of_transformers(tmp_path, version, n_rows):
    theirs = gpt2()
    write_llmc(tmp_path / "model.bin", theirs, version, n_rows)
    source = open_source(tmp_path / "model.bin")
    assert source.kind == "llm.c model"
    write_model(tmp_path / "model", source.config, source.tensors)
    ours = load_model(tmp_path / "model")
    assert (ours.config.vocab_size, ours.config.padded_vocab, ours.config.mlp) == (61, n_rows, "gelu_tanh")
    assert {p.dtype for p in ours.parameters()} == {torch.float32 if version == 3 else torch.bfloat16}
    if version == 5:
        theirs, ours = theirs.bfloat16().float(), ours.float()
    ids = torch.randint(0, 61, (3, 24))
    for length in (1, 5, 24):
        logits = ours(ids[:, :length])
        torch.testing.assert_close(logits, theirs(ids[:, :length]).logits, rtol=0, atol=1e-4)
        assert logits.std() > 0.5


def test_padding_is_known_by_its_multiple():
    assert multiple_of(50257, 50304) == 128 and multiple_of(50257, 50257) == 1
    assert multiple_of(50257, 50304 - 47 + 7) == 50264  # no usual one: the rows themselves
    for n_ids, n_rows in ((61, 128), (61, 64), (61, 61), (61, 63)):
        multiple = multiple_of(n_ids, n_rows)
        assert -(-n_ids // multiple) * multiple == n_rows


def spoiled(path, at, value):
    content = bytearray(path.read_bytes())
    content[4 * at : 4 * at + 4] = struct.pack("<i", value)
    path.write_bytes(content)


MISTAKES = {
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-4]), "bytes, its header asks for"),
    "too long": (lambda p: p.write_bytes(p.read_bytes() + b"\0" * 4), "bytes, its header asks for"),
    "header only": (lambda p: p.write_bytes(p.read_bytes()[:100]), "has 100 bytes, llm.c's header alone 1024"),
    "version": (lambda p: spoiled(p, 1, 1), "is version 1 of llm.c's format; nanolit reads 3 (float32) and 5"),
    "heads": (lambda p: spoiled(p, 5, 5), "model.n_embd: got 32, must be a multiple of model.n_head=5"),
    "no layers": (lambda p: spoiled(p, 4, 0), "model.n_layer: got 0"),
    "layers without end": (lambda p: spoiled(p, 4, 2**31 - 1), "bytes, its header asks for"),
    "layers": (lambda p: spoiled(p, 4, 4), "bytes, its header asks for"),
    "fewer rows than ids": (lambda p: spoiled(p, 7, 60), "bytes, its header asks for"),
    "no rows": (lambda p: spoiled(p, 7, 0), "bytes, its header asks for"),
    "states": (lambda p: spoiled(p, 0, 20240327), "holds states of one training step, not a model of llm.c"),
    "tokens": (lambda p: spoiled(p, 0, 20240520), "holds tokens, not a model of llm.c"),
    "llama": (lambda p: spoiled(p, 0, 20240803), "is a Llama of llm.c, whose header rounds the norm's epsilon to 0"),
    "magic": (lambda p: spoiled(p, 0, 20240999), "is no model that is known (its first bytes are"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_one_line_with_the_file(tmp_path, name):
    spoil, told = MISTAKES[name]
    write_llmc(tmp_path / "model.bin", gpt2())
    spoil(tmp_path / "model.bin")
    with pytest.raises(ValueError) as error:
        open_source(tmp_path / "model.bin")
    assert told in str(error.value) and "\n" not in str(error.value) and str(tmp_path / "model.bin") in str(error.value)
