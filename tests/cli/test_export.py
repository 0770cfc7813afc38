"""`nanolit export` end to end: what it writes opens in transformers and in gguf, and what it cannot say it refuses."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from nanolit.cli.main import main
from nanolit.inference.generate import generate_ids
from nanolit.inference.model_folder import write_folder
from nanolit.inference.params import SamplingParams
from nanolit.models.config import GPTConfig
from nanolit.models.directory import load_model, save_model
from nanolit.models.gpt import GPT
from nanolit.tokenizers.byte import ByteTokenizer
from nanolit.tokenizers.directory import load_tokenizer

BLOCK = 24
GPT2 = GPTConfig(vocab_size=257, vocab_multiple=64, block_size=BLOCK, n_layer=2, n_head=4, n_embd=32, mlp="gelu_tanh")
LLAMA = replace(
    GPT2, norm="rmsnorm", position="rope", mlp="swiglu", n_kv_head=2, bias=False, tie_embeddings=False, vocab_multiple=1
)
NANOCHAT = replace(
    LLAMA, norm="rmsnorm_noweight", mlp="relu2", qk_norm=True, embed_norm=True, softcap=15.0, vocab_multiple=64
)
FAMILIES = {"GPT2LMHeadModel": GPT2, "LlamaForCausalLM": LLAMA, "NanoChatForCausalLM": NANOCHAT}
OURS = replace(GPT2, bigram_rows=9)


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers")


def run(*arguments: object) -> int:
    return main(["export", *map(str, arguments)])


def refused(capfd, code: int, *told: str) -> str:
    captured = capfd.readouterr()
    lines = captured.err.splitlines()
    assert code == 2 and len(lines) == 1 and lines[0].startswith("error: "), captured
    for part in told:
        assert part in lines[0], lines[0]
    return lines[0]


def save(folder, config, tokenizer=True):
    """A run's model: weights far from their first values, so that a wrong tensor shows."""
    torch.manual_seed(0)
    model = GPT(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    folder.mkdir(parents=True)
    write_folder(
        folder,
        lambda extra: save_model(folder, model, extra),
        config.padded_vocab,
        ByteTokenizer() if tokenizer else None,
        {"step": 7},
    )
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("architecture", FAMILIES)
def test_what_is_exported_opens_in_transformers_and_writes_the_same(transformers, tmp_path, capfd, architecture):
    ours = save(tmp_path / "run" / "model", FAMILIES[architecture])
    out = tmp_path / "out"
    assert run(f"model={tmp_path / 'run'}", f"out={out}", "to=hf", "max_shard_gb=5e-5") == 0
    told = capfd.readouterr().out
    n_parameters = sum(p.numel() for p in ours.parameters())
    assert f"-> {architecture}, {n_parameters:,} parameters" in told and "model-00001-of-" in told
    theirs = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert type(theirs).__name__ == architecture
    ids = torch.randint(0, 257, (2, BLOCK))
    torch.testing.assert_close(theirs(ids).logits[..., :257], ours(ids), rtol=0, atol=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    prompt = tokenizer("Once", return_tensors="pt").input_ids
    written = theirs.generate(prompt, max_new_tokens=16, do_sample=False)[0, 4:].tolist()
    params = SamplingParams(max_new_tokens=16, temperature=0.0)
    mine = [token for (token,) in generate_ids(ours, prompt[0].tolist(), params, stop_ids=(256,))]
    assert written == [token for token in mine if token is not None] + [256] * mine.count(None)
    assert (theirs.config.eos_token_id, theirs.generation_config.eos_token_id) == (256, 256)
    again = load_model(out)
    assert again.config == ours.config
    assert json.loads((out / "config.json").read_text())["nanolit"]["step"] == 7
    for name, tensor in ours.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_a_chat_template_and_generation_settings_go_along(transformers, tmp_path):
    save(tmp_path / "model", LLAMA)
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    path = tmp_path / "model" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))
    path = tmp_path / "model" / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "top_p": 0.7}))
    assert run(f"model={tmp_path / 'model'}", f"out={tmp_path / 'out'}") == 0
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "<user>hi"
    told = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert (told["top_p"], told["temperature"], told["eos_token_id"]) == (0.7, 0.8, 256)
    assert load_tokenizer(tmp_path / "out").fingerprint == ByteTokenizer().fingerprint


def test_another_precision(tmp_path):
    model = save(tmp_path / "model", GPT2)
    assert run(f"model={tmp_path / 'model'}", f"out={tmp_path / 'out'}", "dtype=bfloat16") == 0
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    assert torch.equal(stored["transformer.wte.weight"], model.token_embedding.weight.bfloat16())
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_gguf_beside_it(tmp_path, capfd):
    gguf = pytest.importorskip("gguf")
    model = save(tmp_path / "model", GPT2)
    assert (
        run(f"model={tmp_path / 'model'}", f"out={tmp_path / 'out'}", "to=[hf,gguf]", "name=tiny", "dtype=float16") == 0
    )
    told = capfd.readouterr().out
    assert "-> GPT2LMHeadModel and GGUF" in told and "llama-cli -m" in told and "tiny.gguf" in told
    tensors = {t.name: t.data for t in gguf.GGUFReader(tmp_path / "out" / "tiny.gguf").tensors}
    up = torch.from_numpy(tensors["blk.1.ffn_up.weight"].copy())
    assert torch.equal(up, model.blocks[1].mlp.up.weight.half())
    assert load_model(tmp_path / "out").config == GPT2


def test_what_no_format_can_say(tmp_path, capfd):
    save(tmp_path / "model", OURS)
    arguments = (f"model={tmp_path / 'model'}", f"out={tmp_path / 'out'}")
    for to in ("hf", "gguf", "[hf,gguf]"):
        refused(capfd, run(*arguments, f"to={to}"), "nearest is", "but for", "model.bigram_rows=9")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_model_of_another_family_is_in_their_layout_already(transformers, tmp_path, capfd):
    settings = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 16}
    transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(vocab_size=9, **settings)).save_pretrained(
        tmp_path / "x"
    )
    capfd.readouterr()
    refused(capfd, run(f"model={tmp_path / 'x'}", f"out={tmp_path / 'out'}"), "transformers already", "nanolit import")


def test_without_a_tokenizer(transformers, tmp_path, capfd):
    save(tmp_path / "model", GPT2, tokenizer=False)
    assert run(f"model={tmp_path / 'model'}", f"out={tmp_path / 'out'}") == 0
    assert "note: without a tokenizer it takes and gives token ids only" in capfd.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("config.json", "generation_config.json", "model.safetensors")
    }
    save(tmp_path / "other", GPT2)
    assert run(f"model={tmp_path / 'other'}", f"out={tmp_path / 'bare'}", "tokenizer=none") == 0
    assert not (tmp_path / "bare" / "tokenizer.json").exists() and (tmp_path / "other" / "tokenizer.json").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["model=nowhere"], ["model: nowhere does not exist"]),
        (["out="], ["out: ", "where the source lies"]),
        (["to=onnx"], ["to: got onnx, allowed are hf, gguf, or both"]),
        (["to=[hf,hf]"], ["to: got hf, hf, allowed are"]),
        (["to=[]"], ["to: got nothing, allowed are"]),
        (["dtype=int8"], ["dtype: got 'int8'"]),
        (["tokenizer=gpt2"], ["tokenizer: got 'gpt2' (str), expected", "none"]),
        (["name=a/b", "to=gguf"], ["name: got 'a/b'"]),
        (["name=tiny"], ["name: names the file of to=gguf"]),
        (["max_shard_gb=-1"], ["max_shard_gb: got -1.0"]),
        (["modle=x"], ["modle: no such setting; did you mean model?"]),
        (["out=model"], ["out: model is where the source lies"]),
        (["out=."], ["out: . is where the source lies"]),
        (["out=file"], ["out: file is a file"]),
    ],
)
def test_each_mistake_is_one_line_and_leaves_nothing(tmp_path, capfd, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "model", GPT2)
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    refused(capfd, run("model=model", "out=out", *arguments), *told)
    assert sorted(tmp_path.rglob("*")) == before


def test_weights_that_do_not_fit_and_pickles(tmp_path, capfd):
    save(tmp_path / "model", GPT2)
    arguments = (f"model={tmp_path / 'model'}", f"out={tmp_path / 'out'}")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "n_positions": BLOCK + 1}))
    refused(capfd, run(*arguments), "is no GPT2LMHeadModel of its config.json", "[24, 32], [25, 32] expected")
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save({}, tmp_path / "model" / "pytorch_model.bin")
    refused(capfd, run(*arguments), "pickle", f"nanolit import source={tmp_path / 'model'}")
    refused(capfd, run(arguments[0]), "out: missing; give a folder")
    refused(capfd, run(arguments[1]), "model: missing; give a run folder")
    assert not (tmp_path / "out").exists()
