"""Training from weights: what may be changed, what must agree, and that a run goes on from where it was."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from nanolit.cli.main import main
from nanolit.cli.train import with_defaults, with_own_tokenizer
from nanolit.models.config import GPTConfig
from nanolit.models.directory import load_model, read_config, save_model
from nanolit.models.gpt import GPT
from nanolit.tokenizers.byte import ByteTokenizer

SIZE = {"vocab_size": 257, "block_size": 32, "n_layer": 1, "n_head": 2, "n_embd": 16}
FAMILIES = {
    "gpt2": {"mlp": "gelu_tanh"},
    "llama": {"norm": "rmsnorm", "position": "rope", "mlp": "swiglu", "bias": False, "tie_embeddings": False},
}


@pytest.fixture(params=FAMILIES)
def weights(request, tmp_path) -> Path:
    return write(tmp_path / "weights", **FAMILIES[request.param])


@pytest.fixture
def gpt2(tmp_path) -> Path:
    return write(tmp_path / "gpt2", **FAMILIES["gpt2"])


def write(folder: Path, **fields) -> Path:
    torch.manual_seed(0)
    save_model(folder, GPT(GPTConfig(**{**SIZE, **fields})))
    ByteTokenizer().save(folder)
    return folder


@pytest.fixture
def train(small_run, tmp_path):
    def run(*overrides: str, run_dir: Path = tmp_path / "run") -> int:
        return main(["train", *small_run, f"run_dir={run_dir}", *overrides])

    return run


@pytest.fixture
def refused(train, capfd, tmp_path):
    def run(*overrides: str) -> str:
        assert train(*overrides) == 2
        (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
        assert not (tmp_path / "run").exists(), "a refused setting leaves no folder"
        return line

    return run


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


# The command line


def test_weights_bring_a_recipe_and_their_architecture():
    assert with_defaults(["init_from=gpt2"]) == ["experiment=finetune", "model=pretrained", "init_from=gpt2"]
    assert with_defaults(["init_from=a", "model=gpt2"]) == ["experiment=finetune", "init_from=a", "model=gpt2"]
    given = ["experiment=shakespeare_char", "init_from=a"]
    assert with_defaults(given) == ["model=pretrained", *given]
    assert with_defaults(["init_from=null"])[0] == "experiment=quick"


@pytest.mark.parametrize(
    ("kind", "overrides", "own"),
    [
        ("bpe", [], True),  # it would be made from the text
        ("char", ["data=shakespeare_char"], True),
        ("tiktoken", ["data=owt"], False),  # a data set in known tokens stays in them
        ("bpe", ["tokenizer=bpe"], False),
        ("bpe", ["++tokenizer.vocab_size=300"], False),
    ],
)
def test_a_tokenizer_made_from_the_text_gives_way_to_the_models_own(kind, overrides, own):
    config = {"init_from": "gpt2-xl", "tokenizer": {"kind": kind}}
    found = with_own_tokenizer(config, overrides, {})["tokenizer"]
    assert found == ({"kind": "folder", "path": "gpt2-xl"} if own else {"kind": kind})


def test_weights_without_a_tokenizer_cannot_give_one(gpt2):
    (gpt2 / "tokenizer.json").unlink()
    config = {"init_from": str(gpt2), "tokenizer": {"kind": "char"}}
    assert with_own_tokenizer(config, [], {}) == config
    gone = config | {"init_from": "a/folder/that/is/gone"}
    assert with_own_tokenizer(gone, [], gone) == gone, "a run goes on with the tokenizer that it began with"


# A run


def test_a_run_starts_where_the_weights_are(train, weights, tmp_path):
    assert train(f"init_from={weights}", "optimizer.lr=0") == 0
    (first, *_, last) = [record["val/loss"] for record in metrics(tmp_path / "run") if "val/loss" in record]
    assert metrics(tmp_path / "run")[0]["step"] == 0, "measured before the first step"
    assert first == pytest.approx(last)
    before, after = (load_file(folder / "model.safetensors") for folder in (weights, tmp_path / "run" / "model"))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["name"] == "finetune" and config["tokenizer"] == {"kind": "folder", "path": str(weights)}
    lineage = json.loads((tmp_path / "run" / "environment.json").read_text())["init_from"]
    assert lineage["source"] == str(weights)
    assert set(lineage["files"]) == {"config.json", "model.safetensors"}
    assert lineage["files"]["model.safetensors"]["bytes"] == (weights / "model.safetensors").stat().st_size


def test_weights_stored_in_halves_and_in_parts_are_trained_whole(train, tmp_path):
    """bfloat16 in several files, as large models are published."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(**{**SIZE, **FAMILIES["llama"]}))
    save_model(tmp_path / "weights", model, dtype=torch.bfloat16, max_shard_bytes=8_000)
    ByteTokenizer().save(tmp_path / "weights")
    assert len(list((tmp_path / "weights").glob("*.safetensors"))) > 1
    assert train(f"init_from={tmp_path / 'weights'}", "optimizer.lr=0") == 0
    kept = load_model(tmp_path / "run" / "model")
    assert all(t.dtype == torch.float32 for t in kept.parameters())
    assert all(torch.equal(t, model.state_dict()[n].bfloat16().float()) for n, t in kept.state_dict().items())


def test_it_learns_from_there(train, gpt2, tmp_path):
    assert train(f"init_from={gpt2}", "optimizer.lr=1e-2", "trainer.max_steps=12", "model.dropout=0.1") == 0
    losses = [record["val/loss"] for record in metrics(tmp_path / "run") if "val/loss" in record]
    assert losses[-1] < losses[0] - 0.3
    assert read_config(tmp_path / "run" / "model").dropout == 0.1


def test_a_run_folder_can_be_the_beginning_of_another(train, gpt2, tmp_path):
    assert train(f"init_from={gpt2}", "optimizer.lr=1e-2") == 0
    assert train(f"init_from={tmp_path / 'run'}", run_dir=tmp_path / "next") == 0
    first = next(record["val/loss"] for record in metrics(tmp_path / "next") if "val/loss" in record)
    best = json.loads((tmp_path / "run" / "summary.json").read_text())["best"]["value"]
    assert first == pytest.approx(best, rel=1e-5)


def test_interrupted_and_resumed_is_bit_equal(train, gpt2, tmp_path):
    settings = [f"init_from={gpt2}", "model.dropout=0.2", "optimizer.lr=1e-3", "trainer.max_steps=6"]
    assert train(*settings, run_dir=tmp_path / "whole") == 0
    assert train(*settings, "trainer.max_steps=4") == 0
    assert train(*settings) == 0
    ours, theirs = ((tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("run", "whole"))
    assert ours == theirs
    keys = ("step", "train/loss", "val/loss", "optim/grad_norm")
    curves = [[{k: r.get(k) for k in keys} for r in metrics(tmp_path / run)] for run in ("run", "whole")]
    assert [r for r in curves[0] if r["train/loss"]] == [r for r in curves[1] if r["train/loss"]]


@pytest.mark.parametrize("has_tokenizer", [True, False])
def test_a_run_goes_on_when_its_beginning_is_gone(train, gpt2, tmp_path, has_tokenizer):
    """With the weights goes the folder that tokenizer.path names."""
    settings = [f"init_from={gpt2}", "model.dropout=0.2", "model.block_size=16", "trainer.max_steps=4"]
    if not has_tokenizer:
        (gpt2 / "tokenizer.json").unlink()
        settings += ["tokenizer=bpe", "tokenizer.vocab_size=270", "resize_vocabulary=true"]
    assert train(*settings, run_dir=tmp_path / "whole") == 0
    assert train(*settings, "trainer.max_steps=2") == 0
    before = json.loads((tmp_path / "run" / "environment.json").read_text())["init_from"]
    shutil.rmtree(gpt2)
    assert train(*settings) == 0
    assert before == json.loads((tmp_path / "run" / "environment.json").read_text())["init_from"]
    ours, theirs = ((tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("run", "whole"))
    assert ours == theirs
    losses = [[r["train/loss"] for r in metrics(tmp_path / run) if "train/loss" in r] for run in ("run", "whole")]
    assert losses[0] == losses[1]
    told = (tmp_path / "run" / "run.log").read_text()
    assert told.count("has no tokenizer.json") == (0 if has_tokenizer else 1), "once, at the start"


def test_without_a_checkpoint_the_beginning_is_needed(train, gpt2, tmp_path, capfd):
    assert train(f"init_from={gpt2}", "trainer.max_steps=2") == 0
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    shutil.rmtree(gpt2)
    assert train(f"init_from={gpt2}") == 2
    assert f"init_from: {gpt2} does not exist" in capfd.readouterr().err


def test_a_run_does_not_go_on_from_other_weights(train, gpt2, tmp_path, capfd):
    assert train(f"init_from={gpt2}", "trainer.max_steps=2") == 0
    assert train(f"init_from={write(tmp_path / 'other')}") == 2
    assert "init_from was" in capfd.readouterr().err


def test_the_lineage_is_what_the_run_began_with(train, gpt2, tmp_path):
    assert train(f"init_from={gpt2}", "trainer.max_steps=2") == 0
    told = json.loads((tmp_path / "run" / "environment.json").read_text())
    save_model(gpt2, GPT(GPTConfig(**SIZE, **FAMILIES["gpt2"])))  # somebody trains there as well
    assert train(f"init_from={gpt2}") == 0
    later = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert (later["init_from"], later["run_id"]) == (told["init_from"], told["run_id"])


def test_positions_are_cut(train, gpt2, tmp_path):
    assert train(f"init_from={gpt2}", "model.block_size=16", "optimizer.lr=0") == 0
    kept = load_model(tmp_path / "run" / "model")
    assert kept.config.block_size == 16
    assert torch.equal(kept.position_embedding.weight, load_model(gpt2).position_embedding.weight[:16])


def test_rotary_positions_are_extended_with_a_plain_word(train, tmp_path):
    weights = write(tmp_path / "weights", **FAMILIES["llama"])
    assert train(f"init_from={weights}", "model.block_size=48") == 0
    assert (
        "model.block_size=48 is more than the 32 that the weights have seen" in (tmp_path / "run/run.log").read_text()
    )


def test_a_preset_may_be_named_if_it_agrees(train, gpt2, tmp_path):
    assert train(f"init_from={gpt2}", "model=gpt2", *(f"model.{name}={value}" for name, value in SIZE.items())) == 0
    assert read_config(tmp_path / "run" / "model") == read_config(gpt2)


# What is refused


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["model.n_layer=3"], ["the weights are of another model: model.n_layer is 1 there, given 3;"]),
        (["model.n_embed=3"], ["model.n_embed: no such setting; did you mean model.n_embd?"]),
        (["model.block_size=33"], ["model.block_size: got 33", "have learned 32 positions"]),
        (["model.block_size=0"], ["model.block_size: got 0, must be at least 1"]),
        (["model.dropout=2"], ["model.dropout: got 2"]),
        (["model=llama_124m"], ["model.n_layer is 1 there, given 12", "(and ", "more)"]),
        (["tokenizer=bpe", "tokenizer.vocab_size=300"], ["init_from: ", "(byte, 257 ids", "tokenizer=folder"]),
        (["model=te_llama3"], ["model=te_llama3: needs "]),
        (["model=hf_llama"], ["model.config: init_from brings its own configuration"]),
    ],
)
def test_what_does_not_fit_the_weights(refused, gpt2, overrides, told):
    line = refused(f"init_from={gpt2}", *overrides)
    assert all(part in line for part in told), line


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["init_from=nowhere"], "init_from: nowhere does not exist"),
        (["init_from=gpt2-medium"], "init_from: there is no folder gpt2-medium, and on the Hugging Face hub: "),
        (["model=pretrained"], "init_from: not given, and model=pretrained takes everything from there"),
        (["experiment=finetune", "model.dropout=0.1"], "init_from: not given"),
        (["experiment=quick", "resize_vocabulary=true"], "resize_vocabulary: only weights can be resized"),
    ],
)
def test_without_weights(refused, overrides, told):
    assert told in refused(*overrides)


# The vocabulary


def test_more_ids_than_the_weights_have(refused, train, tmp_path, gpt2):
    """Without a tokenizer beside the weights only the numbers can be compared."""
    (gpt2 / "tokenizer.json").unlink()
    overrides = [f"init_from={gpt2}", "tokenizer=bpe", "tokenizer.vocab_size=300", "optimizer.lr=0"]
    line = refused(*overrides)
    assert "init_from: the model has 257 ids, the tokenizer 300" in line and "resize_vocabulary=true" in line
    assert train(*overrides, "resize_vocabulary=true") == 0
    model, before = load_model(tmp_path / "run" / "model"), load_model(gpt2)
    assert model.config.vocab_size == 300
    table, old = model.token_embedding.weight, before.token_embedding.weight
    assert torch.equal(table[:257], old)
    torch.testing.assert_close(table[257:], old.mean(0).expand(43, -1))
    assert "has no tokenizer.json" in (tmp_path / "run" / "run.log").read_text()


def test_a_tokenizer_with_more_tokens_than_the_models_own(refused, train, tmp_path, gpt2):
    """As people add the special tokens of a chat."""
    from tokenizers import Tokenizer

    larger = Tokenizer.from_file(str(gpt2 / "tokenizer.json"))
    larger.add_special_tokens(["<|user|>", "<|assistant|>"])
    (tmp_path / "larger").mkdir()
    larger.save(str(tmp_path / "larger" / "tokenizer.json"))
    overrides = [f"init_from={gpt2}", "tokenizer=folder", f"tokenizer.path={tmp_path / 'larger'}"]
    assert "reads the tokens of its own tokenizer (byte, 257 ids" in refused(*overrides)
    assert train(*overrides, "resize_vocabulary=true") == 0
    assert read_config(tmp_path / "run" / "model").vocab_size == 259


def test_another_tokenizer_is_no_larger_one(refused, gpt2):
    line = refused(f"init_from={gpt2}", "tokenizer=char", "data.append_eot=false", "resize_vocabulary=true")
    assert "reads the tokens of its own tokenizer (byte, 257 ids" in line


def test_a_smaller_vocabulary_keeps_the_rows(train, tmp_path, gpt2):
    large = write(tmp_path / "large", vocab_size=280)
    assert train(f"init_from={large}") == 0
    assert read_config(tmp_path / "run" / "model").vocab_size == 280
