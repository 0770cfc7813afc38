"""`nanolit import` end to end: every kind of source, every way in which one can be wrong, and what is left behind."""

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from nanolit.cli.main import main
from nanolit.inference.load import load
from nanolit.models.config import GPTConfig
from nanolit.models.directory import load_model, save_model
from nanolit.models.gpt import GPT
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.char import CharTokenizer

V, BLOCK = 257, 24
TEXT = "".join(map(chr, range(97, 97 + 26))) + "\n .,"  # 30 characters


def run(*arguments: object) -> int:
    return main(["import", *map(str, arguments)])


def refused(capfd, code: int, *told: str) -> str:
    captured = capfd.readouterr()
    lines = captured.err.splitlines()
    assert code == 2 and len(lines) == 1 and lines[0].startswith("error: "), captured
    for part in told:
        assert part in lines[0], lines[0]
    return lines[0]


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers")


def save_theirs(transformers, folder, family="GPT2", generation=None, **options):
    """A random model of transformers, its tokenizer and its generation settings, as save_pretrained writes them."""
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 48}
    settings = {"max_position_embeddings": BLOCK, **sizes}
    if family == "GPT2":
        settings = {"n_positions": BLOCK, "n_layer": 2, "n_head": 4, "n_embd": 32}
    elif family != "GPTNeoX":
        settings["num_key_value_heads"] = 2
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=V, bos_token_id=256, eos_token_id=256, pad_token_id=None, **settings, **options
    )
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    if generation:
        model.generation_config.update(**generation)
    model.save_pretrained(folder)
    ByteTokenizer().save(folder)
    return model


def to_bins(folder, n_files=1):
    """As transformers saved before safetensors."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = list(state)
    if n_files == 1:
        torch.save(state, folder / "pytorch_model.bin")
        return
    weight_map = {}
    for i in range(n_files):
        file = f"pytorch_model-{i + 1:05d}-of-{n_files:05d}.bin"
        weight_map |= dict.fromkeys(names[i::n_files], file)
        torch.save({name: state[name] for name in names[i::n_files]}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))


def same_logits(ours, theirs, atol=1e-4):
    ids = torch.randint(0, V, (2, BLOCK), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).logits, rtol=0, atol=atol)


# Hugging Face


@pytest.mark.parametrize(
    ("family", "n_bins"), [("GPT2", None), ("GPT2", 1), ("GPT2", 3), ("Llama", 2), ("NanoChat", None)]
)
def test_a_folder_of_hugging_face(transformers, tmp_path, capfd, family, n_bins):
    generation = {"do_sample": True, "top_p": 0.9, "eos_token_id": [256, 10]}
    theirs = save_theirs(transformers, tmp_path / "theirs", family, generation)
    if n_bins:
        to_bins(tmp_path / "theirs", n_bins)
    assert run(f"source={tmp_path / 'theirs'}", f"out={tmp_path / 'out'}") == 0
    told = capfd.readouterr().out
    assert f"Hugging Face model -> {type(theirs).__name__}, {theirs.num_parameters():,} parameters" in told
    assert "  model.safetensors  " in told
    assert f'nanolit generate model={tmp_path / "out"} prompt="Once"' in told
    model, tokenizer = load(tmp_path / "out", device="cpu")
    same_logits(model, theirs)
    assert tokenizer.fingerprint == ByteTokenizer().fingerprint
    generation = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert (generation["top_p"], generation["eos_token_id"]) == (0.9, [256, 10]), "the model's own settings are kept"
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["eos_token_id"] == 256
    assert config["nanolit"]["imported"] == {"kind": "Hugging Face model", "name": "theirs"}
    same_logits(load_model(tmp_path / "out"), transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out"))


def test_shards_in_and_out_and_another_precision(transformers, tmp_path):
    theirs = save_theirs(transformers, tmp_path / "theirs")
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="40KB")
    (tmp_path / "theirs" / "model.safetensors").unlink(missing_ok=True)
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 2
    out = tmp_path / "out"
    assert run(f"source={tmp_path / 'theirs'}", f"out={out}", "dtype=bfloat16", "max_shard_gb=2e-5") == 0
    index = json.loads((out / "model.safetensors.index.json").read_text())
    files = sorted(out.glob("*.safetensors"))
    assert len(files) > 3 and {path.name for path in files} == set(index["weight_map"].values())
    stored = {name: tensor for path in files for name, tensor in load_file(path).items()}
    assert sum(t.numel() * 2 for t in stored.values()) == index["metadata"]["total_size"]
    for name, tensor in theirs.state_dict().items():
        assert name == "lm_head.weight" or torch.equal(stored[name], tensor.bfloat16())
    assert json.loads((out / "config.json").read_text())["torch_dtype"] == "bfloat16"
    again = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert again.dtype == torch.bfloat16
    same_logits(load_model(out, dtype=torch.float32), again.float())


@pytest.mark.parametrize("is_bin", [False, True], ids=["safetensors", "bin"])
def test_a_model_of_another_family_stays_what_it_is(transformers, tmp_path, capfd, is_bin):
    from nanolit.cli.open_model import open_model

    theirs = save_theirs(transformers, tmp_path / "theirs", "GPTNeoX", tie_word_embeddings=True)
    if is_bin:
        to_bins(tmp_path / "theirs")
    out = tmp_path / "out"
    assert run(f"source={tmp_path / 'theirs'}", f"out={out}", "max_shard_gb=1e-5") == 0
    told = capfd.readouterr().out
    assert "Hugging Face model -> GPTNeoXForCausalLM" in told and "transformers computes it" in told
    (tmp_path / "long.txt").write_text("".join(map(chr, range(300, 300 + V + 1))))
    many = f"tokenizer={tmp_path / 'long.txt'}"
    refused(
        capfd,
        run(f"source={tmp_path / 'theirs'}", f"out={tmp_path / 'no'}", many),
        f"has {V + 1} ids, the model only {V}",
    )
    model, tokenizer = open_model(out, device="cpu")
    assert type(model).__name__ == "CausalLM" and tokenizer.vocab_size == V
    same_logits(model, theirs)
    assert run(f"source={out}", f"out={tmp_path / 'half'}", "dtype=bfloat16") == 0
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "half").dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda t: t.pop("model.norm.weight"), "missing: {'model.norm.weight'}"),
        (lambda t: t.update(surprise=torch.ones(2)), "unexpected: {'surprise'}"),
        (
            lambda t: t.update({"model.norm.weight": torch.ones(3)}),
            "mismatched: {('model.norm.weight', torch.Size([3])",
        ),
    ],
)
def test_a_model_of_another_family_must_be_whole(transformers, tmp_path, capfd, edit, told):
    save_theirs(transformers, tmp_path / "theirs", "Qwen3", head_dim=8, tie_word_embeddings=True)
    assert run(f"source={tmp_path / 'theirs'}", f"out={tmp_path / 'whole'}") == 0
    change_weights(tmp_path / "theirs", edit)
    capfd.readouterr()
    refused(capfd, run(f"source={tmp_path / 'theirs'}", f"out={tmp_path / 'out'}"), "do not fit its config.json", told)
    assert not (tmp_path / "out").exists()


def test_a_name_on_the_hub(transformers, tmp_path, monkeypatch, capfd):
    theirs = save_theirs(transformers, tmp_path / "snapshot")
    monkeypatch.setattr("nanolit.interop.hub.snapshot", {"gpt2-xl": tmp_path / "snapshot"}.__getitem__)
    assert run("source=gpt2-xl", f"out={tmp_path / 'out'}") == 0
    same_logits(load_model(tmp_path / "out"), theirs)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["nanolit"]["imported"]["name"] == "gpt2-xl"


# Ours, nanoGPT, nanochat


def test_our_own_model_in_another_precision(tmp_path, capfd):
    config = GPTConfig(vocab_size=V, block_size=BLOCK, n_layer=1, n_head=2, n_embd=16, bigram_rows=9)
    save_model(tmp_path / "mine", model := GPT(config), extra={"nanolit": {"step": 7}})
    ByteTokenizer().save(tmp_path / "mine")
    assert run(f"source={tmp_path / 'mine'}", f"out={tmp_path / 'out'}", "dtype=float16") == 0
    assert "nanolit's own layout" in (told := capfd.readouterr().out) and "model.bigram_rows=9" in told
    half = load_model(tmp_path / "out")
    assert half.config == config and json.loads((tmp_path / "out" / "config.json").read_text())["nanolit"]["step"] == 7
    for name, tensor in model.state_dict().items():
        assert torch.equal(half.state_dict()[name], tensor.half())


def test_nanogpt_with_its_characters(nanogpt_checkpoint, tmp_path, capfd):
    torch.save(nanogpt_checkpoint(vocab_size=30, block_size=BLOCK), tmp_path / "ckpt.pt")
    (tmp_path / "input.txt").write_text(TEXT * 3)
    arguments = (f"source={tmp_path / 'ckpt.pt'}", f"out={tmp_path / 'out'}")
    refused(capfd, run(*arguments), "tokenizer: a nanoGPT checkpoint brings none", "vocabulary of 30", "input.txt")
    assert run(*arguments, f"tokenizer={tmp_path / 'input.txt'}") == 0
    assert "nanoGPT checkpoint of step 250 -> GPT2LMHeadModel" in capfd.readouterr().out
    model, tokenizer = load(tmp_path / "out", device="cpu")
    assert tokenizer.fingerprint == CharTokenizer(TEXT).fingerprint and model.config.vocab_size == 30
    imported = json.loads((tmp_path / "out" / "config.json").read_text())["nanolit"]["imported"]
    assert imported == {
        **{"kind": "nanoGPT checkpoint", "name": "ckpt.pt", "file": "ckpt.pt"},
        **{"step": 250, "val/loss": 1.25},
    }
    assert main(["generate", f"model={tmp_path / 'out'}", "prompt=once", "max_new_tokens=30", "device=cpu"]) == 0
    assert len(capfd.readouterr().out) == 4 + 30 + 1


def test_nanogpt_with_gpt2s_tokens_knows_which_rows_only_pad(
    nanogpt_checkpoint, tmp_path, tiktoken_cache, transformers
):
    checkpoint = nanogpt_checkpoint(vocab_size=50304, n_embd=8, n_head=2)
    torch.save(checkpoint, tmp_path / "ckpt.pt")
    assert run(f"source={tmp_path / 'ckpt.pt'}", f"out={tmp_path / 'out'}") == 0
    model, tokenizer = load(tmp_path / "out", device="cpu")
    assert (tokenizer.vocab_size, model.config.vocab_size, model.config.padded_vocab) == (50257, 50257, 50304)
    assert torch.equal(model.token_embedding.weight, checkpoint["model"]["transformer.wte.weight"])
    generation = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert generation["suppress_tokens"] == list(range(50257, 50304)) and generation["eos_token_id"] == 50256
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out").encode("Once upon") == [7454, 2402]
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.eos_token_id == 50256


def test_gpt2s_tokenizer_is_not_on_this_machine(nanogpt_checkpoint, tmp_path, monkeypatch, capfd):
    import tiktoken

    def fail(name):
        raise ConnectionError("no network")

    monkeypatch.setattr(tiktoken, "get_encoding", fail)
    torch.save(nanogpt_checkpoint(vocab_size=50304, n_embd=8, n_head=2), tmp_path / "ckpt.pt")
    arguments = (f"source={tmp_path / 'ckpt.pt'}", f"out={tmp_path / 'out'}")
    line = refused(capfd, run(*arguments), "tiktoken cannot get its files", "TIKTOKEN_CACHE_DIR", "tokenizer=none")
    assert "tokenizer=byte" not in line, "bytes are not what this model has learnt"
    assert not (tmp_path / "out").exists()
    assert run(*arguments, "tokenizer=none") == 0
    assert "without a tokenizer it takes and gives token ids only" in capfd.readouterr().out
    assert not (tmp_path / "out" / "tokenizer.json").exists()
    assert load_model(tmp_path / "out").config.vocab_size == 50304


def nanochat_checkpoint(folder: Path, vocab_size=V):
    """The first layout."""
    C = 16
    state = {"transformer.wte.weight": (vocab_size, C), "lm_head.weight": (vocab_size, C)}
    state |= {f"transformer.h.0.attn.c_{part}.weight": (C, C) for part in ("q", "k", "v", "proj")}
    state |= {"transformer.h.0.mlp.c_fc.weight": (4 * C, C), "transformer.h.0.mlp.c_proj.weight": (C, 4 * C)}
    tensors = {name: torch.randn(shape) * 0.2 for name, shape in state.items()}
    tensors["transformer.wte.weight"] = tensors["transformer.wte.weight"].bfloat16()
    folder.mkdir(parents=True)
    torch.save(tensors, folder / "model_000300.pt")
    told = {"sequence_len": BLOCK, "vocab_size": vocab_size, "n_layer": 1, "n_head": 2, "n_kv_head": 2, "n_embd": C}
    (folder / "meta_000300.json").write_text(json.dumps({"model_config": told}))


def test_nanochat_finds_its_tokenizer_and_gets_one_precision(tmp_path, capfd):
    nanochat_checkpoint(folder := tmp_path / "cache" / "base_checkpoints" / "d1")
    arguments = (f"source={folder}", f"out={tmp_path / 'out'}")
    (tmp_path / "cache" / "tokenizer").mkdir()
    (tmp_path / "cache" / "tokenizer" / "tokenizer.pkl").write_bytes(b"\x80\x04")
    refused(capfd, run(*arguments), "tokenizer.pkl is a pickle that needs code", "docs/models.md", "tokenizer=none")
    ByteTokenizer().save(tmp_path / "cache" / "tokenizer")
    assert run(*arguments) == 0
    assert "nanochat checkpoint of step 300 -> NanoChatForCausalLM" in capfd.readouterr().out
    model, tokenizer = load(tmp_path / "out", device="cpu")
    assert tokenizer.vocab_size == V and {p.dtype for p in model.parameters()} == {torch.float32}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "float32"
    refused(capfd, run(arguments[0], f"out={tmp_path / 'other'}", "step=5"), "step: got 5")


def test_the_tokenizer_must_fit(nanogpt_checkpoint, tmp_path, capfd):
    torch.save(nanogpt_checkpoint(vocab_size=30, block_size=BLOCK), tmp_path / "ckpt.pt")
    arguments = (f"source={tmp_path / 'ckpt.pt'}", f"out={tmp_path / 'out'}")
    ByteTokenizer().save(tmp_path / "bytes")
    for name in ("bytes", "bytes/tokenizer.json"):
        refused(capfd, run(*arguments, f"tokenizer={tmp_path / name}"), "tokenizer has 257 ids, the model only 30")
    (tmp_path / "other.txt").write_text("abc")
    line = refused(capfd, run(*arguments, f"tokenizer={tmp_path / 'other.txt'}"), "has 3 different characters")
    assert "the model's vocabulary has 30" in line
    (tmp_path / "picture.txt").write_bytes(b"\xff\xfe\xff")
    refused(capfd, run(*arguments, f"tokenizer={tmp_path / 'picture.txt'}"), "is not UTF-8 text")
    refused(capfd, run(*arguments, "tokenizer=nowhere"), "tokenizer: nowhere does not exist", "tokenizer=none")
    (tmp_path / "empty").mkdir()
    refused(capfd, run(*arguments, f"tokenizer={tmp_path / 'empty'}"), "no tokenizer.json in it")
    assert not (tmp_path / "out").exists()


# What can be wrong


def change(path, edit):
    told = json.loads(path.read_text())
    edit(told)
    path.write_text(json.dumps(told))


def change_weights(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


class Code:
    """What a pickle may do when it is opened."""

    def __reduce__(self):
        return os.mkdir, ("opened_by_a_pickle",)


def in_bins(edit):
    def spoil(folder):
        to_bins(folder, 3)
        edit(folder)

    return spoil


WRONG = {
    "truncated safetensors": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-10]),
        ["model.safetensors: not a whole safetensors file"],
    ),
    "missing tensor": (
        lambda f: change_weights(f, lambda t: t.pop("transformer.h.1.mlp.c_fc.bias")),
        ["is no GPT2LMHeadModel of its config.json", "transformer.h.1.mlp.c_fc.bias is missing, [128] expected"],
    ),
    "extra tensor": (
        lambda f: change_weights(f, lambda t: t.update({"transformer.h.2.ln_1.bias": torch.zeros(32)})),
        ["is no GPT2LMHeadModel", "transformer.h.2.ln_1.bias [32] is unknown"],
    ),
    "misshaped tensor": (
        lambda f: change_weights(f, lambda t: t.update({"transformer.ln_f.weight": torch.zeros(31)})),
        ["is no GPT2LMHeadModel", "transformer.ln_f.weight is [31], [32] expected"],
    ),
    "contradicting config": (
        lambda f: change(f / "config.json", lambda c: c.update(n_positions=BLOCK + 1)),
        ["transformer.wpe.weight is [24, 32], [25, 32] expected"],
    ),
    "unknown model_type": (
        lambda f: change(f / "config.json", lambda c: c.update(model_type="gpt9")),
        ["config.json: model_type is 'gpt9'", "none of nanolit's families, and no causal language model"],
    ),
    "a type that writes no text": (
        lambda f: change(f / "config.json", lambda c: c.update(model_type="vit")),
        ["model_type is 'vit'", "no causal language model"],
    ),
    "no model_type": (
        lambda f: change(f / "config.json", lambda c: c.pop("model_type")),
        ["config.json: model_type is None; nanolit's own are gpt2, llama, nanochat"],
    ),
    "no json": (lambda f: (f / "config.json").write_text("{"), ["config.json: not a readable JSON file"]),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), ["it has no model.safetensors; found: config.json"]),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), ["no tokenizer.json in it", "tokenizer=none"]),
    "missing bin": (
        in_bins(lambda f: (f / "pytorch_model-00002-of-00003.bin").unlink()),
        ["pytorch_model-00002-of-00003.bin: missing, although pytorch_model.bin.index.json names it"],
    ),
    "truncated bin": (
        in_bins(lambda f: os.truncate(f / "pytorch_model-00001-of-00003.bin", 900)),
        ["pytorch_model-00001-of-00003.bin: not a whole PyTorch file"],
    ),
    "bin with code": (
        in_bins(lambda f: torch.save({"a": Code()}, f / "pytorch_model-00003-of-00003.bin")),
        ["pytorch_model-00003-of-00003.bin: is a pickle that needs code to be opened (", "mkdir)"],
    ),
    "bin without a tensor": (
        in_bins(lambda f: torch.save({"a": torch.ones(1)}, f / "pytorch_model-00003-of-00003.bin")),
        ["no file holds transformer.", "although pytorch_model.bin.index.json says so"],
    ),
    "bin of a list": (
        in_bins(lambda f: torch.save([1], f / "pytorch_model-00003-of-00003.bin")),
        ["pytorch_model-00003-of-00003.bin: holds no tensors by name"],
    ),
    "index of numbers": (
        in_bins(lambda f: (f / "pytorch_model.bin.index.json").write_text('{"weight_map": {"a": 5}}')),
        ["pytorch_model.bin.index.json: weight_map.a: got 5"],
    ),
    "generation of a list": (
        lambda f: (f / "generation_config.json").write_text("[1]"),
        ["generation_config.json: holds a list, expected settings"],
    ),
    "generation without lists": (
        lambda f: (f / "generation_config.json").write_text('{"suppress_tokens": 5}'),
        ["generation_config.json: suppress_tokens: got 5, expected a list of ids"],
    ),
    "model_type of a list": (
        lambda f: change(f / "config.json", lambda c: c.update(model_type=["llama"])),
        ["config.json: model_type: got ['llama'], expected a name"],
    ),
    "index of nothing": (
        in_bins(lambda f: (f / "pytorch_model.bin.index.json").write_text("{}")),
        ["pytorch_model.bin.index.json: holds no weight_map"],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_folder_is_one_line_and_leaves_nothing(transformers, tmp_path, capfd, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    spoil, told = WRONG[name]
    save_theirs(transformers, tmp_path / "theirs")
    spoil(tmp_path / "theirs")
    capfd.readouterr()
    refused(capfd, run(f"source={tmp_path / 'theirs'}", f"out={tmp_path / 'out'}"), *told)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["theirs"]


def test_an_index_that_names_a_missing_file(transformers, tmp_path, capfd):
    save_theirs(transformers, tmp_path / "theirs").save_pretrained(tmp_path / "theirs", max_shard_size="40KB")
    (tmp_path / "theirs" / "model.safetensors").unlink(missing_ok=True)
    gone = sorted((tmp_path / "theirs").glob("*.safetensors"))[1]
    gone.unlink()
    capfd.readouterr()
    refused(capfd, run(f"source={tmp_path / 'theirs'}", f"out={tmp_path / 'out'}"), f"{gone.name}: missing, although")


FILES = {
    "text": (lambda p: p.write_text("To be, or not"), "is a text file; nanolit reads a folder of Hugging Face"),
    "nothing": (lambda p: p.touch(), "is an empty file"),
    "noise": (lambda p: p.write_bytes(bytes(range(200, 256)) * 9), "first bytes are c8 c9 ca cb cc cd ce cf"),
    "gguf": (lambda p: p.write_bytes(b"GGUF" + bytes(99)), "is a GGUF file, which is for the way out only"),
    "safetensors": (lambda p: save_file({"a": torch.ones(2)}, p), "one file of weights; give the folder"),
    "state": (lambda p: torch.save({"a": torch.ones(2)}, p), "holds a, and not model and model_args"),
    "tensor": (lambda p: torch.save(torch.ones(2), p), "holds a Tensor, no checkpoint"),
    "code": (lambda p: torch.save({"model": Code(), "model_args": {}}, p), "is a pickle that needs code to be opened"),
    "module": (
        lambda p: torch.save(torch.nn.Linear(2, 2), p),
        "needs code to be opened (torch.nn.modules.linear.Linear)",
    ),
    "old code": (
        lambda p: torch.save({"model": Code()}, p, _use_new_zipfile_serialization=False),
        "is a pickle that needs code to be opened",
    ),
    "a pickle of others": (lambda p: p.write_bytes(b"\x80\x04K\x01."), "not a whole PyTorch file"),
    "llm.c": (lambda p: p.write_bytes(struct.pack("<8i", 20240326, 3, 8, 9, 1, 1, 8, 9)), "llm.c's header alone 1024"),
    "llm.c llama": (lambda p: p.write_bytes(struct.pack("<256i", 20240803, *[3] * 255)), "is a Llama of llm.c"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_file_is_one_line_and_leaves_nothing(tmp_path, capfd, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write, told = FILES[name]
    write(tmp_path / "ckpt.pt")
    refused(capfd, run(f"source={tmp_path / 'ckpt.pt'}", f"out={tmp_path / 'out'}"), told)
    assert [path.name for path in tmp_path.iterdir()] == ["ckpt.pt"]


def test_sources_that_are_not_there(tmp_path, capfd):
    out = f"out={tmp_path / 'out'}"
    (tmp_path / "empty").mkdir()
    refused(capfd, run(f"source={tmp_path / 'empty'}", out), "holds no model that nanolit can import; found: nothing")
    (tmp_path / "empty" / "ckpt.pt").touch()
    refused(capfd, run(f"source={tmp_path / 'empty'}", out), "found: ckpt.pt; it reads")
    refused(capfd, run(f"source={tmp_path / 'nowhere' / 'ckpt.pt'}", out), "source: ", "does not exist")
    refused(capfd, run("source=gpt3", out), "source: gpt3 does not exist")
    refused(capfd, run("source=gpt2-xl", out), "on the Hugging Face hub", "HF_HUB_OFFLINE")
    refused(capfd, run(out), "source: missing; give what to import")
    refused(capfd, run("source=gpt2"), "out: missing")
    refused(capfd, run(f"source={tmp_path / 'empty'}", out, "step=3"), "step: got 3, but only a checkpoint folder of")
    refused(capfd, run("source=gpt2", out, "dtype=float8"), "dtype: got 'float8'", "float32, bfloat16, float16")
    refused(capfd, run("source=gpt2", out, "max_shard_gb=0"), "max_shard_gb: got 0.0, must be positive")
    refused(capfd, run("source=gpt2", out, "overwrite=yes"), "overwrite: got 'yes'")
    refused(capfd, run("source=gpt2", out, "tokeniser=none"), "tokeniser: no such setting; did you mean tokenizer?")


@pytest.mark.parametrize(("package", "source"), [("transformers", "theirs"), ("huggingface_hub", "gpt2")])
def test_a_package_that_is_not_installed(transformers, tmp_path, capfd, monkeypatch, package, source):
    save_theirs(transformers, tmp_path / "theirs", "GPTNeoX")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)  # importing it now fails as if it were not there
    capfd.readouterr()
    line = refused(capfd, run(f"source={source}", "out=out"), f"needs the package {package}: pip install 'nanolit[hf]'")
    assert source in line and not (tmp_path / "out").exists()


def test_numbers_too_large_for_float16(tmp_path, capfd):
    model = GPT(GPTConfig(vocab_size=V, block_size=BLOCK, n_layer=1, n_head=2, n_embd=16))
    with torch.no_grad():
        model.final_norm.weight[3] = 7e4
    save_model(tmp_path / "mine", model)
    arguments = (f"source={tmp_path / 'mine'}", f"out={tmp_path / 'out'}", "tokenizer=none")
    refused(capfd, run(*arguments, "dtype=float16"), "dtype: final_norm.weight holds 7e+04", "dtype=bfloat16")
    assert not (tmp_path / "out").exists()
    assert run(*arguments, "dtype=bfloat16") == 0


# Where it is written


def test_what_is_there_is_kept_unless_it_is_a_model_and_one_insists(nanogpt_checkpoint, tmp_path, capfd):
    torch.save(nanogpt_checkpoint(vocab_size=30), tmp_path / "ckpt.pt")
    arguments = [f"source={tmp_path / 'ckpt.pt'}", "tokenizer=none", f"out={tmp_path / 'out'}"]
    (tmp_path / "out").mkdir()  # an empty folder is no obstacle
    assert run(*arguments) == 0
    before = (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns
    capfd.readouterr()
    refused(capfd, run(*arguments), "holds a model already", "overwrite=true")
    (tmp_path / "out" / "old.gguf").touch()
    os.truncate(tmp_path / "ckpt.pt", 100)
    refused(capfd, run(*arguments, "overwrite=true"), "not a whole PyTorch file")
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns == before, "a failure leaves the old model"
    torch.save(nanogpt_checkpoint(vocab_size=30), tmp_path / "ckpt.pt")
    assert run(*arguments, "overwrite=true") == 0
    assert not (tmp_path / "out" / "old.gguf").exists() and load_model(tmp_path / "out")

    capfd.readouterr()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "diary.txt").touch()
    refused(capfd, run(*arguments[:2], f"out={tmp_path / 'home'}", "overwrite=true"), "holds other things", "diary.txt")
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    refused(capfd, run(*arguments, "overwrite=true"), "holds other things than a model (thesis.txt)")
    refused(capfd, run(*arguments[:2], f"out={tmp_path}", "overwrite=true"), "is where the source lies")
    refused(capfd, run(*arguments[:2], f"out={tmp_path / 'ckpt.pt'}"), "out: ")
    refused(
        capfd, run(f"source={tmp_path / 'out'}", f"out={tmp_path / 'out'}", "overwrite=true"), "where the source lies"
    )
    assert (tmp_path / "home" / "diary.txt").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are POSIX")
def test_a_full_disk_leaves_nothing(nanogpt_checkpoint, tmp_path):
    torch.save(nanogpt_checkpoint(vocab_size=30), tmp_path / "ckpt.pt")
    code = (
        "import resource, sys; from nanolit.cli.main import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["import", f"source={tmp_path / 'ckpt.pt'}", f"out={tmp_path / 'out'}", "tokenizer=none"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and re.fullmatch(r"error: .*model\.safetensors.*: File too large\n", done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["ckpt.pt"]


MEASURE = """
import sys, threading, time, torch
from nanolit.cli.main import main
def held():  # memory of our own in bytes; what is only mapped from files can be dropped at any time
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))
peak, done = 0, False
def watch():
    global peak
    while not done:
        peak = max(peak, held())
        time.sleep(0.0005)
assert main(["import", f"source={sys.argv[2]}", f"out={sys.argv[3]}/tiny", "tokenizer=none"]) == 0  # imports modules
before = held()
threading.Thread(target=watch, daemon=True).start()
if sys.argv[1] == "all":
    kept = {name: t.clone() for name, t in torch.load(sys.argv[4], mmap=True)["model"].items()}
else:
    assert main(["import", *sys.argv[4:]]) == 0
done = True
print("PEAK", peak - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured as Linux tells it")
def test_an_import_holds_a_tensor_or_two_at_a_time(nanogpt_checkpoint, tmp_path):
    """Of 350 MB the largest tensor is 17 MB; the twin that holds everything shows that it would have been seen."""
    torch.save(nanogpt_checkpoint(vocab_size=30), tmp_path / "tiny.pt")
    checkpoint = nanogpt_checkpoint(n_layer=7, n_head=8, n_embd=1024, vocab_size=30)
    torch.save(checkpoint, tmp_path / "ckpt.pt")
    total = sum(tensor.nbytes for tensor in checkpoint["model"].values())
    largest = max(tensor.nbytes for tensor in checkpoint["model"].values())
    assert total > 300e6 and largest < 20e6

    def peak_bytes(name, *arguments):
        (tmp_path / name).mkdir()
        command = [sys.executable, "-c", MEASURE, name, *map(str, (tmp_path / "tiny.pt", tmp_path / name, *arguments))]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr
        return int(done.stdout.split("PEAK")[1])

    assert peak_bytes("all", tmp_path / "ckpt.pt") > 0.9 * total
    ways = [("one", "dtype=float32", "ckpt.pt"), ("half", "dtype=bfloat16", "ckpt.pt")]
    ways.append(("many", "max_shard_gb=0.05", "one/out"))  # safetensors in, and out in several files
    for name, setting, source in ways:
        arguments = (f"source={tmp_path / source}", f"out={tmp_path / name / 'out'}", "tokenizer=none", setting)
        assert peak_bytes(name, *arguments) < 3 * largest, name
    assert len(list((tmp_path / "many" / "out").glob("*.safetensors"))) > 5
    kept = load_model(tmp_path / "many" / "out").state_dict()["blocks.6.attention.qkv.weight"]
    assert torch.equal(kept, checkpoint["model"]["transformer.h.6.attn.c_attn.weight"])


def test_help_names_what_it_takes(capfd):
    assert main(["import", "--help"]) == 0
    told = capfd.readouterr().out
    for word in ("source=", "out=", "dtype=", "tokenizer=", "max_shard_gb=", "step=", "nanochat", "llm.c"):
        assert word in told
