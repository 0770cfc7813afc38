"""The whole way round: trained here, opened by transformers, exported, fine-tuned from there, evaluated."""

import json

import pytest
import torch

from nanolit.cli.main import main

transformers = pytest.importorskip("transformers")

LLAMA = [
    "mlp=swiglu",
    "norm=rmsnorm",
    "position=rope",
    "n_kv_head=1",
    "embed_norm=false",
    "qk_norm=false",
    "softcap=null",
]
FAMILIES = {
    "NanoChatForCausalLM": ["model=modern_124m", "model.vocab_multiple=64"],
    "LlamaForCausalLM": ["model=modern_124m", *(f"model.{field}" for field in LLAMA)],
    "GPT2LMHeadModel": ["model=gpt2_124m"],
}
TINY = ["model.n_layer=2", "model.n_head=2", "model.n_embd=32", "model.block_size=64"]


def cli(*arguments) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def losses(run) -> list[float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["val/loss"] for line in lines if "val/loss" in line]


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_model_goes_out_and_comes_back(small_run, tmp_path, capfd, architecture):
    run, there, back = tmp_path / "run", tmp_path / "there", tmp_path / "back"
    settings = [*small_run, "tokenizer=bpe", "tokenizer.vocab_size=300", "optimizer.lr=0.01", "trainer.max_steps=8"]
    cli("train", *settings, *FAMILIES[architecture], *TINY, f"run_dir={run}")
    assert f"model: {architecture}; its directory opens in transformers" in capfd.readouterr().err

    cli("export", f"model={run}", f"out={there}", "to=hf")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(there)
    tokenizer = transformers.AutoTokenizer.from_pretrained(there)
    assert type(theirs).__name__ == architecture
    ids = tokenizer("Once upon a time", return_tensors="pt").input_ids
    expected = theirs.generate(ids, max_new_tokens=40, do_sample=False, attention_mask=torch.ones_like(ids))
    capfd.readouterr()
    for model in (run, there):
        cli("generate", f"model={model}", "prompt=Once upon a time", "temperature=0", "max_new_tokens=40")
        assert capfd.readouterr().out.rstrip("\n") == tokenizer.decode(
            expected[0], skip_special_tokens=True, clean_up_tokenization_spaces=False
        ).rstrip("\n")

    cli("import", f"source={there}", f"out={back}")
    data = [setting for setting in small_run if setting.startswith(("data", "paths"))]
    cli("eval", f"model={back}", *data, "tokenizer=folder", f"tokenizer.path={back}", f"out={tmp_path / 'eval.json'}")
    loss = json.loads((tmp_path / "eval.json").read_text())["result"]["loss"]
    assert loss == pytest.approx(losses(run)[-1], abs=1e-5)

    tuned = tmp_path / "tuned"
    cli("train", f"init_from={back}", *small_run, f"run_dir={tuned}")
    assert losses(tuned)[0] == pytest.approx(loss, abs=1e-5), "it starts where the other ended"
    assert losses(tuned)[-1] < loss
